"""What a verdict is, and the words of its sentences."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.core.wording import counted
from bench.plan.deciding import remedy

LONG = 100
"""Number of steps in claims (a) and (c)."""
MOST_NAMED = 3
"""Most cells or reasons that a sentence names; the table below it has all."""

Answer = Literal["supported", "contradicted", "undecided", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement of one claim."""

    key: str
    claim: str
    verdict: Answer
    sentence: str
    """One sentence without its full stop. If the verdict is undecided, it says what is missing."""
    arithmetic: bool = False
    """Whether the claim follows by arithmetic, so that runs check it but are no evidence for it."""
    table: list[dict[str, Any]] = field(default_factory=list)
    """The evidence, as rows with the column names of the page."""
    figure: str
    """Name of the figure that shows it."""

    @property
    def word(self) -> str:
        return f"{self.verdict} by arithmetic" if self.arithmetic else self.verdict

    @property
    def remedy(self) -> str | None:
        """The command that decides it and its time; None if it is decided or no runs can."""
        return remedy(self.key) if self.verdict in ("undecided", "not tested") else None


def answered(supports: bool, contradicts: bool, tested: bool) -> Answer:
    """The word for a general claim: a single counterexample contradicts it."""
    if contradicts:
        return "contradicted"
    return "supported" if supports else "undecided" if tested else "not tested"


def named(items: Sequence[str], noun: str = "further", most: int = MOST_NAMED) -> str:
    """The first items, and how many more there are: `a; b; and 3 further`.

    A single further item is named as well.
    """
    shown = list(dict.fromkeys(items))
    more = len(shown) - most
    return "; ".join([*shown[:most], f"and {more} {noun}"] if more > 1 else shown)


def missing(reasons: Sequence[Sequence[str]]) -> str:
    """The sentence of an undecided verdict, from what each cell lacks; the table has the cells."""
    counts = Counter(reason for of_cell in reasons for reason in of_cell).most_common()
    said = [f"{reason} ({counted(number, 'cell')})" for reason, number in counts]
    return f"missing: {named(said, 'further points')}"
