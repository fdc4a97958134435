"""Claim (c): receptive fields of dilated layers, by formula and as measured."""

from typing import Any

import pandas as pd

from bench.core.wording import listed
from bench.report.claims.verdict import LONG, Answer, Verdict
from bench.report.frame import numbers

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
FEWEST_LAYERS = f"fewest layers, from {DEPTHS[0]} to {DEPTHS[-1]}, that see more than {LONG} steps"


def dilated_field(kernel_size: int, num_blocks: int, convolutions_per_block: int) -> int:
    """Receptive field in steps: 1 + c·(k − 1)·(2ⁿ − 1), with dilations that double from 1."""
    return 1 + convolutions_per_block * (kernel_size - 1) * (2**num_blocks - 1)


def computed_fields(kernel_size: int, counting: str) -> dict[str, Any]:
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
    """Arithmetic, by the formula of the field; the runs only check that formula."""
    columns = ["receptive_field", "measured_field", "seen_steps"]
    measured = runs[columns].apply(numbers).dropna()
    whole = measured[measured["seen_steps"] >= measured["receptive_field"]]
    equal = whole["measured_field"] == whole["receptive_field"]
    wrong = sorted(runs["model_label"][whole.index[~equal]].unique())
    table = [computed_fields(size, counting) for counting in COUNTINGS for size in KERNEL_SIZES]
    sizes = {row["kernel size"] for row in table if row[FEWEST_LAYERS] is not None}
    answer: Answer = "supported"
    if sizes != set(KERNEL_SIZES):
        answer = "contradicted"
    elif wrong:
        answer = "undecided"
    enough = sum(row[FEWEST_LAYERS] is not None for row in table)
    checked = (
        f"; {int(equal.sum())} of {len(whole)} measured receptive fields equal the formula"
        if len(whole)
        else ""
    )
    if wrong:
        checked += f": the code or the stated field of {listed(wrong, 3, 'model')} is wrong"
    return Verdict(
        key="c",
        claim="Dilation grows the receptive field exponentially, and 5 to 10 layers see more than "
        "100 steps.",
        verdict=answer,
        sentence=f"by the formula, {DEPTHS[-1]} layers see more than {LONG} steps in {enough} of "
        f"{len(table)} combinations of kernel size and way to count layers{checked}",
        arithmetic=not wrong,
        table=table,
        figure="field_vs_depth",
    )
