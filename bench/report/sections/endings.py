"""How the runs ended, and which of those that failed were still improving."""

from collections.abc import Iterator
from typing import get_args

import pandas as pd

from bench.core.ending import Ending
from bench.report.data import Data
from bench.report.frame import (
    IDENTITY,
    LABELS,
    ROW,
    TASK,
    Column,
    Table,
    by_length,
    groups,
    is_true,
    numbers,
)
from bench.report.runs import counted, decisions
from bench.report.section import Filled, Item, Section, Text

ENDINGS = [ending for ending in get_args(Ending) if ending != "solved"]
COUNTS = (
    Column("runs", "count", "runs", "Runs that count."),
    Column("solved", "count", "runs", "Runs that solve the task."),
    *(
        Column(name, "count", "runs", text)
        for name, text in (
            ("improving", "The validation loss still fell at the end of the constant rate."),
            ("at_chance", "The validation loss no longer fell, and the score was near chance."),
            ("converged", "The validation loss no longer fell, and the score was above chance."),
            ("diverged", "A value was not finite."),
            ("failed", "The run ended with an error."),
        )
    ),
)
BY_TASK = Table(
    name="endings",
    columns=(
        *TASK,
        LABELS[0],
        *COUNTS,
        Column("share_improving", "number", "share", "Of the runs that do not solve the task, the "
               "share that was improving when it ended."),
    ),
    caption="How the runs ended, by task. For a run that was improving, it is not known whether "
    "more updates would solve the task. Runs of a task without a threshold never count as solved.",
)  # fmt: skip
BY_CELL = Table(
    name="endings_by_cell",
    columns=(
        *IDENTITY,
        Column("decision", "text", "runs", "Seeds that solve the task, of those that ran."),
        *COUNTS,
        Column("updates_allowed", "text", "updates", "The budgets."),
    ),
    caption="How the runs of each cell ended.",
)


def build(data: Data) -> Iterator[Item]:
    runs = data.runs
    too_short = is_true(numbers(runs["receptive_field"]) < runs["reach"])
    possible = runs[is_true(runs["solved"]) | ~too_short]
    of_tasks = endings_by_task(possible)
    judged = of_tasks[of_tasks["task_label"].isin(data.solved_at)]
    failing = judged["runs"].sum() - judged["solved"].sum()
    if failing:
        improving = judged["improving"].sum()
        yield Text(
            markdown=f"Of the {failing:,} runs that did not reach the threshold of their task, "
            f"{improving:,} ({improving / failing:.0%}) were still improving. Tasks without a "
            "threshold are not counted, nor are failures of a receptive field that is too short."
        )
    yield Filled(table=BY_TASK, frame=of_tasks)
    yield Filled(table=BY_CELL, frame=endings_by_cell(runs))


def counts(made: pd.DataFrame) -> dict[str, int]:
    """How many of these runs ended in which way."""
    ended = made["ended"].value_counts()
    return {
        "runs": len(made),
        "solved": int(ended.get("solved", 0)),
        "failed": int((made["status"] == "failed").sum()),
        **{name.replace(" ", "_"): int(ended.get(name, 0)) for name in ENDINGS},
    }


def endings_by_task(runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for about, made in groups(counted(runs), [column.name for column in (*TASK, LABELS[0])]):
        found = counts(made)
        failing = found["runs"] - found["solved"]
        share = found["improving"] / failing if failing else None
        rows.append({**about, **found, "share_improving": share})
    return BY_TASK.of(rows)


def endings_by_cell(runs: pd.DataFrame) -> pd.DataFrame:
    found = decisions(runs)
    rows = []
    for cell, made in groups(counted(runs), ROW):
        decision = found.get(tuple(cell.values()))
        budgets = ", ".join(f"{budget:,}" for budget in sorted(made["max_steps"].unique()))
        about = {"decision": str(decision) if decision else None, "updates_allowed": budgets}
        rows.append({**cell, **about, **counts(made)})
    return by_length(BY_CELL.of(rows))


SECTION = Section(title="How runs ended", order=115, tables=(BY_TASK, BY_CELL), build=build)
