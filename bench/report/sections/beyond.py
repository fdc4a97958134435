"""Test scores at other lengths than the trained one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench.core.records import Record
from bench.report import drawing, facets
from bench.report.data import Data
from bench.report.facets import Style
from bench.report.frame import CELL, IDENTITY, SCORE, SUMMARY, Column, Table, keys_of, within
from bench.report.runs import Labels, key, outcomes
from bench.report.section import Filled, Item, Picture, Section
from bench.report.sections._shared import curves_against, over_seeds

MOST_LENGTHS = 3
"""Trained lengths per task in the figure."""
TABLE = Table(
    name="beyond",
    columns=(
        *IDENTITY,
        Column("length", "count", "steps", "Length of the test; `T` is the trained length."),
        Column("factor", "number", "", "Tested length over trained length."),
        Column("sequences", "text", "", "`as in training`: the test stream of the task itself. "
               "`as at that length`: the further test of the task at this length."),
        *SCORE,
        *SUMMARY,
    ),
    caption="'As in training' is the test stream of the task itself. 'As at that length' is an "
    "extra test with sequences of that length, whose distribution may differ from that of the "
    "training.",
)  # fmt: skip
AS_TRAINED, FURTHER = "as in training", "as at that length"


def build(data: Data) -> Iterator[Item]:
    found = beyond(data.records, data.source.labels)
    if len(found):
        yield Picture(
            name="beyond",
            draw=partial(beyond_figure, found, data.solved_at, data.style),
            caption="Test score at multiples of the trained length, without further training; "
            "bands: range over seeds. Dashed: chance. Dotted: the score that counts as solved. "
            "Where the task has a further test at the trained length itself, that one is shown.",
        )
    yield Filled(table=TABLE, frame=found)


def beyond(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The score at the trained length and at the others; a score that is not finite is chance."""
    rows = [
        {
            **key(labels[record.spec.id], record.spec.length),
            "length": length,
            "factor": length / record.spec.length,
            "sequences": sequences,
            "score": score.name,
            "unit": score.said_unit,
            "value": score.chance if test[score.name] is None else test[score.name],
            "chance": score.chance,
        }
        for record, outcome in outcomes(records)
        if outcome.beyond
        for score in [outcome.score]
        for length, sequences, test in [
            (record.spec.length, AS_TRAINED, outcome.test),
            *((further.length, FURTHER, further.test) for further in outcome.beyond),
        ]
    ]
    return over_seeds(TABLE, rows, ["length", "factor", "sequences", "score", "unit"])


def of_one_kind(beyond: pd.DataFrame) -> pd.DataFrame:
    """The rows without tests as in training, where there is a further test at that length."""
    is_further, tested = beyond["sequences"] == FURTHER, [*CELL, "length"]
    twice = within(beyond, keys_of(beyond[is_further], tested), tested)
    return beyond[is_further | ~twice]


def beyond_figure(beyond: pd.DataFrame, solved_at: Mapping[str, float], style: Style) -> Figure:
    """Test score against the tested length over the trained one, one panel per task and trained T.

    At most three T per task: the shortest, the middle and the longest.
    """
    beyond = of_one_kind(beyond)
    lengths = {
        task: facets.spread(sorted(rows["T"].unique()), MOST_LENGTHS)
        for task, rows in beyond.groupby("task_label")
    }
    cells = zip(beyond["task_label"], beyond["T"], strict=True)
    beyond = beyond[[length in lengths[task] for task, length in cells]]
    beyond = beyond.assign(trained="trained at T = " + beyond["T"].astype(str))
    most = max(map(len, lengths.values()))

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict[str, Any]) -> None:
        panel.plot(x, line["mean"], **look)
        drawing.band(panel, x, line["min"], line["max"], look)

    figure, panels = curves_against(
        "factor",
        "tested length / trained length",
        beyond.sort_values("T", kind="stable"),
        style,
        draw,
        detail="trained",
        num_columns=most if most > 1 else None,
    )
    for panel, rows in panels:
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        drawing.score_axis(panel, rows, solved_at)
    drawing.shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


SECTION = Section(title="Beyond the trained length", order=60, tables=(TABLE,), build=build)
