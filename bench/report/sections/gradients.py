"""Gradients of the loss through time."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.report import drawing, facets
from bench.report.data import Data
from bench.report.distance import by_distance, draw_by_distance
from bench.report.facets import Style, at_the_longest
from bench.report.section import Item, Picture, Section
from bench.report.sections._shared import panels
from bench.report.sections.fields import probed_records

SMALLEST_GRADIENT = 1e-10
"""Smaller norms, zero among them, are drawn at it."""


def build(data: Data) -> Iterator[Item]:
    gradients = by_distance(probed_records(data), data.source.labels, "loss_gradient")
    if len(gradients):
        yield Picture(
            name="gradients",
            draw=partial(gradients_figure, gradients, data.style),
            caption="Norm of the loss's gradient with respect to each past input, before and "
            "after training, at one T per task. Lines: geometric mean over seeds; bands: range. "
            "Vertical dotted line: distance T.",
        )


def gradients_figure(gradients: pd.DataFrame, style: Style) -> Figure:
    """Norm of the loss's gradient against the distance of the input, at the start and trained.

    One T per task, the longest that most models have. Dotted: distance T. Both moments share
    one y axis.
    """
    gradients = at_the_longest(gradients)
    title = gradients["task_label"] + ", T = " + gradients["T"].astype(str)
    gradients = gradients.assign(title=title)
    num_columns = 2 * min(len(facets.parts(gradients)), 2)
    figure, filled = panels(
        gradients, style, title="title", detail="moment", num_columns=num_columns
    )
    figure.set_figwidth(5.4 + 1.4 * num_columns)
    axes = [panel for panel, _ in filled]
    for i, (panel, rows) in enumerate(filled):
        if i % 2:
            panel.sharey(axes[i - 1])
            panel.tick_params(labelleft=False)
        if i % num_columns == 0:
            panel.set_ylabel("norm of the loss's gradient\nwith respect to one input", fontsize=9)
        draw_by_distance(panel, rows, style, SMALLEST_GRADIENT)
        panel.axvline(rows["T"].iloc[0], color=drawing.GREY, ls=":", lw=1.2, label="distance T")
    drawing.shared_legend(figure, axes, style)
    return figure


SECTION = Section(title="Gradients through time", order=50, build=build)
