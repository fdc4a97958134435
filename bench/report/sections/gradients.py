"""Gradients of the loss through time."""

from collections.abc import Iterator, Sequence
from functools import partial

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import drawing, facets
from bench.report.data import Data
from bench.report.distance import by_distance, draw_by_distance
from bench.report.facets import AT_THE_START, TRAINED, Style, at_the_longest
from bench.report.section import Item, Picture, Section
from bench.report.sections.fields import probed_records

SMALLEST_GRADIENT = 1e-10
"""Smaller norms, zero among them, are drawn at it."""


def build(data: Data) -> Iterator[Item]:
    gradients = by_distance(probed_records(data), data.source.labels, "loss_gradient")
    if len(gradients):
        yield Picture(
            name="gradients",
            draw=partial(gradients_figure, gradients, data.style),
            caption="Norm of the loss's gradient with respect to the input of so many steps ago, "
            "before and after training; geometric mean and range over seeds.",
        )


def gradients_figure(gradients: pd.DataFrame, style: Style) -> Figure:
    """Norm of the loss's gradient against the distance of the input, at the start and trained.

    One T per task, the longest that most models have. Dotted: distance T. The panels of a row
    share their y axis.
    """
    gradients, counts = facets.first_models(at_the_longest(gradients), style)
    parts = facets.parts(gradients)
    moments = (AT_THE_START, TRAINED)
    num_columns = len(moments) * min(len(parts), 2)
    cells: list[tuple[str, pd.DataFrame] | None] = []
    for task, rows in gradients.groupby("task_label", sort=False):
        title = f"{task}, T = {rows['T'].iloc[0]}"
        for part, models in parts.items():
            of_part = rows[rows["model_label"].isin(models)]
            for moment in moments:
                name = f"{title}\n{moment}" + (f", {part}" if part else "")
                at = of_part[of_part["moment"] == moment]
                cells.append((name, at) if len(at) else None)
        cells += [None] * (-len(cells) % num_columns)
    figure, axes = _grid([cell and cell[0] for cell in cells], num_columns, counts)
    for i, (panel, cell) in enumerate(zip(axes, cells, strict=False)):
        if cell is None or panel is None:
            continue
        _, rows = cell
        draw_by_distance(panel, rows, style, SMALLEST_GRADIENT)
        panel.axvline(rows["T"].iloc[0], color=drawing.GREY, ls=":", lw=1.2, label="distance T")
        if i % num_columns == 0:
            panel.set_ylabel("norm of the loss's gradient\nwith respect to one input", fontsize=9)
    drawing.shared_legend(figure, [panel for panel in axes if panel is not None], style)
    return figure


def _grid(
    titles: Sequence[str | None], num_columns: int, counts: facets.Counts
) -> tuple[Figure, list[Axes | None]]:
    """Titled panels row by row, those of a row on one y axis; None leaves a place empty."""
    num_titles, titles = len(titles), titles[: facets.MOST_PANELS]
    num_rows = len(titles) // num_columns
    width = drawing.PANEL[0] if num_columns < 3 else 2.7
    with mpl.rc_context(drawing.GRID):
        figure = Figure(figsize=(width * num_columns, 2.5 * num_rows + 0.6), layout="constrained")
        axes = figure.subplots(num_rows, num_columns, squeeze=False, sharey="row").flat
    panels: list[Axes | None] = []
    for panel, title in zip(axes, titles, strict=True):
        if title is None:
            panel.remove()
        else:
            panel.set_title(title, fontsize=9, y=1.0)
        panels.append(None if title is None else panel)
    facets.note_what_is_shown(figure, {**counts, "panels": (len(titles), num_titles)})
    return figure, panels


SECTION = Section(title="Gradients through time", order=50, build=build)
