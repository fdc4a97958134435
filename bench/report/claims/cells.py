"""Cells: what each model did on each task and length, where it has enough seeds to be judged."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.claims.verdict import seeds_that_solve, span
from bench.report.frame import ROW, groups, is_true, numbers
from bench.report.runs import COUNTED, counted

FEWEST_SEEDS = 5
"""A model has evidence in a cell from this number of seeds on."""
SOLVING_SHARE = 0.8
"""A cell is solved by at least this share of seeds: 4 of 5."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one task and length, with the seeds that count."""

    task: str
    length: int
    model: str
    family: str
    num_seeds: int
    num_solved: int
    updates: float
    """Updates until a validation first reached the score, median over seeds; infinite: never."""
    field: float
    """Receptive field. NaN, which is neither short nor covers: without end, or not known."""
    reach: int

    @property
    def solves(self) -> bool:
        return self.num_solved / self.num_seeds >= SOLVING_SHARE

    @property
    def short(self) -> bool:
        return self.field < self.reach

    @property
    def covers(self) -> bool:
        return self.field >= self.reach

    @property
    def seeds(self) -> str:
        return seeds_that_solve(self.num_solved, self.num_seeds)

    def __str__(self) -> str:
        return f"{self.model}, {self.seeds}"


def cells_of(runs: pd.DataFrame) -> list[Cell]:
    """The cells with evidence: tasks as planned, lengths rising."""
    made = counted(runs)
    made = made[made["solved_at"].notna()]
    cells = [
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
        for cell, rows in groups(made, ROW)
        if len(rows) >= FEWEST_SEEDS
    ]
    return [cell for of_task in by_task(cells).values() for cell in sorted(of_task, key=_length)]


def _length(cell: Cell) -> int:
    return cell.length


def best_of(cells: Iterable[Cell]) -> Cell:
    """The cell with the most solving seeds; between equals the one with the fewest updates."""
    return min(cells, key=lambda cell: (-cell.num_solved / cell.num_seeds, cell.updates))


def of_family(cells: Iterable[Cell], family: str) -> list[Cell]:
    return [cell for cell in cells if cell.family == family]


def by_task(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.task, []).append(cell)
    return found


def by_length(cells: Iterable[Cell]) -> dict[int, list[Cell]]:
    """Length → the cells of one task."""
    found: dict[int, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.length, []).append(cell)
    return found


def limits(runs: pd.DataFrame, cells: Sequence[Cell]) -> list[str]:
    """What the runs do not test."""
    if not cells:
        return [f"No model has {FEWEST_SEEDS} seeds on a task with a score that counts as solved."]
    made = counted(runs)
    made = made[made["solved_at"].notna()]
    sizes = made.groupby(["task_label", "model_label", "T"]).size()
    few = int((sizes < FEWEST_SEEDS).sum())
    absent = int((~runs["status"].isin(COUNTED)).sum())
    failed = int((made["status"] == "failed").sum())
    parameters = made["parameters"].dropna().tolist()
    return [
        *([f"Networks of other sizes than {span(parameters)} parameters."] if parameters else []),
        f"Training beyond the budgets of {span(made['max_steps'])} updates.",
        "Another optimizer, clipping or initialisation than those of the settings.",
        *(
            [
                f"{few} of {len(sizes)} models and cells have fewer than {FEWEST_SEEDS} seeds and "
                "are no evidence."
            ]
            if few
            else []
        ),
        *([f"{absent} planned runs were skipped or have not been made."] if absent else []),
        *([f"{failed} runs failed; they count as not solved."] if failed else []),
    ]
