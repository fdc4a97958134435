"""Which models share a panel, and how much a figure shows where there is more than a page holds.

A figure that leaves something out says so, in a line at its top; the tables hold everything.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# pyright: reportOperatorIssue=false, reportGeneralTypeIssues=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

MOST_LINES = 8
"""Models of a panel; more are split by family."""
MOST_PANELS = 24
"""Of a figure."""
MOST_MODELS = 40
"""Of a figure."""

AT_THE_START, TRAINED = "at the start", "trained"
"""Moments of training, which have panels of their own."""

Item = TypeVar("Item")
Counts = Mapping[str, tuple[int, int]]
"""Kind → how many of them are shown, and how many there are."""
Style = Mapping[str, Mapping[str, object]]


def at_the_longest(frame: pd.DataFrame) -> pd.DataFrame:
    """One T a task: the longest that more than half of the task's plain models have.

    A plain model's label has no fields; variants alone would have nothing to stand beside. Where
    there is no such T, the one that most models have, the longest of equals.
    """
    longest = {}
    for task, rows in frame.groupby("task", sort=False):
        plain = rows[~rows["model"].str.contains(" ")]
        judged = plain if len(plain) else rows
        models = judged.groupby("T")["model"].nunique()
        common = models[models > judged["model"].nunique() / 2]
        if common.empty:
            common = models[models == models.max()]
        longest[task] = common.index.max()
    return frame[frame["T"] == frame["task"].map(longest)]


def parts(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The models that share a panel, in all tasks the same: all of them, or a family each."""
    few = frame.groupby("task")["model"].nunique().max() <= MOST_LINES
    if few or "family" not in frame:
        return {"": list(frame["model"].unique())}
    return families(frame)


def num_columns(parts: Mapping[str, Sequence[str]]) -> int:
    """A row of panels a task, where that is not too wide."""
    return len(parts) if len(parts) in (2, 3) else 3


def in_parts(
    rows: pd.DataFrame, parts: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, pd.DataFrame]]:
    for part, models in parts.items():
        of_part = rows[rows["model"].isin(models)]
        if len(of_part):
            yield part, of_part


def families(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Family → models; `recurrent 1/2` where they are too many for a panel.

    Variants stay with their plain model, which is drawn again where they fill several panels.
    """
    parts = {}
    for family, rows in frame.groupby("family"):
        packs: list[list[str]] = [[]]
        for _, group in itertools.groupby(sorted(rows["model"].unique()), key=_first_word):
            models = list(group)
            plain = [model for model in models if not is_variant(model)]
            variants = [model for model in models if is_variant(model)]
            num_pieces = max(-(-len(variants) // (MOST_LINES - len(plain))), 1)
            size = max(-(-len(variants) // num_pieces), 1)
            for i in range(0, max(len(variants), 1), size):
                piece = plain + variants[i : i + size]
                if len(packs[-1]) + len(piece) > MOST_LINES:
                    packs.append([])
                packs[-1] += piece
        for i, pack in enumerate(packs):
            name = family if len(packs) == 1 else f"{family} {i + 1}/{len(packs)}"
            parts[name] = pack
    return parts


def _first_word(model: str) -> str:
    return model.split()[0]


def is_variant(model: str) -> bool:
    """Whether its label names a field that differs from the default."""
    return " " in model


def split(frame: pd.DataFrame, parts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """With a column `panel`: the task and the part; in the order of the tasks, then the parts."""
    return pd.concat(
        of_part.assign(panel=f"{task}\n{part}" if part else task)
        for task, rows in frame.groupby("task", sort=False)
        for part, of_part in in_parts(rows, parts)
    )


def lines(rows: pd.DataFrame, style: Style) -> Iterator[tuple[str, Mapping, int, int]]:
    """The models of a panel: label, look, place and their number."""
    there = set(rows["model"])
    shown = [model for model in style if model in there]
    for i, model in enumerate(shown):
        yield model, style[model], i, len(shown)


def first_models(frame: pd.DataFrame, style: Style) -> tuple[pd.DataFrame, Counts]:
    """The rows of as many models as a figure holds, the first of the style; and how many."""
    there = set(frame["model"])
    models = [model for model in style if model in there]
    shown = models[:MOST_MODELS]
    if len(shown) == len(models):
        return frame, {}
    return frame[frame["model"].isin(shown)], {"models": (len(shown), len(models))}


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of them, the first and the last among them, evenly in between."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def say_what_is_shown(figure: Figure, counts: Counts) -> None:
    """`9 of 20 lengths` at the top of the figure, for each kind of which not all are shown."""
    left_out = {kind: count for kind, count in counts.items() if count[0] < count[1]}
    if left_out:
        said = ", ".join(f"{shown} of {there} {kind}" for kind, (shown, there) in left_out.items())
        figure.suptitle(f"{said}; the tables and records have all", fontsize=9, color="0.35")
