"""What each model was given: budget, tuning, and how far its runs came to rest."""

from collections.abc import Iterator

import pandas as pd

from bench.plan.rates import Rates, find
from bench.report.data import Data
from bench.report.frame import LABELS, MODEL, NETWORK, TASK, Column, Table, groups, listed, numbers
from bench.report.runs import counted
from bench.report.section import Filled, Item, Section

SETTLED = ("solved", "converged")
TABLE = Table(
    name="fairness",
    columns=(
        *TASK,
        *MODEL,
        *LABELS,
        Column("runs", "count", "runs", "Runs that count."),
        Column("updates_allowed", "text", "updates", "The budgets."),
        Column("updates_used", "number", "updates", "Median of the updates made."),
        Column("sequences", "number", "sequences", "Median of the training sequences read."),
        Column("tuning_trials", "integer", "runs", "Runs of the sweep that chose the rate."),
        Column("rates_tried", "integer", "", "Learning rates of the sweep."),
        Column("settled", "number", "share", "Share of the runs that solved the task or had "
               "converged above chance when they ended."),
        Column("implementation", "text", "", "What trained the network. `fastest`: compiled "
               "kernels where they apply; PyTorch's own layers were timed beside it where the "
               "name says so."),
    ),
    caption="At the same task, T and seed every model reads the same batches. Updates are medians "
    "over all lengths that a model has run, and models climb to different lengths. *Settled*: the "
    "share of the runs that solved the task or had converged above chance. The trials are those "
    "of the sweep that chose the rate of these runs; –: the rate of these runs does not come from "
    "the present sweep, or there was no sweep. Every sweep starts with the same rates; it has more "
    "where the best rate lay at the edge, and where the best rate was refined.",
)  # fmt: skip


def build(data: Data) -> Iterator[Item]:
    stock = set(data.timed.loc[data.timed["implementation"] == "stock", "model_label"])
    yield Filled(table=TABLE, frame=fairness(data.whole, data.rates, stock))


def fairness(runs: pd.DataFrame, rates: Rates, stock: set[str]) -> pd.DataFrame:
    """One row per task and model; `stock` are the models whose PyTorch layers were timed too."""
    rows = []
    for network, made in groups(counted(runs), NETWORK):
        label = network["model_label"]
        tuned = find(rates, network["task"], label, network["model"])
        if tuned is not None and set(made["rate"]) != {tuned.rate}:
            tuned = None
        updates = numbers(made["steps"])
        rows.append(
            {
                **network,
                "runs": len(made),
                "updates_allowed": listed(made["max_steps"]),
                "updates_used": updates.median(),
                "sequences": (updates * made["batch"]).median(),
                "tuning_trials": sum(each.num_runs for each in tuned.tried) if tuned else None,
                "rates_tried": len(tuned.tried) if tuned else None,
                "settled": made["ended"].isin(SETTLED).mean(),
                "implementation": "fastest, beside stock" if label in stock else "fastest",
            }
        )
    return TABLE.of(rows)


SECTION = Section(
    title="How fair the comparison is", order=8, unfolded=True, tables=(TABLE,), build=build
)
