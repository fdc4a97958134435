"""The second figure below the answer: score against training time and training operations."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from bench.core.decision import Decision
from bench.report import drawing
from bench.report.data import Data
from bench.report.facets import Style
from bench.report.points import points
from bench.report.section import Item, Picture, Section
from bench.report.sections._shared import FIGURES

Points = Sequence[Mapping[str, Any]]
AXES = (("train_s", "training time (s)"), ("train_flops", "training operations (FLOP)"))
MOST_TASKS = 3
"""Each task has one panel per axis."""


def build(data: Data) -> Iterator[Item]:
    found = at_one_length(points(data)[1], data.solved_at)
    title = message(found)
    if title:
        shown = of_most_models(found)
        yield Picture(
            name="front_compute",
            title=title,
            draw=partial(compute_figure, shown, data.solved_at, data.style),
            caption="Mean test score against the cost of training: the updates of a run, until it "
            "stops, times the time or the operations of one update that was timed alone. A run "
            "stops some updates after it first solves the task. Each task is shown at one T: the "
            "longest one with a timed update that every family shown solves with at least one "
            "seed. If there is none, it is the longest one that any family solves. The title "
            f"names all tasks; the figure has the {MOST_TASKS} with most models. Hollow: a seed "
            "was still improving.",
        )


def at_one_length(found: Points, solved_at: Mapping[str, float]) -> list[Mapping[str, Any]]:
    """The points of each task at one length that have a score and a training time."""
    known = [p for p in found if "score" in p and "train_s" in p and p["task_label"] in solved_at]
    chosen = []
    for task in dict.fromkeys(p["task_label"] for p in known):
        of_task = [p for p in known if p["task_label"] == task]
        families = {p["family"] for p in of_task}
        solving: dict[int, set[str]] = {}
        for point in of_task:
            if point.get("solved", 0):
                solving.setdefault(point["T"], set()).add(point["family"])
        common = [T for T, those in solving.items() if those == families] or list(solving)
        if common:
            chosen += [p for p in of_task if p["T"] == max(common)]
    return chosen


def of_most_models(found: Points) -> list[Mapping[str, Any]]:
    """The points of the tasks with most points."""
    largest = Counter(p["task_label"] for p in found).most_common(MOST_TASKS)
    return [p for task, _ in largest for p in found if p["task_label"] == task]


def message(shown: Points) -> str:
    """Which model needs the least training time on each task; empty without points."""
    parts = []
    for task in dict.fromkeys(p["task_label"] for p in shown):
        solving = [p for p in shown if p["task_label"] == task and _solves(p)]
        if solving:
            least = min(solving, key=lambda p: p["train_s"])
            where = f"{task} (T = {least['T']:,}, {least['train_s']:.2g} s)"
            parts.append(f"{least['model_label']} on {where}")
    return f"Fastest to train: {'; '.join(parts)}" if parts else ""


def _solves(point: Mapping[str, Any]) -> bool:
    """Whether the seeds that ran solve it."""
    solved, seeds = point.get("solved", 0), point["seeds"]
    return bool(Decision(num_solved=solved, num_failed=seeds - solved, num_seeds=seeds).solved)


def compute_figure(shown: Points, solved_at: Mapping[str, float], style: Style) -> Figure:
    """One row of panels per axis, one panel per task, one marker per model."""
    tasks = list(dict.fromkeys(p["task_label"] for p in shown))
    lengths = {p["task_label"]: p["T"] for p in shown}
    titles = [f"{task}, T = {lengths[task]:,}" for _ in AXES for task in tasks]
    figure, panels = drawing.titled_panels(titles, len(tasks))
    cells = [(axis, task) for axis in AXES for task in tasks]
    for panel, ((column, axis_label), task) in zip(panels, cells, strict=True):
        of_task = [p for p in shown if p["task_label"] == task and column in p]
        for model in (model for model in style if any(p["model_label"] == model for p in of_task)):
            look = style[model]
            for point in (p for p in of_task if p["model_label"] == model):
                low, high = (point.get(f"{column}_{end}", point[column]) for end in ("low", "high"))
                panel.plot([low, high], [point["score"]] * 2, color=look["color"], lw=1.2)
                face = "white" if point.get("improving", 0) else look["color"]
                mark = {"marker": look["marker"], "color": look["color"], "mfc": face, "ms": 6}
                panel.plot(point[column], point["score"], ls="none", label=model, **mark)
        panel.set_xscale("log")
        low, high = panel.get_xlim()
        middle = math.sqrt(low * high)
        panel.set_xlim(min(low, middle / 2), max(high, 2 * middle))  # wide enough for a label
        drawing.logarithmic(panel.xaxis)
        drawing.levels(panel, None, solved_at.get(task))
        drawing.show_all_of_a_share(panel, [p["score"] for p in of_task])
        panel.set_xlabel(axis_label, fontsize=9)
        panel.set_ylabel("test score", fontsize=9)
        panel.tick_params(labelsize=8)
    drawing.shared_legend(figure, panels, style)
    return figure


SECTION = Section(title=FIGURES, order=2, unfolded=True, build=build)
