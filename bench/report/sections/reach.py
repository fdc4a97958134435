"""The longest dependency that each model solves, of all tasks in one figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from bench.report import drawing
from bench.report.data import Data
from bench.report.facets import Style
from bench.report.frame import groups
from bench.report.horizon import UNSETTLED, Horizon
from bench.report.runs import counted
from bench.report.section import Item, Picture, Section

MOST_TASKS = 8


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far a model solves a task, with the variant that gets furthest."""

    task: str
    model: str
    label: str
    """The label of the variant."""
    found: Horizon
    shortest: int
    """The shortest T that the variant was tested at."""
    longest: int

    @property
    def rank(self) -> tuple[int, bool]:
        """The further the better; of equals the plain model."""
        return self.found.length or 0, self.label == self.model

    @property
    def sign(self) -> str:
        """What the mark can't show: see the caption of the figure."""
        if self.found.failed is None:
            return "→"
        plus = self.found.open_ended and self.found.length is not None
        return ("+" if plus else "") + ("*" if self.found.again else "")


def build(data: Data) -> Iterator[Item]:
    shown = reaches(data)
    if shown:
        yield Picture(
            name="reach",
            draw=partial(reach_figure, shown, data.style),
            caption="The longest dependency that each model solves, with its best variant; further "
            "right is better. The grey bars span the lengths that were tested. Hollow: the "
            "shortest was not solved. An arrow: it solves every length decided so far. Plus: "
            f"more runs may solve the next T, since failing seeds {UNSETTLED}. "
            "Star: a longer T is solved as well.",
        )


def reaches(data: Data) -> list[Reach]:
    """The horizon of the best variant of each model, for the first tasks that have one.

    Tasks that were tested at several T come first.
    """
    lengths = {
        (cell["task_label"], cell["model_label"]): (int(rows["T"].min()), int(rows["T"].max()))
        for cell, rows in groups(counted(data.whole), ["task_label", "model_label"])
    }
    best: dict[tuple[str, str], Reach] = {}
    for network, found in data.horizons_at_equal_size:
        task, label = network["task_label"], network["model_label"]
        if (task, label) not in lengths:
            continue
        shortest, longest = lengths[task, label]
        reach = Reach(
            task=task,
            model=network["model"],
            label=label,
            found=found,
            shortest=shortest,
            longest=longest,
        )
        known = best.get((task, reach.model))
        if known is None or reach.rank > known.rank:
            best[task, reach.model] = reach
    found = dict.fromkeys(reach.task for reach in best.values())
    tasks = sorted(found, key=lambda task: len(data.lengths[task]) == 1)[:MOST_TASKS]
    return [reach for task in tasks for reach in best.values() if reach.task == task]


def reach_figure(shown: Sequence[Reach], style: Style) -> Figure:
    """Horizons on a logarithmic axis of T, one row per task and one mark per model."""
    tasks = list(dict.fromkeys(reach.task for reach in shown))
    looks = {reach.model: style.get(reach.model, style[reach.label]) for reach in shown}
    models = sorted(looks)
    height = 0.9 + len(tasks) * max(0.36, 0.13 * len(models))
    with drawing.mpl.rc_context(drawing.GRID):
        figure = Figure(figsize=(5.2, height), layout="constrained")
        axes = figure.subplots()
    for row, task in enumerate(tasks):
        of_task = [reach for reach in shown if reach.task == task]
        first, last = (
            min(r.shortest for r in of_task) / 1.12,
            max(r.longest for r in of_task) * 1.12,
        )
        axes.barh(row, last - first, 0.86, first, color="0.93", zorder=0)
        for reach in of_task:
            look, length = looks[reach.model], reach.found.length
            place = row + 0.8 * ((models.index(reach.model) + 0.5) / len(models) - 0.5)
            face = look["color"] if length else "white"
            mark = {"marker": look["marker"], "color": look["color"], "mfc": face, "ms": 7}
            axes.plot(length or reach.shortest, place, ls="none", label=reach.model, **mark)
            axes.annotate(
                reach.sign, (length or reach.shortest, place), (6, 0), va="center",
                textcoords="offset points", color=look["color"],
            )  # fmt: skip
    axes.set_xscale("log")
    drawing.logarithmic(axes.xaxis, marks=(1, 3))
    axes.set_xlim(min(r.shortest for r in shown) / 1.5, max(r.longest for r in shown) * 1.5)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("longest dependency solved, T (steps)")
    drawing.shared_legend(figure, [axes], looks)
    return figure


SECTION = Section(title="Horizons", order=19, build=build)
