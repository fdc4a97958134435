"""What a verdict is, and how evidence for and against a claim is weighed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

LONG = 100
"""Number of steps in claims (a) and (c)."""
MOST_NAMED = 3
"""If there are more places, a sentence only gives their number; the table names all."""

Answer = Literal["holds", "fails", "holds when", "not enough evidence yet"]
NOT_ENOUGH: Answer = "not enough evidence yet"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement of one claim."""

    key: str
    claim: str
    verdict: Answer
    sentence: str
    table: list[dict[str, Any]] = field(default_factory=list)
    """The evidence, as rows with the column names of the page."""
    figures: tuple[str, ...] = ()
    """Names of the figures that show it."""


def decided(supporting: Sequence[str], opposing: Sequence[str]) -> Answer:
    """The verdict if any evidence decides, for the claim or against it."""
    if supporting and opposing:
        return "holds when"
    return "holds" if supporting else "fails" if opposing else NOT_ENOUGH


def weighed(noun: str, supporting: Sequence[str], opposing: Sequence[str]) -> str:
    """The sentence that says what supports a claim and what contradicts it: names, or numbers."""

    def named(evidence: Sequence[str]) -> str:
        if not evidence:
            return f"no {noun}"
        if len(evidence) > MOST_NAMED:
            return f"{len(evidence)} {noun}s"
        return ", ".join(evidence)

    return f"it is supported by {named(supporting)} and contradicted by {named(opposing)}"
