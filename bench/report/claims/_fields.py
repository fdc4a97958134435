"""Claim (c): how far dilated layers see, by arithmetic and as measured."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

from dataclasses import dataclass

import pandas as pd

from bench.report.claims._verdict import LONG, Answer, Verdict, span

FEWEST_FIELDS = 3
"""Different measured receptive fields, from which on they are evidence."""
KERNEL_SIZES = (2, 3, 7)
"""Of the arithmetic of dilated layers."""
FEWEST_LAYERS, MOST_LAYERS = 5, 10


def dilated_field(kernel_size: int, num_blocks: int, convolutions_per_block: int) -> int:
    """Receptive field in steps: 1 + c·(k − 1)·(2ⁿ − 1), the dilation doubling from 1."""
    return 1 + convolutions_per_block * (kernel_size - 1) * (2**num_blocks - 1)


@dataclass(frozen=True, kw_only=True)
class _Counting:
    """A way to count the layers of a dilated network."""

    words: str
    convolutions_per_block: int
    layers_per_block: int

    def depths(self) -> list[int]:
        """Numbers of layers from 5 to 10 that there can be."""
        every = range(FEWEST_LAYERS, MOST_LAYERS + 1)
        return [depth for depth in every if depth % self.layers_per_block == 0]

    def field(self, kernel_size: int, depth: int) -> int:
        return dilated_field(
            kernel_size, depth // self.layers_per_block, self.convolutions_per_block
        )

    def first_long(self, kernel_size: int) -> int | None:
        """The fewest layers that see more than 100 steps; None: not even ten do."""
        return next((n for n in self.depths() if self.field(kernel_size, n) > LONG), None)


COUNTINGS = (
    _Counting(words="one convolution a layer", convolutions_per_block=1, layers_per_block=1),
    _Counting(words="two convolutions a layer", convolutions_per_block=2, layers_per_block=1),
    _Counting(
        words="two convolutions a block, each counted as a layer",
        convolutions_per_block=2,
        layers_per_block=2,
    ),
)


def exponential_field(runs: pd.DataFrame) -> Verdict:
    measured = _measured(runs)
    whole = measured[measured["seen_steps"] >= measured["receptive_field"]]
    wrong = whole[whole["measured_field"] != whole["receptive_field"]]
    ways = [(counting, k) for counting in COUNTINGS for k in KERNEL_SIZES]
    answer: Answer = "holds when"
    if len(wrong):
        answer = "fails"
    elif whole["receptive_field"].nunique() < FEWEST_FIELDS:
        answer = "not enough evidence yet"
    elif all(counting.first_long(k) is None for counting, k in ways):
        answer = "fails"
    elif all(counting.first_long(k) == counting.depths()[0] for counting, k in ways):
        answer = "holds"
    cut = len(measured) - len(whole)
    return Verdict(
        key="c",
        claim="Dilation grows the receptive field exponentially, and 5 to 10 layers see more than "
        "100 steps.",
        verdict=answer,
        conditions="; ".join(map(_from_depth, COUNTINGS)) if answer == "holds when" else "",
        because=(*map(_growth, COUNTINGS), *_measurement(whole, wrong)),
        figures=("field_vs_depth", "fields"),
        not_tested=(
            f"Kernel sizes other than {', '.join(map(str, KERNEL_SIZES))} in the arithmetic.",
            *([f"The field in {cut} runs on sequences shorter than it."] if cut else []),
        ),
    )


def _measured(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of a finite receptive field whose field was measured."""
    columns = ["receptive_field", "measured_field", "seen_steps"]
    if not set(columns) <= set(runs.columns):
        return pd.DataFrame(columns=[*columns, "task", "T", "model", "seed"])
    known = runs.assign(**{column: pd.to_numeric(runs[column]) for column in columns})
    return known.dropna(subset=columns)


def _from_depth(counting: _Counting) -> str:
    """From how many layers on the field is long, for each kernel size."""
    parts = []
    for k in KERNEL_SIZES:
        depth = counting.first_long(k)
        most = counting.depths()[-1]
        parts.append(
            f"k = {k} from {depth} layers on"
            if depth is not None
            else f"k = {k} not up to {most} layers ({counting.field(k, most)} steps)"
        )
    return f"with {counting.words}, {', '.join(parts)}"


def _growth(counting: _Counting) -> str:
    fewest, most = counting.depths()[0], counting.depths()[-1]
    per_layer = counting.convolutions_per_block // counting.layers_per_block
    fields = ", ".join(
        f"{counting.field(k, fewest):,} to {counting.field(k, most):,} for k = {k} "
        f"(undilated {1 + per_layer * (k - 1) * most} at most)"
        for k in KERNEL_SIZES
    )
    return f"With {counting.words}, {fewest} to {most} layers see {fields} steps."


def _measurement(whole: pd.DataFrame, wrong: pd.DataFrame) -> list[str]:
    if whole.empty:
        return ["No run measured a receptive field."]
    fields = whole["receptive_field"]
    said = [
        f"Measured by perturbing inputs, {len(whole) - len(wrong)} of {len(whole)} runs have the "
        f"field that was computed; {fields.nunique()} different fields, {span(fields)} "
        "steps."
    ]
    for row in wrong.head(3).to_dict("records"):
        said.append(
            f"{row['model']} on {row['task']} at T = {row['T']}, seed {row['seed']}: "
            f"{row['measured_field']:.0f} measured, {row['receptive_field']:.0f} computed."
        )
    return said
