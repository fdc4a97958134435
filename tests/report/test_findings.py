"""Frames of what long dependencies do to a network against values by hand, and their figures."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.records import Beyond, ByDistance, Probe, Probes, Record
from bench.plan.labels import Label
from bench.plan.rates import Tried, Tuned
from bench.report import drawing, facets
from bench.report.distance import by_distance
from bench.report.sections.beyond import beyond, beyond_figure
from bench.report.sections.cliff import cliff, cliff_figure
from bench.report.sections.depth import field_by_depth
from bench.report.sections.fields import (
    SMALLEST_INFLUENCE,
    fields,
    fields_figure,
    fields_table,
    influence_figure,
)
from bench.report.sections.gradients import SMALLEST_GRADIENT, gradients_figure
from bench.report.sections.rates import rate_sensitivity, rate_sensitivity_figure
from bench.report.sections.variants import variants_figure
from tests.support.records import outcome, record, spec
from tests.support.reports import labels_of, runs_of, score_rows

RECURRENT, CONVOLUTIONAL = "gru", "tcn"
STYLE = drawing.styles([RECURRENT, CONVOLUTIONAL])
SOLVED_AT = {"copy_memory": 0.95}


def distances(*values: float) -> ByDistance:
    return ByDistance(distances=(0, 1, 2, 4)[: len(values)], values=values)


def probe(scale: float, effective_field: int) -> Probe:
    return Probe(
        step=0,
        output_gradient=distances(4 * scale, 2 * scale, scale, 0.0),
        loss_gradient=distances(scale, scale / 2, scale / 4, 0.0),
        effective_field=effective_field,
    )


def probes(scale: float = 1.0, *, measured: int = 3, effective: tuple[int, int] = (2, 3)) -> Probes:
    start, trained = effective
    return Probes(
        measured_field=measured,
        seen_steps=5,
        initial=probe(scale, start),
        trained=probe(10 * scale, trained),
    )


def of_records(made: list[Record]) -> tuple[list[Record], dict[str, Label]]:
    """Records and the labels of their specs."""
    return made, labels_of(each.spec for each in made)


def gradient(kind: str) -> pd.DataFrame:
    return by_distance(*of_records(probed()), kind)


def probed() -> list[Record]:
    """A network whose field ends and one whose field does not, two seeds each."""
    records = []
    for seed in range(2):
        scale = 4.0**seed
        narrow = probes(scale, measured=3, effective=(2, 3 + seed))
        wide = probes(scale, measured=5, effective=(4, 5))
        for model, field, found in ((CONVOLUTIONAL, 3, narrow), (RECURRENT, None, wide)):
            made = outcome(0.5, label=model, receptive_field=field, probes=found)
            records.append(record(spec(model=model, seed=seed), outcome=made))
    return records


def swept(receptive_field: int, scores: dict[int, list[float | None]]) -> list[Record]:
    """T → a score a seed, of networks of one receptive field; None: the run failed."""
    return [
        record(
            spec(length=length, seed=seed, max_steps=receptive_field),
            score,
            **(
                {}
                if score is None
                else {"outcome": outcome(score, receptive_field=receptive_field)}
            ),
        )
        for length, of_seeds in scores.items()
        for seed, score in enumerate(of_seeds)
    ]


def cliff_of(records: list[Record]) -> pd.DataFrame:
    return cliff(runs_of([each.spec for each in records], records))


def longer_tests() -> list[Record]:
    records = []
    for model, score in ((CONVOLUTIONAL, 1.0), (RECURRENT, 0.8)):
        for seed in range(2):
            further = (
                Beyond(length=20, test={"recall": score / 2 + seed / 10}, num_test=10),
                Beyond(length=40, test={"recall": None}, num_test=10),
            )
            made = outcome(score, label=model, beyond=further)
            records.append(record(spec(model=model, seed=seed), outcome=made))
    return records


def tried(rate: float, score: float | None) -> Tried:
    low, high = (None, None) if score is None else (score - 0.1, score + 0.1)
    return Tried(
        rate=rate,
        num_runs=3,
        num_solved=1,
        score=score,
        low=low,
        high=high,
        updates=100.0,
        seconds=1.0,
    )


RATES = {
    "copy_memory": {
        model: Tuned(rate=0.003, tried=(tried(0.001, 0.5), tried(0.003, 0.9), tried(0.01, None)))
        for model in (CONVOLUTIONAL, RECURRENT)
    }
}


def rates_of_runs() -> pd.DataFrame:
    records = probed()
    return rate_sensitivity(RATES, runs_of([each.spec for each in records], records))


def test_gradients_have_a_row_a_distance_moment_and_seed() -> None:
    frame = gradient("loss_gradient")
    assert len(frame) == 2 * 2 * 2 * 4
    one = frame.query("model == @CONVOLUTIONAL and seed == 1 and moment == 'trained'")
    assert list(one["distance"]) == [0, 1, 2, 4]
    assert list(one["value"]) == [40.0, 20.0, 10.0, 0.0]
    assert set(one["T"]) == {10}
    assert set(one["family"]) == {"convolutional"}


def test_influence_is_of_the_output_and_gradients_of_the_loss() -> None:
    frame = gradient("output_gradient")
    start = frame.query("model == @RECURRENT and seed == 0 and moment == 'at the start'")
    assert list(start["value"]) == [4.0, 2.0, 1.0, 0.0]


def test_three_fields_of_each_model() -> None:
    records = probed()
    narrow, wide = fields(*of_records(records)).to_dict("records")
    assert (narrow["formula"], narrow["mark"], narrow["measured"]) == (3, "=", 3)
    assert (wide["mark"], wide["measured"]) == ("≥", 5)
    assert pd.isna(wide["formula"])
    assert narrow["effective_start"] == narrow["effective_start_max"] == 2
    columns = ("effective_trained", "effective_trained_min", "effective_trained_max")
    assert [narrow[column] for column in columns] == [3.5, 3, 4]
    assert (narrow["seeds"], narrow["reach"]) == (2, records[0].spec.length + 11)


def test_the_table_of_fields_says_what_the_numbers_mean() -> None:
    table = fields_table(fields(*of_records(probed())))
    assert list(table["by_formula"]) == ["3", "without end"]
    assert list(table["by_perturbation"]) == ["3", "≥ 5"]
    assert list(table["effective_trained"]) == ["3.5 (3–4)", "5"]


def test_a_cliff_has_the_share_of_seeds_and_whether_the_reach_is_covered() -> None:
    found = cliff_of(swept(25, {10: [1.0, 1.0, 0.96], 20: [1.0, 0.5, None]}))
    covered, beyond_it = found.to_dict("records")
    assert (covered["T"], covered["reach"], covered["covered"]) == (10, 21, True)
    assert (covered["solved"], covered["seeds"], covered["share"]) == (3, 3, 1.0)
    assert (beyond_it["reach"], beyond_it["receptive_field"]) == (31, 25)
    assert not beyond_it["covered"]
    assert beyond_it["mean"] == pytest.approx((1.0 + 0.5 + 0.125) / 3)  # failed: at chance
    assert (beyond_it["min"], beyond_it["max"], beyond_it["seeds"]) == (0.125, 1.0, 3)
    interval = (beyond_it["share_low"], beyond_it["share_high"])
    assert interval == pytest.approx((0.0615, 0.7923), abs=1e-3)  # Wilson, 1 of 3


def test_a_field_that_grows_with_the_length_or_has_no_end_has_no_cliff() -> None:
    growing = [*swept(25, {10: [1.0]}), *swept(99, {20: [1.0]})]
    assert cliff_of(growing).empty
    assert cliff_of(swept(25, {10: [1.0, 1.0]})).empty  # a single T
    endless = [
        record(spec(model=RECURRENT, length=length), outcome=outcome(receptive_field=None))
        for length in (10, 20)
    ]
    assert cliff_of(endless).empty


def test_tests_beyond_the_trained_length_stand_beside_the_trained_one() -> None:
    frame = beyond(*of_records(longer_tests())).query("model == @RECURRENT")
    assert list(frame["length"]) == [10, 20, 40]
    assert list(frame["factor"]) == [1.0, 2.0, 4.0]
    assert list(frame["mean"]) == pytest.approx([0.8, 0.45, 0.125])  # not finite: chance
    assert list(frame["min"]) == pytest.approx([0.8, 0.4, 0.125])
    assert list(frame["max"]) == pytest.approx([0.8, 0.5, 0.125])
    assert set(frame["seeds"]) == {2}
    assert set(frame["chance"]) == {0.125}


def test_every_rate_that_was_tried_has_a_row_and_one_is_chosen() -> None:
    frame = rates_of_runs()
    assert list(frame["chosen"]) == [False, True, False] * 2
    scores = frame.query("model == @RECURRENT")["score"]
    assert list(scores[:2]) == [0.5, 0.9]
    assert np.isnan(scores.iloc[2])  # a run failed
    assert list(frame["family"]) == ["convolutional"] * 3 + ["recurrent"] * 3


def test_without_records_frames_are_empty() -> None:
    bare = of_records([record(spec()), record(spec(seed=1), None)])
    assert by_distance(*bare, "loss_gradient").empty
    assert fields_table(fields(*bare)).empty
    assert beyond(*bare).empty
    assert cliff_of([record(spec(), None)]).empty


# Figures


def cliffs() -> pd.DataFrame:
    """Two receptive fields, 25 and 99, as two models."""
    frames = []
    for field, name in ((25, CONVOLUTIONAL), (99, RECURRENT)):
        found = cliff_of(swept(field, {10: [1.0, 0.96], 20: [0.9, 0.2], 200: [0.125, 0.125]}))
        frames.append(found.assign(model_label=name))
    return pd.concat(frames)


def draw_gradients() -> Figure:
    return gradients_figure(gradient("loss_gradient"), STYLE)


def draw_influence() -> Figure:
    return influence_figure(gradient("output_gradient"), fields(*of_records(probed())), STYLE)


def draw_fields() -> Figure:
    return fields_figure(fields(*of_records(probed())), STYLE)


def draw_cliff() -> Figure:
    return cliff_figure(cliffs(), SOLVED_AT, STYLE)


def draw_beyond() -> Figure:
    return beyond_figure(beyond(*of_records(longer_tests())), SOLVED_AT, STYLE)


def draw_rates() -> Figure:
    return rate_sensitivity_figure(rates_of_runs(), {"copy_memory": 0.125}, SOLVED_AT, STYLE)


def draw_variants() -> Figure:
    return variants_figure(score_rows([RECURRENT, CONVOLUTIONAL]), SOLVED_AT, STYLE)


FIGURES: dict[Callable[[], Figure], tuple[int, str, str]] = {
    draw_gradients: (2, "distance to the last input (steps)", "norm of the loss's gradient"),
    draw_influence: (1, "distance to the last input (steps)", "share of its largest"),
    draw_fields: (1, "receptive field (steps)", ""),
    field_by_depth: (1, "depth (layers)", "receptive field (steps)"),
    draw_cliff: (1, "dependency length T (steps)", "test recall\n(share of symbols)"),
    draw_beyond: (1, "tested length / trained length", "test recall\n(share of symbols)"),
    draw_rates: (1, "learning rate", "validation score"),
    draw_variants: (1, "dependency length T (steps)", "test recall\n(share of symbols)"),
}


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """The x and y of a line."""
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("draw", FIGURES)
def test_axes_have_labels_and_the_legend_lies_within_the_figure(draw: Callable[[], Figure]) -> None:
    num_panels, x, y = FIGURES[draw]
    figure = draw()
    assert len(figure.axes) == num_panels
    assert {panel.get_xlabel() for panel in figure.axes} == {x}
    assert y in figure.axes[0].get_ylabel()
    figure.savefig(BytesIO(), format="png", dpi=50)
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


@pytest.mark.parametrize(
    "draw", [draw_gradients, draw_influence, draw_beyond, draw_rates, draw_variants]
)
def test_each_model_has_a_line_in_its_own_look(draw: Callable[[], Figure]) -> None:
    figure = draw()
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.get_lines()}
        for model, look in STYLE.items():
            assert to_hex(lines[model].get_color()) == to_hex(look["color"])  # pyright: ignore
            assert lines[model].get_marker() == look["marker"]
    assert legend(figure)[:2] == sorted(STYLE)


@pytest.mark.parametrize("draw", [draw_cliff, draw_beyond, draw_rates, draw_variants])
def test_chance_and_solved_are_drawn_wherever_scores_are(draw: Callable[[], Figure]) -> None:
    (panel,) = draw().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert set(points(lines["chance"])[1]) == {0.125}
    assert lines["chance"].is_dashed()
    assert set(points(lines["solved"])[1]) == {0.95}


def test_a_line_is_the_geometric_mean_and_what_vanished_lies_on_the_floor() -> None:
    start, trained = draw_gradients().axes
    (line,) = (line for line in trained.get_lines() if line.get_label() == RECURRENT)
    # Seeds of 10 and 40 at distance 0; nothing is left at distance 4.
    expected = [20.0, 10.0, 5.0, SMALLEST_GRADIENT]
    assert points(line)[1] == pytest.approx(expected)
    assert (start.get_title(), trained.get_title()) == (
        "copy_memory, T = 10\nat the start",
        "copy_memory, T = 10\ntrained",
    )


def test_networks_that_nothing_reaches_can_be_drawn() -> None:
    dead = gradient("output_gradient").assign(value=0.0)
    figure = influence_figure(dead, fields(*of_records(probed())), STYLE)
    figure.savefig(BytesIO(), format="png", dpi=50)
    (line,) = (x for x in figure.axes[0].get_lines() if x.get_label() == RECURRENT)
    assert points(line)[1] == pytest.approx([SMALLEST_INFLUENCE] * 4)


def test_influence_is_a_share_and_the_formula_a_vertical_line() -> None:
    (panel,) = draw_influence().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    _, shares = points(lines[CONVOLUTIONAL])
    assert shares == pytest.approx([1, 0.5, 0.25, SMALLEST_INFLUENCE])
    vertical = [line for line in panel.get_lines() if points(line)[0] == [3, 3]]
    assert [to_hex(line.get_color()) for line in vertical] == [
        to_hex(STYLE[CONVOLUTIONAL]["color"])  # pyright: ignore
    ]


def test_the_cliff_is_marked_where_the_reach_exceeds_the_field() -> None:
    (panel,) = draw_cliff().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert {"R = 25", "R = 99"} <= set(lines)
    ends = [points(line)[0] for line in panel.get_lines()]
    vertical = {x[0] for x in ends if len(x) == 2 and x[0] == x[1]}
    assert vertical == {14.0, 88.0}  # T + 11 steps are needed


def test_the_chosen_rate_is_filled_and_the_others_are_hollow() -> None:
    (panel,) = draw_rates().axes
    lines = [line for line in panel.get_lines() if line.get_label() == RECURRENT]
    assert [line.get_markerfacecolor() for line in lines] == ["white"]
    filled = [points(line)[1] for line in panel.get_lines() if line.get_markersize() == 7]
    assert filled == [[0.9], [0.9], []]  # the last explains the mark in the legend


def test_many_variants_are_split_and_each_panel_has_their_plain_model() -> None:
    frame = score_rows([RECURRENT, *(f"{RECURRENT} num_layers={n:02}" for n in range(2, 12))])
    models = list(frame["model_label"].unique())
    style = drawing.styles(models[:1], models[1:])
    figure = variants_figure(frame, SOLVED_AT, style)
    assert [panel.get_title() for panel in figure.axes] == [
        "copy_memory\nrecurrent 1/2",
        "copy_memory\nrecurrent 2/2",
    ]
    shown = []
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.get_lines() if line.get_label() in style}
        assert len(lines) <= facets.MOST_LINES
        widths = {str(model): line.get_linewidth() for model, line in lines.items()}
        assert widths.pop(RECURRENT) > max(widths.values())
        shown += list(widths)
    assert sorted(shown) == models[1:]
