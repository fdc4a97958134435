"""Intervals and horizons: pure functions of counts and arrays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927): lower and upper bound in [0, 1].

    `successes` may be fractional: a mean over sequences of shares within them. That makes the
    interval too wide and never too narrow, since such values vary less than zeros and ones.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes {successes} of {n}; valid: n from 1, successes from 0 to n")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    half_width = z * spread / (1 + z**2 / n)
    # Rounding must not put the share itself outside, nor a bound beyond 0 or 1.
    return max(min(centre - half_width, share), 0.0), min(max(centre + half_width, share), 1.0)


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far a model solves a task."""

    length: int | None
    """The largest T solved by at least half of the seeds; None: not even the shortest tested."""
    num_solved: int
    """Seeds that solve it: at the horizon, or at the shortest T where there is none."""
    num_seeds: int
    shortest: int
    """The smallest T tested."""
    at_least: bool
    """Whether the horizon is the largest T tested, so that the sweep ended first."""
    gap: bool
    """Whether some smaller T was not solved."""

    def __str__(self) -> str:
        count = f"({self.num_solved}/{self.num_seeds} seeds)"
        if self.length is None:
            return f"< {self.shortest} {count}"
        return f"{'≥ ' if self.at_least else ''}{self.length}{'*' if self.gap else ''} {count}"


def horizon(outcomes: Mapping[int, tuple[int, int]]) -> Horizon:
    """From T → (seeds that solve it, seeds), for one model on one task.

    Where success is not monotone in T, the largest solved T counts and `gap` says so.
    """
    lengths = sorted(outcomes)
    solved = [length for length in lengths if 2 * outcomes[length][0] >= outcomes[length][1]]
    at = solved[-1] if solved else lengths[0]
    return Horizon(
        length=solved[-1] if solved else None,
        num_solved=outcomes[at][0],
        num_seeds=outcomes[at][1],
        shortest=lengths[0],
        at_least=bool(solved) and at == lengths[-1],
        gap=any(length < at for length in lengths if length not in solved),
    )
