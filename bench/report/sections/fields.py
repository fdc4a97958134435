"""Three receptive fields of the same networks, and how far back the last output looks."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from bench.core.records import Outcome, Probe, Record
from bench.plan.grid import task_of
from bench.report import drawing, facets
from bench.report.data import Data
from bench.report.distance import by_distance, decades, draw_by_distance
from bench.report.drawing import GREY, explain, titled_panels
from bench.report.facets import TRAINED, Style, at_the_longest
from bench.report.frame import IDENTITY, Column, Table, rows_of, typed
from bench.report.runs import Labels, key, outcomes
from bench.report.section import Filled, Item, Picture, Section

SMALLEST_INFLUENCE = 1e-6
"""Smaller shares of the largest gradient are drawn at it."""
MEASURED = (
    *IDENTITY,
    Column("reach", "count", "steps", "How far back the answer may depend on the input."),
    Column("formula", "integer", "steps", "Computed by the model's class; missing: without end."),
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
        *IDENTITY,
        Column("reach", "count", "steps", "How far back the answer may depend on the input."),
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
            "inputs of the untrained network, and effective, which is the fewest last inputs that "
            "hold 95% of the squared gradient of the last output, before and after training "
            "(range over seeds).",
        )
        influence = by_distance(records, labels, "output_gradient")
        yield Picture(
            name="influence",
            draw=partial(influence_figure, influence, found, data.style),
            caption="Gradient of the last output with respect to each past input, in trained "
            "networks, as a share of its largest; bands: range over seeds. Marks: where the "
            "effective field and the field by formula end.",
        )
    yield Filled(table=TABLE, frame=fields_table(fields(data.source.records, labels)))


def probed_records(data: Data) -> list[Record]:
    """The records of networks whose receptive field is whole and that generate nothing."""
    return data.records_of(data.whole[~data.within("generation")[data.whole.index]])


def fields(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The three receptive fields of each task, T and model, in steps."""
    found: dict[tuple[Any, ...], list[tuple[Record, Outcome]]] = {}
    for record, outcome in outcomes(records):
        if outcome.probes is not None:
            about = key(labels[record.spec.id], record.spec.length)
            found.setdefault(tuple(about.items()), []).append((record, outcome))
    rows = []
    for about, seeds in found.items():
        record, outcome = seeds[0]
        probes = [each.probes for _, each in seeds if each.probes is not None]
        measured = max(each.measured_field for each in probes)
        seen = max(each.seen_steps for each in probes)
        rows.append(
            {
                **dict(about),
                "reach": task_of(record.spec).signature.reach,
                "formula": outcome.receptive_field,
                "mark": "≥" if measured >= seen else "=",
                "measured": measured,
                **_effective("start", [each.initial for each in probes]),
                **_effective("trained", [each.trained for each in probes]),
                "seeds": len(seeds),
            }
        )
    return typed(MEASURED, rows)


def _effective(moment: str, probes: Sequence[Probe]) -> dict[str, float]:
    steps = pd.Series([probe.effective_field for probe in probes])
    return {
        f"effective_{moment}": steps.median(),
        f"effective_{moment}_min": steps.min(),
        f"effective_{moment}_max": steps.max(),
    }


def fields_table(found: pd.DataFrame) -> pd.DataFrame:
    """The fields as texts: `without end`, `≥ 170`, `40 (31–52)`."""
    rows = []
    for row in rows_of(found):
        texts = {
            column: f"{middle:g}" if low == high else f"{middle:g} ({low:g}–{high:g})"
            for moment, column in (
                ("start", "effective_at_the_start"),
                ("trained", "effective_trained"),
            )
            for middle, low, high in [[row[f"effective_{moment}{e}"] for e in ("", "_min", "_max")]]
        }
        rows.append(
            {
                **row,
                **texts,
                "by_formula": "without end" if pd.isna(row["formula"]) else f"{row['formula']}",
                "by_perturbation": f"{'≥ ' if row['mark'] == '≥' else ''}{row['measured']}",
            }
        )
    return TABLE.of(rows)


def fields_figure(fields: pd.DataFrame, style: Style) -> Figure:
    """The three fields, one row per model and one panel per task, at its longest common T.

    ∞: the formula has no end. Triangle: no older inputs were there to change. Effective fields:
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
        explain(panel, "formula: without end", marker=r"$\infty$", ms=10, mew=0.3)
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
        middle, low, high = (row[f"effective_{moment}{end}"] for end in ("", "_min", "_max"))
        spread = [[middle - low], [high - middle]]
        panel.errorbar(
            *(middle, y + offset),
            xerr=spread,
            **{"marker": "D", "ms": 5, "mfc": face, "color": color},
            elinewidth=1,
            capsize=2,
        )


def influence_figure(influence: pd.DataFrame, fields: pd.DataFrame, style: Style) -> Figure:
    """Norm of the last output's Jacobian against the distance of the input, trained networks.

    Each seed's norms are divided by their largest. Markers above the lines: where the effective
    field ends, median and range over seeds. Vertical: the first distance beyond the formula's.
    """
    trained = at_the_longest(influence[influence["moment"] == TRAINED])
    trained, counts = facets.first_models(trained, style)
    seeds = trained.groupby(["task_label", "T", "model_label", "seed"], sort=False)["value"]
    trained = trained.assign(value=(trained["value"] / seeds.transform("max")).fillna(0))
    parts = facets.parts(trained)
    cells = [
        (f"{task}, T = {rows['T'].iloc[0]}", part, of_part)
        for task, rows in trained.groupby("task_label", sort=False)
        for part, of_part in facets.in_parts(rows, parts)
    ]
    titles = [f"{task}\n{part}" if part else task for task, part, _ in cells]
    figure, axes = titled_panels(titles, facets.num_columns(parts), counts)
    for panel, (_, _, rows) in zip(axes, cells, strict=False):
        draw_by_distance(panel, rows, style, SMALLEST_INFLUENCE)
        task, length = rows["task_label"].iloc[0], rows["T"].iloc[0]
        here = fields[(fields["task_label"] == task) & (fields["T"] == length)]
        by_model = {row["model_label"]: row for row in rows_of(here)}
        height = 1.0
        for model, look, _, _ in facets.lines(rows, style):
            height *= 2.5
            if model in by_model:
                _mark_fields(panel, by_model[model], height, rows["distance"].max(), look)
        panel.set_ylim(top=2.5 * height)
        panel.yaxis.set_major_locator(FixedLocator(decades(SMALLEST_INFLUENCE, 1)))
        panel.set_ylabel("Jacobian's norm\n(share of its largest)", fontsize=9)
        explain(panel, "receptive field (formula)", marker="|", ms=12, mew=1.2)
        explain(panel, "effective field", marker="o", ms=6, mec="black")
    drawing.shared_legend(figure, axes, style)
    return figure


def _mark_fields(
    panel: Axes, row: Mapping[str, Any], height: float, furthest: float, look: Mapping[str, Any]
) -> None:
    """The last distance within the effective field, the first beyond the formula's field."""
    middle, low, high = (row[f"effective_trained{end}"] - 1 for end in ("", "_min", "_max"))
    panel.errorbar(
        *(middle, height),
        xerr=[[middle - low], [high - middle]],
        **{"marker": look["marker"], "color": look["color"], "ms": 6, "mec": "black", "mew": 0.8},
        elinewidth=1,
        capsize=2,
    )
    if not pd.isna(row["formula"]) and row["formula"] <= furthest:
        panel.axvline(row["formula"], color=look["color"], ls=look["linestyle"], lw=1)


SECTION = Section(title="Receptive field", order=41, tables=(TABLE,), build=build)
