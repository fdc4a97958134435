"""A comparison as one page, three CSV files and a summary for the terminal."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.compare.frames import OTHER_MACHINE, Comparison
from bench.core.errors import RequestError, one_line
from bench.core.wording import counted
from bench.report.markup import markdown_table, template
from bench.report.page import html, write
from bench.report.sections.environment import environment

Row = Mapping[Any, Any]
MOST_LINES = 3
"""Lines of one kind in the summary."""


def write_comparison(folder: Path, found: Comparison) -> str:
    """Write `compare.md`, `compare.html`, `scores.csv`, `times.csv` and `left.csv`.

    Returns a summary of at most 15 lines. The same records give the same files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"--output: cannot make {folder}: {reason}") from None
    for name, table in (("scores", found.scores), ("times", found.times), ("left", found.left)):
        write(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    title = f"{_name(found, 0)} beside {_name(found, 1)}"
    summary = _summary(found)
    page = template(Path(__file__).parent, "compare.md.jinja").render(
        found=found,
        title=title,
        summary=summary,
        environment=markdown_table(_environment(found)),
        scores=markdown_table(_shown(found.scores)),
        times=markdown_table(_shown(found.times)),
        left=markdown_table(_shown(found.left)),
    )
    write(folder / "compare.md", page)
    write(folder / "compare.html", html(page, title, folder))
    return "\n".join([*summary, f"The page is {folder / 'compare.html'}"])


def _name(found: Comparison, at: int) -> str:
    folder = (found.a, found.b)[at].folder
    return f"{folder}" if found.models is None else f"{found.models[at]} of {folder}"


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people: labels in place of names, and no empty columns."""
    labels = {"task_label": "task", "model_label": "model"}
    table = table.drop(columns=list(labels.values())).rename(columns=labels)
    return table.dropna(axis="columns", how="all")


def _environment(found: Comparison) -> pd.DataFrame:
    """Machines, versions and commits on both sides, of runs and of times."""
    both: list[list[Any]] = [[*side.runs, *side.speed] for side in (found.a, found.b)]
    frames = [environment(records).rename(columns={"runs": "records"}) for records in both]
    return pd.concat(frames, keys=["A", "B"], names=["side"]).reset_index(level="side")


def _summary(found: Comparison) -> list[str]:
    """At most 14 lines."""
    lines = []
    for at, side in enumerate((found.a, found.b)):
        failed = sum(run.status == "failed" for run in side.runs)
        lines.append(
            f"{side.name}: {_name(found, at)}, {counted(len(side.runs), 'run')}"
            + (f" ({failed} failed)" if failed else "")
            + f", {counted(len(side.speed), 'network')} timed"
        )
    lines += [_counts("scores", found.scores), *_first(found.worse, _worse)]
    lines.append(_counts("times", found.times))
    if len(found.times):
        ratios = found.times.groupby("timed", sort=False)["ratio"].median()
        medians = (f"{timed} {ratio:.2f} ×" for timed, ratio in ratios.items())
        lines.append(f"median ratios, B over A: {', '.join(medians)}")
    if other := int((found.times["machine"] == OTHER_MACHINE).sum()):
        lines.append(f"{other} times are from two machines or backends: none is a regression")
    lines += _first(found.slower, _slower)
    counts = found.left.groupby("side")["count"].sum()
    left = ", ".join(f"{counted(count, 'record')} of {side}" for side, count in counts.items())
    lines.append(f"without counterpart: {left or 'none'}")
    lines.append(f"regressions: {found.num_regressions or 'none'}")
    return [one_line(line, most=500) for line in lines]


def _counts(what: str, table: pd.DataFrame) -> str:
    if table.empty:
        return f"{what}: none in both"
    verdicts = Counter(table["verdict"]).most_common()
    judged = ", ".join(f"{number} {verdict}" for verdict, number in verdicts)
    return f"{what}: {len(table)} in both: {judged}"


def _worse(row: Row) -> str:
    line = f"worse: {row['model_label']} on {row['task_label']}, T={row['T']}: {row['score']} "
    line += f"{row['a']:.3g} → {row['b']:.3g}"
    if pd.isna(row["solved_a"]):
        return line
    return f"{line}, solved by {row['solved_a']} → {row['solved_b']} of {row['seeds']} seeds"


def _slower(row: Row) -> str:
    return (
        f"slower: {row['timed']} of {row['model_label']} on {row['task_label']}, T={row['T']}, "
        f"batch {row['batch']}: {row['ratio']:.2f} × ({row['low']:.2f} to {row['high']:.2f})"
    )


def _first(table: pd.DataFrame, line: Callable[[Row], str]) -> list[str]:
    """A line for each of the first rows, and the number of the others."""
    lines = [line(row) for row in table.to_dict("records")]
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[: MOST_LINES - 1], f"and {len(lines) - MOST_LINES + 1} more like these"]
