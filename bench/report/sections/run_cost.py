"""Size and time of the training runs themselves."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from bench.report.data import Data
from bench.report.drawing import cost_against_length
from bench.report.frame import IDENTITY, ROW, Column, Table, by_length, numbers, rows_of
from bench.report.runs import PROTOCOL
from bench.report.section import Filled, Item, Picture, Section, Text

COLUMNS = {
    "budget": "budget",
    "parameters": "parameters",
    "receptive_field": "receptive_field",
    "updates_made": "steps",
    "update_ms": "step_ms",
    "run_s": "total_s",
    "answer_ms": "latency_ms",
    "plain_step_us": "latency_us",
}
"""Column of the table → column of the runs that it is the median of."""
TABLE = Table(
    name="cost",
    columns=(
        *IDENTITY,
        PROTOCOL,
        Column("budget", "number", "parameters", "Parameters asked for."),
        Column("parameters", "number", "parameters", "Parameters of the network."),
        Column("receptive_field", "number", "steps", "By formula. Missing if it is unlimited."),
        Column("updates_made", "number", "updates", "Updates made."),
        Column("update_ms", "number", "ms", "Mean time of an update of a run."),
        Column("run_s", "number", "s", "Time of a run."),
        Column("answer_ms", "number", "ms", "Time to read one sequence alone and to answer."),
        Column("plain_step_us", "number", "µs", "Time of one further step by `forward`."),
    ),
    caption="Medians over seeds. Several runs shared the machine, so these times are rough. Use "
    "the timings above to compare models. Where no receptive field is given, it is unlimited. A "
    "plain step calls `forward` on one step.",
)
FIGURES = (
    (
        "update_ms",
        "one update (ms)",
        "Mean time of an update in a run, at the batch size of the settings: forward pass, "
        "backward pass and optimizer step.",
    ),
    (
        "answer_ms",
        "one sequence alone (ms)",
        "Time to read one sequence alone and answer.",
    ),
)


def build(data: Data) -> Iterator[Item]:
    yield Text(markdown="### Times of the training runs")
    of_main = run_cost(data.main)
    for column, axis_label, caption in FIGURES:
        if of_main[column].notna().any():
            yield Picture(
                name=f"{column}_vs_length",
                draw=partial(cost_against_length, of_main, column, axis_label, data.style),
                caption=f"{caption} Medians over seeds; both axes are logarithmic.",
            )
    yield Filled(table=TABLE, frame=run_cost(data.runs))


def run_cost(runs: pd.DataFrame) -> pd.DataFrame:
    """Size and times, medians over seeds."""
    made = runs[runs["status"].isin(("ok", "diverged"))]
    keys = [*ROW, PROTOCOL.name]
    made = made[keys].assign(**{name: numbers(made[column]) for name, column in COLUMNS.items()})
    medians = made.groupby(keys, sort=False).median().reset_index()
    return by_length(TABLE.of(rows_of(medians)))


SECTION = Section(title="What it costs", order=111, tables=(TABLE,), build=build)
