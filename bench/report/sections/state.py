"""What one stream carries from step to step, in bytes."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.report import times
from bench.report.data import Data
from bench.report.drawing import cost_against_length
from bench.report.facets import Style
from bench.report.frame import CELL, IDENTITY, Column, Table, by_length, rows_of
from bench.report.section import Filled, Item, Picture, Section

TABLE = Table(
    name="state",
    columns=(
        *IDENTITY,
        Column("parameters", "count", "parameters", "Parameters of the network."),
        Column("receptive_field", "integer", "steps", "By formula. Missing if it is unlimited."),
        Column("state_bytes", "integer", "bytes", "State of one stream."),
    ),
    caption="The memory that one stream needs between two steps. A convolution keeps its past "
    "inputs; a recurrent network keeps its state alone; attention keeps the keys and values of "
    "every step, so its state grows with the sequence.",
)


def build(data: Data) -> Iterator[Item]:
    swept = states(times.plain(data.leading[data.leading["train_ms"].notna()]))
    if len(swept):
        yield Picture(
            name="state_vs_length",
            draw=partial(state_figure, swept, data.style),
            caption="State of one stream against length. Both axes are logarithmic.",
        )
    yield Filled(table=TABLE, frame=states(data.leading))


def states(timed: pd.DataFrame) -> pd.DataFrame:
    """One row per network whose streaming was timed; all batch sizes have the same state."""
    known = timed[timed["state_bytes"].notna()].drop_duplicates([*CELL, "parameters"])
    return by_length(TABLE.of(rows_of(known[[column.name for column in TABLE.columns]])))


def message(states: pd.DataFrame) -> str:
    """What the models carry at the longest T, the largest first."""
    longest = states[states["T"] == states["T"].max()]
    longest = longest[longest["task_label"] == longest["task_label"].iloc[0]]
    ranked = longest.sort_values("state_bytes", ascending=False)
    each = [f"{row['state_bytes']:,} bytes ({row['model_label']})" for row in rows_of(ranked)]
    return f"At T = {longest['T'].iloc[0]:,} a stream carries {', '.join(each)}"


def state_figure(states: pd.DataFrame, style: Style) -> Figure:
    """Bytes of state against T, one panel per task and one line per model."""
    figure = cost_against_length(states, "state_bytes", "state of a stream (bytes)", style)
    notes = filter(None, (message(states), figure.get_suptitle()))
    figure.suptitle("\n".join(notes), fontsize=9)
    return figure


SECTION = Section(title="State of a stream", order=112, tables=(TABLE,), build=build)
