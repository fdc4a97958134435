"""How the settings of each task and model were chosen, and what their runs cost."""

from collections.abc import Iterator

import pandas as pd

from bench.plan.rates import Rates, Tuned, find
from bench.report.data import Data
from bench.report.frame import LABELS, MODEL, NETWORK, TASK, Column, Table, groups, listed
from bench.report.markup import code
from bench.report.section import Filled, Item, Section, Text
from bench.report.sections import rates

TABLE = Table(
    name="settings",
    columns=(
        *TASK,
        *MODEL,
        *LABELS,
        Column("optimizer", "text", "", "Optimizer."),
        Column("learning_rate", "text", "", "Learning rates of the runs."),
        Column("chosen_from", "text", "", "The rates tried, or where the rate comes from."),
        Column("validation_score", "number", "", "Score of the chosen rate in the sweep."),
        Column("tuning_solved", "text", "", "Runs of the sweep solved with the chosen rate."),
        Column("tuning_hours", "number", "h", "Computing time of the whole sweep of this row."),
        Column("batch", "text", "sequences", "Sequences in a training batch."),
        Column("parameters_asked", "text", "parameters", "Parameters asked for."),
        Column("parameters", "text", "parameters", "Parameters of the networks."),
        Column("updates_allowed", "text", "updates", "The budgets."),
        Column("updates_used", "number", "updates", "Median of the updates made."),
        Column("lengths", "text", "steps", "The lengths T."),
        Column("seeds", "count", "", "Number of seeds."),
        Column("hours", "number", "h", "Computing time of the runs."),
    ),
)


def build(data: Data) -> Iterator[Item]:
    yield Filled(table=TABLE, frame=settings(data.runs, data.rates))
    sweep = f" (sweep: {code(data.source.sweep.records)})" if data.source.sweep else ""
    yield Text(
        markdown="*Every sweep of learning rates starts with the same grid; it is extended where "
        f"its best rate lies at its edge{sweep}. Rates and weights are chosen on validation; each "
        "network is tested once. Validation score and solved runs are those of the chosen rate in "
        "the sweep; tuning hours are those of the whole sweep of that row.*"
    )


def settings(runs: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    """One row per task and model."""
    rows = []
    for network, group in groups(runs, NETWORK):
        made = group[group["status"].isin(("ok", "diverged"))]
        task, model, label = network["task"], network["model"], network["model_label"]
        tuned = find(rates, task, label, model)
        own = label in rates.get(task, {})
        if tuned is not None and set(group["rate"]) != {tuned.rate}:
            tuned = None
        rows.append(
            {
                **network,
                "optimizer": listed(group["optimizer"]),
                "learning_rate": listed(group["rate"]),
                "chosen_from": _grid(tuned, own, model),
                **(_tuned(tuned, own) if tuned else {}),
                "batch": listed(group["batch"]),
                "parameters_asked": listed(group["budget"]),
                "parameters": _range(made["parameters"]) if len(made) else None,
                "updates_allowed": listed(group["max_steps"]),
                "updates_used": float(made["steps"].median()) if len(made) else None,
                "lengths": listed(group["T"]),
                "seeds": group["seed"].nunique(),
                "hours": made["total_s"].sum() / 3600,
            }
        )
    return TABLE.of(rows)


def _tuned(tuned: Tuned, own: bool) -> dict[str, object]:
    return {
        "validation_score": tuned.chosen.score,
        "tuning_solved": f"{tuned.chosen.num_solved}/{tuned.chosen.num_runs}",
        "tuning_hours": tuned.seconds / 3600 if own else None,
    }


def _grid(tuned: Tuned | None, own: bool, plain: str) -> str:
    """The rates tried; a variant without a sweep of its own takes the plain model's rate."""
    if tuned is None:
        return "set by the profile, or the middle of all tuned rates"
    tried = ", ".join(f"{each.rate:g}" for each in tuned.tried)
    return tried if own else f"the rate of {plain}"


def _range(column: pd.Series) -> str:
    low, high = column.min(), column.max()
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


SECTION = Section(title=rates.TITLE, order=140, tables=(TABLE,), build=build)
