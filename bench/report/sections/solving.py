"""How many updates, and how many seconds, a model needs until it solves a task."""

from collections.abc import Iterator, Mapping

import pandas as pd

from bench.core.intervals import censored_median
from bench.report.data import Data
from bench.report.frame import IDENTITY, ROW, Column, Table, by_length, groups, is_true
from bench.report.runs import counted, updates_to_solve
from bench.report.section import Filled, Item, Section

TABLE = Table(
    name="solving",
    columns=(
        *IDENTITY,
        Column("solved", "count", "runs", "Runs that solve the task."),
        Column("seeds", "count", "runs", "Runs that count."),
        Column("updates_to_solve", "text", "updates", "Median until a validation first solved "
               "the task; `> N`: the median is above N, since too few runs solved it."),
        Column("while_falling", "count", "runs", "Runs that first solved the task while the "
               "learning rate was falling: with a larger budget they may need another number of "
               "updates."),
        Column("seconds", "text", "s", "`updates_to_solve` times `update_ms`."),
        Column("update_ms", "number", "ms", "Time of an update."),
        Column("clock", "text", "", "What measured `update_ms`: `speed` (this network and batch "
               "size, timed alone) or `runs` (median over these runs, which shared the machine)."),
        Column("implementation", "text", "", "The implementation that `speed` timed; missing "
               "if `clock` is `runs`."),
    ),
    caption="Runs that did not solve the task count as censored: all that is known is that they "
    "need more updates than they made. The median is the number of updates by which half of the "
    "runs had solved it. Seconds are updates times the time of an update, without validation.",
)  # fmt: skip


def build(data: Data) -> Iterator[Item]:
    yield Filled(table=TABLE, frame=solving(data.whole, update_times(data)))


Update = tuple[float, str]
"""Milliseconds of an update, and the implementation that was timed."""


def update_times(data: Data) -> dict[str, Update]:
    """Spec id → time of an update by `speed`, for the network and the batch size of the run."""
    timed = data.leading[data.leading["train_ms"].notna()]
    known = {
        (row["network"], row["batch"]): (row["train_ms"], row["implementation"])
        for row in timed.to_dict("records")
    }
    places = {spec.id: (spec.network, spec.training.batch_size) for spec in data.source.specs}
    return {spec_id: known[place] for spec_id, place in places.items() if place in known}


def solving(runs: pd.DataFrame, update_times: Mapping[str, Update]) -> pd.DataFrame:
    """One row per task, T and model; tasks without a threshold are left out."""
    made = counted(runs)
    made = made[made["solved_at"].notna()]
    rows = []
    for cell, seeds in groups(made, ROW):
        solved = is_true(seeds["solved"])
        needed = updates_to_solve(seeds)[solved]
        left = seeds["max_steps"][solved] - needed
        falling = left < (seeds["cooldown"] * seeds["max_steps"])[solved]
        # A failed or diverged run would not have solved the task later.
        ended_well = seeds["status"] == "ok"
        tried = seeds["steps"].where(ended_well, seeds["max_steps"])[~solved]
        median, is_known = censored_median(needed.tolist(), tried.tolist())
        update_ms, implementation = update_times.get(seeds["id"].iloc[0], (None, None))
        clock = "speed"
        if update_ms is None:
            clock, update_ms = "runs", seeds["step_ms"].median()
        sign = "" if is_known else "> "
        rows.append(
            {
                **cell,
                "solved": int(solved.sum()),
                "seeds": len(seeds),
                "updates_to_solve": f"{sign}{median:.0f}",
                "while_falling": int(falling.sum()),
                "seconds": f"{sign}{median * update_ms / 1e3:.3g}" if update_ms > 0 else None,
                "update_ms": update_ms,
                "clock": clock if update_ms > 0 else None,
                "implementation": implementation,
            }
        )
    return by_length(TABLE.of(rows))


SECTION = Section(title="Updates and seconds to solve", order=113, tables=(TABLE,), build=build)
