"""Which models share a panel, and how much a figure shows.

A figure that leaves something out says so in a line at its top; the tables hold everything.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd
from matplotlib.figure import Figure

MOST_LINES = 8
"""Most models of a panel; more are split by family."""
MOST_PANELS, MOST_MODELS = 24, 40
"""Most panels and models of a figure."""

AT_THE_START, TRAINED = "at the start", "trained"
"""Moments of training, which have panels of their own."""

Item = TypeVar("Item")
Counts = Mapping[str, tuple[int, int]]
"""Kind → how many of them are shown, and how many there are."""
Style = Mapping[str, Mapping[str, Any]]
"""Model label → its colour, marker and dash."""


def at_the_longest(frame: pd.DataFrame) -> pd.DataFrame:
    """One length per task: the longest that more than half of the task's plain models have.

    If there is no such length, it is the one that most models have. Variants count only if a task
    has no plain model.
    """
    longest = {}
    for task, rows in frame.groupby("task_label", sort=False):
        plain = rows[rows["variant"] == ""]
        judged = plain if len(plain) else rows
        models = judged.groupby("T")["model_label"].nunique()
        common = models[models > judged["model_label"].nunique() / 2]
        if common.empty:
            common = models[models == models.max()]
        longest[task] = common.index.max()
    return frame[frame["T"] == frame["task_label"].map(longest)]


def parts(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Part → the models that share a panel, the same for all tasks: all models, or one family."""
    few = frame.groupby("task_label")["model_label"].nunique().max() <= MOST_LINES
    if few or "family" not in frame:
        return {"": list(frame["model_label"].unique())}
    return families(frame)


def num_columns(parts: Mapping[str, Sequence[str]]) -> int:
    """Columns of a figure: one row of panels per task where that is not too wide."""
    return len(parts) if len(parts) in (2, 3) else 3


def in_parts(
    rows: pd.DataFrame, parts: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, pd.DataFrame]]:
    for part, models in parts.items():
        of_part = rows[rows["model_label"].isin(models)]
        if len(of_part):
            yield part, of_part


def families(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Family → models; `recurrent 1/2` where they are too many for one panel.

    Variants stay with their plain model, which is drawn again where they fill several panels.
    """
    parts = {}
    for family, of_family in frame.groupby("family"):
        packs: list[list[str]] = [[]]
        for _, rows in of_family.groupby("model"):
            is_plain = rows["variant"] == ""
            plain = sorted(rows["model_label"][is_plain].unique())
            variants = sorted(rows["model_label"][~is_plain].unique())
            num_pieces = max(-(-len(variants) // (MOST_LINES - len(plain))), 1)
            size = max(-(-len(variants) // num_pieces), 1)
            for i in range(0, max(len(variants), 1), size):
                piece = plain + variants[i : i + size]
                if len(packs[-1]) + len(piece) > MOST_LINES:
                    packs.append([])
                packs[-1] += piece
        for i, pack in enumerate(packs):
            name = str(family) if len(packs) == 1 else f"{family} {i + 1}/{len(packs)}"
            parts[name] = pack
    return parts


def split(frame: pd.DataFrame, parts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows with a column `panel` of task and part, in the order of tasks, then of parts."""
    return pd.concat(
        of_part.assign(panel=f"{task}\n{part}" if part else task)
        for task, rows in frame.groupby("task_label", sort=False)
        for part, of_part in in_parts(rows, parts)
    )


def lines(rows: pd.DataFrame, style: Style) -> Iterator[tuple[str, dict[str, Any], int, int]]:
    """The models of a panel: label, look, place among them, and how many there are."""
    there = set(rows["model_label"])
    shown = [model for model in style if model in there]
    for i, model in enumerate(shown):
        yield model, dict(style[model]), i, len(shown)


def first_models(frame: pd.DataFrame, style: Style) -> tuple[pd.DataFrame, Counts]:
    """The rows of the first models of the style, as many as a figure holds; and the counts."""
    there = set(frame["model_label"])
    models = [model for model in style if model in there]
    shown = models[:MOST_MODELS]
    if len(shown) == len(models):
        return frame, {}
    return frame[frame["model_label"].isin(shown)], {"models": (len(shown), len(models))}


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` items, evenly spread from the first to the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def note_what_is_shown(figure: Figure, counts: Counts) -> None:
    """Write `9 of 20 lengths` at the top for each kind of which not all are shown."""
    left_out = {kind: count for kind, count in counts.items() if count[0] < count[1]}
    if left_out:
        text = ", ".join(f"{shown} of {there} {kind}" for kind, (shown, there) in left_out.items())
        figure.suptitle(f"{text}; the tables and records have all", fontsize=9, color="0.35")
