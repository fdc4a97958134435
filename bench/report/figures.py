"""Frames → figures, a function a figure. Colour, marker and dash of a model are the same in all."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import itertools
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from bench.core.records import is_share
from bench.report import facets
from bench.report.facets import Style

PANEL = (3.4, 2.8)
"""Width and height of a panel, in inches."""
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">"]
DASHES = ["-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
DODGE = 0.035
"""Sideways distance between models, as a share of T, so that equal scores stay apart."""
MOST_DODGE = 0.25
"""From the first model of a panel to its last, and never more than half the way to the next T."""
LEAST_GAP = 0.04
"""Between two labels of an axis, as a share of its length."""
MOST_LENGTHS, MOST_SEEDS = 9, 5
"""Panels of learning curves, and curves of a model in one of them."""
NO_COUNTS: facets.Counts = {}
LEGEND_COLUMNS = 6
LEGEND_ROWS, LEGEND_ROW = 2, 0.2
"""Rows of a legend that a figure has room for; the height of a further one, in inches."""

mpl.rcParams["svg.hashsalt"] = "bench"  # the same identifiers in every run
mpl.rcParams["svg.fonttype"] = "none"


def styles(models: Sequence[str]) -> Style:
    """Colour, marker and dash a model label, told apart without colour too; plain models first."""
    # Its fourth colour is hard to tell from the second in grey: it comes last.
    palette = sns.color_palette("colorblind", 10)
    palette = [*palette[:3], *palette[4:], palette[3]]
    return {
        model: {
            "color": palette[i % len(palette)],
            # Where colours come round again, markers are others.
            "marker": MARKERS[(i + 3 * (i // len(palette))) % len(MARKERS)],
            "linestyle": DASHES[i % len(DASHES)],
        }
        for i, model in enumerate(sorted(models, key=lambda model: (" " in model, model)))
    }


def titled_panels(
    titles: Sequence[str], num_columns: int = 3, counts: facets.Counts = NO_COUNTS
) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel each; of more than it holds the first ones.

    `counts`: what else is not all shown.
    """
    num_titles, titles = len(titles), titles[: facets.MOST_PANELS]
    num_columns = 2 if len(titles) == 4 else min(num_columns, len(titles))
    num_rows = -(-len(titles) // num_columns)
    with sns.axes_style("whitegrid"):
        figure = Figure(
            figsize=(PANEL[0] * num_columns, PANEL[1] * num_rows + 0.5), layout="constrained"
        )
        axes = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for panel, title in zip(axes, titles, strict=False):
        panel.set_title(title, fontsize=10, y=1.0)  # without y it is searched for at each draw
    for panel in axes[len(titles) :]:
        panel.remove()
    facets.say_what_is_shown(figure, {**counts, "panels": (len(titles), num_titles)})
    return figure, axes[: len(titles)]


def log_lengths(panel: Axes, lengths: Sequence[int]) -> None:
    """A logarithmic axis of T, labelled at the lengths that were run and whose labels fit."""
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
    panel.set_xlabel("dependency length T (steps)", fontsize=9)


def short(value: float, _: object = None) -> str:
    """`500`, `20k`, `2M`."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"


def shared_legend(figure: Figure, panels: Sequence[Axes], style: Style) -> None:
    """One legend for all panels, below them, the models of the style first."""
    entries: dict[str, object] = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    entries = {name: entries[name] for name in [*style, *entries] if name in entries}
    if entries:
        widest = 0.55 + 0.07 * max(map(len, entries))  # of an entry, in inches
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


def show_dollars(figure: Figure) -> None:
    """Names are no formulas, whatever they hold; the labels of an axis's ticks may be."""
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    ticks = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for label in figure.findobj(Text):
        if label not in ticks:
            label.set_parse_math(False)


def show_all_of_a_share(panel: Axes, values: Sequence[float], unit: str = "share of") -> None:
    """From 0 to 1, where that is what the values lie between and the unit is no other."""
    if is_share(unit) and all(0 <= value <= 1 for value in values):
        panel.set_ylim(-0.03, 1.04)


def dodged(lengths: pd.Series, i: int, num_models: int) -> pd.Series:
    """Where the points of the i-th of so many models stand; lengths rise."""
    room = (lengths.pct_change().dropna() / 2).min() if len(lengths) > 1 else MOST_DODGE
    apart = min(DODGE, min(room, MOST_DODGE) / num_models)
    return lengths * (1 + apart * (i - (num_models - 1) / 2))


def curves(
    frame: pd.DataFrame,
    style: Style,
    draw: Callable[[Axes, pd.DataFrame, pd.Series, dict], None],
    num_columns: int = 3,
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A panel a task, a line a model; `draw` is given panel, rows, x and keywords of a line.

    A frame that knows the `family` of its models has several panels of a task with many; one with
    a column `panel` is split already.
    """
    frame, counts = facets.first_models(frame, style)
    if "panel" not in frame:
        by_task = [rows for _, rows in frame.groupby("task", sort=False)]
        frame = pd.concat(facets.split(rows, facets.parts(rows)) for rows in by_task)
    titles = list(dict.fromkeys(frame["panel"]))
    figure, axes = titled_panels(titles, num_columns, counts)
    panels = []
    for panel, title in zip(axes, titles, strict=False):
        rows = frame[frame["panel"] == title]
        for model, look, i, num_models in facets.lines(rows, style):
            line = rows[rows["model"] == model].sort_values("T")
            look = {"label": model, "markersize": 5, "linewidth": 1.5, **look}
            draw(panel, line, dodged(line["T"], i, num_models), look)
        log_lengths(panel, sorted(rows["T"].unique()))
        panels.append((panel, rows))
    return figure, panels


def score_against_length(
    scores: pd.DataFrame, solved_at: Mapping[str, float], style: Style, num_columns: int = 3
) -> Figure:
    """Mean test score against T; band: range over seeds; chance dashed, `solved` dotted."""

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict) -> None:
        panel.plot(x, line["mean"], **look)
        panel.fill_between(x, line["min"], line["max"], color=look["color"], alpha=0.18, lw=0)
        if len(line) == 1:  # a band of one length has no width
            spread = [line["mean"] - line["min"], line["max"] - line["mean"]]
            panel.errorbar(x, line["mean"], spread, color=look["color"], capsize=3, fmt="none")

    figure, panels = curves(scores, style, draw, num_columns)
    for panel, rows in panels:
        task = rows["task"].iloc[0]
        panel.axhline(rows["chance"].iloc[0], color="0.35", ls=(0, (6, 3)), lw=1, label="chance")
        if task in solved_at:
            panel.axhline(solved_at[task], color="0.35", ls=":", lw=1.2, label="solved")
        name, unit = rows["score"].iloc[0].replace("_", " "), rows["unit"].iloc[0]
        show_all_of_a_share(panel, [*rows["min"], *rows["max"]], unit)
        panel.set_ylabel(f"test {name}\n({unit})", fontsize=9)
    shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


def solved_share(scores: pd.DataFrame, style: Style) -> Figure:
    """Share of seeds that solve the task against T, with Wilson 95% intervals."""
    scores = scores[scores["solved"].notna()]

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict) -> None:
        share = line["solved"] / line["seeds"]
        spread = [share - line["share_low"], line["share_high"] - share]
        panel.errorbar(x, share, spread, capsize=2, elinewidth=0.8, **look)

    figure, panels = curves(scores, style, draw)
    for panel, _ in panels:
        panel.set_ylim(-0.05, 1.05)
        panel.set_ylabel("share of seeds that solve it", fontsize=9)
    shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


def cost_against_length(cost: pd.DataFrame, column: str, axis_label: str, style: Style) -> Figure:
    """A column of a frame against T, both axes logarithmic; a band from `low` to `high`, if any."""
    cost = cost[cost[column].notna()]

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict) -> None:
        panel.plot(x, line[column], **look)
        if "low" in line:
            panel.fill_between(x, line["low"], line["high"], color=look["color"], alpha=0.18, lw=0)

    figure, panels = curves(cost, style, draw)
    for panel, _ in panels:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(short))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_ylabel(axis_label, fontsize=9)
    shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


def horizon_against_cost(reached: pd.DataFrame, style: Style) -> Figure:
    """What is paid for what is remembered: horizon against each cost, a panel a task and cost.

    `reached` has a row a task, model and cost: `horizon`, `mark` (=, ≥ or <), `cost`, `value`.
    """
    reached, counts = facets.first_models(reached, style)
    panels = list(dict.fromkeys(zip(reached["task"], reached["cost"], strict=True)))
    figure, axes = titled_panels([task for task, _ in panels], num_columns=4, counts=counts)
    for panel, (task, cost) in zip(axes, panels, strict=False):
        rows = reached[(reached["task"] == task) & (reached["cost"] == cost)]
        for row in rows.to_dict("records"):
            look = style[row["model"]]
            face = "none" if row["mark"] == "<" else look["color"]
            panel.plot(
                row["value"],
                row["horizon"],
                label=row["model"],
                ls="none",
                marker=look["marker"],
                ms=8,
                mec=look["color"],
                mfc=face,
            )
        bounds = rows[rows["mark"] != "="]
        for (mark, horizon), group in bounds.groupby(["mark", "horizon"]):
            middle = (group["value"].min() * group["value"].max()) ** 0.5
            panel.annotate(
                f"{mark} {horizon}",
                (middle, horizon),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        panel.set_xscale("log")
        panel.set_yscale("log")
        low, high = rows["value"].min(), rows["value"].max()
        panel.set_xlim(low / 1.6, high * 1.6)
        panel.set_ylim(rows["horizon"].min() / 1.4, rows["horizon"].max() * 1.7)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(short))
            axis.set_minor_locator(NullLocator())
        panel.tick_params(labelsize=8)
        panel.set_xlabel(cost, fontsize=9)
        panel.set_ylabel("horizon T (steps)", fontsize=9)
    shared_legend(figure, axes, style)
    return figure


def learning_figure(curves: pd.DataFrame, style: Style) -> Figure:
    """Validation score against updates, a panel a length, a thin line a seed; of one task.

    At most nine lengths, evenly spread; eight models, as the style has them; five seeds of each.
    """
    all_lengths, there = sorted(curves["T"].unique()), set(curves["model"])
    lengths = facets.spread(all_lengths, MOST_LENGTHS)
    models = [model for model in style if model in there][: facets.MOST_LINES]
    all_seeds = curves["seed"].unique()
    shown = curves[curves["model"].isin(models) & curves["seed"].isin(all_seeds[:MOST_SEEDS])]
    task = curves["task"].iloc[0]
    titles = [f"{task}, T = {length}" for length in lengths]
    counts = {
        "lengths": (len(lengths), len(all_lengths)),
        "models": (len(models), len(there)),
        "seeds": (min(MOST_SEEDS, len(all_seeds)), len(all_seeds)),
    }
    figure, axes = titled_panels(titles, counts=counts)
    for panel, length in zip(axes, lengths, strict=True):
        rows = shown[shown["T"] == length]
        for (model, _), line in rows.groupby(["model", "seed"], sort=False):
            _learning_curve(panel, line, style[model])
        of_length = curves[curves["T"] == length]
        chance, score, unit = of_length[["chance", "score", "unit"]].iloc[0]
        panel.axhline(chance, color="0.35", ls=(0, (6, 3)), lw=1, label="chance")
        drawn = [y for line in panel.get_lines() for y in line.get_ydata()]
        show_all_of_a_share(panel, drawn, unit)
        panel.set_xlabel("updates", fontsize=9)
        panel.set_ylabel(f"validation {score.replace('_', ' ')}", fontsize=9)
        panel.tick_params(labelsize=8)
    shared_legend(figure, axes, style)
    return figure


def _learning_curve(panel: Axes, line: pd.DataFrame, look: Mapping[str, object]) -> None:
    steps, values = line["step"].to_numpy(), line["value"].to_numpy()
    colour = {"color": look["color"]}
    panel.plot(
        steps,
        values,
        label=line["model"].iloc[0],
        lw=0.9,
        alpha=0.8,
        ls=look["linestyle"],
        **colour,
    )
    # Where the line ends, since a run that solves the task stops early.
    panel.plot(steps[-1], values[-1], marker=look["marker"], ms=4, ls="none", **colour)
