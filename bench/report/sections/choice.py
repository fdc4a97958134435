"""Which model to pick, given a length and a latency budget."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import pandas as pd

from bench.report.choosing import preference
from bench.report.data import Data
from bench.report.frame import ROW, TASK, Column, Table, groups, numbers, rows_of
from bench.report.markup import text
from bench.report.runs import counted, decisions
from bench.report.section import Filled, Item, Section, Text
from bench.report.times import how

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
    caption="Candidates are the models that solve the task at this T (at least 80% of their seeds) "
    "and whose step fits the budget. The one that needs the fewest updates to solve it is picked "
    "(median over its seeds); if several need as few, the one with the fastest step. A step reads "
    "the next element of one stream with the model's stepper.",
)


def build(data: Data) -> Iterator[Item]:
    runs = data.whole if len(data.scores) else data.whole.iloc[:0]
    yield Filled(table=TABLE, frame=choice(runs, data.step_us))
    if data.step_us:
        yield Text(markdown=text(measured(data)))


def measured(data: Data) -> str:
    """Which times of a step the choice is made by."""
    return (
        "Steps are those of batch 1, of the same network at the nearest T that was timed, "
        f"{how(data.leading, data.device)}. What a single call from Python costs is in the "
        "table of streaming."
    )


def choice(
    runs: pd.DataFrame,
    step_us: Mapping[str, float],
    budgets_us: Sequence[float] = LATENCY_BUDGETS_US,
) -> pd.DataFrame:
    """The model to pick per task and range of lengths; `step_us`: spec id → one step.

    Without any times there are no budgets.
    """
    if not step_us:
        budgets_us = [budget for budget in budgets_us if budget == inf]
    solving = {cell for cell, found in decisions(runs).items() if found.solved}
    made = counted(runs)
    made = made.assign(
        step_us=made["id"].map(step_us).astype(float),
        updates=numbers(made["solved_after"]).fillna(inf),
    )
    medians = made.groupby(ROW, sort=False)[["updates", "step_us"]].median()
    cells = medians.assign(solves=medians.index.isin(solving)).reset_index()
    cells = cells[cells["task_label"].isin(made["task_label"][made["solved_at"].notna()])]
    rows = []
    for names, of_task in groups(cells, NAMES):
        picked = [
            (length, {budget_name(budget): _pick(at_length, budget) for budget in budgets_us})
            for length, at_length in of_task.groupby("T")
        ]
        for picks, span in itertools.groupby(picked, key=lambda each: each[1]):
            lengths = [length for length, _ in span]
            ends = dict.fromkeys((lengths[0], lengths[-1]))
            rows.append({**names, "T": "–".join(map(str, ends)), **picks})
    return TABLE.of(rows)


def _pick(cells: pd.DataFrame, budget_us: float) -> str:
    """The pick among the models of one task and T."""
    fits = cells[cells["solves"] & ((cells["step_us"] <= budget_us) | (budget_us == inf))]
    ranked = sorted(
        preference(row["updates"], row["step_us"], row["model_label"]) for row in rows_of(fits)
    )
    return ranked[0][-1] if ranked else "none of these"


SECTION = Section(title="Given T and a latency budget", order=80, tables=(TABLE,), build=build)
