"""The sweep of learning rates: every trial, and how much the score depends on the rate."""

from collections.abc import Hashable, Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plan.rates import Rates
from bench.report import drawing
from bench.report.data import Data
from bench.report.facets import Style
from bench.report.frame import MODEL, Column, Table, groups
from bench.report.section import Filled, Item, Picture, Section
from bench.report.sections._shared import curves_against

TITLE = "Settings and learning rates"
TRIED = Table(
    name="rates",
    shown=False,
    columns=(
        Column("task_label", "text", "", "Name of the task."),
        *MODEL,
        Column("model_label", "text", "", "Name and variant of the model, for display."),
        Column("rate", "number", "", "Learning rate."),
        Column("score", "number", "", "Mean validation score; missing where a run failed."),
        Column("low", "number", "", "Least validation score."),
        Column("high", "number", "", "Greatest validation score."),
        Column("solved", "count", "", "Runs that solve their task."),
        Column("runs", "count", "", "Trials: runs with this rate."),
        Column("updates", "number", "updates", "Mean number of updates of a run."),
        Column(
            "solved_after", "number", "updates", "Median updates to solve; missing if most do not."
        ),
        Column("chosen", "flag", "", "Whether the rate was chosen."),
    ),
)
TRIALS = Table(
    name="tuning",
    columns=(
        Column("task_label", "text", "", "Name of the task."),
        *MODEL,
        Column("model_label", "text", "", "Name and variant of the model, for display."),
        Column("rate", "number", "", "The rate that was chosen."),
        Column("trials", "count", "runs", "Runs of the whole sweep of this row."),
        Column("scores", "text", "", "Each rate: mean score (solved/runs, mean updates)."),
    ),
    caption="Every rate that was tried, and how many runs were made to choose one. A rate has its "
    "mean validation score; in brackets, how many of its runs solved the task and how many updates "
    "they made on average. The rate that solves most runs is chosen. A run that solves its task "
    "stops and gets the threshold as its score. Between rates that solve equally many runs, the "
    "number of updates therefore often decides.",
)


def build(data: Data) -> Iterator[Item]:
    found = rate_sensitivity(data.rates, data.runs)
    yield Filled(table=TRIALS, frame=trials(found))
    yield Filled(table=TRIED, frame=found)
    if found["score"].notna().any():
        chance, solved_at = (known(data.runs, column) for column in ("chance", "solved_at"))
        yield Picture(
            name="rate_sensitivity",
            draw=partial(rate_sensitivity_figure, found, chance, solved_at, data.style),
            caption="Best validation score of the sweep against the learning rate, mean and range "
            "over its lengths and seeds. Filled: the rate that was chosen.",
        )


def known(runs: pd.DataFrame, column: str) -> dict[str, float]:
    """Task name → the last known value of a column of numbers."""
    there = runs[runs[column].notna()]
    return dict(zip(there["task"], there[column], strict=True))


def rate_sensitivity(rates: Rates, runs: pd.DataFrame) -> pd.DataFrame:
    """The validation score of every rate that was tried, for tasks and models of these runs."""
    models = {
        model["model_label"]: model
        for model, _ in groups(runs, [*(column.name for column in MODEL), "model_label"])
    }
    planned = set(runs["task"])
    return TRIED.of(
        {
            "task_label": task,
            **models[label],
            "rate": tried.rate,
            "score": tried.score,
            "low": tried.low,
            "high": tried.high,
            "solved": tried.num_solved,
            "runs": tried.num_runs,
            "updates": tried.updates,
            "solved_after": tried.solved_after,
            "chosen": tried.rate == tuned.rate,
        }
        for task, of_task in rates.items()
        for label, tuned in of_task.items()
        if task in planned and label in models
        for tried in tuned.tried
    )


def trials(tried: pd.DataFrame) -> pd.DataFrame:
    """One row per task and model, from the rows of `rate_sensitivity`."""
    names = ["task_label", *(column.name for column in MODEL), "model_label"]
    return TRIALS.of(
        {
            **row,
            "rate": rates["rate"][rates["chosen"]].iloc[0],
            "trials": rates["runs"].sum(),
            "scores": "; ".join(map(_score, rates.to_dict("records"))),
        }
        for row, rates in groups(tried, names)
    )


def _score(tried: dict[Hashable, Any]) -> str:
    score = "failed" if pd.isna(tried["score"]) else f"{tried['score']:.3g}"
    runs = f"{tried['solved']}/{tried['runs']}, {tried['updates']:,.0f}"
    return f"{tried['rate']:g}: {score} ({runs})"


def rate_sensitivity_figure(
    sensitivity: pd.DataFrame,
    chance: Mapping[str, float],
    solved_at: Mapping[str, float],
    style: Style,
) -> Figure:
    """Validation score against the learning rate, one panel per task and one line per model.

    Band: lowest to highest run. Filled: the rate that was chosen. A rate with a failed run has no
    score and no point.
    """

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict[str, Any]) -> None:
        panel.plot(x, line["score"], **look, mfc="white")
        drawing.band(panel, x, line["low"], line["high"], look)
        chosen = line["chosen"].astype(bool)
        mark = {"marker": look["marker"], "color": look["color"], "mec": "black", "ms": 7}
        panel.plot(x[chosen], line["score"][chosen], ls="none", zorder=4, **mark)

    known = sensitivity[sensitivity["score"].notna()]
    figure, panels = curves_against("rate", "learning rate", known, style, draw)
    for panel, rows in panels:
        task = rows["task_label"].iloc[0]
        drawing.levels(panel, chance.get(task), solved_at.get(task))
        drawing.show_all_of_a_share(panel, [*rows["low"], *rows["high"]])
        panel.set_ylabel("validation score", fontsize=9)
        drawing.explain(panel, "chosen rate", marker="o", ms=7, mec="black")
    drawing.shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


SECTION = Section(title=TITLE, order=141, tables=(TRIALS, TRIED), build=build)
