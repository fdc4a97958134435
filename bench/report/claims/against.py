"""Which cells count against a family, and what is missing where one does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.plan.rates import Rates
from bench.report.claims.cells import Cell, best_of
from bench.report.frame import span
from bench.report.horizon import long_budget

MORE_UPDATES = "more updates for seeds that were improving"
LONG_RUNS = "a larger budget for every failing seed"
STABLE_SETTINGS = "settings with which no seed diverges"
REPEATED = "new runs of seeds that ended with an error"
TUNED_RATE = "a learning rate tuned for the model on the task"
WIDER_GRID = "a wider grid of rates than that of its sweep"


@dataclass(frozen=True, kw_only=True)
class Front:
    """Where a family stops on one task: its last solved cell and a failing one beyond."""

    solved: Cell | None
    """The family's best cell at the largest T that it solves."""
    failing: Cell | None
    """A failing cell beyond, of the same model: the first that counts against the family. If none
    does, the first one."""
    missing: tuple[str, ...]
    """What is missing for the failing cell to count against the family; empty: it counts."""


def front_of(cells: Sequence[Cell], rates: Rates) -> Front:
    """The front of one family on one task; `cells` are all of its cells there.

    A shorter T may be undecided where a longer one counts, for example if its seeds were improving.
    """
    last = best_solved(cells)
    failing = [cell for cell in cells if cell.fails]
    if last is not None:
        further = (cell for cell in failing if cell.model == last.model)
        failing = [cell for cell in further if cell.length > last.length]
    lengths = sorted({cell.length for cell in failing})
    best = [best_of(cell for cell in failing if cell.length == length) for length in lengths]
    fronts = [
        Front(solved=last, failing=cell, missing=missing_for(cell, cells, rates)) for cell in best
    ]
    if not fronts:
        missing = ("runs of the family's best model at a longer T",)
        return Front(solved=last, failing=None, missing=missing)
    return next((front for front in fronts if not front.missing), fronts[0])


def best_solved(cells: Sequence[Cell]) -> Cell | None:
    """The best of a family on a task: the best cell at the largest T that any of them solves."""
    solved = [cell for cell in cells if cell.solves]
    longest = max((cell.length for cell in solved), default=None)
    return best_of(cell for cell in solved if cell.length == longest) if solved else None


def standing_for(here: Sequence[Cell], family: Sequence[Cell]) -> Cell:
    """The cell that stands for a family at one length: a solved one, else that of its best model.

    `here` are the family's cells at this length, `family` all of its cells on the task.
    """
    leader = best_solved(family)
    own = [cell for cell in here if leader is not None and cell.model == leader.model]
    best = best_of(here)
    return best if best.solves or not own else own[0]


def missing_for(
    cell: Cell, family: Sequence[Cell], rates: Rates, *, alone: bool = False
) -> tuple[str, ...]:
    """What is missing for a failing cell to count against its family; empty: it counts.

    `family` are all cells of the family on this task. With `alone`, the cell counts against its
    model, which need not be the best of the family. The rules are in `docs/method.md`, "What counts
    against a family".
    """
    shorter = [
        each
        for each in family
        if each.model == cell.model and each.length < cell.length and each.solves
    ]
    best = best_solved(family)
    needed = {
        "a shorter T that the same model solves": not shorter,
        "the same settings at the shorter T": bool(shorter)
        and not any(each.settings == cell.settings for each in shorter),
        "runs of the family's best model at this T": not alone
        and best is not None
        and best.model != cell.model,
    }
    return (
        *lacking_updates(cell),
        *lacking_runs(cell),
        *_those(needed),
        *lacking_rates(cell, rates),
    )


def lacking_updates(cell: Cell) -> tuple[str, ...]:
    """Which failing seeds of the cell may solve it with more updates."""
    return _those(
        {
            MORE_UPDATES: "improving" in cell.endings,
            LONG_RUNS: not {"converged", "at chance"}.isdisjoint(cell.endings)
            and cell.allowed < long_budget(cell.task),
        }
    )


def lacking_runs(cell: Cell) -> tuple[str, ...]:
    """Which failing seeds of the cell say nothing about the model."""
    return _those(
        {
            STABLE_SETTINGS: "diverged" in cell.endings,
            REPEATED: "failed" in cell.endings,
        }
    )


def lacking_rates(cell: Cell, rates: Rates) -> tuple[str, ...]:
    """What is missing for the learning rate of the cell to be the best one known."""
    tuned = rates.get(cell.task_name, {}).get(cell.model)
    return _those(
        {
            TUNED_RATE: tuned is None or cell.rates != {tuned.rate},
            WIDER_GRID: tuned is not None and tuned.at_edge,
        }
    )


def _those(needed: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(reason for reason, is_missing in needed.items() if is_missing)


def did_not(cell: Cell, solver: Cell) -> str:
    """`gru did not solve adding at T = 4 within 15,600 updates, 31 times as many as tcn needed`."""
    said = f"{cell.model} did not solve {cell.place} within {cell.allowed:,} updates"
    at = "" if solver.length == cell.length else f" at T = {solver.length:,}"
    times = span([cell.allowed / max(solver.updates, 1)])
    return f"{said}, {times} times as many as {solver.model} needed{at}"
