"""Failures that verdicts rest on, drawn at random, for new seeds with a larger budget."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.core.records import Record
from bench.core.spec import Spec
from bench.core.wording import counted
from bench.report.claims.against import front_of
from bench.report.claims.cells import Cell, by_task, cells_of, of_family
from bench.report.claims.memory import covered
from bench.report.data import Data


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """A cell that a verdict rests on, and the runs that test whether its failure stands."""

    cell: Cell
    specs: tuple[Spec, ...]
    """One per new seed."""

    @property
    def said(self) -> str:
        """`gru on copy_memory at T = 64: decided 0/2 within 62,400 updates`."""
        cell = self.cell
        return f"{cell.model} on {cell.place}: {cell.decision} within {cell.allowed:,} updates"

    def verdict(self, records: Iterable[Record]) -> tuple[bool | None, str]:
        """Whether the failure stands, and why; None: runs are missing."""
        made = {r.spec.id: r.outcome for r in records if r.finished}
        outcomes = [made.get(spec.id) for spec in self.specs]
        found = [outcome for outcome in outcomes if outcome is not None]
        solved = sum(outcome.solved is True for outcome in found)
        seeds = counted(len(self.specs), "new seed")
        budget = f"{self.specs[0].training.max_steps:,} updates"
        if solved:
            return False, f"{solved} of {seeds} solve it within {budget}"
        if len(found) < len(self.specs):
            return None, f"{len(found)} of {seeds} have a result"
        return True, f"none of {seeds} solves it within {budget}"


def counting(data: Data) -> Iterator[Cell]:
    """The cells that verdicts rest on.

    They are those that count against a family, at most one per family and task, and those that
    contradict claim (d2).
    """
    found: set[tuple[str, str, int]] = set()
    for cell in _against_families_and_fields(data):
        place = cell.task, cell.model, cell.length
        if place not in found:
            found.add(place)
            yield cell


def _against_families_and_fields(data: Data) -> Iterator[Cell]:
    for _, cells in by_task(data.cells):
        for family in sorted({cell.family for cell in cells}):
            front = front_of(of_family(cells, family), data.rates)
            if front.failing is not None and not front.missing:
                yield front.failing
    for cell, missing in covered(cells_of(data.runs), data.rates):
        if cell.fails and not missing:
            yield cell


def draw(
    data: Data, number: int, *, seed: int, num_seeds: int, factor: int
) -> tuple[list[Repetition], int]:
    """Up to `number` of the `counting` cells, and how many there are.

    Their runs have `num_seeds` seeds that no run of the report has, and `factor` times the budget.
    """
    cells = list(counting(data))
    chosen = random.Random(seed).sample(cells, min(number, len(cells)))
    first = 1 + max((spec.seed for spec in data.source.specs), default=0)
    seeds = range(first, first + num_seeds)
    repetitions = [
        Repetition(cell=cell, specs=_repeated(_longest(data, cell), seeds, factor))
        for cell in chosen
    ]
    return repetitions, len(cells)


def _longest(data: Data, cell: Cell) -> Spec:
    """The spec of a run of the cell that failed with the largest budget."""
    runs = data.runs
    here = runs[
        (runs["task_label"] == cell.task)
        & (runs["model_label"] == cell.model)
        & (runs["T"] == cell.length)
    ]
    failed = [r.spec for r in data.records_of(here) if r.outcome and r.outcome.solved is False]
    return max(failed, key=lambda spec: (spec.training.max_steps, -spec.seed))


def _repeated(of: Spec, seeds: Sequence[int], factor: int) -> tuple[Spec, ...]:
    training = of.training.model_copy(update={"max_steps": factor * of.training.max_steps})
    return tuple(of.model_copy(update={"seed": seed, "training": training}) for seed in seeds)
