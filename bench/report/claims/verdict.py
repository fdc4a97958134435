"""What a verdict is, and the words that its sentence is made of."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.core.intervals import wilson

LONG = 100
"""Steps that the claims speak of."""
FAMILIES = ("recurrent", "convolutional")
MOST_NAMED = 3
"""Cells that a sentence names; the table has all."""

Answer = Literal["holds", "fails", "holds when", "not enough evidence yet"]
NOT_ENOUGH: Answer = "not enough evidence yet"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement of one claim: a word, a sentence, and the table behind both."""

    key: str
    claim: str
    verdict: Answer
    sentence: str
    table: list[dict[str, Any]] = field(default_factory=list)
    """Its rows: the column names are those of the page."""
    figures: tuple[str, ...] = ()
    """Names of the figures that show it."""


def seeds_that_solve(num_solved: int, num_seeds: int) -> str:
    """The share of seeds with its Wilson 95% interval."""
    low, high = wilson(num_solved, num_seeds)
    return f"{num_solved} of {num_seeds} seeds ({low:.2f} to {high:.2f})"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def span(values: Iterable[float]) -> str:
    """`5` or `5 to 20`."""
    values = list(values)
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def named(items: Iterable[str], most: int = MOST_NAMED) -> str:
    """The first items, and how many more there are."""
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def place(task: str, length: int) -> str:
    return f"{task} at T = {length:,}"


def per_task(confirmed: Collection[str], refuted: Collection[str]) -> Answer:
    """The verdict where each task counts for or against the claim."""
    if confirmed and refuted:
        return "holds when"
    return "holds" if confirmed else "fails" if refuted else NOT_ENOUGH


def by_number(num_for: int, num_against: int) -> Answer:
    """The verdict where it holds if nothing counts against it, and fails if nothing counts for."""
    if num_for and num_against:
        return "holds when"
    return "holds" if num_for else "fails" if num_against else NOT_ENOUGH
