"""The first figure below the answer: score against length, with the best model of each family."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd

from bench.report import front
from bench.report.data import Data
from bench.report.drawing import score_against_length
from bench.report.frame import rows_of
from bench.report.section import Item, Picture, Section
from bench.report.sections._shared import ENDS_EARLY, FIGURES, MOST_PANELS


def build(data: Data) -> Iterator[Item]:
    shown = best_of_families(data)
    title = front.reach(data)
    if len(shown) and title:
        yield Picture(
            name="front_scores",
            title=" ".join(title).rstrip("."),
            draw=partial(
                score_against_length,
                shown,
                data.solved_at,
                data.style,
                length_is=data.length_is,
            ),
            caption="Test score against the dependency length, for the model of each family that "
            "solves the longest one. Line: mean over seeds; band: their range. Hollow: a seed that "
            "does not solve the task was still improving, so that more updates might solve it. "
            f"{ENDS_EARLY}",
        )


def best_of_families(data: Data) -> pd.DataFrame:
    """The scores of one model per task and family, for the tasks with the most lengths.

    It is the model with the longest horizon and, among equals, with the best mean score.
    """
    scores = data.scores
    if scores.empty or not data.horizons:
        return scores.iloc[:0]
    lengths = scores.groupby("task_label", sort=False)["T"].nunique()
    horizons = {
        (network["task_label"], network["model_label"]): found.length or 0
        for network, found in data.horizons
    }
    tasks = [task for task in lengths.index if any(task == known for known, _ in horizons)]
    tasks = sorted(tasks, key=lambda task: -lengths[task])[:MOST_PANELS]
    best: dict[tuple[str, str], tuple[float, float, str]] = {}
    for row in _merits(scores[scores["task_label"].isin(tasks)], data.solved_at):
        task, model = row["task_label"], row["model_label"]
        rank = (horizons.get((task, model), 0), row["merit"], model)
        best[task, row["family"]] = max(best.get((task, row["family"]), rank), rank)
    chosen = {(task, model) for (task, _), (_, _, model) in best.items()}
    cells = zip(scores["task_label"], scores["model_label"], strict=True)
    return scores[[cell in chosen for cell in cells]]


def _merits(scores: pd.DataFrame, solved_at: Mapping[str, float]) -> list[dict[str, Any]]:
    """Task, family, model, and its mean score over all lengths, the higher the better."""
    rises = scores["task_label"].map(solved_at).astype(float) >= scores["chance"]
    merits = scores.assign(merit=scores["mean"].where(rises, -scores["mean"]))
    return rows_of(
        merits.groupby(["task_label", "family", "model_label"])["merit"].mean().reset_index()
    )


SECTION = Section(title=FIGURES, order=1, unfolded=True, build=build)
