"""Claim (c): how far dilated layers see, by arithmetic and as measured."""

from dataclasses import dataclass

import pandas as pd

from bench.report.claims.verdict import LONG, NOT_ENOUGH, Answer, Verdict, named
from bench.report.frame import numbers

FEWEST_FIELDS = 3
"""Different measured receptive fields from which on they are evidence."""
KERNEL_SIZES = (2, 3, 7)
"""Kernel sizes of the arithmetic."""
FEWEST_LAYERS, MOST_LAYERS = 5, 10


def dilated_field(kernel_size: int, num_blocks: int, convolutions_per_block: int) -> int:
    """Receptive field in steps: 1 + c·(k − 1)·(2ⁿ − 1), the dilation doubling from 1."""
    return 1 + convolutions_per_block * (kernel_size - 1) * (2**num_blocks - 1)


@dataclass(frozen=True, kw_only=True)
class Counting:
    """A way to count the layers of a dilated network."""

    words: str
    convolutions_per_block: int
    layers_per_block: int

    def depths(self) -> list[int]:
        """The possible numbers of layers from 5 to 10."""
        every = range(FEWEST_LAYERS, MOST_LAYERS + 1)
        return [depth for depth in every if depth % self.layers_per_block == 0]

    def field(self, kernel_size: int, depth: int) -> int:
        num_blocks = depth // self.layers_per_block
        return dilated_field(kernel_size, num_blocks, self.convolutions_per_block)

    def first_long(self, kernel_size: int) -> int | None:
        """The fewest layers that see more than 100 steps; None: ten do not."""
        return next((n for n in self.depths() if self.field(kernel_size, n) > LONG), None)

    def row(self, kernel_size: int) -> dict[str, object]:
        fewest, most = self.depths()[0], self.depths()[-1]
        return {
            "layers": self.words,
            "kernel size": kernel_size,
            f"field at {FEWEST_LAYERS} layers or the next possible number": self.field(
                kernel_size, fewest
            ),
            f"field at {MOST_LAYERS} layers": self.field(kernel_size, most),
            f"layers that see more than {LONG} steps": self.first_long(kernel_size),
        }


COUNTINGS = (
    Counting(words="one convolution a layer", convolutions_per_block=1, layers_per_block=1),
    Counting(words="two convolutions a layer", convolutions_per_block=2, layers_per_block=1),
    Counting(
        words="two convolutions a block, each counted as a layer",
        convolutions_per_block=2,
        layers_per_block=2,
    ),
)


def exponential_field(runs: pd.DataFrame) -> Verdict:
    columns = ["receptive_field", "measured_field", "seen_steps"]
    known = runs.assign(**{column: numbers(runs[column]) for column in columns})
    measured = known.dropna(subset=columns)
    whole = measured[measured["seen_steps"] >= measured["receptive_field"]]
    num_equal = int((whole["measured_field"] == whole["receptive_field"]).sum())
    ways = [(counting, k) for counting in COUNTINGS for k in KERNEL_SIZES]
    answer: Answer = "holds when"
    if num_equal < len(whole):
        answer = "fails"
    elif whole["receptive_field"].nunique() < FEWEST_FIELDS:
        answer = NOT_ENOUGH
    elif all(counting.first_long(k) is None for counting, k in ways):
        answer = "fails"
    elif all(counting.first_long(k) == counting.depths()[0] for counting, k in ways):
        answer = "holds"
    first = COUNTINGS[0]
    depths = named(
        f"k = {k} from {depth} layers on" if depth else f"k = {k} not up to {MOST_LAYERS} layers"
        for k in KERNEL_SIZES
        for depth in [first.first_long(k)]
    )
    return Verdict(
        key="c",
        claim="Dilation grows the receptive field exponentially, and 5 to 10 layers see more than "
        "100 steps.",
        verdict=answer,
        sentence=f"{num_equal} of {len(whole)} measured runs have the computed field; with "
        f"{first.words}, more than {LONG} steps are seen with {depths}",
        table=[counting.row(k) for counting, k in ways],
        figures=("field_vs_depth", "fields"),
    )
