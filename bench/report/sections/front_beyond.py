"""The third figure below the answer: longer sequences than in training."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from functools import partial

import pandas as pd

from bench.report.data import Data
from bench.report.frame import CELL, ROW, keys_of, within
from bench.report.runs import decisions
from bench.report.section import Item, Picture, Section
from bench.report.sections._shared import FIGURES, MOST_PANELS
from bench.report.sections.beyond import beyond, beyond_figure, of_one_kind


def build(data: Data) -> Iterator[Item]:
    shown = at_the_longest_solved(beyond(data.records, data.source.labels), solved_cells(data))
    if len(shown):
        yield Picture(
            name="front_beyond",
            title=message(shown, data.solved_at),
            draw=partial(beyond_figure, shown, data.solved_at, data.style),
            caption="Test score at multiples of the trained length, without further training, of "
            "the models that solve the longest trained length that any model solves. Most runs "
            "ended once they had solved the trained length, so the models were trained for "
            "different times. The section “Beyond the trained length” has the shorter trained "
            "lengths. Line: mean over seeds; band: their range. Dashed: chance. Dotted: the "
            "score that counts as solved.",
        )


def solved_cells(data: Data) -> set[tuple[Hashable, ...]]:
    """Task, T and model of every cell that its seeds decide as solved."""
    of_row = (
        (dict(zip(ROW, row, strict=True)), found) for row, found in decisions(data.runs).items()
    )
    return {tuple(about[name] for name in CELL) for about, found in of_row if found.solved}


def at_the_longest_solved(
    found: pd.DataFrame, solved: Collection[tuple[Hashable, ...]]
) -> pd.DataFrame:
    """One trained length per task: the longest that some plain model solves.

    Only the models that solve that length are compared beyond it.
    """
    plain = of_one_kind(found)
    plain = plain[plain["variant"] == ""]
    trained = plain[(plain["factor"] == 1) & within(plain, solved)]
    longest = trained.groupby("task_label", sort=False)["T"].max().head(MOST_PANELS)
    trained = trained[trained["T"] == trained["task_label"].map(longest)]
    return plain[within(plain, keys_of(trained))]


def message(shown: pd.DataFrame, solved_at: Mapping[str, float]) -> str:
    """Which models still solve each task at the longest length tested."""
    parts = []
    for task, rows in shown.groupby("task_label", sort=False):
        farthest = rows[rows["factor"] == rows["factor"].max()]
        still = sorted(farthest.loc[_solved(farthest, solved_at), "model_label"])
        trained, tested = rows["T"].iloc[0], farthest["length"].iloc[0]
        parts.append(
            f"{task} (trained at T = {trained:,}, tested at {tested:,}) is solved by "
            f"{', '.join(still) or 'no model'}"
        )
    return f"Beyond the trained length, {'; '.join(parts)}"


def _solved(rows: pd.DataFrame, solved_at: Mapping[str, float]) -> pd.Series:
    return rows["mean"] >= rows["task_label"].map(solved_at).astype(float)


SECTION = Section(title=FIGURES, order=3, unfolded=True, build=build)
