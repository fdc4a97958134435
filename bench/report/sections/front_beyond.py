"""The third figure below the answer: longer sequences than in training."""

from collections.abc import Iterator, Mapping
from functools import partial

import pandas as pd

from bench.report.data import Data
from bench.report.section import Item, Picture, Section
from bench.report.sections._shared import FIGURES, MOST_PANELS
from bench.report.sections.beyond import beyond, beyond_figure, of_one_kind


def build(data: Data) -> Iterator[Item]:
    shown = at_the_longest_solved(beyond(data.records, data.source.labels), data.solved_at)
    if len(shown):
        yield Picture(
            name="front_beyond",
            title=message(shown, data.solved_at),
            draw=partial(beyond_figure, shown, data.solved_at, data.style),
            caption="Test score at multiples of the trained length, without further training. Each "
            "task is shown at the longest trained length that some model solves. Line: mean over "
            "seeds; band: their range. Dashed: chance. Dotted: the score that counts as solved.",
        )


def at_the_longest_solved(found: pd.DataFrame, solved_at: Mapping[str, float]) -> pd.DataFrame:
    """One trained length per task: the longest at which the mean of some plain model solves it."""
    plain = of_one_kind(found)
    plain = plain[plain["variant"] == ""]
    trained = plain[(plain["factor"] == 1) & _solved(plain, solved_at)]
    longest = trained.groupby("task_label", sort=False)["T"].max().head(MOST_PANELS)
    return plain[plain["T"] == plain["task_label"].map(longest)]


def message(shown: pd.DataFrame, solved_at: Mapping[str, float]) -> str:
    """Which models still solve each task at the longest length tested."""
    parts = []
    for task, rows in shown.groupby("task_label", sort=False):
        farthest = rows[rows["factor"] == rows["factor"].max()]
        still = sorted(farthest.loc[_solved(farthest, solved_at), "model_label"])
        factor = f"{farthest['factor'].iloc[0]:g} times the trained length"
        parts.append(f"{', '.join(still) or 'no model'} on {task} ({factor})")
    return f"Longer sequences than in training are solved by {'; '.join(parts)}"


def _solved(rows: pd.DataFrame, solved_at: Mapping[str, float]) -> pd.Series:
    return rows["mean"] >= rows["task_label"].map(solved_at).astype(float)


SECTION = Section(title=FIGURES, order=3, unfolded=True, build=build)
