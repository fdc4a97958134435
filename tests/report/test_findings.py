"""Frames of what long dependencies do to a network against values by hand, and their figures."""

from collections.abc import Callable
from io import BytesIO, StringIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.records import Beyond, ByDistance, Probe, Probes, Record
from bench.plan.rates import Tried, Tuned
from bench.report import drawing, facets
from bench.report.claims import KERNEL_SIZES, dilated_field
from bench.report.distance import by_distance
from bench.report.sections import beyond as beyonds
from bench.report.sections import cliff as cliffs
from bench.report.sections import depth, gradients, rates, variants
from bench.report.sections import fields as fieldss
from tests.support.records import outcome, record, spec
from tests.support.reports import labels_of, runs_of

RECURRENT, CONVOLUTIONAL = "gru", "tcn"
STYLE = figures.styles([RECURRENT, CONVOLUTIONAL])
SOLVED_AT = {"copy_memory": 0.95}


def by_distance(*values: float) -> ByDistance:
    return ByDistance(distances=(0, 1, 2, 4)[: len(values)], values=values)


def probe(scale: float, effective_field: int) -> Probe:
    return Probe(
        step=0,
        output_gradient=by_distance(4 * scale, 2 * scale, scale, 0.0),
        loss_gradient=by_distance(scale, scale / 2, scale / 4, 0.0),
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


def labels(records: list[Record]) -> dict[str, tuple[str, str]]:
    return {r.spec.id: (r.spec.task.name, r.spec.model.name) for r in records}


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


def runs_of(records: list[Record]) -> pd.DataFrame:
    known = labels(records)
    return tables.runs_frame([r.spec for r in records], records, known, dict.fromkeys(known, 0.95))


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


def test_gradients_have_a_row_a_distance_moment_and_seed() -> None:
    records = probed()
    frame = findings.gradients(records, labels(records))
    assert len(frame) == 2 * 2 * 2 * 4
    one = frame.query("model == @CONVOLUTIONAL and seed == 1 and moment == 'trained'")
    assert list(one["distance"]) == [0, 1, 2, 4]
    assert list(one["value"]) == [40.0, 20.0, 10.0, 0.0]
    assert set(one["T"]) == {10}
    assert set(one["family"]) == {"convolutional"}


def test_influence_is_of_the_output_and_gradients_of_the_loss() -> None:
    records = probed()
    frame = findings.influence(records, labels(records))
    start = frame.query("model == @RECURRENT and seed == 0 and moment == 'at the start'")
    assert list(start["value"]) == [4.0, 2.0, 1.0, 0.0]


def test_three_fields_of_each_model() -> None:
    records = probed()
    narrow, wide = findings.fields(records, labels(records)).to_dict("records")
    assert (narrow["formula"], narrow["mark"], narrow["measured"]) == (3, "=", 3)
    assert (wide["formula"], wide["mark"], wide["measured"]) == (None, "≥", 5)
    assert narrow["effective_start"] == narrow["effective_start_max"] == 2
    columns = ("effective_trained", "effective_trained_min", "effective_trained_max")
    assert [narrow[column] for column in columns] == [3.5, 3, 4]
    assert (narrow["seeds"], narrow["reach"]) == (2, records[0].spec.length + 11)


def test_the_table_of_fields_says_what_the_numbers_mean() -> None:
    records = probed()
    table = findings.fields_table(findings.fields(records, labels(records)))
    assert list(table["by_formula"]) == [3, "without end"]
    assert list(table["by_perturbation"]) == ["3", "≥ 5"]
    assert list(table["effective_trained"]) == ["3.5 (3–4)", "5"]


def test_a_cliff_has_the_share_of_seeds_and_whether_the_reach_is_covered() -> None:
    runs = runs_of(swept(25, {10: [1.0, 1.0, 0.96], 20: [1.0, 0.5, None]}))
    covered, beyond_it = findings.cliff(runs).to_dict("records")
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
    assert findings.cliff(runs_of(growing)).empty
    assert findings.cliff(runs_of(swept(25, {10: [1.0, 1.0]}))).empty  # a single T
    endless = [
        record(spec(model=RECURRENT, length=length), outcome=outcome(receptive_field=None))
        for length in (10, 20)
    ]
    assert findings.cliff(runs_of(endless)).empty


def test_tests_beyond_the_trained_length_stand_beside_the_trained_one() -> None:
    records = longer_tests()
    frame = findings.beyond(records, labels(records)).query("model == @RECURRENT")
    assert list(frame["length"]) == [10, 20, 40]
    assert list(frame["factor"]) == [1.0, 2.0, 4.0]
    assert list(frame["mean"]) == pytest.approx([0.8, 0.45, 0.125])  # not finite: chance
    assert list(frame["min"]) == pytest.approx([0.8, 0.4, 0.125])
    assert list(frame["max"]) == pytest.approx([0.8, 0.5, 0.125])
    assert set(frame["seeds"]) == {2}
    assert set(frame["chance"]) == {0.125}


def test_every_rate_that_was_tried_has_a_row_and_one_is_chosen() -> None:
    frame = findings.rate_sensitivity(RATES)
    assert list(frame["chosen"]) == [False, True, False] * 2
    scores = frame.query("model == @RECURRENT")["score"]
    assert list(scores[:2]) == [0.5, 0.9]
    assert np.isnan(scores.iloc[2])  # a run failed
    assert list(frame["family"]) == ["convolutional"] * 3 + ["recurrent"] * 3


def test_field_by_depth_follows_the_formula() -> None:
    frame = findings.field_by_depth().set_index(["kernel_size", "convolutions", "depth"])
    field = frame["receptive_field"]
    assert (field[2, 1, 1], field[2, 1, 10]) == (2, 1024)
    assert (field[3, 2, 4], field[7, 2, 10]) == (61, 12277)
    assert len(field) == 3 * 2 * 10


def test_without_records_frames_are_empty() -> None:
    bare = [record(spec()), record(spec(seed=1), None)]
    for of in (findings.gradients, findings.influence, findings.fields, findings.beyond):
        assert of(bare, labels(bare)).empty
    assert findings.fields_table(pd.DataFrame()).empty
    assert findings.cliff(runs_of([record(spec(), None)])).empty
    assert findings.rate_sensitivity({}).empty


def test_one_length_a_task_the_longest_that_most_models_have() -> None:
    have = {"a": (10, 20, 50), "b": (10, 20), "c": (10, 20), "d": (10,)}
    rows = [
        {"task": "t", "model": model, "T": length}
        for model, lengths in have.items()
        for length in lengths
    ]
    assert set(facets.at_the_longest(pd.DataFrame(rows))["T"]) == {20}
    apart = [{"task": "t", "model": model, "T": T} for model, T in (("a", 10), ("b", 20))]
    assert set(facets.at_the_longest(pd.DataFrame(apart))["T"]) == {20}
    variants = [{"task": "t", "model": f"a n={n}", "T": T} for n in range(9) for T in (20, 50)]
    assert set(facets.at_the_longest(pd.DataFrame(rows + variants))["T"]) == {20}
    assert set(facets.at_the_longest(pd.DataFrame(variants))["T"]) == {50}


# Figures


def cliffs() -> pd.DataFrame:
    """Two receptive fields, 25 and 99, as two models."""
    frames = []
    for field, name in ((25, CONVOLUTIONAL), (99, RECURRENT)):
        runs = runs_of(swept(field, {10: [1.0, 0.96], 20: [0.9, 0.2], 200: [0.125, 0.125]}))
        frames.append(findings.cliff(runs).assign(model=name))
    return pd.concat(frames)


def scores(models: list[str], family: str = "recurrent") -> pd.DataFrame:
    rows = [
        {
            "task": "copy_memory",
            "T": length,
            "model": model,
            "family": family,
            "score": "recall",
            "unit": "share of symbols",
            "mean": 0.5,
            "min": 0.4,
            "max": 0.6,
            "chance": 0.125,
        }
        for model in models
        for length in (10, 100)
    ]
    return pd.DataFrame(rows)


def gradients() -> Figure:
    records = probed()
    return findings_figures.gradients_figure(findings.gradients(records, labels(records)), STYLE)


def influence() -> Figure:
    records = probed()
    known = labels(records)
    return findings_figures.influence_figure(
        findings.influence(records, known), findings.fields(records, known), STYLE
    )


def fields() -> Figure:
    records = probed()
    return findings_figures.fields_figure(findings.fields(records, labels(records)), STYLE)


def field_by_depth() -> Figure:
    return findings_figures.field_by_depth_figure(findings.field_by_depth())


def cliff() -> Figure:
    return findings_figures.cliff_figure(cliffs(), SOLVED_AT, STYLE)


def beyond() -> Figure:
    records = longer_tests()
    frame = findings.beyond(records, labels(records))
    return findings_figures.beyond_figure(frame, SOLVED_AT, STYLE)


def rates() -> Figure:
    return findings_figures.rate_sensitivity_figure(
        findings.rate_sensitivity(RATES), {"copy_memory": 0.125}, SOLVED_AT, STYLE
    )


def variants() -> Figure:
    models = [RECURRENT, CONVOLUTIONAL]
    return findings_figures.variants_figure(scores(models), SOLVED_AT, STYLE)


FIGURES: dict[Callable[[], Figure], tuple[int, str, str]] = {
    gradients: (2, "distance to the last input (steps)", "norm of the loss's gradient"),
    influence: (1, "distance to the last input (steps)", "share of its largest"),
    fields: (1, "receptive field (steps)", ""),
    field_by_depth: (1, "depth (layers)", "receptive field (steps)"),
    cliff: (1, "dependency length T (steps)", "test recall\n(share of symbols)"),
    beyond: (1, "tested length / trained length", "test recall\n(share of symbols)"),
    rates: (1, "learning rate", "validation score"),
    variants: (1, "dependency length T (steps)", "test recall\n(share of symbols)"),
}


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """The x and y of a line."""
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("draw", FIGURES)
def test_axes_have_labels(draw: Callable[[], Figure]) -> None:
    num_panels, x, y = FIGURES[draw]
    figure = draw()
    assert len(figure.axes) == num_panels
    assert {panel.get_xlabel() for panel in figure.axes} == {x}
    assert y in figure.axes[0].get_ylabel()


@pytest.mark.parametrize("draw", [gradients, influence, beyond, rates, variants])
def test_each_model_has_a_line_in_its_own_look(draw: Callable[[], Figure]) -> None:
    figure = draw()
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.get_lines()}
        for model, look in STYLE.items():
            assert to_hex(lines[model].get_color()) == to_hex(look["color"])  # pyright: ignore
            assert lines[model].get_marker() == look["marker"]
    assert legend(figure)[:2] == sorted(STYLE)


@pytest.mark.parametrize("draw", [cliff, beyond, rates, variants])
def test_chance_and_solved_are_drawn_wherever_scores_are(draw: Callable[[], Figure]) -> None:
    (panel,) = draw().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert set(points(lines["chance"])[1]) == {0.125}
    assert lines["chance"].is_dashed()
    assert set(points(lines["solved"])[1]) == {0.95}


@pytest.mark.parametrize("draw", FIGURES)
def test_drawn_twice_the_files_are_the_same(draw: Callable[[], Figure]) -> None:
    def file() -> str:
        drawing = StringIO()
        draw().savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
        return drawing.getvalue()

    assert file() == file()


@pytest.mark.parametrize("draw", FIGURES)
def test_the_legend_lies_within_the_figure(draw: Callable[[], Figure]) -> None:
    figure = draw()
    figure.savefig(BytesIO(), format="png", dpi=50)
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_a_line_is_the_geometric_mean_and_what_vanished_lies_on_the_floor() -> None:
    start, trained = gradients().axes
    (line,) = (line for line in trained.get_lines() if line.get_label() == RECURRENT)
    # Seeds of 10 and 40 at distance 0; nothing is left at distance 4.
    expected = [20.0, 10.0, 5.0, findings_figures.SMALLEST_GRADIENT]
    assert points(line)[1] == pytest.approx(expected)
    assert (start.get_title(), trained.get_title()) == (
        "copy_memory, T = 10\nat the start",
        "copy_memory, T = 10\ntrained",
    )


def test_networks_that_nothing_reaches_can_be_drawn() -> None:
    records = probed()
    known = labels(records)
    dead = findings.influence(records, known).assign(value=0.0)
    figure = findings_figures.influence_figure(dead, findings.fields(records, known), STYLE)
    figure.savefig(BytesIO(), format="png", dpi=50)
    (line,) = (x for x in figure.axes[0].get_lines() if x.get_label() == RECURRENT)
    assert points(line)[1] == pytest.approx([findings_figures.SMALLEST_INFLUENCE] * 4)


def test_influence_is_a_share_and_the_formula_a_vertical_line() -> None:
    (panel,) = influence().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    _, shares = points(lines[CONVOLUTIONAL])
    assert shares == pytest.approx([1, 0.5, 0.25, findings_figures.SMALLEST_INFLUENCE])
    vertical = [line for line in panel.get_lines() if points(line)[0] == [3, 3]]
    assert [to_hex(line.get_color()) for line in vertical] == [
        to_hex(STYLE[CONVOLUTIONAL]["color"])  # pyright: ignore
    ]


def test_the_cliff_is_marked_where_the_reach_exceeds_the_field() -> None:
    (panel,) = cliff().axes
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert {"R = 25", "R = 99"} <= set(lines)
    ends = [points(line)[0] for line in panel.get_lines()]
    vertical = {x[0] for x in ends if len(x) == 2 and x[0] == x[1]}
    assert vertical == {14.0, 88.0}  # T + 11 steps are needed


def test_the_chosen_rate_is_filled_and_the_others_are_hollow() -> None:
    (panel,) = rates().axes
    lines = [line for line in panel.get_lines() if line.get_label() == RECURRENT]
    assert [line.get_markerfacecolor() for line in lines] == ["white"]
    filled = [points(line)[1] for line in panel.get_lines() if line.get_markersize() == 7]
    assert filled == [[0.9], [0.9], []]  # the last explains the mark in the legend


def test_many_variants_are_split_and_each_panel_has_their_plain_model() -> None:
    models = [RECURRENT, *(f"{RECURRENT} num_layers={n:02}" for n in range(2, 12))]
    style = figures.styles(models)
    figure = findings_figures.variants_figure(scores(models), SOLVED_AT, style)
    assert [panel.get_title() for panel in figure.axes] == [
        "copy_memory\nrecurrent 1/2",
        "copy_memory\nrecurrent 2/2",
    ]
    shown = []
    for panel in figure.axes:
        lines = {line.get_label(): line for line in panel.get_lines() if line.get_label() in style}
        assert len(lines) <= facets.MOST_LINES
        widths = {model: line.get_linewidth() for model, line in lines.items()}
        assert widths.pop(RECURRENT) > max(widths.values())
        shown += list(widths)
    assert sorted(shown) == models[1:]


def test_families_have_panels_of_their_own_where_models_are_many() -> None:
    rows = []
    for n in range(6):
        for name, family in ((RECURRENT, "recurrent"), (CONVOLUTIONAL, "convolutional")):
            rows.append(scores([f"{name} size={n}"], family))
    frame = pd.concat(rows).assign(length=10, factor=1.0)
    style = figures.styles(list(frame["model"].unique()))
    figure = findings_figures.beyond_figure(frame, SOLVED_AT, style)
    assert [panel.get_title().splitlines()[1] for panel in figure.axes] == [
        f"trained at T = {length}, {family}"
        for family in ("convolutional", "recurrent")
        for length in (10, 100)
    ]
