"""The one definition of solved: what the seeds of a cell decide, and when they have decided it.

A cell is one model on one task and length. Its seeds run in order, and the cell needs no further
seed once it is decided.
"""

from dataclasses import dataclass

SOLVING_PERCENT = 80
"""A cell is solved if at least this share of its seeds solve it: 4 of 5."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The seeds of a cell that ran, and what they decide."""

    num_solved: int
    """Seeds that solve the task."""
    num_failed: int
    """Seeds that ran and do not solve it."""
    num_seeds: int
    """Seeds that were planned."""
    stops: bool = False
    """Whether no further seed runs once these decide the cell, as on a ladder."""

    @property
    def num_run(self) -> int:
        return self.num_solved + self.num_failed

    @property
    def is_complete(self) -> bool:
        """Whether all planned seeds ran, whatever their scores were.

        On a ladder the fifth seed runs only if one of the first four fails, so that an interval
        over such seeds would have another coverage than it says.
        """
        return self.num_run == self.num_seeds and not self.stops

    @property
    def solved(self) -> bool | None:
        """Whether the cell is solved; None: the seeds that ran do not decide it yet."""
        needed = -(-SOLVING_PERCENT * self.num_seeds // 100)
        if self.num_solved >= needed:
            return True
        return False if self.num_failed > self.num_seeds - needed else None

    def __str__(self) -> str:
        """`4/5`; `decided 0/2` if the other seeds were not needed; `1/2, open` if they are."""
        count = f"{self.num_solved}/{self.num_run}"
        if self.num_run >= self.num_seeds:
            return count
        return f"{count}, open" if self.solved is None else f"decided {count}"
