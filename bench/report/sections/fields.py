"""Three receptive fields of the same networks, and how far back the last output looks."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from bench.core.records import Outcome, Probes, Record
from bench.plan.grid import task_of
from bench.report import drawing, facets
from bench.report.data import Data
from bench.report.distance import by_distance, decades, draw_by_distance
from bench.report.drawing import GREY, explain, titled_panels
from bench.report.facets import TRAINED, Style, at_the_longest
from bench.report.frame import CELL, IDENTITY, Column, Table, rows_of, typed
from bench.report.runs import Labels, key, outcomes
from bench.report.section import Filled, Item, Picture, Section
from bench.report.sections._shared import panels

SMALLEST_INFLUENCE = 1e-6
"""Smaller shares of the largest gradient are drawn at it."""
ABOUT = (
    *IDENTITY,
    Column("reach", "count", "steps", "How far back the answer may depend on the input."),
)
MEASURED = (
    *ABOUT,
    Column("formula", "integer", "steps", "By formula. Missing if it is unlimited."),
    Column("mark", "text", "", "`≥` where no older input was there to change, else `=`."),
    Column("measured", "count", "steps", "By perturbation: the most that any seed saw."),
    *(
        Column(f"effective_{moment}{end}", "number", "steps", f"Effective field: {what}.")
        for moment in ("start", "trained")
        for end, what in (("", "median"), ("_min", "least"), ("_max", "greatest"))
    ),
    Column("seeds", "count", "", "Runs that were probed."),
)
TABLE = Table(
    name="fields",
    columns=(
        *ABOUT,
        Column("by_formula", "text", "steps", "Computed by the model's class."),
        Column("by_perturbation", "text", "steps", "`≥`: no older input was there to change."),
        Column("effective_at_the_start", "text", "steps", "Median over seeds, and their range."),
        Column("effective_trained", "text", "steps", "The same after training."),
        Column("seeds", "count", "", "Runs that were probed."),
    ),
)


def build(data: Data) -> Iterator[Item]:
    labels, records = data.source.labels, probed_records(data)
    found = fields(records, labels)
    if len(found):
        yield Picture(
            name="fields",
            draw=partial(fields_figure, found, data.style),
            caption="Three receptive fields of the same networks: by formula, by perturbing the "
            "inputs of the untrained network, and effective, which is the smallest number of "
            "most recent inputs that account for 95% of the squared gradient of the last output, "
            "before and after training (range over seeds).",
        )
        influence = by_distance(records, labels, "output_gradient")
        yield Picture(
            name="influence",
            draw=partial(influence_figure, influence, found, data.style),
            caption="Norm of the Jacobian of the last output with respect to each past input, in "
            "trained networks, divided by its largest value; one T per task. Bands: range over "
            "seeds. Marks: where the effective field and the field by formula end.",
        )
    yield Filled(table=TABLE, frame=fields_table(fields(data.records, labels)))


def probed_records(data: Data) -> list[Record]:
    """The records of networks whose receptive field is whole and that generate nothing."""
    return data.records_of(data.whole[~data.within("generation")[data.whole.index]])


def fields(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The three receptive fields of each task, T and model, in steps."""
    found: dict[tuple[Any, ...], list[tuple[Record, Outcome, Probes]]] = {}
    for record, outcome in outcomes(records):
        if outcome.probes is not None:
            about = key(labels[record.spec.id], record.spec.length)
            found.setdefault(tuple(about.items()), []).append((record, outcome, outcome.probes))
    rows = []
    for about, seeds in found.items():
        record, outcome, _ = seeds[0]
        measured = max(probes.measured_field for _, _, probes in seeds)
        row = {
            **dict(about),
            "reach": task_of(record.spec).signature.reach,
            "formula": outcome.receptive_field,
            "mark": "≥" if measured >= max(probes.seen_steps for _, _, probes in seeds) else "=",
            "measured": measured,
            "seeds": len(seeds),
        }
        for moment, name in (("start", "initial"), ("trained", "trained")):
            steps = pd.Series([getattr(probes, name).effective_field for _, _, probes in seeds])
            row[f"effective_{moment}"] = steps.median()
            row[f"effective_{moment}_min"] = steps.min()
            row[f"effective_{moment}_max"] = steps.max()
        rows.append(row)
    return typed(MEASURED, rows)


def fields_table(found: pd.DataFrame) -> pd.DataFrame:
    """The fields as texts: `unlimited`, `≥ 170`, `40 (31–52)`."""

    def effective(row: Mapping[str, Any], moment: str) -> str:
        median, low, high = _effective_of(row, moment)
        return f"{median:g}" if low == high else f"{median:g} ({low:g}–{high:g})"

    return TABLE.of(
        {
            **row,
            "by_formula": "unlimited" if pd.isna(row["formula"]) else f"{row['formula']}",
            "by_perturbation": f"{row['mark']} {row['measured']}".removeprefix("= "),
            "effective_at_the_start": effective(row, "start"),
            "effective_trained": effective(row, "trained"),
        }
        for row in rows_of(found)
    )


def fields_figure(fields: pd.DataFrame, style: Style) -> Figure:
    """The three fields, one row per model and one panel per task, at its longest common T.

    ∞: the field is unlimited. Triangle: no older inputs were there to change. Effective fields:
    median; bar: range over seeds. Dotted: the reach.
    """
    fields, counts = facets.first_models(at_the_longest(fields), style)
    there = set(fields["model_label"])
    models = [model for model in style if model in there]
    by_task = {str(task): rows for task, rows in fields.groupby("task_label", sort=False)}
    titles = [f"{task}\nT = {rows['T'].iloc[0]}" for task, rows in by_task.items()]
    num_columns = 2 if len(by_task) == 4 else min(len(by_task), 3)
    num_rows = -(-len(by_task) // num_columns)
    figure, axes = titled_panels(titles, num_columns, counts)
    figure.set_size_inches(2.8 * num_columns + 1.6, num_rows * (0.9 + 0.3 * len(models)) + 0.8)
    for i, (panel, rows) in enumerate(zip(axes, by_task.values(), strict=False)):
        finite = rows["formula"].dropna().tolist()
        largest = max([rows["measured"].max(), rows["reach"].max(), *finite])
        for row in rows_of(rows):
            y, color = models.index(row["model_label"]), style[row["model_label"]]["color"]
            _draw_fields(panel, row, y, 2 * largest, color)
        panel.axvline(rows["reach"].iloc[0], color=GREY, ls=":", lw=1.2, label="reach")
        panel.set_xscale("log")
        panel.set_xlim(0.8, 3 * largest)
        panel.xaxis.set_major_locator(LogLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(drawing.short))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_ylim(len(models) - 0.5, -0.5)
        panel.set_yticks(range(len(models)), models if i % num_columns == 0 else [])
        panel.tick_params(labelsize=8)
        panel.set_xlabel("receptive field (steps)", fontsize=9)
        explain(panel, "formula", marker="|", ms=12, mew=2)
        explain(panel, "formula: unlimited", marker=r"$\infty$", ms=10, mew=0.3)
        explain(panel, "perturbation", marker="o", ms=7, mfc="none")
        explain(panel, "perturbation: at least", marker=">", ms=7, mfc="none")
        explain(panel, "effective at the start", marker="D", ms=5, mfc="white")
        explain(panel, "effective, trained", marker="D", ms=5)
    drawing.shared_legend(figure, axes, {})
    return figure


def _draw_fields(panel: Axes, row: Mapping[str, Any], y: int, edge: float, color: Any) -> None:
    if pd.isna(row["formula"]):
        panel.plot(edge, y, marker=r"$\infty$", ms=10, mew=0.3, color=color)
    else:
        panel.plot(row["formula"], y, marker="|", ms=12, mew=2, color=color)
    shape = ">" if row["mark"] == "≥" else "o"
    panel.plot(row["measured"], y, marker=shape, ms=7, mfc="none", color=color)
    for moment, face, offset in (("start", "white", -0.2), ("trained", color, 0.2)):
        look = {"marker": "D", "ms": 5, "mfc": face, "color": color}
        _draw_effective(panel, *_effective_of(row, moment), y + offset, look)


def _effective_of(row: Mapping[str, Any], moment: str) -> tuple[float, float, float]:
    """Median, least and greatest effective field over seeds."""
    median, low, high = (row[f"effective_{moment}{end}"] for end in ("", "_min", "_max"))
    return median, low, high


def _draw_effective(
    panel: Axes, median: float, low: float, high: float, y: float, look: Mapping[str, Any]
) -> None:
    spread = [[median - low], [high - median]]
    panel.errorbar(median, y, xerr=spread, elinewidth=1, capsize=2, **look)


def influence_figure(influence: pd.DataFrame, fields: pd.DataFrame, style: Style) -> Figure:
    """Norm of the last output's Jacobian against the distance of the input, trained networks.

    Each seed's norms are divided by their largest. Markers above the lines: where the effective
    field ends, median and range over seeds. Vertical: the first distance beyond the formula's.
    """
    trained = at_the_longest(influence[influence["moment"] == TRAINED])
    seeds = trained.groupby(["task_label", "T", "model_label", "seed"], sort=False)["value"]
    trained = trained.assign(
        value=(trained["value"] / seeds.transform("max")).fillna(0),
        title=trained["task_label"] + ", T = " + trained["T"].astype(str),
    )
    by_cell = {tuple(row[name] for name in CELL): row for row in rows_of(fields)}
    figure, filled = panels(trained, style, title="title")
    for panel, rows in filled:
        draw_by_distance(panel, rows, style, SMALLEST_INFLUENCE)
        task, length = rows["task_label"].iloc[0], rows["T"].iloc[0]
        height = 1.0
        for model, look, _, _ in facets.lines(rows, style):
            height *= 2.5
            if row := by_cell.get((task, length, model)):
                _mark_fields(panel, row, height, rows["distance"].max(), look)
        panel.set_ylim(top=2.5 * height)
        panel.yaxis.set_major_locator(FixedLocator(decades(SMALLEST_INFLUENCE, 1)))
        panel.set_ylabel("Jacobian's norm\n(share of its largest)", fontsize=9)
        explain(panel, "receptive field (formula)", marker="|", ms=12, mew=1.2)
        explain(panel, "effective field", marker="o", ms=6, mec="black")
    drawing.shared_legend(figure, [panel for panel, _ in filled], style)
    return figure


def _mark_fields(
    panel: Axes, row: Mapping[str, Any], height: float, furthest: float, look: Mapping[str, Any]
) -> None:
    """The last distance within the effective field, the first beyond the formula's field."""
    mark = {"marker": look["marker"], "color": look["color"], "ms": 6, "mec": "black", "mew": 0.8}
    median, low, high = _effective_of(row, "trained")
    _draw_effective(panel, median - 1, low - 1, high - 1, height, mark)
    if not pd.isna(row["formula"]) and row["formula"] <= furthest:
        panel.axvline(row["formula"], color=look["color"], ls=look["linestyle"], lw=1)


SECTION = Section(title="Receptive field", order=41, tables=(TABLE,), build=build)
