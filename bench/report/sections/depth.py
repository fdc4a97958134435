"""The receptive field of dilated layers against their number, by arithmetic."""

from collections.abc import Iterator
from functools import partial

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from bench.report.claims import KERNEL_SIZES, dilated_field
from bench.report.data import Data
from bench.report.drawing import GREY, shared_legend, short, styles, titled_panels
from bench.report.section import Item, Picture, Section

CONVOLUTIONS_PER_LAYER = (1, 2)
DEPTHS = range(1, 11)


def build(data: Data) -> Iterator[Item]:
    yield Picture(
        name="field_vs_depth",
        draw=partial(field_by_depth),
        caption="Receptive field against depth by formula: 1 + c·(k − 1)·(2ⁿ − 1) steps for n "
        "layers of c convolutions with k taps, whose dilation doubles from layer to layer. "
        "Dotted: 100 steps.",
    )


def field_by_depth() -> Figure:
    """One colour per kernel size. Solid: one convolution per layer; dashed: two."""
    figure, (panel,) = titled_panels(["dilation 1, 2, 4, …"])
    figure.set_size_inches(5.2, 4.2)
    looks = styles([str(size) for size in KERNEL_SIZES])
    for convolutions in CONVOLUTIONS_PER_LAYER:
        for size in KERNEL_SIZES:
            panel.plot(
                list(DEPTHS),
                [dilated_field(size, depth, convolutions) for depth in DEPTHS],
                color=looks[str(size)]["color"],
                marker=looks[str(size)]["marker"],
                # k = 2 with two convolutions equals k = 3 with one: a hollow marker shows both.
                ms=4 if convolutions == 1 else 8,
                mfc=None if convolutions == 1 else "none",
                lw=1.5,
                ls="-" if convolutions == 1 else "--",
                label=f"k = {size}, {convolutions} a layer",
            )
    panel.axhline(100, color=GREY, ls=":", lw=1.2, label="100 steps")
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(short))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_locator(FixedLocator(list(DEPTHS)))
    panel.tick_params(labelsize=8)
    panel.set_xlabel("depth (layers)", fontsize=9)
    panel.set_ylabel("receptive field (steps)", fontsize=9)
    shared_legend(figure, [panel], {})
    return figure


SECTION = Section(title="Receptive field", order=40, build=build)
