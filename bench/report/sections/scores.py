"""Test scores, and the share of seeds that solve a task, against dependency length."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.data import Data
from bench.report.drawing import curves, hollow, score_against_length, shared_legend
from bench.report.facets import Style
from bench.report.frame import numbers
from bench.report.markup import code, text
from bench.report.runs import SCORES, outcomes
from bench.report.section import Filled, Item, Picture, Section, Text
from bench.report.sections._shared import ENDS_EARLY


def build(data: Data) -> Iterator[Item]:
    scores = data.scores
    if len(scores):
        yield Picture(
            name="score_vs_length",
            draw=partial(
                score_against_length,
                scores,
                data.solved_at,
                data.style,
                length_is=data.length_is,
            ),
            caption="Mean test score against dependency length; bands: range over seeds. Markers "
            "are shifted sideways so that they do not overlap. Hollow: a seed that does not solve "
            "the task was improving when it ended. Dashed: chance. Dotted: the score that counts "
            f"as solved; a panel without a dotted line has no such score. {ENDS_EARLY}",
            png=True,
        )
    if scores["solved"].notna().any():
        yield Picture(
            name="solved_vs_length",
            draw=partial(solved_share, scores, data.style, data.length_is),
            caption="Share of seeds that solve the task against dependency length, with Wilson "
            "95% intervals where all planned seeds ran, whatever their scores were. Hollow: a seed "
            "that does not solve it was improving when it ended.",
        )
    yield Filled(table=SCORES, frame=scores)
    if said := _without_network(data):
        yield Text(markdown=f"Predictors without a network, besides chance: {said}.")


def _without_network(data: Data) -> str:
    """What such predictors score, for tasks whose score is better when it is higher."""
    labels = data.source.labels
    found = {
        f"{code(name)} scores {value:.3g} on {text(labels[record.spec.id].task_label)}": None
        for record, outcome in outcomes(data.records)
        if outcome.score.higher_is_better
        for name, value in outcome.baselines.items()
    }
    return "; ".join(found)


def solved_share(scores: pd.DataFrame, style: Style, length_is: Mapping[str, str]) -> Figure:
    """Share of seeds that solve the task against T, with Wilson 95% intervals."""
    scores = scores[scores["solved"].notna()]

    def draw(panel: Axes, line: pd.DataFrame, x: pd.Series, look: dict[str, Any]) -> None:
        share = numbers(line["solved"]) / line["seeds"]
        spread = [share - line["share_low"], line["share_high"] - share]
        panel.errorbar(x, share, spread, capsize=2, elinewidth=0.8, **look)
        hollow(panel, x, share, line["improving"] > 0, look)

    figure, panels = curves(scores, style, draw, length_is=length_is)
    for panel, _ in panels:
        panel.set_ylim(-0.05, 1.05)
        panel.set_ylabel("share of seeds that solve it", fontsize=9)
    shared_legend(figure, [panel for panel, _ in panels], style)
    return figure


SECTION = Section(
    title="Accuracy against dependency length", order=10, tables=(SCORES,), build=build
)
