"""The largest dependency length that a model solves before the first one that it does not."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.decision import Decision

LONG_BUDGET = 62_400
"""Updates that a failing seed must have had for its failure to be final."""
LONGER_BUDGETS: dict[str, int] = tomllib.loads(
    (Path(__file__).parent / "refuted.toml").read_text(encoding="utf-8")
)
"""The same for tasks on which a confirmation refuted a failure after `LONG_BUDGET` updates."""
FINAL_BUDGET = f"{LONG_BUDGET:,} updates" + "".join(
    f" ({budget:,} on {task})" for task, budget in LONGER_BUDGETS.items()
)
"""`long_budget` of all tasks in words."""
UNSETTLED = f"were improving, diverged, ended with an error, or had fewer than {FINAL_BUDGET}"
"""Why failing seeds leave a length open."""


def long_budget(task_label: str) -> int:
    """Updates that a failing seed must have had on this task for its failure to be final."""
    return LONGER_BUDGETS.get(task_label, LONG_BUDGET)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The seeds of a model at one length."""

    decision: Decision
    improving: int = 0
    """Seeds that do not solve it and were improving when they ended."""
    unsettled: int = 0
    """Seeds that do not solve it and may do so in another run: they were improving, diverged, ended
    with an error, or had fewer than `long_budget` updates."""

    @property
    def is_open(self) -> bool:
        """Whether further runs of the seeds could still make this length solved."""
        settled = self.decision.num_failed - self.unsettled
        return replace(self.decision, num_failed=settled).solved is not False


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far a model solves a task.

    `64 (5/5; T = 128: decided 0/2)` means: all five seeds solve 64, the longest T below the first
    one that is not solved, which is 128. No interval is given: the lengths are about a factor of
    two apart, and seeds that stop once a cell is decided show no more than that.
    """

    length: int | None
    """The largest solved T below the first failing one; None: not even the shortest is solved."""
    solved: Rung | None
    """The seeds at that T."""
    failed_at: int | None
    """The first failing T. None: every decided T is solved."""
    failed: Rung | None
    """The seeds at that T."""
    again: bool
    """Whether a longer T than the first failing one is solved."""

    @property
    def open_ended(self) -> bool:
        """Whether a longer T may be solved: none was tested, or the first failing one is open."""
        return self.failed is None or self.failed.is_open

    @property
    def reached(self) -> str:
        """The horizon alone.

        `64`: the next T is not solved. `64+`: the same, but further runs may solve it. `64*`: a
        longer T is solved. `≥ 64`: no T is known to be unsolved. `< 5`: the shortest T is not
        solved. `not yet at 5`: the same, but further runs may solve it. `< 5*`: a longer T is.
        """
        star = "*" if self.again else ""
        if self.length is None:
            return f"{'not yet at' if self.open_ended else '<'} {self.failed_at}{star}"
        if self.failed is None:
            return f"≥ {self.length}"
        return f"{self.length}{'+' if self.open_ended else ''}{star}"

    @property
    def seeds(self) -> str:
        """The seeds at the horizon and at the first failing T."""
        parts = [] if self.solved is None else [str(self.solved.decision)]
        if self.failed is not None:
            count = str(self.failed.decision)
            count += f", {self.failed.improving} improving" if self.failed.improving else ""
            parts.append(count if self.solved is None else f"T = {self.failed_at}: {count}")
        return "; ".join(parts)

    def __str__(self) -> str:
        return f"{self.reached} ({self.seeds})"


def horizon(rungs: Mapping[int, Rung]) -> Horizon | None:
    """The horizon of one model on one task; `rungs` maps T → its seeds.

    Lengths that are not decided do not count. None: no length is decided.
    """
    solved = [T for T in sorted(rungs) if rungs[T].decision.solved is True]
    failing = [T for T in sorted(rungs) if rungs[T].decision.solved is False]
    if not solved and not failing:
        return None
    failed_at = failing[0] if failing else None
    below = solved if failed_at is None else [T for T in solved if failed_at > T]
    return Horizon(
        length=below[-1] if below else None,
        solved=rungs[below[-1]] if below else None,
        failed_at=failed_at,
        failed=None if failed_at is None else rungs[failed_at],
        again=len(below) < len(solved),
    )
