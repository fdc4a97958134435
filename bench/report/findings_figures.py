"""Frames of `bench.report.findings` → figures, a function a figure.

A frame is not empty. Colour, marker and dash of a model are those of the style, as in every other
figure. Where a panel would have more than `MOST_LINES` models, each family has a panel of its own.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from bench.report import facets, figures
from bench.report.facets import AT_THE_START, TRAINED, Style, at_the_longest

MOST_LENGTHS = 3
"""Trained lengths a task in the figure of other lengths."""
SMALLEST_GRADIENT = 1e-10
"""Smaller norms, zero among them, are drawn at it."""
SMALLEST_INFLUENCE = 1e-6
"""The same for shares of the largest."""
VARIANT = {"linewidth": 1.1, "markersize": 4}
PLAIN = {"linewidth": 2.8, "markersize": 6, "zorder": 1.5}  # behind the thinner lines
GREY = "0.35"


def gradients_figure(gradients: pd.DataFrame, style: Style) -> Figure:
    """Norm of the loss's gradient against the distance of the input, at the start and trained.

    One T a task, the longest that most models have. Line: geometric mean over seeds; band: range
    over seeds; a norm below 1e-10 is drawn at 1e-10, so that a line along the floor says nothing
    but "no more". Dotted: distance T. The panels of a row share their axis.
    """
    gradients, counts = facets.first_models(at_the_longest(gradients), style)
    parts = facets.parts(gradients)
    moments = (AT_THE_START, TRAINED)
    num_columns = len(moments) * min(len(parts), 2)
    cells: list[tuple[str, pd.DataFrame] | None] = []
    for task, rows in gradients.groupby("task", sort=False):
        title = f"{task}, T = {rows['T'].iloc[0]}"
        for part, models in parts.items():
            of_part = rows[rows["model"].isin(models)]
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
        _by_distance(panel, rows, style, SMALLEST_GRADIENT)
        panel.axvline(rows["T"].iloc[0], color=GREY, ls=":", lw=1.2, label="distance T")
        if i % num_columns == 0:
            panel.set_ylabel("norm of the loss's gradient\nwith respect to one input", fontsize=9)
    figures.shared_legend(figure, [panel for panel in axes if panel is not None], style)
    return figure


def influence_figure(influence: pd.DataFrame, fields: pd.DataFrame, style: Style) -> Figure:
    """Norm of the last output's Jacobian against the distance of the input, trained networks.

    Each seed's norms are divided by their largest. Line: geometric mean over seeds; band: range
    over seeds; a share below 1e-6 is drawn at 1e-6. Markers above the lines: where the effective
    field ends, median and range over seeds. Vertical: the first distance beyond the formula's.
    """
    trained = at_the_longest(influence[influence["moment"] == TRAINED])
    trained, counts = facets.first_models(trained, style)
    seeds = trained.groupby(["task", "T", "model", "seed"], sort=False)["value"]
    trained = trained.assign(value=(trained["value"] / seeds.transform("max")).fillna(0))
    parts = facets.parts(trained)
    cells = [
        (f"{task}, T = {rows['T'].iloc[0]}", part, of_part)
        for task, rows in trained.groupby("task", sort=False)
        for part, of_part in facets.in_parts(rows, parts)
    ]
    titles = [f"{task}\n{part}" if part else task for task, part, _ in cells]
    figure, axes = figures.titled_panels(titles, facets.num_columns(parts), counts)
    for panel, (_, _, rows) in zip(axes, cells, strict=False):
        _by_distance(panel, rows, style, SMALLEST_INFLUENCE)
        task, length = rows["task"].iloc[0], rows["T"].iloc[0]
        found = fields[(fields["task"] == task) & (fields["T"] == length)].set_index("model")
        height = 1.0
        for model, look, _, _ in facets.lines(rows, style):
            height *= 2.5
            if model in found.index:
                _mark_fields(panel, found.loc[model], height, rows["distance"].max(), look)
        panel.set_ylim(top=2.5 * height)
        panel.yaxis.set_major_locator(FixedLocator(_decades(SMALLEST_INFLUENCE, 1)))
        panel.set_ylabel("Jacobian's norm\n(share of its largest)", fontsize=9)
        _explain(panel, "receptive field (formula)", {"marker": "|", "ms": 12, "mew": 1.2})
        _explain(panel, "effective field", {"marker": "o", "ms": 6, "mec": "black"})
    figures.shared_legend(figure, axes, style)
    return figure


def _mark_fields(panel: Axes, row: pd.Series, height: float, furthest: int, look: Mapping) -> None:
    """The last distance within the effective field, the first beyond the formula's field."""
    middle, low, high = (row[f"effective_trained{end}"] - 1 for end in ("", "_min", "_max"))
    panel.errorbar(
        middle,
        height,
        xerr=[[middle - low], [high - middle]],
        marker=look["marker"],
        color=look["color"],
        ms=6,
        mec="black",
        mew=0.8,
        elinewidth=1,
        capsize=2,
    )
    if row["formula"] is not None and row["formula"] <= furthest:
        panel.axvline(row["formula"], color=look["color"], ls=look["linestyle"], lw=1)


def fields_figure(fields: pd.DataFrame, style: Style) -> Figure:
    """Receptive field by formula, by perturbation, and effective, a row a model, a panel a task.

    One T a task, the longest that most models have. ∞: the formula has no end. Triangle: older
    inputs were not there to change. Effective fields: median; bar: range over seeds. Dotted: the
    reach, what an answer may need.
    """
    fields, counts = facets.first_models(at_the_longest(fields), style)
    tasks = list(dict.fromkeys(fields["task"]))
    there = set(fields["model"])
    models = [model for model in style if model in there]
    by_task = {task: fields[fields["task"] == task].set_index("model") for task in tasks}
    titles = [f"{task}\nT = {rows['T'].iloc[0]}" for task, rows in by_task.items()]
    num_columns = 2 if len(tasks) == 4 else min(len(tasks), 3)
    num_rows = -(-len(tasks) // num_columns)
    figure, axes = figures.titled_panels(titles, num_columns, counts)
    figure.set_size_inches(2.8 * num_columns + 1.6, num_rows * (0.9 + 0.3 * len(models)) + 0.8)
    for i, (panel, rows) in enumerate(zip(axes, by_task.values(), strict=False)):
        finite = pd.to_numeric(rows["formula"]).dropna()
        largest = max([rows["measured"].max(), rows["reach"].max(), *finite])
        for y, model in enumerate(models):
            if model in rows.index:
                _fields_of(panel, rows.loc[model], y, 2 * largest, style[model]["color"])
        panel.axvline(rows["reach"].iloc[0], color=GREY, ls=":", lw=1.2, label="reach")
        panel.set_xscale("log")
        panel.set_xlim(0.8, 3 * largest)
        _plain(panel.xaxis)
        panel.set_ylim(len(models) - 0.5, -0.5)
        panel.set_yticks(range(len(models)), models if i % num_columns == 0 else [])
        panel.tick_params(labelsize=8)
        panel.set_xlabel("receptive field (steps)", fontsize=9)
        _explain(panel, "formula", {"marker": "|", "ms": 12, "mew": 2})
        _explain(panel, "formula: without end", {"marker": r"$\infty$", "ms": 10, "mew": 0.3})
        _explain(panel, "perturbation", {"marker": "o", "ms": 7, "mfc": "none"})
        _explain(panel, "perturbation: at least", {"marker": ">", "ms": 7, "mfc": "none"})
        _explain(panel, "effective at the start", {"marker": "D", "ms": 5, "mfc": "white"})
        _explain(panel, "effective, trained", {"marker": "D", "ms": 5})
    figures.shared_legend(figure, axes, {})
    return figure


def _fields_of(panel: Axes, row: pd.Series, y: int, edge: float, color: object) -> None:
    if row["formula"] is None:
        panel.plot(edge, y, marker=r"$\infty$", ms=10, mew=0.3, color=color)
    else:
        panel.plot(row["formula"], y, marker="|", ms=12, mew=2, color=color)
    shape = ">" if row["mark"] == "≥" else "o"
    panel.plot(row["measured"], y, marker=shape, ms=7, mfc="none", color=color)
    for moment, face, offset in (("start", "white", -0.2), ("trained", color, 0.2)):
        middle, low, high = (row[f"effective_{moment}{end}"] for end in ("", "_min", "_max"))
        panel.errorbar(
            middle,
            y + offset,
            xerr=[[middle - low], [high - middle]],
            marker="D",
            ms=5,
            mfc=face,
            color=color,
            elinewidth=1,
            capsize=2,
        )


def field_by_depth_figure(by_depth: pd.DataFrame) -> Figure:
    """Receptive field of doubling dilations against depth, a colour a kernel size.

    Solid: one convolution a layer; dashed: two. Horizontal: 100 steps.
    """
    figure, (panel,) = figures.titled_panels(["dilation 1, 2, 4, …"])
    figure.set_size_inches(5.2, 4.2)
    looks = figures.styles([str(size) for size in sorted(by_depth["kernel_size"].unique())])
    for (convolutions, size), rows in by_depth.groupby(["convolutions", "kernel_size"]):
        rows = rows.sort_values("depth")
        panel.plot(
            rows["depth"],
            rows["receptive_field"],
            color=looks[str(size)]["color"],
            marker=looks[str(size)]["marker"],
            # k = 2 twice a layer is k = 3 once: the hollow markers leave the other to be seen.
            ms=4 if convolutions == 1 else 8,
            mfc=None if convolutions == 1 else "none",
            lw=1.5,
            ls="-" if convolutions == 1 else "--",
            label=f"k = {size}, {convolutions} a layer",
        )
    panel.axhline(100, color=GREY, ls=":", lw=1.2, label="100 steps")
    panel.set_yscale("log")
    _plain(panel.yaxis)
    panel.xaxis.set_major_locator(FixedLocator(sorted(by_depth["depth"].unique())))
    panel.tick_params(labelsize=8)
    panel.set_xlabel("depth (layers)", fontsize=9)
    panel.set_ylabel("receptive field (steps)", fontsize=9)
    figures.shared_legend(figure, [panel], {})
    return figure


def cliff_figure(cliff: pd.DataFrame, solved_at: Mapping[str, float], style: Style) -> Figure:
    """Test score against T, a line a receptive field R, a panel a task.

    Line: mean; band: range over seeds. Vertical, in the line's look: the T from which on the reach
    exceeds R. Dashed: chance; dotted: `solved`.
    """
    by_field = cliff.drop_duplicates("model").set_index("model")["receptive_field"].sort_values()
    by_field = by_field[by_field.index.isin(list(style))]
    names = {
        model: f"R = {field}" if (by_field == field).sum() == 1 else f"R = {field} ({model})"
        for model, field in by_field.items()
    }

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict) -> None:
        panel.plot(x, line["mean"], **{**look, "label": names[look["label"]]})
        panel.fill_between(x, line["min"], line["max"], color=look["color"], alpha=0.18, lw=0)
        field, reaches = line["receptive_field"].iloc[0], line["reach"].to_numpy()
        if (np.diff(reaches) > 0).all() and reaches[0] <= field < reaches[-1]:
            at = np.interp(field, reaches, line["T"])
            panel.axvline(at, color=look["color"], ls=look["linestyle"], lw=1, alpha=0.8)

    ordered = {model: style[model] for model in by_field.index}
    figure, drawn = figures.curves(cliff, ordered, draw)
    for panel, rows in drawn:
        _score_axis(panel, rows, "test", solved_at.get(rows["task"].iloc[0]))
        _explain(panel, "reach exceeds R", {"marker": "|", "ms": 12, "mew": 1})
    figures.shared_legend(figure, [panel for panel, _ in drawn], {})
    return figure


def beyond_figure(beyond: pd.DataFrame, solved_at: Mapping[str, float], style: Style) -> Figure:
    """Test score against the tested length over the trained one, a panel a task and trained T.

    At most three T a task: the shortest, the middle and the longest. Line: mean; band: range over
    seeds. Dashed: chance; dotted: `solved`.
    """
    beyond, counts = facets.first_models(beyond, style)
    parts = facets.parts(beyond)
    cells = []
    for task, rows in beyond.groupby("task", sort=False):
        lengths = sorted(rows["T"].unique())
        if len(lengths) > MOST_LENGTHS:
            lengths = [lengths[0], lengths[len(lengths) // 2], lengths[-1]]
        cells += [
            (f"{task}\ntrained at T = {length}", part, of_part)
            for part, models in parts.items()
            for length in lengths
            if len(of_part := rows[(rows["T"] == length) & rows["model"].isin(models)])
        ]
    titles = [f"{name}, {part}" if part else name for name, part, _ in cells]
    most = min(beyond.groupby("task")["T"].nunique().max(), MOST_LENGTHS)
    num_columns = most if most > 1 else facets.num_columns(parts)
    figure, axes = figures.titled_panels(titles, num_columns, counts)
    for panel, (_, _, rows) in zip(axes, cells, strict=False):
        for model, look, i, num_models in facets.lines(rows, style):
            line = rows[rows["model"] == model].sort_values("factor")
            x = figures.dodged(line["factor"], i, num_models)
            panel.plot(x, line["mean"], label=model, ms=5, lw=1.5, **look)
            panel.fill_between(x, line["min"], line["max"], color=look["color"], alpha=0.18, lw=0)
        figures.log_lengths(panel, sorted(rows["factor"].unique()))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        panel.set_xlabel("tested length / trained length", fontsize=9)
        _score_axis(panel, rows, "test", solved_at.get(rows["task"].iloc[0]))
    figures.shared_legend(figure, axes, style)
    return figure


def rate_sensitivity_figure(
    sensitivity: pd.DataFrame,
    chance: Mapping[str, float],
    solved_at: Mapping[str, float],
    style: Style,
) -> Figure:
    """Validation score against the learning rate, a panel a task, a line a model.

    Band: lowest to highest run. Filled: the rate that was chosen; hollow: the others. A rate with
    a failed run has no score and no point. `chance` (dashed) and `solved_at` (dotted) by the
    frame's task names, where they are known.
    """
    sensitivity, counts = facets.first_models(sensitivity[sensitivity["score"].notna()], style)
    parts = facets.parts(sensitivity)
    cells = [
        (task, part, of_part)
        for task, rows in sensitivity.groupby("task", sort=False)
        for part, of_part in facets.in_parts(rows, parts)
    ]
    titles = [f"{task}\n{part}" if part else task for task, part, _ in cells]
    figure, axes = figures.titled_panels(titles, facets.num_columns(parts), counts)
    for panel, (task, _, rows) in zip(axes, cells, strict=False):
        for model, look, i, num_models in facets.lines(rows, style):
            line = rows[rows["model"] == model].sort_values("rate")
            x = figures.dodged(line["rate"], i, num_models)
            panel.plot(x, line["score"], label=model, mfc="white", ms=5, lw=1.5, **look)
            panel.fill_between(x, line["low"], line["high"], color=look["color"], alpha=0.15, lw=0)
            chosen = line["chosen"].to_numpy(dtype=bool)
            panel.plot(
                x[chosen],
                line["score"][chosen],
                ls="none",
                marker=look["marker"],
                color=look["color"],
                ms=7,
                mec="black",
                zorder=4,
            )
        figures.log_lengths(panel, sorted(rows["rate"].unique()))
        panel.set_xlabel("learning rate", fontsize=9)
        _levels(panel, chance.get(task), solved_at.get(task))
        figures.show_all_of_a_share(panel, [*rows["low"], *rows["high"]])
        panel.set_ylabel("validation score", fontsize=9)
        _explain(panel, "chosen rate", {"marker": "o", "ms": 7, "mec": "black"})
    figures.shared_legend(figure, axes, style)
    return figure


def variants_figure(scores: pd.DataFrame, solved_at: Mapping[str, float], style: Style) -> Figure:
    """Mean test score against T, a panel a task and family; plain models are thicker.

    `scores` as `bench.report.tables.scores` has them, with `family`. A family of more models than
    fit a panel has several, each with the plain model of the variants in it.
    """
    families = facets.families(scores)
    weighted = {
        model: {**look, **(VARIANT if facets.is_variant(model) else PLAIN)}
        for model, look in style.items()
    }
    return figures.score_against_length(
        facets.split(scores, families), solved_at, weighted, facets.num_columns(families)
    )


def _grid(
    titles: Sequence[str | None], num_columns: int, counts: facets.Counts
) -> tuple[Figure, list[Axes | None]]:
    """Titled panels row by row, those of a row on one y axis; None leaves the place empty.

    Of more than a figure holds the first ones. `counts`: what else is not all shown.
    """
    num_titles, titles = len(titles), titles[: facets.MOST_PANELS]
    num_rows = len(titles) // num_columns
    width = figures.PANEL[0] if num_columns < 3 else 2.7
    with sns.axes_style("whitegrid"):
        figure = Figure(figsize=(width * num_columns, 2.5 * num_rows + 0.6), layout="constrained")
        axes = figure.subplots(num_rows, num_columns, squeeze=False, sharey="row").flat
    panels: list[Axes | None] = []
    for panel, title in zip(axes, titles, strict=True):
        if title is None:
            panel.remove()
        else:
            panel.set_title(title, fontsize=9, y=1.0)
        panels.append(None if title is None else panel)
    facets.say_what_is_shown(figure, {**counts, "panels": (len(titles), num_titles)})
    return figure, panels


def _by_distance(panel: Axes, rows: pd.DataFrame, style: Style, floor: float) -> None:
    """Values against distance, both logarithmic but for a distance of 0, nothing below `floor`."""
    for model, look, i, _ in facets.lines(rows, style):
        values = rows[rows["model"] == model].assign(
            value=lambda frame: frame["value"].clip(lower=floor)
        )
        over_seeds = values.groupby("distance")["value"]
        middle = np.exp(np.log(values["value"]).groupby(values["distance"]).mean())
        every = max(len(middle) // 5, 1)
        panel.plot(
            middle.index,
            middle,
            label=model,
            lw=1.5,
            ms=4.5,
            markevery=(i % every, every),
            **look,
        )
        low, high = over_seeds.min(), over_seeds.max()
        panel.fill_between(middle.index, low, high, color=look["color"], alpha=0.15, lw=0)
    furthest = max(rows["distance"].max(), 1)
    panel.set_xscale("symlog", linthresh=1, linscale=0.4)
    ticks = [0, *(c * 10**e for e in range(7) for c in (1, 3) if c * 10**e <= furthest)]
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figures.short(value)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(-0.1, furthest * 1.25)
    # An axis needs a height where all lies on the floor; panels may share theirs.
    set_before = 0.0 if panel.get_autoscaley_on() else panel.get_ylim()[1]
    panel.set_ylim(floor / 2, max(3 * rows["value"].max(), 30 * floor, set_before))
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(FixedLocator(_decades(floor, 1e12)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value, floor)))
    panel.tick_params(labelsize=8)
    panel.set_xlabel("distance to the last input (steps)", fontsize=9)


def _decades(low: float, high: float) -> list[float]:
    """Every second power of ten from `low`."""
    return [10.0**power for power in range(round(np.log10(low)), round(np.log10(high)) + 1, 2)]


def _power(value: float, floor: float) -> str:
    below = r"\leq " if value <= floor * 1.01 else ""
    return f"${below}10^{{{round(np.log10(value))}}}$"


def _plain(axis: object) -> None:
    """Plain numbers on a logarithmic axis."""
    axis.set_major_locator(LogLocator())
    axis.set_major_formatter(FuncFormatter(figures.short))
    axis.set_minor_formatter(NullFormatter())


def _score_axis(panel: Axes, rows: pd.DataFrame, split: str, solved: float | None) -> None:
    _levels(panel, rows["chance"].iloc[0], solved)
    name, unit = rows["score"].iloc[0].replace("_", " "), rows["unit"].iloc[0]
    figures.show_all_of_a_share(panel, [*rows["min"], *rows["max"]], unit)
    panel.set_ylabel(f"{split} {name}\n({unit})", fontsize=9)


def _levels(panel: Axes, chance: float | None, solved: float | None) -> None:
    if chance is not None:
        panel.axhline(chance, color=GREY, ls=(0, (6, 3)), lw=1, label="chance")
    if solved is not None:
        panel.axhline(solved, color=GREY, ls=":", lw=1.2, label="solved")


def _explain(panel: Axes, label: str, look: Mapping[str, object]) -> None:
    """An entry of the legend for a mark that stands for no single model."""
    panel.add_line(Line2D([], [], color=GREY, ls="none", label=label, **look))
