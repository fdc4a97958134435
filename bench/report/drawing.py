"""Helpers of all figures: the look of models, panels, axes and legends."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from bench.core.records import is_share
from bench.report import facets
from bench.report.facets import Style

PANEL = (3.4, 2.8)
"""Width and height of a panel, in inches."""
GRID: dict[Any, Any] = dict(sns.axes_style("whitegrid"))
"""Settings of matplotlib for panels: a light grid, no ticks."""
_PALETTE = sns.color_palette("colorblind", 10).as_hex()
COLOURS = [*_PALETTE[:3], *_PALETTE[4:], _PALETTE[3]]
"""The fourth colour comes last, since it is hard to tell from the second in grey."""
SHADES = [0.0, -0.35, 0.35]
"""Shares of white, or of black where negative, of a model and its variants in turn."""
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">"]
DASHES = ["-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
DOTTED_AGAIN = {"linestyle": (0, (1, 2)), "alpha": 0.6}
"""Keywords of a model's second line, in addition to its colour and marker."""
DODGE = 0.035
"""Sideways distance between models, as a share of T, which keeps equal scores apart."""
MOST_DODGE = 0.25
"""Largest distance from the first to the last model of a panel, as a share of T."""
LEAST_GAP = 0.04
"""Least distance between two labels of an axis, as a share of its length."""
NO_COUNTS: facets.Counts = {}
NO_NAMES: Mapping[str, str] = {}
LENGTH_IS = "dependency length T"
"""What T is on most tasks."""
LEGEND_COLUMNS = 6
LEGEND_ROWS, LEGEND_ROW = 2, 0.2
"""Rows of a legend that fit a figure without more height; height of each further row, in inches."""
GREY = "0.35"
IMPROVING = "hollow: a failing seed was improving"

mpl.rcParams["svg.hashsalt"] = "bench"  # the same identifiers in every run
mpl.rcParams["svg.fonttype"] = "none"


def styles(plain: Iterable[str], variants: Iterable[str] = ()) -> Style:
    """Colour, marker and dash of each model label, plain models first.

    A variant has a shade of its model's colour. Models can be told apart without colour too.
    """
    plain, variants = sorted(set(plain)), sorted(set(variants))
    model_of = {label: label.partition(" ")[0] for label in variants}
    models = dict.fromkeys([*plain, *sorted(model_of.values())])
    place = {model: i for i, model in enumerate(models)}
    numbers = {model: itertools.count(1) for model in models}
    looks = [(label, place[label], 0) for label in plain]
    looks += [(label, place[model], next(numbers[model])) for label, model in model_of.items()]
    return {label: _look(i, number) for label, i, number in looks}


def _look(place: int, number: int) -> dict[str, Any]:
    """The look of a model, or of its variant with this number from 1."""
    again = place // len(COLOURS)
    return {
        "color": _shade(COLOURS[place % len(COLOURS)], SHADES[number % len(SHADES)]),
        # If a colour is used again, the marker differs. Dashes take two steps per variant, so that
        # a variant does not have the marker and dash of the next model.
        "marker": MARKERS[(place + 3 * again + number) % len(MARKERS)],
        "linestyle": DASHES[(place + 2 * number) % len(DASHES)],
    }


def _shade(colour: str, share: float) -> str:
    """A colour mixed with a share of white, or of black where the share is negative."""
    target = float(share > 0)
    red, green, blue = (part + abs(share) * (target - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def titled_panels(
    titles: Sequence[str], num_columns: int = 3, counts: facets.Counts = NO_COUNTS
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel per title, up to the most panels of a figure.

    `counts` names what else is shown only in part.
    """
    num_titles, titles = len(titles), titles[: facets.MOST_PANELS]
    num_columns = 2 if len(titles) == 4 else min(num_columns, len(titles))
    num_rows = -(-len(titles) // num_columns)
    with mpl.rc_context(GRID):
        figure = Figure(
            figsize=(PANEL[0] * num_columns, PANEL[1] * num_rows + 0.5), layout="constrained"
        )
        axes = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for panel, title in zip(axes, titles, strict=False):
        panel.set_title(title, fontsize=10, y=1.0)  # without y, each draw searches for it
    for panel in axes[len(titles) :]:
        panel.remove()
    facets.note_what_is_shown(figure, {**counts, "panels": (len(titles), num_titles)})
    return figure, axes[: len(titles)]


def log_lengths(panel: Axes, lengths: Sequence[float]) -> None:
    """A logarithmic axis of T, labelled at the lengths that were run where the labels fit."""
    span = max(lengths) / min(lengths)
    labelled: list[float] = []
    for length in lengths:
        if not labelled or length > labelled[-1] * span**LEAST_GAP:
            labelled.append(length)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator(list(lengths)))
    panel.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if value in labelled else "")
    )
    panel.xaxis.set_minor_locator(NullLocator())
    crowded = any(later < 1.25 * earlier for earlier, later in itertools.pairwise(lengths))
    panel.tick_params(labelsize=8)
    panel.tick_params(axis="x", rotation=45 if crowded or len(lengths) > 8 else 0)
    panel.set_xlim(min(lengths) / 1.2, max(lengths) * 1.2)
    length_label(panel)


def length_label(panel: Axes, length_is: str = LENGTH_IS) -> None:
    panel.set_xlabel(f"{length_is} (steps)", fontsize=9)


def short(value: float, _: object = None) -> str:
    """`500`, `20k`, `2M`, `5G`, `1T`."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"


def shared_legend(figure: Figure, panels: Sequence[Axes], style: Style) -> None:
    """One legend for all panels, below them, with the models of the style first."""
    entries: dict[str, Any] = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    entries = {name: entries[name] for name in [*style, *entries] if name in entries}
    for name, handle in entries.items():
        # A marker that happens to be hollow in the last panel would stand for all of them.
        if name in style and isinstance(handle, Line2D):
            entries[name] = copy(handle)
            entries[name].set_markerfacecolor(style[name]["color"])
    if entries:
        widest = 0.55 + 0.07 * max(map(len, entries))  # width of an entry, in inches
        fit = max(int(figure.get_figwidth() / widest), 1)
        num_columns = min(len(entries), fit, LEGEND_COLUMNS)
        more_rows = max(-(-len(entries) // num_columns) - LEGEND_ROWS, 0)
        figure.set_figheight(figure.get_figheight() + LEGEND_ROW * more_rows)
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=num_columns,
            fontsize=9,
            frameon=False,
        )


def show_all_of_a_share(panel: Axes, values: Sequence[float], unit: str = "share of") -> None:
    """Show the axis from 0 to 1 where the values are shares."""
    if is_share(unit) and all(0 <= value <= 1 for value in values):
        panel.set_ylim(-0.03, 1.04)


def dodged(lengths: pd.Series, i: int, num_models: int) -> pd.Series:
    """The x positions of the i-th of `num_models` models; the lengths are sorted."""
    room = (lengths.pct_change().dropna() / 2).min() if len(lengths) > 1 else MOST_DODGE
    apart = min(DODGE, min(room, MOST_DODGE) / num_models)
    return lengths * (1 + apart * (i - (num_models - 1) / 2))


def curves(
    frame: pd.DataFrame,
    style: Style,
    draw: Callable[[Axes, pd.DataFrame, pd.Series, dict[str, Any]], None],
    num_columns: int = 3,
    length_is: Mapping[str, str] = NO_NAMES,
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """One panel per task and one line per model; the panels, each with its rows.

    `draw` gets a panel, the rows of a line, their x and the line's keywords. A task with many
    models has one panel per family. A frame with a column `panel` is split by it instead.
    `length_is`: task label → what T is on this task, where it is not the dependency length.
    """
    frame, counts = facets.first_models(frame, style)
    if "panel" not in frame:
        by_task = [rows for _, rows in frame.groupby("task_label", sort=False)]
        frame = pd.concat(facets.split(rows, facets.parts(rows)) for rows in by_task)
    titles = list(dict.fromkeys(frame["panel"]))
    figure, axes = titled_panels(titles, num_columns, counts)
    panels = []
    for panel, title in zip(axes, titles, strict=False):
        rows = frame[frame["panel"] == title]
        for model, look, i, num_models in facets.lines(rows, style):
            line = rows[rows["model_label"] == model].sort_values("T")
            look = {"label": model, "markersize": 5, "linewidth": 1.5, **look}
            draw(panel, line, dodged(line["T"], i, num_models), look)
        log_lengths(panel, sorted(rows["T"].unique()))
        length_label(panel, length_is.get(rows["task_label"].iloc[0], LENGTH_IS))
        panels.append((panel, rows))
    return figure, panels


def score_against_length(
    scores: pd.DataFrame,
    solved_at: Mapping[str, float],
    style: Style,
    num_columns: int = 3,
    length_is: Mapping[str, str] = NO_NAMES,
) -> Figure:
    """Mean test score against T; band: range over seeds; chance dashed, `solved` dotted.

    Hollow markers: a seed that does not solve the task was improving when it ended.
    """

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict[str, Any]) -> None:
        panel.plot(x, line["mean"], **look)
        hollow(panel, x, line["mean"], line["improving"] > 0, look)
        band(panel, x, line["min"], line["max"], look)
        if len(line) == 1:  # a band of one length has no width
            spread = [line["mean"] - line["min"], line["max"] - line["mean"]]
            panel.errorbar(x, line["mean"], spread, color=look["color"], capsize=3, fmt="none")

    figure, panels = curves(scores, style, draw, num_columns, length_is)
    for panel, rows in panels:
        score_axis(panel, rows, solved_at)
    shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


def cost_against_length(cost: pd.DataFrame, column: str, axis_label: str, style: Style) -> Figure:
    """A column against T, both axes logarithmic; a band from `low` to `high` where they are."""
    cost = cost[cost[column].notna()]

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict[str, Any]) -> None:
        panel.plot(x, line[column], **look)
        if "low" in line:
            band(panel, x, line["low"], line["high"], look)

    figure, panels = curves(cost, style, draw)
    for panel, _ in panels:
        panel.set_yscale("log")
        logarithmic(panel.yaxis)
        panel.set_ylabel(axis_label, fontsize=9)
    shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


def score_axis(panel: Axes, rows: pd.DataFrame, solved_at: Mapping[str, float]) -> None:
    """The y axis of test scores, with lines at chance and at the score that counts as solved."""
    levels(panel, rows["chance"].iloc[0], solved_at.get(rows["task_label"].iloc[0]))
    name, unit = rows["score"].iloc[0].replace("_", " "), rows["unit"].iloc[0]
    show_all_of_a_share(panel, [*rows["min"], *rows["max"]], unit)
    panel.set_ylabel(f"test {name}\n({unit})", fontsize=9)


def levels(panel: Axes, chance: float | None, solved: float | None) -> None:
    """Lines at chance and at the score that counts as solved, where they are known."""
    if chance is not None:
        panel.axhline(chance, color=GREY, ls=(0, (6, 3)), lw=1, label="chance")
    if solved is not None:
        panel.axhline(solved, color=GREY, ls=":", lw=1.2, label="solved")


def hollow(
    panel: Axes, x: pd.Series, y: pd.Series, where: pd.Series, look: Mapping[str, Any]
) -> None:
    """Make the markers of a line hollow where a seed might have solved the task with more updates.

    The first such marker of a panel adds the entry that explains it to the legend.
    """
    if not where.any():
        return
    mark = {name: look[name] for name in ("marker", "color") if name in look}
    size = look.get("markersize", 5)
    panel.plot(x[where], y[where], ls="none", mfc="white", ms=size, zorder=2.5, **mark)
    if IMPROVING not in panel.get_legend_handles_labels()[1]:
        explain(panel, IMPROVING, marker="o", mfc="white", ms=5)


def explain(panel: Axes, label: str, **look: Any) -> None:
    """Add a legend entry for a mark that all models share."""
    panel.add_line(Line2D([], [], color=GREY, ls="none", label=label, **look))


def band(panel: Axes, x: Any, low: Any, high: Any, look: Mapping[str, Any]) -> None:
    """A shaded range in the colour of a line."""
    panel.fill_between(np.asarray(x), low, high, color=look["color"], alpha=0.18, lw=0)


def logarithmic(axis: Axis, marks: Sequence[float] = (1, 2, 5)) -> None:
    """Short plain numbers at so many times the powers of ten."""
    axis.set_major_locator(LogLocator(subs=marks))
    axis.set_major_formatter(FuncFormatter(short))
    axis.set_minor_locator(NullLocator())
