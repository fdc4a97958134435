"""Claim (c): receptive fields of dilated layers, by formula and as measured."""

import pandas as pd

from bench.report.claims.verdict import LONG, NOT_ENOUGH, Answer, Verdict
from bench.report.frame import numbers

FEWEST_FIELDS = 3
"""Smallest number of different measured receptive fields that counts as evidence."""
KERNEL_SIZES = (2, 3, 7)
"""Kernel sizes of the arithmetic."""
DEPTHS = range(5, 11)
"""Numbers of layers in the claim."""
COUNTINGS = {
    "one convolution per layer": (1, 1),
    "two convolutions per layer": (2, 1),
    "two convolutions per block, each counted as a layer": (2, 2),
}
"""Ways to count the layers of a dilated network → convolutions and layers per block."""
FIRST_FIELD = "field at the fewest layers"
FEWEST_LAYERS = f"layers that see more than {LONG} steps"


def dilated_field(kernel_size: int, num_blocks: int, convolutions_per_block: int) -> int:
    """Receptive field in steps: 1 + c·(k − 1)·(2ⁿ − 1), with dilations that double from 1."""
    return 1 + convolutions_per_block * (kernel_size - 1) * (2**num_blocks - 1)


def computed_fields(kernel_size: int, counting: str) -> dict[str, object]:
    """A row of the table: the fields of networks of 5 to 10 layers, counted in one way."""
    convolutions, layers = COUNTINGS[counting]
    fields = {
        depth: dilated_field(kernel_size, depth // layers, convolutions)
        for depth in DEPTHS
        if depth % layers == 0
    }
    return {
        "layers": counting,
        "kernel size": kernel_size,
        FIRST_FIELD: min(fields.values()),
        f"field at {max(DEPTHS)} layers": max(fields.values()),
        FEWEST_LAYERS: next((depth for depth, field in fields.items() if field > LONG), None),
    }


def exponential_field(runs: pd.DataFrame) -> Verdict:
    columns = ["receptive_field", "measured_field", "seen_steps"]
    measured = runs[columns].apply(numbers).dropna()
    whole = measured[measured["seen_steps"] >= measured["receptive_field"]]
    num_equal = int((whole["measured_field"] == whole["receptive_field"]).sum())
    table = [computed_fields(size, counting) for counting in COUNTINGS for size in KERNEL_SIZES]
    answer: Answer = "holds when"
    if num_equal < len(whole):
        answer = "fails"
    elif whole["receptive_field"].nunique() < FEWEST_FIELDS:
        answer = NOT_ENOUGH
    elif all(row[FEWEST_LAYERS] is None for row in table):
        answer = "fails"
    elif all(int(str(row[FIRST_FIELD])) > LONG for row in table):
        answer = "holds"
    return Verdict(
        key="c",
        claim="Dilation grows the receptive field exponentially, and 5 to 10 layers see more than "
        "100 steps.",
        verdict=answer,
        sentence=f"the measured field is the computed one in {num_equal} of {len(whole)} runs; the "
        f"table shows how many layers see more than {LONG} steps",
        table=table,
        figures=("field_vs_depth", "fields"),
    )
