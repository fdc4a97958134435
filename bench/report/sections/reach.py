"""The longest dependency that each model solves, of all tasks in one figure."""

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from bench.report import drawing
from bench.report.data import Data
from bench.report.facets import Style
from bench.report.frame import groups
from bench.report.runs import counted
from bench.report.section import Item, Picture, Section

Reach = tuple[str, str, int | None, int, int]
"""Task, model, the longest T solved, the shortest and the longest T tested."""
MOST_TASKS = 8


def build(data: Data) -> Iterator[Item]:
    shown = reaches(data)
    if shown:
        yield Picture(
            name="reach",
            draw=partial(reach_figure, shown, data.style),
            caption="The longest dependency that each model solves; further right is better. The "
            "grey bars span the lengths that were tested. Hollow: not even the shortest was "
            "solved. An arrow: the longest that was tested is solved.",
        )


def reaches(data: Data) -> list[Reach]:
    """The horizon of each plain model, for the first tasks that have one."""
    lengths = {
        (cell["task_label"], cell["model_label"]): (int(rows["T"].min()), int(rows["T"].max()))
        for cell, rows in groups(counted(data.whole), ["task_label", "model_label"])
    }
    shown = []
    for network, found in data.horizons:
        names = network["task_label"], network["model_label"]
        if names in lengths and network["variant"] == "":
            shown.append((*names, found.length, *lengths[names]))
    tasks = list(dict.fromkeys(task for task, *_ in shown))[:MOST_TASKS]
    return [each for each in shown if each[0] in tasks]


def reach_figure(shown: Sequence[Reach], style: Style) -> Figure:
    """Horizons on a logarithmic axis of T, one row per task and one mark per model."""
    tasks = list(dict.fromkeys(task for task, *_ in shown))
    models = [model for model in style if any(model == name for _, name, *_ in shown)]
    height = 0.9 + len(tasks) * max(0.36, 0.13 * len(models))
    with drawing.mpl.rc_context(drawing.GRID):
        figure = Figure(figsize=(5.2, height), layout="constrained")
        axes = figure.subplots()
    for row, task in enumerate(tasks):
        of_task = [each for each in shown if each[0] == task]
        ends = [min(each[3] for each in of_task), max(each[4] for each in of_task)]
        axes.barh(
            row, ends[1] * 1.12 - ends[0] / 1.12, 0.86, ends[0] / 1.12, color="0.93", zorder=0
        )
        for _, model, length, shortest, longest in of_task:
            look = style[model]
            place = row + 0.8 * ((models.index(model) + 0.5) / len(models) - 0.5)
            face = look["color"] if length else "white"
            mark = {"marker": look["marker"], "color": look["color"], "mfc": face, "ms": 7}
            axes.plot(length or shortest, place, ls="none", label=model, **mark)
            if length == longest:
                axes.annotate(
                    "→", (length, place), (6, 0), textcoords="offset points", va="center",
                    color=look["color"],
                )  # fmt: skip
    axes.set_xscale("log")
    drawing.logarithmic(axes.xaxis)
    axes.set_xlim(min(each[3] for each in shown) / 1.5, max(each[4] for each in shown) * 1.5)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("longest dependency solved, T (steps)")
    drawing.shared_legend(figure, [axes], {model: style[model] for model in models})
    return figure


SECTION = Section(title="Horizons", order=19, build=build)
