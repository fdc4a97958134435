"""Cells: the results of each model on each task and length, where it has enough seeds."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from bench.core.intervals import wilson
from bench.report.frame import ROW, by_length, groups, is_true, numbers, span
from bench.report.runs import COUNTED, counted

FEWEST_SEEDS = 5
"""Smallest number of seeds in a cell that counts as evidence."""
SOLVING_SHARE = 0.8
"""A cell is solved by at least this share of seeds: 4 of 5."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Results of one model on one task and length, over the seeds that count."""

    task: str
    length: int
    model: str
    family: str
    num_seeds: int
    num_solved: int
    updates: float
    """Updates until a validation first reached the score, median over seeds. Infinite if
    none did."""
    field: float
    """Receptive field in steps. NaN if it is infinite or unknown; it then counts neither as short
    nor as long enough."""
    reach: int

    @property
    def solves(self) -> bool:
        return self.num_solved / self.num_seeds >= SOLVING_SHARE

    @property
    def seeds(self) -> str:
        """The share of seeds that solve the cell, with its Wilson 95% interval."""
        low, high = wilson(self.num_solved, self.num_seeds)
        return f"{self.num_solved} of {self.num_seeds} seeds ({low:.2f} to {high:.2f})"

    def __str__(self) -> str:
        return f"{self.model}, {self.seeds}"


def cells_of(runs: pd.DataFrame) -> list[Cell]:
    """The cells with evidence, by task in the order of the plan, then by length."""
    made = counted(runs)
    return [
        Cell(
            task=cell["task_label"],
            length=int(cell["T"]),
            model=cell["model_label"],
            family=cell["family"],
            num_seeds=len(rows),
            num_solved=int(is_true(rows["solved"]).sum()),
            updates=float(numbers(rows["solved_after"]).fillna(math.inf).median()),
            field=float(numbers(rows["receptive_field"]).max()),
            reach=int(rows["reach"].iloc[0]),
        )
        for cell, rows in groups(by_length(made[made["solved_at"].notna()]), ROW)
        if len(rows) >= FEWEST_SEEDS
    ]


def best_of(cells: Iterable[Cell]) -> Cell:
    """The cell with the most solving seeds; of equal ones, the one with the fewest updates."""
    return min(cells, key=lambda cell: (-cell.num_solved / cell.num_seeds, cell.updates))


def of_family(cells: Iterable[Cell], family: str) -> list[Cell]:
    return [cell for cell in cells if cell.family == family]


def by_place(cells: Sequence[Cell]) -> Iterator[tuple[str, int, list[Cell]]]:
    """Each task and length, with its cells."""
    for (task, length), here in groupby(cells, lambda cell: (cell.task, cell.length)):
        yield task, length, list(here)


def place(cell: Cell) -> str:
    return f"{cell.task} at T = {cell.length:,}"


def limits(runs: pd.DataFrame) -> list[str]:
    """What the runs do not test."""
    made = counted(runs)
    made = made[made["solved_at"].notna()]
    num_seeds = made.groupby(["task_label", "model_label", "T"]).size()
    if not len(num_seeds) or num_seeds.max() < FEWEST_SEEDS:
        return [f"No model has {FEWEST_SEEDS} seeds on a task with a score that counts as solved."]
    few = int((num_seeds < FEWEST_SEEDS).sum())
    absent = int((~runs["status"].isin(COUNTED)).sum())
    untested = [
        f"Networks of other sizes than {span(made['parameters'].dropna())} parameters.",
        f"Training beyond the budgets of {span(made['max_steps'])} updates.",
        "Another optimizer, clipping or initialisation than those of the settings.",
    ]
    if few:
        shown = f"{few} of {len(num_seeds)}"
        untested.append(f"Models in a cell with fewer than {FEWEST_SEEDS} seeds: {shown}.")
    if absent:
        untested.append(f"Planned runs that were skipped or have not been made: {absent}.")
    return untested
