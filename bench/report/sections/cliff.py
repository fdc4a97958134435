"""Scores of networks whose receptive field is finite and fixed: the cliff where it ends."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.data import Data
from bench.report.drawing import band, curves, explain, hollow, score_axis, shared_legend
from bench.report.facets import Style
from bench.report.frame import (
    CELL,
    IDENTITY,
    SCORE,
    SOLVED,
    SUMMARY,
    Column,
    Table,
    rows_of,
)
from bench.report.runs import counted, scores
from bench.report.section import Filled, Item, Picture, Section

TABLE = Table(
    name="cliff",
    columns=(
        *IDENTITY,
        Column("receptive_field", "count", "steps", "Receptive field by formula."),
        Column("reach", "count", "steps", "How far back the answer may depend on the input."),
        Column("covered", "flag", "", "Whether the field is at least as long as the reach."),
        *SCORE,
        *SUMMARY,
        *SOLVED,
        Column("decision", "text", "runs", "Seeds that solve the task, of those that ran."),
        Column("improving", "count", "runs", "Seeds that do not solve it and were improving."),
    ),
)


def build(data: Data) -> Iterator[Item]:
    found = cliff(data.runs[data.within("receptive_field")])
    if len(found):
        yield Picture(
            name="cliff",
            draw=partial(cliff_figure, found, data.solved_at, data.style),
            caption="Score against T for networks with a short receptive field R; bands: range "
            "over seeds. Vertical lines: the T at which the task's reach exceeds R. Dashed: "
            "chance. Dotted: the score that counts as solved.",
            png=True,
        )
    yield Filled(table=TABLE, frame=found)


def cliff(runs: pd.DataFrame) -> pd.DataFrame:
    """Score and share solved against T, of models whose receptive field is finite and fixed.

    Models whose field grows with T, and models that were run at a single T, have no cliff.
    """
    made = counted(runs)
    by_model = made.groupby(["task_label", "model_label"])
    fixed = by_model["receptive_field"].transform("nunique") == 1
    several = by_model["T"].transform("nunique") > 1
    made = made.assign(receptive_field=by_model["receptive_field"].transform("first"))
    made = made[fixed & several]
    fields = made.drop_duplicates(CELL)[[*CELL, "receptive_field", "reach"]]
    found = fields.merge(scores(runs), on=CELL)
    return TABLE.of(
        rows_of(
            found.assign(
                covered=found["receptive_field"] >= found["reach"],
            )
        )
    )


def cliff_figure(cliff: pd.DataFrame, solved_at: Mapping[str, float], style: Style) -> Figure:
    """Test score against T, one line per receptive field R and one panel per task."""
    by_field = cliff.drop_duplicates("model_label").set_index("model_label")["receptive_field"]
    by_field = by_field[by_field.index.isin(list(style))].sort_values()
    names = {
        str(model): f"R = {field}" if (by_field == field).sum() == 1 else f"R = {field} ({model})"
        for model, field in by_field.items()
    }

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict[str, Any]) -> None:
        panel.plot(x, line["mean"], **{**look, "label": names[look["label"]]})
        hollow(panel, x, line["mean"], line["improving"] > 0, look)
        band(panel, x, line["min"], line["max"], look)
        field, reaches = line["receptive_field"].iloc[0], line["reach"].to_numpy()
        if (np.diff(reaches) > 0).all() and reaches[0] <= field < reaches[-1]:
            at = float(np.interp(field, reaches, line["T"].to_numpy()))
            panel.axvline(at, color=look["color"], ls=look["linestyle"], lw=1, alpha=0.8)

    figure, drawn = curves(cliff, {model: style[model] for model in names}, draw)
    for panel, rows in drawn:
        score_axis(panel, rows, solved_at)
        explain(panel, "reach exceeds R", marker="|", ms=12, mew=1)
    shared_legend(figure, [panel for panel, _ in drawn], {})
    return figure


SECTION = Section(title="Receptive field", order=43, tables=(TABLE,), build=build)
