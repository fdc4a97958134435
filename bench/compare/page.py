"""Frames → one page and a summary."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from bench.compare.frames import OTHER_MACHINE, Comparison
from bench.core.errors import RequestError, one_line
from bench.report.markup import markdown_table, template
from bench.report.page import TEMPLATES, html, write
from bench.report.sections.environment import environment

MOST_LINES = 3
"""Of a kind, in the summary."""


def write_comparison(folder: Path, found: Comparison) -> str:
    """Write `compare.md`, `compare.html`, `scores.csv`, `times.csv` and `left.csv`.

    Returns a summary that a person reads in ten seconds. The same records give the same files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"--output: can't make {folder}: {reason}") from None
    for name, table in (("scores", found.scores), ("times", found.times), ("left", found.left)):
        write(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    title = f"{_name(found, 0)} beside {_name(found, 1)}"
    page = template(TEMPLATES, "compare.md.jinja").render(
        found=found,
        title=title,
        summary=_summary(found),
        environment=markdown_table(_environment(found)),
        scores=markdown_table(_without_empty(found.scores)),
        times=markdown_table(_without_empty(found.times)),
        left=markdown_table(found.left),
    )
    write(folder / "compare.md", page)
    write(folder / "compare.html", html(page, title, folder))
    return "\n".join([*_summary(found), f"The page is {folder / 'compare.html'}"])


def _name(found: Comparison, at: int) -> str:
    folder = (found.a, found.b)[at].folder
    return f"{folder}" if found.models is None else f"{found.models[at]} of {folder}"


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    return table.dropna(axis="columns", how="all")


def _environment(found: Comparison) -> pd.DataFrame:
    """Machines, versions and commits on both sides, of runs and of times."""
    frames = [
        environment(records).rename(columns={"runs": "records"}).assign(**{"in": side.name})
        for side in (found.a, found.b)
        for records in [[*side.runs, *side.speed]]
    ]
    table = pd.concat(frames, ignore_index=True)
    return table[["in", *table.columns.drop("in")]]


def _summary(found: Comparison) -> list[str]:
    """At most 14 lines."""
    lines = []
    for at, side in enumerate((found.a, found.b)):
        failed = sum(run.status == "failed" for run in side.runs)
        lines.append(
            f"{side.name}: {_name(found, at)}, {len(side.runs)} runs"
            + (f" ({failed} failed)" if failed else "")
            + f", {len(side.speed)} networks timed"
        )
    lines.append(_counts("scores", found.scores))
    lines += _named(
        found.worse,
        lambda row: (
            f"worse: {row['model']} on {row['task']}, T={row['T']}: {row['score']} "
            f"{row['a']:.3g} → {row['b']:.3g}{_solved(row)}"
        ),
    )
    other = _on_another(found.times)
    lines.append(_counts("times", found.times))
    if len(found.times):
        ratios = found.times.groupby("timed", sort=False)["ratio"].median()
        lines.append(
            "medians of B over A: "
            + ", ".join(f"{what} {ratio:.2f} ×" for what, ratio in ratios.items())
        )
    if other:
        lines.append(f"{other} times are of two machines or backends: none counts as a regression")
    lines += _named(
        found.slower,
        lambda row: (
            f"slower: {row['timed']} of {row['model']} on {row['task']}, T={row['T']}, "
            f"batch {row['batch']}: {row['ratio']:.2f} × ({row['low']:.2f} to {row['high']:.2f})"
        ),
    )
    counts = found.left.groupby("in")["count"].sum().to_dict() if len(found.left) else {}
    lines.append(
        "compared with nothing: "
        + (", ".join(f"{count} records of {side}" for side, count in counts.items()) or "none")
    )
    lines.append(f"regressions: {found.num_regressions or 'none'}")
    return [one_line(line, most=500) for line in lines]


def _on_another(times: pd.DataFrame) -> int:
    return int((times["machine"] == OTHER_MACHINE).sum()) if len(times) else 0


def _solved(row: Mapping[str, object]) -> str:
    if row.get("solved_a") is None or row["solved_a"] != row["solved_a"]:
        return ""
    return f", solved by {row['solved_a']:g} → {row['solved_b']:g} of {row['seeds']} seeds"


def _counts(what: str, table: pd.DataFrame) -> str:
    if table.empty:
        return f"{what}: none in both"
    counts = Counter(table["verdict"])
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    return f"{what}: {len(table)} in both: {said}"


def _named(table: pd.DataFrame, line: Callable[[Mapping[str, object]], str]) -> list[str]:
    """The first of these, and how many more there are; at most `MOST_LINES` lines."""
    rows = [line(row) for row in table.to_dict("records")]
    if len(rows) <= MOST_LINES:
        return rows
    kept = MOST_LINES - 1
    return [*rows[:kept], f"and {len(rows) - kept} more like these"]
