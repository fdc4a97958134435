"""What runs cost, what is paid for what is remembered, and which model to pick."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.report.horizon import Horizon
from bench.report.tables import ROW, by_length, counted


def run_cost(runs: pd.DataFrame) -> pd.DataFrame:
    """Size and times, medians over seeds."""
    made = runs[runs["status"].isin(("ok", "diverged"))]
    if made.empty:
        return pd.DataFrame()
    columns = {
        "budget": "budget",
        "parameters": "parameters",
        "receptive_field": "receptive_field",
        "updates": "steps",
        "update_ms": "step_ms",
        "run_s": "total_s",
        "answer_ms": "latency_ms",
        "plain_step_us": "latency_us",
    }
    for column in columns.values():
        made = made.assign(**{column: pd.to_numeric(made[column])})
    table = made.groupby(["task", "T", "model"], sort=False)[list(columns.values())].median()
    table.columns = list(columns)
    return by_length(table.reset_index())


def reached_at_cost(
    runs: pd.DataFrame,
    found: Mapping[tuple[str, str], Horizon],
    step_us: Mapping[str, float],
) -> pd.DataFrame:
    """A row a task, model and cost: the horizon and what the network that reaches it costs.

    Where nothing was solved, the cost is that of the shortest T tested.
    """
    rows = []
    for (task, model), reached in found.items():
        length = reached.shortest if reached.length is None else reached.length
        mark = "<" if reached.length is None else "≥" if reached.at_least else "="
        at = runs[(runs["task"] == task) & (runs["model"] == model) & (runs["T"] == length)]
        costs = {
            "one training run (s)": pd.to_numeric(at["total_s"]).median(),
            "one step of a stream (µs)": at["id"].map(step_us).astype(float).median(),
        }
        rows += [
            {
                "task": task,
                "model": model,
                "horizon": length,
                "mark": mark,
                "cost": cost,
                "value": value,
            }
            for cost, value in costs.items()
            if value > 0
        ]
    return (
        pd.DataFrame(rows).sort_values(["task", "cost"], kind="stable") if rows else pd.DataFrame()
    )


def choice(
    runs: pd.DataFrame, step_us: Mapping[str, float], budgets_us: Sequence[float]
) -> pd.DataFrame:
    """Given T and a latency budget a step: the model to pick. `step_us`: spec id → one step.

    Of the models that at least half of the seeds solve the task with, and whose step fits the
    budget, the one that most seeds solve it with; between equals the fastest. Lengths in a row with
    the same picks are drawn together. Without any times there are no budgets.
    """
    made = counted(runs)
    made = made[made["solved_at"].notna()]
    made = made.assign(step_us=made["id"].map(step_us).astype(float))
    if not step_us:
        budgets_us = [budget for budget in budgets_us if budget == float("inf")]
    cells = (
        made.assign(solved=made["solved"] == True)  # noqa: E712  None is not False
        .groupby(ROW, sort=False)
        .agg(share=("solved", "mean"), step_us=("step_us", "median"))
        .reset_index()
    )
    rows: list[dict[str, object]] = []
    for task, of_task in cells.groupby("task", sort=False):
        previous: tuple | None = None
        for length, at_length in of_task.groupby("T"):
            picks = tuple(_pick(at_length, budget) for budget in budgets_us)
            if picks == previous:
                rows[-1]["to"] = length
            else:
                rows.append({"task": task, "from": length, "to": length, "picks": picks})
            previous = picks
    return pd.DataFrame(
        [
            {
                "task": row["task"],
                "T": f"{row['from']}" if row["from"] == row["to"] else f"{row['from']}–{row['to']}",
            }
            | {
                _budget_name(budget): pick
                for budget, pick in zip(budgets_us, row["picks"], strict=True)
            }
            for row in rows
        ]
    )


def _budget_name(budget_us: float) -> str:
    if budget_us == float("inf"):
        return "any latency"
    return f"≤ {budget_us:g} µs a step"


def _pick(cells: pd.DataFrame, budget_us: float) -> str:
    """Of cells of one task and T: `share` of seeds that solve it, `step_us` of a step."""
    candidates = []
    for model, share, latency in zip(cells["model"], cells["share"], cells["step_us"], strict=True):
        fits = budget_us == float("inf") or latency <= budget_us
        latency = float("inf") if pd.isna(latency) else latency
        if share >= 0.5 and fits:
            candidates.append((-share, latency, str(model)))
    return min(candidates)[2] if candidates else "none of these"
