"""Claim (c): how far dilated layers see, by arithmetic and as measured."""

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


COUNTINGS = {
    "one convolution a layer": (1, 1),
    "two convolutions a layer": (2, 1),
    "two convolutions a block, each counted as a layer": (2, 2),
}
"""Ways to count the layers of a dilated network → convolutions and layers per block."""


def fields_by_depth(kernel_size: int, counting: str) -> dict[int, int]:
    """Each possible number of layers from 5 to 10 → receptive field in steps."""
    convolutions, layers = COUNTINGS[counting]
    return {
        depth: dilated_field(kernel_size, depth // layers, convolutions)
        for depth in range(FEWEST_LAYERS, MOST_LAYERS + 1)
        if depth % layers == 0
    }


def first_long(fields: dict[int, int]) -> int | None:
    """The fewest layers that see more than 100 steps; None: ten do not."""
    return next((depth for depth, field in fields.items() if field > LONG), None)


def exponential_field(runs: pd.DataFrame) -> Verdict:
    columns = ["receptive_field", "measured_field", "seen_steps"]
    known = runs.assign(**{column: numbers(runs[column]) for column in columns})
    measured = known.dropna(subset=columns)
    whole = measured[measured["seen_steps"] >= measured["receptive_field"]]
    num_equal = int((whole["measured_field"] == whole["receptive_field"]).sum())
    ways = {
        (counting, k): fields_by_depth(k, counting) for counting in COUNTINGS for k in KERNEL_SIZES
    }
    firsts = {way: first_long(fields) for way, fields in ways.items()}
    answer: Answer = "holds when"
    if num_equal < len(whole):
        answer = "fails"
    elif whole["receptive_field"].nunique() < FEWEST_FIELDS:
        answer = NOT_ENOUGH
    elif not any(firsts.values()):
        answer = "fails"
    elif all(firsts[way] == min(fields) for way, fields in ways.items()):
        answer = "holds"
    counting = next(iter(COUNTINGS))
    depths = named(
        f"k = {k} from {depth} layers on" if depth else f"k = {k} not up to {MOST_LAYERS} layers"
        for (words, k), depth in firsts.items()
        if words == counting
    )
    return Verdict(
        key="c",
        claim="Dilation grows the receptive field exponentially, and 5 to 10 layers see more than "
        "100 steps.",
        verdict=answer,
        sentence=f"{num_equal} of {len(whole)} measured runs have the computed field; with "
        f"{counting}, more than {LONG} steps are seen with {depths}",
        table=[
            {
                "layers": words,
                "kernel size": k,
                "field at the fewest layers": min(fields.values()),
                f"field at {MOST_LAYERS} layers": max(fields.values()),
                f"layers that see more than {LONG} steps": firsts[words, k],
            }
            for (words, k), fields in ways.items()
        ],
        figures=("field_vs_depth", "fields"),
    )
