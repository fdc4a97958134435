"""The largest length that a model solves before the first one that it does not."""

from collections.abc import Iterator

import pandas as pd

from bench.report.data import Data
from bench.report.frame import LABELS, MODEL, NETWORK, TASK, Column, Table, groups, listed
from bench.report.horizon import FINAL_BUDGET, UNSETTLED
from bench.report.runs import COUNTED
from bench.report.section import Filled, Item, Section

TABLE = Table(
    name="horizons",
    columns=(
        *TASK,
        *MODEL,
        *LABELS,
        Column("horizon", "text", "steps", "`≥`: no T is known to be unsolved. `+`: more runs may "
               f"solve the next T, since failing seeds {UNSETTLED}. `*`: a longer T is solved. "
               "`<`: the shortest T is not solved. `not yet at N`: the same, but more runs may "
               "solve it."),
        Column("seeds", "text", "", "Seeds that solve it, of those that ran."),
        Column("first_unsolved", "integer", "steps", "The shortest T that is not solved."),
        Column("seeds_there", "text", "", "Seeds that solve that T, of those that ran."),
        Column("improving", "integer", "runs", "Failing seeds there that were improving."),
        Column("updates_allowed", "text", "updates", "The budgets there; if no T is unsolved, "
               "those of all T."),
    ),
    caption="The largest T that a model solves below the first T that it does not solve. A T is "
    "solved if at least 80% of its seeds solve it (4 of 5). At the next T of a row "
    f"without a mark, the failing seeds had {FINAL_BUDGET} and were not improving.",
)  # fmt: skip


def build(data: Data) -> Iterator[Item]:
    budgets = {tuple(about.values()): rows for about, rows in groups(data.whole, NETWORK)}
    rows = [
        {
            **network,
            "horizon": found.reached,
            "seeds": str(found.solved.decision) if found.solved else None,
            "first_unsolved": found.failed_at,
            "seeds_there": str(found.failed.decision) if found.failed else None,
            "improving": found.failed.improving if found.failed else None,
            "updates_allowed": _budgets(budgets[tuple(network.values())], found.failed_at),
        }
        for network, found in data.horizons
    ]
    yield Filled(table=TABLE, frame=TABLE.of(rows))


def _budgets(runs: pd.DataFrame, length: int | None) -> str:
    made = runs[runs["status"].isin(COUNTED)]
    return listed(made["max_steps"] if length is None else made["max_steps"][made["T"] == length])


SECTION = Section(title="Horizons", order=20, tables=(TABLE,), build=build)
