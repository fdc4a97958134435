"""Cells: the results of each model on each task and length, and what their seeds decide."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from bench.core.decision import Decision
from bench.report.frame import ROW, by_length, groups, is_true, numbers, span
from bench.report.runs import counted, decisions, updates_to_solve

FEWEST_SOLVED, FEWEST_FAILED = 4, 2
"""Seeds that a solved cell, and a cell that is not solved, must have to count in a verdict: what
decides a cell of five seeds."""
SETTINGS = ["optimizer", "rate", "batch", "clip_norm", "cooldown", "budget"]
"""Columns that are the same in all lengths of a model with the same settings."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Results of one model on one task and length, over the seeds that ran."""

    task_name: str
    task: str
    length: int
    model_name: str
    model: str
    family: str
    decision: Decision
    endings: Mapping[str, int]
    """How the seeds that do not solve the task ended; `failed`: with an error."""
    updates: float
    """Updates until a validation first solved the task, median over seeds. A seed that never solves
    it counts as infinite."""
    allowed: int
    """Updates that every seed that does not solve the task was allowed; 0 if all solve it."""
    gained: float
    """How far the mean test score has come from chance (0) to the threshold (1)."""
    settings: frozenset[tuple[Any, ...]]
    rates: frozenset[float]
    field: float
    """Receptive field in steps. NaN if it is infinite or unknown; it then counts neither as short
    nor as long enough."""
    reach: int
    memory: int
    """Number of last inputs that every network must use; 0 where neighbouring steps suffice."""

    @property
    def solves(self) -> bool:
        """Whether the cell counts as solved in a verdict."""
        return self.decision.solved is True and self.decision.num_solved >= FEWEST_SOLVED

    @property
    def fails(self) -> bool:
        """Whether the cell counts as not solved in a verdict."""
        return self.decision.solved is False and self.decision.num_failed >= FEWEST_FAILED

    @property
    def place(self) -> str:
        return f"{self.task} at T = {self.length:,}"

    def __str__(self) -> str:
        return f"{self.model}, {self.decision}"


def cells_of(runs: pd.DataFrame) -> list[Cell]:
    """The cells with runs, by task in the order of the plan, then by length.

    The runs are those that stand for their seed.
    """
    found, made = decisions(runs), counted(runs)
    return [
        _cell(about, rows, found[tuple(about.values())])
        for about, rows in groups(by_length(made[made["solved_at"].notna()]), ROW)
    ]


def _cell(about: Mapping[str, Any], rows: pd.DataFrame, decision: Decision) -> Cell:
    failing = rows[~is_true(rows["solved"])]
    crashed = failing["status"] == "failed"
    chance, goal = rows["chance"].iloc[0], rows["solved_at"].iloc[0]
    return Cell(
        task_name=about["task"],
        task=about["task_label"],
        length=int(about["T"]),
        model_name=about["model"],
        model=about["model_label"],
        family=about["family"],
        decision=decision,
        endings=Counter(failing["ended"].mask(crashed, "failed")),
        updates=float(updates_to_solve(rows).median()),
        allowed=int(failing["max_steps"].min()) if len(failing) else 0,
        gained=float((rows["score"].mean() - chance) / (goal - chance)) if goal != chance else 0.0,
        settings=frozenset(rows[SETTINGS].astype(str).itertuples(index=False, name=None)),
        rates=frozenset(rows["rate"].dropna()),
        field=float(numbers(rows["receptive_field"]).max()),
        reach=int(rows["reach"].iloc[0]),
        memory=int(rows["memory"].iloc[0]),
    )


def best_of(cells: Iterable[Cell]) -> Cell:
    """The best cell of one length.

    Solved cells come first, the fewest updates first. The others are ranked by the share of their
    seeds that solve the task, then by their mean score.
    """
    return min(
        cells,
        key=lambda cell: (
            not cell.solves,
            cell.updates if cell.solves else 0.0,
            -cell.decision.num_solved / max(cell.decision.num_run, 1),
            -cell.gained,
        ),
    )


def of_family(cells: Iterable[Cell], family: str) -> list[Cell]:
    return [cell for cell in cells if cell.family == family]


def by_task(cells: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """Each task, with its cells."""
    for task, of_task in groupby(cells, lambda cell: cell.task):
        yield task, list(of_task)


def by_place(cells: Sequence[Cell]) -> Iterator[tuple[str, int, list[Cell]]]:
    """Each task and length, with its cells."""
    for (task, length), here in groupby(cells, lambda cell: (cell.task, cell.length)):
        yield task, length, list(here)


def limits(runs: pd.DataFrame) -> list[str]:
    """What the runs do not test."""
    made = counted(runs)
    cells = cells_of(runs)
    if not any(cell.solves or cell.fails for cell in cells):
        return [
            f"No cell has {FEWEST_SOLVED} seeds that solve it or {FEWEST_FAILED} that do not, with "
            "the others not needed."
        ]
    few = sum(not (cell.solves or cell.fails) for cell in cells)
    absent = int(runs["status"].isin(("missing", "skipped")).sum())
    untested = [
        f"Networks of other sizes than {span(made['parameters'].dropna())} parameters.",
        f"Training beyond the budgets of {span(made['max_steps'])} updates.",
        "Another optimizer, clipping or initialisation than those of the settings.",
    ]
    if few:
        untested.append(f"Cells with too few seeds to count: {few} of {len(cells)}.")
    if absent:
        untested.append(f"Planned runs that were skipped or have not been made: {absent}.")
    return untested
