"""Helpers that several sections use: means over seeds, and panels per task and part."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import drawing, facets, runs
from bench.report.facets import Style
from bench.report.frame import ROW, Table, rows_of

FIGURES = "Main findings in figures"
"""Title of the sections whose figures carry the messages of a report."""
MOST_PANELS = 6
"""Most panels of such a figure."""
ENDS_EARLY = (
    "Most runs end once they have clearly solved the task, so a score at or above the dotted line "
    "says that it is solved, and no more."
)
"""What a caption says of scores beyond the threshold."""
Panels = list[tuple[Axes, pd.DataFrame]]
"""The panels of a figure, each with its rows."""


def over_seeds(
    table: Table, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> pd.DataFrame:
    """The table with the mean and range of `value` over the rows that agree in `ROW` and `keys`."""
    if not rows:
        return table.of([])
    values = pd.DataFrame(rows).astype({"value": "float64"})
    return table.of(rows_of(runs.over_seeds(values, [*ROW, *keys])))


def dotted_again(style: Style, suffix: str) -> Style:
    """The style with a second, dotted line for each model, whose label ends in the suffix."""
    again = {f"{model}{suffix}": {**look, **drawing.DOTTED_AGAIN} for model, look in style.items()}
    return {**style, **again}


def panels(
    frame: pd.DataFrame,
    style: Style,
    *,
    title: str = "task_label",
    detail: str | None = None,
    num_columns: int | None = None,
) -> tuple[Figure, Panels]:
    """An empty figure with one panel per title, family (where models are many) and detail.

    `title` and `detail` name columns; their values are the first and second line of the titles.
    """
    frame, counts = facets.first_models(frame, style)
    parts = facets.parts(frame)
    cells = []
    for name, rows in frame.groupby(title, sort=False):
        for part, of_part in facets.in_parts(rows, parts):
            for value, shown in of_part.groupby(detail, sort=False) if detail else [("", of_part)]:
                second = ", ".join(filter(None, (str(value), part)))
                cells.append((f"{name}\n{second}" if second else str(name), shown))
    titles = [name for name, _ in cells]
    num_columns = num_columns or facets.num_columns(parts)
    figure, axes = drawing.titled_panels(titles, num_columns, counts)
    return figure, [(panel, rows) for panel, (_, rows) in zip(axes, cells, strict=False)]


def curves_against(
    column: str,
    axis_label: str,
    frame: pd.DataFrame,
    style: Style,
    draw: Callable[[Axes, pd.DataFrame, pd.Series, dict[str, Any]], None],
    *,
    detail: str | None = None,
    num_columns: int | None = None,
) -> tuple[Figure, Panels]:
    """A figure with one line per model against a column on a logarithmic axis.

    `draw` gets a panel, the rows of a line, their x and the line's keywords.
    """
    figure, filled = panels(frame, style, detail=detail, num_columns=num_columns)
    for panel, rows in filled:
        for model, look, i, num_models in facets.lines(rows, style):
            line = rows[rows["model_label"] == model].sort_values(column)
            look = {"label": model, "markersize": 5, "linewidth": 1.5, **look}
            draw(panel, line, drawing.dodged(line[column], i, num_models), look)
        drawing.log_lengths(panel, sorted(rows[column].unique()))
        panel.set_xlabel(axis_label, fontsize=9)
    return figure, filled
