"""Cells: what each model made of each task and length, where its seeds are enough to tell."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report.claims._verdict import FAMILIES, seeds_that_solve, span, where
from bench.report.tables import COUNTED, counted

FEWEST_SEEDS = 5
"""Seeds from which on a model has evidence in a cell."""
SOLVING_SHARE = 0.8
"""Share of seeds that have to solve a cell: 4 of 5."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one task and length: its seeds that count."""

    task: str
    length: int
    model: str
    family: str
    num_seeds: int
    num_solved: int
    updates: float
    """Until the score was first reached, median over seeds; infinite where it never was."""
    field: float
    """Receptive field; NaN, which is neither short nor covers: without end, or no run tells."""
    reach: int

    @property
    def place(self) -> tuple[str, int]:
        return self.task, self.length

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


def cells_of(runs: pd.DataFrame) -> list[Cell]:
    """Where there is evidence, as planned, lengths rising."""
    made = counted(runs)
    if made.empty:
        return []
    made = made[made["solved_at"].notna()]
    return [
        Cell(
            task=str(task),
            length=int(length),
            model=str(model),
            family=group["family"].iloc[0],
            num_seeds=len(group),
            num_solved=int((group["solved"] == True).sum()),  # noqa: E712  None is not False
            updates=float(pd.to_numeric(group["solved_after"]).fillna(math.inf).median()),
            field=float(pd.to_numeric(group["receptive_field"]).max()),
            reach=int(group["reach"].iloc[0]),
        )
        for task, of_task in made.groupby("task", sort=False)
        for (length, model), group in sorted(
            of_task.groupby(["T", "model"], sort=False), key=lambda item: item[0][0]
        )
        if len(group) >= FEWEST_SEEDS
    ]


def best_of(cells: Iterable[Cell]) -> Cell:
    return min(cells, key=lambda cell: (-cell.num_solved / cell.num_seeds, cell.updates))


def of_family(cells: Iterable[Cell], family: str) -> list[Cell]:
    return [cell for cell in cells if cell.family == family]


def by_task(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.task, []).append(cell)
    return found


def by_place(cells: Iterable[Cell]) -> dict[tuple[str, int], list[Cell]]:
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.place, []).append(cell)
    return found


def limits(runs: pd.DataFrame, cells: Sequence[Cell]) -> list[str]:
    """What no run of these tells."""
    if not cells:
        return [f"No model has {FEWEST_SEEDS} seeds on a task with a score that counts as solved."]
    made = counted(runs)
    made = made[made["solved_at"].notna()]
    said = [f"Any T but these: {where(cell.place for cell in cells)}."]
    sizes = span(made["parameters"].dropna())
    said.append(f"Networks of other sizes than {sizes} parameters.")
    said.append(f"Training beyond the budgets of {span(made['max_steps'])} updates.")
    for family in FAMILIES:
        known = list(dict.fromkeys(cell.model for cell in of_family(cells, family)))
        others = f"Other {family} models than {', '.join(known)}."
        said.append(others if known else f"Any {family} model: none has {FEWEST_SEEDS} seeds.")
    sizes_of = made.groupby(["task", "model", "T"]).size()
    few = int((sizes_of < FEWEST_SEEDS).sum())
    if few:
        said.append(
            f"{few} of {len(sizes_of)} models and cells have fewer than {FEWEST_SEEDS} seeds "
            "and are no evidence."
        )
    absent = int((~runs["status"].isin(COUNTED)).sum())
    if absent:
        said.append(f"{absent} planned runs were skipped or have not been made.")
    failed = int((made["status"] == "failed").sum())
    if failed:
        said.append(f"{failed} runs failed; they count as not solved.")
    return said
