"""Validation scores against updates."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.records import Record
from bench.report import drawing, facets
from bench.report.data import Data
from bench.report.distance import repeated
from bench.report.drawing import titled_panels
from bench.report.facets import Style
from bench.report.markup import file_name
from bench.report.runs import Labels, key, outcomes
from bench.report.section import Item, Picture, Section

MOST_LENGTHS, MOST_SEEDS = 9, 5
"""Most panels, and most curves of a model in one panel."""


def build(data: Data) -> Iterator[Item]:
    curves = learning(data.records_of(data.main), data.source.labels)
    if len(curves):
        for task, of_task in curves.groupby("task_label", sort=False):
            yield Picture(
                name=f"learning_{file_name(str(task))}",
                draw=partial(learning_figure, of_task, data.style),
                caption=f"Validation score against updates on {task}: one line per seed, which "
                "ends where the run stopped. Dashed: chance.",
            )


def learning(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The validation score per task, T, model, seed and update; missing where not finite."""
    rows, steps, values = [], [], []
    for record, outcome in outcomes(records):
        score = outcome.score
        about = {"score": score.name, "unit": score.unit, "chance": score.chance}
        label = labels[record.spec.id]
        rows.append({**key(label, record.spec.length), "seed": record.spec.seed, **about})
        steps.append([point.step for point in outcome.curve])
        values.append([point.values[score.name] for point in outcome.curve])
    return repeated(rows, step=steps, value=values)


def learning_figure(curves: pd.DataFrame, style: Style) -> Figure:
    """The curves of one task, one panel per length and a thin line per seed.

    At most nine lengths, evenly spread; eight models, the first of the style; five seeds of each.
    """
    all_lengths, there = sorted(curves["T"].unique()), set(curves["model_label"])
    lengths = facets.spread(all_lengths, MOST_LENGTHS)
    models = [model for model in style if model in there][: facets.MOST_LINES]
    all_seeds = curves["seed"].unique()
    shown = curves[curves["model_label"].isin(models) & curves["seed"].isin(all_seeds[:MOST_SEEDS])]
    task = curves["task_label"].iloc[0]
    counts = {
        "lengths": (len(lengths), len(all_lengths)),
        "models": (len(models), len(there)),
        "seeds": (min(MOST_SEEDS, len(all_seeds)), len(all_seeds)),
    }
    figure, axes = titled_panels([f"{task}, T = {length}" for length in lengths], counts=counts)
    for panel, length in zip(axes, lengths, strict=True):
        for (model, _), line in shown[shown["T"] == length].groupby(
            ["model_label", "seed"], sort=False
        ):
            _curve(panel, line, str(model), style[str(model)])
        of_length = curves[curves["T"] == length]
        chance, score, unit = (of_length[name].iloc[0] for name in ("chance", "score", "unit"))
        drawing.levels(panel, chance, None)
        drawing.show_all_of_a_share(panel, [chance, *shown["value"][shown["T"] == length]], unit)
        panel.set_xlabel("updates", fontsize=9)
        panel.set_ylabel(f"validation {score.replace('_', ' ')}", fontsize=9)
        panel.tick_params(labelsize=8)
    drawing.shared_legend(figure, axes, style)
    return figure


def _curve(panel: Axes, line: pd.DataFrame, model: str, look: Mapping[str, Any]) -> None:
    steps, values = line["step"].to_numpy(), line["value"].to_numpy()
    color, dash = look["color"], look["linestyle"]
    panel.plot(steps, values, label=model, lw=0.9, alpha=0.8, ls=dash, color=color)
    # The end of a line is marked: a run that solves the task stops early.
    panel.plot(steps[-1], values[-1], marker=look["marker"], ms=4, ls="none", color=color)


SECTION = Section(title="Learning curves", order=130, build=build)
