"""Records → tables, figures and one page, as Markdown and as HTML that loads nothing."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import base64
import itertools
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import jinja2
import pandas as pd
from markdown_it import MarkdownIt
from markdown_it.token import Token
from matplotlib.figure import Figure

from bench import cost, figures, tables
from bench.spec import Spec
from bench.stats import Horizon, wilson
from bench.store import Damaged, Record, SpeedRecord, YardstickRecord

LATENCY_BUDGETS_US = (10.0, 20.0, float("inf"))
"""Columns of the table of choices."""
TEMPLATES = Path(__file__).parent
DPI = 160


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a report is made of."""

    profile_name: str
    profile_description: str
    specs: Sequence[Spec]
    """What was planned."""
    labels: tables.Labels
    thresholds: tables.Thresholds
    records: Sequence[Record]
    """Of one backend, of planned specs alone."""
    unsupported: Sequence[tuple[str, str, str]] = ()
    """Task, model, reason."""
    damaged: Sequence[Damaged] = ()
    other_backends: Sequence[str] = ()
    speed: Sequence[SpeedRecord] = ()
    """Of planned networks, of one machine and backend."""
    yardsticks: Sequence[YardstickRecord] = ()
    """Of the same machine."""


def write_report(folder: Path, source: Source) -> str:
    """Write `report.md`, `report.html`, `tables/` and `figures/` below `folder`.

    Returns a summary that a person reads in ten seconds. The same records give the same files.
    """
    runs = tables.runs_frame(source.specs, source.records, source.labels, source.thresholds)
    scores = tables.scores(runs)
    horizons = tables.horizons(runs)
    run_cost = tables.cost(runs)
    timed = cost.frame(source.speed)
    step_us = step_times(source.specs, timed)
    reached = tables.reached_at_cost(runs, horizons, step_us)
    drawn = {
        **_figures(source, runs, scores, run_cost),
        **_cost_figures(runs, timed, reached),
    }
    written = {
        "horizons": tables.horizon_table(horizons),
        "choice": tables.choice(runs, step_us, LATENCY_BUDGETS_US)
        if len(scores)
        else pd.DataFrame(),
        "scores": scores,
        "metrics": tables.metrics(source.records, source.labels),
        "cost": run_cost,
        "training_speed": cost.whole_sequences(timed, "train"),
        "inference_speed": cost.whole_sequences(timed, "forward"),
        "streaming": cost.streaming(timed),
        "yardsticks": cost.yardstick_table(source.yardsticks),
        "settings": tables.settings(runs),
        "problems": tables.problems(runs, source.unsupported, source.damaged),
        "environment": tables.environment(source.records),
        "runs": runs,
    }
    for name, table in written.items():
        _write(folder / "tables" / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        _write(folder / "tables" / f"{name}.md", markdown_table(table) + "\n")
    for name, figure in drawn.items():
        _write(folder / "figures" / f"{name}.png", _image(figure, "png"))
        _write(folder / "figures" / f"{name}.svg", _image(figure, "svg"))
    _forget_old(folder / "figures", drawn, (".png", ".svg"))

    said = cost.headlines(timed) if len(timed) else []
    page = _page(source, runs, horizons, written, drawn, said)
    _write(folder / "report.md", page)
    _write(folder / "report.html", html(page, f"Report: {source.profile_name}", folder))
    return _summary(folder, source, runs, horizons, said)


def step_times(specs: Sequence[Spec], timed: pd.DataFrame) -> dict[str, float]:
    """Spec id → median microseconds of a step of one stream, where it was timed."""
    if "step_ms" not in timed:
        return {}
    alone = timed[(timed["batch"] == 1) & timed["step_ms"].notna()]
    by_network = dict(zip(alone["network"], 1e3 * alone["step_ms"], strict=True))
    return {spec.id: by_network[spec.network] for spec in specs if spec.network in by_network}


def _style(runs: pd.DataFrame, more: Sequence[str]) -> figures.Style:
    return figures.styles(list(dict.fromkeys([*runs["model"], *more])))


def _cost_figures(
    runs: pd.DataFrame, timed: pd.DataFrame, reached: pd.DataFrame
) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    style = _style(runs, timed["model"] if len(timed) else ())
    for name, columns, axis_label in (
        (
            "throughput",
            {"train_steps_per_s": "training", "forward_steps_per_s": "whole sequences"},
            "steps read per second",
        ),
        (
            "memory",
            {"train_MB": "training", "forward_MB": "whole sequences"},
            "peak memory (MB)",
        ),
    ):
        frame = cost.by_length(timed, columns)
        if len(frame) and (frame["value"] > 0).any():
            frame = frame[frame["value"] > 0]
            drawn[f"{name}_vs_length"] = figures.cost_against_length(
                frame, "value", axis_label, style
            )
    steps = cost.steps_by_length(timed)
    if len(steps):
        again = {
            f"{model}{cost.AGAIN}": {**look, "linestyle": (0, (1, 2)), "alpha": 0.6}
            for model, look in style.items()
        }
        drawn["latency_vs_length"] = figures.cost_against_length(
            steps, "value", "one step (µs)", {**style, **again}
        )
    if len(reached):
        drawn["horizon_vs_cost"] = figures.horizon_against_cost(reached, style)
    return drawn


def _figures(
    source: Source, runs: pd.DataFrame, scores: pd.DataFrame, cost: pd.DataFrame
) -> dict[str, Figure]:
    style = _style(runs, ())
    drawn: dict[str, Figure] = {}
    if len(scores):
        known = runs.dropna(subset=["solved_at"])
        solved_at = dict(zip(known["task"], known["solved_at"], strict=True))
        drawn["score_vs_length"] = figures.score_against_length(scores, solved_at, style)
        if "solved" in scores and scores["solved"].notna().any():
            drawn["solved_vs_length"] = figures.solved_share(scores, style)
    for column, axis_label in (
        ("update_ms", "one training step (ms)"),
        ("answer_ms", "one sequence alone (ms)"),
    ):
        if len(cost) and cost[column].notna().any():
            drawn[f"{column}_vs_length"] = figures.cost_against_length(
                cost, column, axis_label, style
            )
    for task, figure in figures.learning_curves(source.records, source.labels, style).items():
        drawn[f"learning_{_plain(task)}"] = figure
    return drawn


def _page(
    source: Source,
    runs: pd.DataFrame,
    horizons: Mapping[tuple[str, str], Horizon],
    written: Mapping[str, pd.DataFrame],
    drawn: Mapping[str, Figure],
    cost_headlines: Sequence[str],
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown: the HTML is escaped where it is made
    )
    dates = sorted(record.created for record in source.records)
    seeds = runs[runs["status"] != "missing"].groupby(["task", "model", "T"])["seed"].nunique()
    num_seeds = _range(seeds) if len(seeds) else "no"
    return environment.get_template("report.md.jinja").render(
        source=source,
        counts=Counter(runs["status"]),
        num_runs=len(runs),
        headlines=_headlines(horizons),
        cost_headlines=cost_headlines,
        timed_on=source.speed[0].machine if source.speed else None,
        timed_backend=source.speed[0].backend.name if source.speed else None,
        num_seeds=num_seeds,
        all_solved=_all_solved(int(seeds.max())) if len(seeds) else None,
        table={name: markdown_table(table) for name, table in written.items()},
        rows={name: len(table) for name, table in written.items()},
        figures=list(drawn),
        backend=source.records[0].backend.name if source.records else None,
        machines=len({record.machine.model_dump_json() for record in source.records}),
        hours=sum(r.outcome.total_seconds for r in source.records if r.outcome) / 3600,
        dates=(dates[0][:10], dates[-1][:10]) if dates else None,
    )


def _headlines(horizons: Mapping[tuple[str, str], Horizon]) -> list[tuple[str, str]]:
    """Task → how far each model gets, the furthest first."""
    by_task: dict[str, list[tuple[str, Horizon]]] = {}
    for (task, model), found in horizons.items():
        by_task.setdefault(task, []).append((model, found))
    return [
        (
            task,
            "; ".join(
                f"{model} {found}"
                for model, found in sorted(every, key=lambda entry: -(entry[1].length or 0))
            ),
        )
        for task, every in by_task.items()
    ]


def _all_solved(num_seeds: int) -> str:
    low, high = wilson(num_seeds, num_seeds)
    return f"{num_seeds} of {num_seeds} seeds is {low:.2f} to {high:.2f}"


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _summary(
    folder: Path,
    source: Source,
    runs: pd.DataFrame,
    horizons: Mapping[tuple[str, str], Horizon],
    cost_headlines: Sequence[str],
) -> str:
    counts = Counter(runs["status"])
    said = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    lines = []
    if horizons:
        table = tables.horizon_table(horizons).fillna("–")
        lines += ["Horizon: the largest T that at least half of the seeds solve", ""]
        lines += [table.to_string(index=False, justify="left"), ""]
    if cost_headlines:
        lines += [*cost_headlines, ""]
    reasons = runs[runs["status"].isin(("failed", "skipped"))]
    for (status, error), group in reasons.groupby(["status", "error"], sort=False):
        where = ", ".join(dict.fromkeys(group["task"]))
        lines.append(f"{status}: {len(group)} runs of {where}: {error}")
    lines.append(f"{len(runs)} runs of profile {source.profile_name}: {said}")
    lines.append(f"The report is {folder / 'report.html'}")
    return "\n".join(lines)


def markdown_table(table: pd.DataFrame) -> str:
    """As Markdown, numbers to four digits, what is not known as a dash."""
    if table.empty:
        return "*nothing*"
    shown = table.map(_cell)
    shown.columns = [str(column).replace("_", " ") for column in table.columns]
    numeric = [pd.api.types.is_numeric_dtype(table[column]) for column in table]
    return shown.to_markdown(
        index=False,
        disable_numparse=True,
        colalign=["right" if number else "left" for number in numeric],
    )


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    # What would end a cell or begin a tag is text here.
    text = " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("<", "\\<").replace("`", "\\`").replace("[", "\\[").replace("*", "\\*")


def html(markdown: str, title: str, folder: Path) -> str:
    """A page that holds everything: figures as data, no script, nothing loaded."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    sections = []
    for heading, text in itertools.pairwise(tokens):
        if heading.type == "heading_open" and heading.tag == "h2":
            heading.attrs["id"] = _plain(text.content)
            sections.append((_plain(text.content), text.content))
    for token in tokens:
        for child in token.children or ():
            _embed(child, folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html.jinja").render(
        title=title, sections=sections, body=parser.renderer.render(tokens, parser.options, {})
    )


def _embed(token: Token, folder: Path) -> None:
    """Put an image's own data where its address was."""
    if token.type == "image":
        data = (folder / str(token.attrs["src"])).read_bytes()
        token.attrs["src"] = "data:image/png;base64," + base64.b64encode(data).decode()


def _plain(text: str) -> str:
    """As part of a file name or an address."""
    return "".join(letter if letter.isalnum() else "_" for letter in text).strip("_")


def _image(figure: Figure, kind: str) -> bytes | str:
    if kind == "svg":
        drawing = StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
        return drawing.getvalue()
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    return picture.getvalue()


def _write(path: Path, content: bytes | str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(temporary, path)


def _forget_old(folder: Path, kept: Mapping[str, object], suffixes: tuple[str, ...]) -> None:
    """Remove figures of an earlier report that this one does not have."""
    for path in folder.glob("*_vs_*.*"), folder.glob("learning_*.*"):
        for old in path:
            if old.suffix in suffixes and old.stem not in kept:
                old.unlink()
