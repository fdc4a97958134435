"""What a verdict is, and the words it is put in."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from bench.core.intervals import wilson

LONG = 100
"""Steps that the claims speak of."""
FAMILIES = ("recurrent", "convolutional")

Answer = Literal["holds", "fails", "holds when", "not enough evidence yet"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a claim."""

    key: str
    claim: str
    verdict: Answer
    conditions: str
    """Where it holds and where it does not; empty unless the verdict is "holds when"."""
    because: tuple[str, ...]
    """Sentences with the numbers; shares of seeds with their Wilson 95% interval."""
    figures: tuple[str, ...]
    """Names of the figures to look at."""
    not_tested: tuple[str, ...]


def seeds_that_solve(num_solved: int, num_seeds: int) -> str:
    low, high = wilson(num_solved, num_seeds)
    return f"{num_solved} of {num_seeds} seeds ({low:.2f} to {high:.2f})"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def at(lengths: Iterable[int]) -> str:
    return "T = " + ", ".join(f"{length:,}" for length in sorted(set(lengths)))


def where(places: Iterable[tuple[str, int]]) -> str:
    """(Task or other group, T) → "copy_memory at T = 20, 50; adding at T = 100"."""
    found: dict[str, list[int]] = {}
    for name, length in places:
        found.setdefault(name, []).append(length)
    return "; ".join(f"{name} at {at(lengths)}" for name, lengths in found.items())


def span(values: Iterable[float]) -> str:
    values = list(values)
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def but_not(holds: str, fails: str) -> str:
    return f"{holds}. Not {fails}"


def per_task(confirmed: Collection[str], refuted: Collection[str]) -> tuple[Answer, str]:
    """The verdict of tasks that each speak for or against a claim."""
    if confirmed and refuted:
        return "holds when", but_not(f"on {', '.join(confirmed)}", f"on {', '.join(refuted)}")
    return ("holds" if confirmed else "fails" if refuted else "not enough evidence yet"), ""
