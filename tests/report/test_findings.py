"""Frames and figures about long dependencies, checked against values computed by hand."""

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
from bench.report.sections.beyond import beyond, beyond_figure, of_one_kind
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
from bench.report.sections.rates import rate_sensitivity, rate_sensitivity_figure, trials
from bench.report.sections.variants import variants_figure
from tests.support.records import outcome, record, spec
from tests.support.reports import labels_of, runs_of

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
    """Two seeds each of a network with a finite field and one with an infinite field."""
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
    """Runs of one receptive field from T → one score per seed; None is a failed run."""
    records = []
    for length, of_seeds in scores.items():
        for seed, score in enumerate(of_seeds):
            run = spec(length=length, seed=seed, max_steps=receptive_field)
            made = None if score is None else outcome(score, receptive_field=receptive_field)
            records.append(record(run, None) if made is None else record(run, outcome=made))
    return records


def cliff_of(records: list[Record]) -> pd.DataFrame:
    return cliff(runs_of([each.spec for each in records], records))


def longer_tests() -> list[Record]:
    records = []
    for model, score in ((CONVOLUTIONAL, 1.0), (RECURRENT, 0.8)):
        for seed in range(2):
            further = (
                Beyond(length=10, test={"recall": 0.1}, num_test=10),
                Beyond(length=20, test={"recall": score / 2 + seed / 10}, num_test=10),
                Beyond(length=40, test={"recall": None}, num_test=10),
            )
            made = outcome(score, label=model, beyond=further)
            records.append(record(spec(model=model, seed=seed), outcome=made))
    return records


def tried(rate: float, score: float | None) -> Tried:
    ends = {} if score is None else {"low": score - 0.1, "high": score + 0.1}
    counts = {"num_runs": 3, "num_solved": 1, "updates": 100.0, "seconds": 1.0}
    return Tried(**{"rate": rate, "score": score, "low": None, "high": None, **counts, **ends})


RATES = {
    "copy_memory": {
        model: Tuned(rate=0.003, tried=(tried(0.001, 0.5), tried(0.003, 0.9), tried(0.01, None)))
        for model in (CONVOLUTIONAL, RECURRENT)
    }
}


def rates_of_runs() -> pd.DataFrame:
    records = probed()
    return rate_sensitivity(RATES, runs_of([each.spec for each in records], records))


def test_gradients_have_one_row_per_distance_moment_and_seed() -> None:
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
    assert list(table["by_formula"]) == ["3", "unlimited"]
    assert list(table["by_perturbation"]) == ["3", "≥ 5"]
    assert list(table["effective_trained"]) == ["3.5 (3–4)", "5"]


def test_a_cliff_has_the_share_of_seeds_and_whether_the_reach_is_covered() -> None:
    found = cliff_of(swept(25, {10: [1.0, 1.0, 0.96], 20: [1.0, 0.5, None]}))
    covered, beyond_it = found.to_dict("records")
    assert (covered["T"], covered["reach"], covered["covered"]) == (10, 21, True)
    assert (covered["solved"], covered["seeds"], covered["decision"]) == (3, 3, "3/3")
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
    assert list(frame["length"]) == [10, 10, 20, 40]
    assert list(frame["factor"]) == [1.0, 1.0, 2.0, 4.0]
    # The task's own test and a further test at its length are different sequences.
    assert list(frame["sequences"]) == ["as in training"] + ["as at that length"] * 3
    assert list(frame["mean"]) == pytest.approx([0.8, 0.1, 0.45, 0.125])  # not finite: chance
    assert list(frame["min"]) == pytest.approx([0.8, 0.1, 0.4, 0.125])
    assert list(frame["max"]) == pytest.approx([0.8, 0.1, 0.5, 0.125])
    assert (set(frame["seeds"]), set(frame["chance"])) == ({2}, {0.125})
    drawn = of_one_kind(frame)
    assert list(drawn["length"]) == [10, 20, 40]
    assert list(drawn["sequences"]) == ["as at that length"] * 3
    alone = frame.query("sequences == 'as in training' or length == 20")
    assert list(of_one_kind(alone)["length"]) == [10, 20]


def test_every_rate_that_was_tried_has_a_row_and_one_is_chosen() -> None:
    frame = rates_of_runs()
    assert list(frame["chosen"]) == [False, True, False] * 2
    scores = frame.query("model == @RECURRENT")["score"]
    assert list(scores[:2]) == [0.5, 0.9]
    assert np.isnan(scores.iloc[2])  # a run failed
    assert list(frame["family"]) == ["convolutional"] * 3 + ["recurrent"] * 3
    rows = trials(frame)
    assert (list(rows["rate"]), list(rows["trials"])) == (
        [0.003] * 2,
        [frame["runs"][:3].sum()] * 2,
    )
    assert rows["scores"][0].split("; ")[1:] == ["0.003: 0.9 (1/3, 100)", "0.01: failed (1/3, 100)"]


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


def scores(variants: list[str], model: str = RECURRENT, family: str = "recurrent") -> pd.DataFrame:
    """Rows for the variants of a model; the empty variant is the plain model."""
    same = {"task_label": "copy_memory", "model": model, "family": family, "score": "recall"}
    same |= {"unit": "share of symbols", "mean": 0.5, "min": 0.4, "max": 0.6, "chance": 0.125}
    same |= {"improving": 0, "sequences": "as at that length"}
    return pd.DataFrame(
        {**same, "T": length, "variant": variant, "model_label": f"{model} {variant}".strip()}
        for variant in variants
        for length in (10, 100)
    )


def variants_of_two_models() -> pd.DataFrame:
    both = pd.concat([scores([""]), scores([""], CONVOLUTIONAL, "convolutional")])
    return both.assign(family="recurrent")


DRAWINGS: dict[str, Callable[[], Figure]] = {
    "gradients": lambda: gradients_figure(gradient("loss_gradient"), STYLE),
    "influence": lambda: influence_figure(
        gradient("output_gradient"), fields(*of_records(probed())), STYLE
    ),
    "fields": lambda: fields_figure(fields(*of_records(probed())), STYLE),
    "depth": field_by_depth,
    "cliff": lambda: cliff_figure(cliffs(), SOLVED_AT, STYLE),
    "beyond": lambda: beyond_figure(beyond(*of_records(longer_tests())), SOLVED_AT, STYLE),
    "rates": lambda: rate_sensitivity_figure(
        rates_of_runs(), {"copy_memory": 0.125}, SOLVED_AT, STYLE
    ),
    "variants": lambda: variants_figure(variants_of_two_models(), SOLVED_AT, STYLE),
}
DISTANCE, LENGTH = "distance to the last input (steps)", "dependency length T (steps)"
RECALL = "test recall\n(share of symbols)"


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """The x and y of a line."""
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


@pytest.mark.parametrize(
    ("name", "num_panels", "x", "y"),
    [
        ("gradients", 2, DISTANCE, "norm of the loss's gradient"),
        ("influence", 1, DISTANCE, "share of its largest"),
        ("fields", 1, "receptive field (steps)", ""),
        ("depth", 1, "depth (layers)", "receptive field (steps)"),
        ("cliff", 1, LENGTH, RECALL),
        ("beyond", 1, "tested length / trained length", RECALL),
        ("rates", 1, "learning rate", "validation score"),
        ("variants", 1, LENGTH, RECALL),
    ],
)
def test_axes_have_labels_and_the_legend_fits(name: str, num_panels: int, x: str, y: str) -> None:
    figure = DRAWINGS[name]()
    assert len(figure.axes) == num_panels
    assert {panel.get_xlabel() for panel in figure.axes} == {x}
    assert y in figure.axes[0].get_ylabel()
    figure.savefig(BytesIO(), format="png", dpi=50)
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


@pytest.mark.parametrize("name", ["gradients", "influence", "beyond", "rates", "variants"])
def test_each_model_has_a_line_in_its_own_look(name: str) -> None:
    figure = DRAWINGS[name]()
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.get_lines()}
        for model, look in STYLE.items():
            assert to_hex(lines[model].get_color()) == to_hex(look["color"])  # pyright: ignore
            assert lines[model].get_marker() == look["marker"]
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries[:2] == sorted(STYLE)


@pytest.mark.parametrize("name", ["cliff", "beyond", "rates", "variants"])
def test_figures_of_scores_show_chance_and_solved(name: str) -> None:
    (panel,) = DRAWINGS[name]().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert set(points(lines["chance"])[1]) == {0.125}
    assert lines["chance"].is_dashed()
    assert set(points(lines["solved"])[1]) == {0.95}


def test_lines_are_geometric_means_and_vanished_values_lie_on_the_floor() -> None:
    start, trained = DRAWINGS["gradients"]().axes
    (line,) = (line for line in trained.get_lines() if line.get_label() == RECURRENT)
    # Seeds of 10 and 40 at distance 0; nothing is left at distance 4.
    expected = [20.0, 10.0, 5.0, SMALLEST_GRADIENT]
    assert points(line)[1] == pytest.approx(expected)
    assert start.get_title() == "copy_memory, T = 10\nat the start"
    assert trained.get_title() == "copy_memory, T = 10\ntrained"


def test_networks_without_any_influence_can_be_drawn() -> None:
    dead = gradient("output_gradient").assign(value=0.0)
    figure = influence_figure(dead, fields(*of_records(probed())), STYLE)
    figure.savefig(BytesIO(), format="png", dpi=50)
    (line,) = (x for x in figure.axes[0].get_lines() if x.get_label() == RECURRENT)
    assert points(line)[1] == pytest.approx([SMALLEST_INFLUENCE] * 4)


def test_influence_is_a_share_and_the_formula_a_vertical_line() -> None:
    (panel,) = DRAWINGS["influence"]().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    _, shares = points(lines[CONVOLUTIONAL])
    assert shares == pytest.approx([1, 0.5, 0.25, SMALLEST_INFLUENCE])
    vertical = [line for line in panel.get_lines() if points(line)[0] == [3, 3]]
    color = to_hex(STYLE[CONVOLUTIONAL]["color"])  # pyright: ignore
    assert [to_hex(line.get_color()) for line in vertical] == [color]


def test_the_cliff_is_marked_where_the_reach_exceeds_the_field() -> None:
    (panel,) = DRAWINGS["cliff"]().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert {"R = 25", "R = 99"} <= set(lines)
    ends = [points(line)[0] for line in panel.get_lines()]
    vertical = {x[0] for x in ends if len(x) == 2 and x[0] == x[1]}
    assert vertical == {14.0, 88.0}  # T + 11 steps are needed


def test_the_chosen_rate_is_filled_and_the_others_are_hollow() -> None:
    (panel,) = DRAWINGS["rates"]().axes
    lines = [line for line in panel.get_lines() if line.get_label() == RECURRENT]
    assert [line.get_markerfacecolor() for line in lines] == ["white"]
    filled = [points(line)[1] for line in panel.get_lines() if line.get_markersize() == 7]
    assert filled == [[0.9], [0.9], []]  # the last explains the mark in the legend


def test_many_variants_are_split_and_each_panel_has_their_plain_model() -> None:
    frame = scores(["", *(f"num_layers={n:02}" for n in range(2, 12))])
    models = list(frame["model_label"].unique())
    style = drawing.styles(models[:1], models[1:])
    figure = variants_figure(frame, SOLVED_AT, style)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["copy_memory\nrecurrent 1/2", "copy_memory\nrecurrent 2/2"]
    shown = []
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.get_lines() if line.get_label() in style}
        assert len(lines) <= facets.MOST_LINES
        widths = {str(model): line.get_linewidth() for model, line in lines.items()}
        assert widths.pop(RECURRENT) > max(widths.values())
        shown += list(widths)
    assert sorted(shown) == models[1:]


def test_families_have_panels_of_their_own_where_models_are_many() -> None:
    variants = [f"size={n}" for n in range(6)]
    frame = pd.concat([scores(variants), scores(variants, CONVOLUTIONAL, "convolutional")])
    style = drawing.styles([], frame["model_label"])
    figure = beyond_figure(frame.assign(length=10, factor=1.0), SOLVED_AT, style)
    assert [panel.get_title().splitlines()[1] for panel in figure.axes] == [
        f"trained at T = {length}, {family}"
        for family in ("convolutional", "recurrent")
        for length in (10, 100)
    ]
