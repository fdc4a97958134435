"""Which model to pick, given a length and a latency budget."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf

import pandas as pd

from bench.report.data import Data
from bench.report.frame import TASK, Column, Table, is_true
from bench.report.runs import counted
from bench.report.section import Filled, Item, Section

LATENCY_BUDGETS_US = (10.0, 20.0, inf)


NAMES = ["task", "task_variant", "task_label"]


def budget_name(budget_us: float) -> str:
    return "any latency" if budget_us == inf else f"≤ {budget_us:g} µs a step"


TABLE = Table(
    name="choice",
    columns=(
        *TASK,
        Column("task_label", "text", "", "Name and variant of the task, for display."),
        Column("T", "text", "steps", "A length, or a range of lengths with the same picks."),
        *(
            Column(budget_name(budget), "text", "", "The model to pick within this budget.")
            for budget in LATENCY_BUDGETS_US
        ),
    ),
    caption="Of the models that solve the task with at least half of their seeds and whose step "
    "fits the budget, the one with the most solving seeds; between equals the fastest. A step "
    "reads one further element of one stream by the model's stepper.",
)


def build(data: Data) -> Iterator[Item]:
    runs = data.whole if len(data.scores) else data.whole.iloc[:0]
    yield Filled(table=TABLE, frame=choice(runs, data.step_us))


def choice(
    runs: pd.DataFrame,
    step_us: Mapping[str, float],
    budgets_us: Sequence[float] = LATENCY_BUDGETS_US,
) -> pd.DataFrame:
    """The model to pick per task and range of lengths; `step_us`: spec id → one step.

    Without any times there are no budgets.
    """
    made = counted(runs)
    made = made[made["solved_at"].notna()]
    made = made.assign(
        step_us=made["id"].map(step_us).astype(float), solved=is_true(made["solved"])
    )
    if not step_us:
        budgets_us = [budget for budget in budgets_us if budget == inf]
    rows: list[dict[str, object]] = []
    spans: list[list[int]] = []
    by_cell = made.groupby([*NAMES, "T", "model_label"], sort=False)
    cells = by_cell.agg(share=("solved", "mean"), step_us=("step_us", "median")).reset_index()
    for _, of_task in cells.groupby("task_label", sort=False):
        previous: dict[str, str] | None = None
        for _, at_length in of_task.groupby("T"):
            picks = {budget_name(budget): _pick(at_length, budget) for budget in budgets_us}
            if picks == previous:
                spans[-1][1] = int(at_length["T"].iloc[0])
            else:
                names = {name: at_length[name].iloc[0] for name in NAMES}
                rows.append({**names, **picks})
                spans.append([int(at_length["T"].iloc[0])] * 2)
            previous = picks
    for row, (low, high) in zip(rows, spans, strict=True):
        row["T"] = f"{low}" if low == high else f"{low}–{high}"
    return TABLE.of(rows)


def _pick(cells: pd.DataFrame, budget_us: float) -> str:
    """The pick of one task and T, from the solving `share` and the `step_us` of each model."""
    candidates = []
    columns = (cells["model_label"], cells["share"], cells["step_us"])
    for model, share, latency in zip(*columns, strict=True):
        fits = budget_us == inf or latency <= budget_us
        if share >= 0.5 and fits:
            candidates.append((-share, inf if pd.isna(latency) else latency, str(model)))
    return min(candidates)[2] if candidates else "none of these"


SECTION = Section(title="Given T and a latency budget", order=80, tables=(TABLE,), build=build)
