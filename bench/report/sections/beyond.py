"""Tests at other lengths than the trained one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.core.records import Record
from bench.report import drawing, facets
from bench.report.data import Data
from bench.report.drawing import titled_panels
from bench.report.facets import Style
from bench.report.frame import IDENTITY, ROW, SCORE, SUMMARY, Column, Table, rows_of
from bench.report.runs import Labels, key, outcomes, over_seeds
from bench.report.section import Filled, Item, Picture, Section

MOST_LENGTHS = 3
"""Trained lengths per task in the figure."""
TABLE = Table(
    name="beyond",
    columns=(
        *IDENTITY,
        Column("length", "count", "steps", "Length of the test; `T` is the trained length."),
        Column("factor", "number", "", "Tested length over trained length."),
        *SCORE,
        *SUMMARY,
    ),
)


def build(data: Data) -> Iterator[Item]:
    found = beyond(data.source.records, data.source.labels)
    if found.empty:
        yield Filled(table=TABLE, frame=found)
        return
    yield Picture(
        name="beyond",
        draw=partial(beyond_figure, found, data.solved_at, data.style),
        caption="Test score at multiples of the trained length, without further training; bands: "
        "range over seeds. Dashed: chance. Dotted: the score that counts as solved. Training "
        "sequences have all lengths up to T; each test beyond T has one length.",
    )
    yield Filled(table=TABLE, frame=found)


def beyond(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The score at the trained length and at the others; not finite scores count as chance."""
    rows = []
    for record, outcome in outcomes(records):
        if not outcome.beyond:
            continue
        length, score = record.spec.length, outcome.score
        tests = [(length, outcome.test), *((other.length, other.test) for other in outcome.beyond)]
        for tested, test in tests:
            value = test[score.name]
            rows.append(
                {
                    **key(labels[record.spec.id], length),
                    "length": tested,
                    "factor": tested / length,
                    "score": score.name,
                    "unit": score.said_unit,
                    "value": score.chance if value is None else value,
                    "chance": score.chance,
                }
            )
    if not rows:
        return TABLE.of([])
    found = over_seeds(pd.DataFrame(rows), [*ROW, "length", "factor", "score", "unit"])
    return TABLE.of(rows_of(found))


def beyond_figure(beyond: pd.DataFrame, solved_at: Mapping[str, float], style: Style) -> Figure:
    """Test score against the tested length over the trained one, one panel per task and trained T.

    At most three T per task: the shortest, the middle and the longest.
    """
    beyond, counts = facets.first_models(beyond, style)
    parts = facets.parts(beyond)
    cells = []
    for task, rows in beyond.groupby("task_label", sort=False):
        lengths = facets.spread(sorted(rows["T"].unique()), MOST_LENGTHS)
        cells += [
            (f"{task}\ntrained at T = {length}", part, of_part)
            for part, models in parts.items()
            for length in lengths
            if len(of_part := rows[(rows["T"] == length) & rows["model_label"].isin(models)])
        ]
    titles = [f"{name}, {part}" if part else name for name, part, _ in cells]
    most = min(int(beyond.groupby("task_label")["T"].nunique().max()), MOST_LENGTHS)
    num_columns = most if most > 1 else facets.num_columns(parts)
    figure, axes = titled_panels(titles, num_columns, counts)
    for panel, (_, _, rows) in zip(axes, cells, strict=False):
        for model, look, i, num_models in facets.lines(rows, style):
            line = rows[rows["model_label"] == model].sort_values("factor")
            x = drawing.dodged(line["factor"], i, num_models)
            panel.plot(x, line["mean"], label=model, ms=5, lw=1.5, **look)
            drawing.band(panel, x, line["min"], line["max"], look)
        drawing.log_lengths(panel, sorted(rows["factor"].unique()))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        panel.set_xlabel("tested length / trained length", fontsize=9)
        drawing.score_axis(panel, rows, solved_at)
    drawing.shared_legend(figure, axes, style)
    return figure


SECTION = Section(title="Beyond the trained length", order=60, tables=(TABLE,), build=build)
