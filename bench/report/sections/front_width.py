"""The fifth figure below the answer: score against the size of the network."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.core.decision import SOLVING_PERCENT
from bench.core.wording import listed
from bench.report import drawing
from bench.report.data import Data
from bench.report.facets import Style
from bench.report.frame import CELL, ROW, groups, is_true, numbers, rows_of, span, within
from bench.report.runs import counted, over_seeds
from bench.report.section import Item, Picture, Section
from bench.report.sections._shared import FIGURES, MOST_PANELS

ENOUGH = SOLVING_PERCENT / 100
"""A network solves the task if at least this share of the seeds that ran do."""
CHANGED = 0.05
"""A change of the mean score that the title counts, as a share of the way from 0 to 1."""


def build(data: Data) -> Iterator[Item]:
    rows = of_several_sizes(data.every_run)
    if len(rows):
        shown = by_size(rows)
        yield Picture(
            name="front_width",
            title=message(shown, updates_of_the_larger(rows), solved_by_the_larger_alone(rows)),
            draw=partial(width_figure, shown, data.solved_at, data.style),
            caption="Test score against the number of parameters, with the learning rate of the "
            "smaller network. All sizes are shown with the same budget of updates, so a second "
            "budget that only one size had is left out. Line: mean over seeds; bar: their range.",
        )


def of_several_sizes(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the cells that have several budgets of parameters, with equal budgets of updates.

    Of several budgets of updates, it is the smallest one that all sizes have.
    """
    made = counted(runs)
    made = made[made["budget"].notna()]
    of_size = "param_budget=" + made["budget"].astype(str)
    made = made[(made["variant"] == "") | (made["variant"] == of_size)]
    made = made.assign(variant="", model_label=made["model"])
    sizes = made.groupby(CELL)["budget"].nunique()
    several = set(sizes[sizes > 1].index)
    made = made[within(made, several)]
    most = made.groupby([*CELL, "max_steps"])["budget"].transform("nunique")
    shared = made[most == made.groupby(CELL)["budget"].transform("nunique")]
    return shared[shared["max_steps"] == shared.groupby(CELL)["max_steps"].transform("min")]


def by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean scores by parameter budget."""
    values = rows.assign(value=numbers(rows["score"]), score=rows["score_name"])
    return over_seeds(values, [*ROW, "budget", "score", "unit"])


def updates_of_the_larger(rows: pd.DataFrame) -> list[float]:
    """Median updates to solve of the largest network over those of the smallest.

    One value per cell in which every run solves the task.
    """
    ratios = []
    for _, cell in groups(rows, CELL):
        solved_after = numbers(cell["solved_after"])
        if solved_after.notna().all():
            medians = solved_after.groupby(cell["budget"]).median().sort_index()
            ratios.append(medians.iloc[-1] / medians.iloc[0])
    return ratios


def solved_by_the_larger_alone(rows: pd.DataFrame) -> list[str]:
    """The cells in which the largest network solves the task and the smallest does not."""
    found = []
    for cell, of_cell in groups(rows, CELL):
        share = is_true(of_cell["solved"]).groupby(of_cell["budget"]).mean().sort_index()
        if share.iloc[-1] >= ENOUGH > share.iloc[0]:
            found.append(f"{cell['model_label']} on {cell['task_label']}")
    return found


def message(shown: pd.DataFrame, ratios: Sequence[float], newly: Sequence[str]) -> str:
    """How many scores the larger network changes, and how many updates it needs."""
    better = worse = 0
    for _, cell in groups(shown, CELL):
        ordered = cell.sort_values("budget")["mean"]
        change = ordered.iloc[-1] - ordered.iloc[0]
        better += change > CHANGED
        worse += change < -CHANGED
    factor = shown["budget"].max() / shown["budget"].min()
    total = shown.groupby(CELL).ngroups
    cells = shown[["task_label", "T"]].drop_duplicates()
    places = [f"{cell['task_label']} (T = {cell['T']:,})" for cell in rows_of(cells)]
    said = f"On {listed(places, 3, 'place')}, with {factor:.2g} times the parameters, "
    if better or worse:
        said += (
            f"{better} of {total} networks score higher by more than {CHANGED:g}, and {worse} lower"
        )
    else:
        said += f"no score changes by more than {CHANGED:g}"
    if newly:
        said += f"; only the larger size solves the task: {listed(newly, 3, 'network')}"
    if ratios:
        said += (
            f"; where both sizes solve a task, the larger one takes {span(ratios)} times as many "
            "updates"
        )
    return said


def width_figure(shown: pd.DataFrame, solved_at: dict[str, float], style: Style) -> Figure:
    """One panel per task and T, one line per model."""
    cells = {
        f"{cell['task_label']}, T = {cell['T']:,}": rows
        for cell, rows in groups(shown, ["task_label", "T"])
    }
    titles = list(cells)[:MOST_PANELS]
    figure, panels = drawing.titled_panels(titles)
    for panel, title in zip(panels, titles, strict=True):
        rows = cells[title]
        for model in (model for model in style if model in set(rows["model_label"])):
            line = rows[rows["model_label"] == model].sort_values("budget")
            spread = [line["mean"] - line["min"], line["max"] - line["mean"]]
            look = {"label": model, "markersize": 5, "linewidth": 1.5, **style[model]}
            panel.errorbar(line["budget"].astype(float), line["mean"], spread, capsize=3, **look)
        panel.set_xscale("log")
        drawing.logarithmic(panel.xaxis)
        panel.set_xlabel("parameters", fontsize=9)
        drawing.score_axis(panel, rows, solved_at)
    drawing.shared_legend(figure, panels, style)
    return figure


SECTION = Section(title=FIGURES, order=5, unfolded=True, build=build)
