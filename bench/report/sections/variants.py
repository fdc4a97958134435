"""Variants and ablations beside the plain models."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.report import facets, runs
from bench.report.data import Data
from bench.report.drawing import NO_NAMES, score_against_length
from bench.report.facets import Style
from bench.report.section import Filled, Item, Picture, Section

THIN = {"linewidth": 1.1, "markersize": 4}
THICK = {"linewidth": 2.8, "markersize": 6, "zorder": 1.5}  # behind the thinner lines
TABLE = replace(runs.SCORES, name="variants", caption="")


def build(data: Data) -> Iterator[Item]:
    scores = runs.scores(beside_variants(data))
    shown = bool(len(scores)) and (scores["variant"] != "").any()
    if shown:
        yield Picture(
            name="variants",
            draw=partial(variants_figure, scores, data.solved_at, data.style, data.length_is),
            caption="Mean test score of each variant; bands: range over seeds. Thick lines in "
            "the background: the default models. Dashed: chance. Dotted: the score that counts as "
            "solved. Variants have the same number of parameters, unless their name gives another "
            "param_budget. The section “Settings and learning rates” says which variants have a "
            "learning rate of their own.",
        )
    yield Filled(table=TABLE if shown else replace(TABLE, shown=False), frame=scores)


def beside_variants(data: Data) -> pd.DataFrame:
    """The runs of variants, and the main runs of the same task and length where there are any."""
    own = data.within("variants")
    cells = set(zip(data.runs["task_label"][own], data.runs["T"][own], strict=True))
    beside = [cell in cells for cell in zip(data.runs["task_label"], data.runs["T"], strict=True)]
    return data.runs[own | (data.within("main") & pd.Series(beside, index=data.runs.index))]


def variants_figure(
    scores: pd.DataFrame,
    solved_at: Mapping[str, float],
    style: Style,
    length_is: Mapping[str, str] = NO_NAMES,
) -> Figure:
    """Mean test score against T, one panel per task and family; plain models are thicker.

    A family with more models than fit a panel has several, each with the plain model of the
    variants in it.
    """
    families = facets.families(scores)
    plain = set(scores["model_label"][scores["variant"] == ""])
    weighted = {
        model: {**look, **(THICK if model in plain else THIN)} for model, look in style.items()
    }
    return score_against_length(
        facets.split(scores, families),
        solved_at,
        weighted,
        facets.num_columns(families),
        length_is,
    )


SECTION = Section(title="Variants and ablations", order=30, tables=(TABLE,), build=build)
