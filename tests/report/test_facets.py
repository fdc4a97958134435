"""Figures of many models, lengths and seeds: what they show, and that they say so."""

import itertools
from functools import partial

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import rgb_to_hsv, to_rgb
from matplotlib.figure import Figure

from bench.report import drawing, facets, pictures
from bench.report.sections.beyond import beyond_figure
from bench.report.sections.learning import MOST_LENGTHS, MOST_SEEDS, learning, learning_figure
from tests.support.records import record, spec
from tests.support.reports import labels_of, score_rows

MANY = [f"gru num_layers={layers}" for layers in range(2, 22)]


def models_of(figure: Figure) -> list[set[str]]:
    """The models of each panel."""
    labels = [{str(line.get_label()) for line in panel.get_lines()} for panel in figure.axes]
    return [{name for name in each if name.startswith("gru")} for each in labels]


def test_many_models_have_several_panels_and_few_have_one() -> None:
    few = score_rows(["gru", *MANY[:3]], ["adding"])
    many = score_rows(["gru", *MANY], ["copy_memory"])
    style = drawing.styles(["gru"], MANY)
    figure = drawing.score_against_length(pd.concat([many, few]), {}, style)
    shown = models_of(figure)
    assert shown[-1] == {"gru", *MANY[:3]}
    assert all(len(models) <= facets.MOST_LINES for models in shown)
    assert set().union(*shown[:-1]) == {"gru", *MANY}
    assert all("gru" in models for models in shown)
    assert not figure.get_suptitle()


def test_more_models_than_a_figure_holds_are_announced() -> None:
    every = ["gru", *(f"gru num_layers={layers}" for layers in range(2, 92))]
    figure = drawing.score_against_length(
        score_rows(every, ["adding"]), {}, drawing.styles(["gru"], every[1:])
    )
    shown = set().union(*models_of(figure))
    assert "gru" in shown
    assert len(shown) == facets.MOST_MODELS
    assert figure.get_suptitle().startswith(f"{facets.MOST_MODELS} of 91 models; ")


def test_more_panels_than_a_figure_holds_are_announced() -> None:
    tasks = [f"task {i}" for i in range(30)]
    figure = drawing.score_against_length(score_rows(["gru"], tasks), {}, drawing.styles(["gru"]))
    assert len(figure.axes) == facets.MOST_PANELS
    assert figure.get_suptitle().startswith(f"{facets.MOST_PANELS} of 30 panels; ")


def curves(num_lengths: int, num_seeds: int) -> pd.DataFrame:
    lengths = [10 + length for length in range(num_lengths)]
    specs = [
        spec(model=model, length=length, seed=seed)
        for length in lengths
        for model in ("gru", "tcn")
        for seed in range(num_seeds)
    ]
    return learning([record(each) for each in specs], labels_of(specs))


def test_learning_curves_leave_lengths_and_seeds_out_and_say_how_many() -> None:
    figure = learning_figure(curves(20, 7), drawing.styles(["gru", "tcn"]))
    titles = [panel.get_title() for panel in figure.axes]
    assert len(titles) == MOST_LENGTHS
    assert titles[0] == "copy_memory, T = 10"
    assert titles[-1] == "copy_memory, T = 29"
    ends = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "None"]
    assert len(ends) == 2 * MOST_SEEDS
    assert figure.get_suptitle().startswith("9 of 20 lengths, 5 of 7 seeds; ")


def test_a_figure_that_shows_all_says_nothing() -> None:
    figure = learning_figure(curves(3, 2), drawing.styles(["gru", "tcn"]))
    assert len(figure.axes) == 3
    assert not figure.get_suptitle()


@pytest.mark.parametrize("most", [2, 3, 9])
def test_what_is_left_is_evenly_spread_from_first_to_last(most: int) -> None:
    kept = facets.spread(range(100), most)
    assert (kept[0], kept[-1], len(kept)) == (0, 99, most)
    gaps = {later - earlier for earlier, later in itertools.pairwise(kept)}
    assert max(gaps) - min(gaps) <= 1
    assert facets.spread("ab", 2) == ["a", "b"]


def test_other_processes_draw_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    style = drawing.styles(["gru"])
    names = [str(number) for number in range(pictures.FIGURES_HERE + 2)]
    drawings = [
        (name, partial(drawing.score_against_length, score_rows(["gru"], [name]), {}, style), False)
        for name in names
    ]
    here = list(pictures.draw(drawings, num_cores=1))
    assert [name for name, _ in here] == names
    drawn_here: list[Figure] = []

    def noted(figure: Figure) -> None:  # other processes import the module anew
        drawn_here.append(figure)
        FigureCanvasAgg(figure)

    monkeypatch.setattr(pictures, "FigureCanvasAgg", noted)
    assert list(pictures.draw(drawings, num_cores=2)) == here
    assert pictures.FIGURES_HERE <= len(drawn_here) < len(names)


def shown_lengths(*rows: tuple[str, str, int]) -> set[int]:
    frame = pd.DataFrame(rows, columns=["model_label", "variant", "T"]).assign(task_label="t")
    return set(facets.at_the_longest(frame)["T"])


def test_one_length_a_task_the_longest_that_most_models_have() -> None:
    have = {"a": (10, 20, 50), "b": (10, 20), "c": (10, 20), "d": (10,)}
    plain = [(model, "", length) for model, lengths in have.items() for length in lengths]
    assert shown_lengths(*plain) == {20}
    assert shown_lengths(("a", "", 10), ("b", "", 20)) == {20}
    variants = [(f"a n={n}", f"n={n}", length) for n in range(9) for length in (20, 50)]
    assert shown_lengths(*plain, *variants) == {20}
    assert shown_lengths(*variants) == {50}


def test_a_variant_has_a_shade_of_its_models_colour_and_a_look_of_its_own() -> None:
    looks = drawing.styles(["gru", "lstm"], [*MANY, "tcn gated=True"])
    hue = {label: rgb_to_hsv(to_rgb(look["color"]))[0] for label, look in looks.items()}
    assert all(abs(hue[label] - hue["gru"]) < 0.01 for label in MANY)
    assert abs(hue["tcn gated=True"] - hue["gru"]) > 0.05 < abs(hue["tcn gated=True"] - hue["lstm"])
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == len(looks)
    few = list(
        drawing.styles(["gru", "lstm", "rnn", "tcn"], [*MANY[:2], "lstm chrono=True"]).values()
    )
    assert len({(look["marker"], look["linestyle"]) for look in few}) == len(few)
    assert list(looks)[:2] == ["gru", "lstm"]


def test_families_have_panels_of_their_own_where_models_are_many() -> None:
    labels = [f"{model} size={n}" for model in ("gru", "tcn") for n in range(6)]
    frame = score_rows(labels)
    is_tcn = frame["model"] == "tcn"
    frame["family"] = is_tcn.map({True: "convolutional", False: "recurrent"})
    style = drawing.styles([], frame["model_label"])
    figure = beyond_figure(frame.assign(length=10, factor=1.0), {}, style)
    assert [panel.get_title().splitlines()[1] for panel in figure.axes] == [
        f"trained at T = {length}, {family}"
        for family in ("convolutional", "recurrent")
        for length in (10, 100)
    ]


def test_the_axis_says_what_the_length_is_and_hollow_markers_where_seeds_were_improving() -> None:
    style = drawing.styles(["gru"])
    frame = score_rows(["gru"]).assign(improving=[0, 1])
    figure = drawing.score_against_length(
        frame, {"copy_memory": 0.95}, style, length_is={"copy_memory": "sequence length T"}
    )
    (panel,) = figure.axes
    assert panel.get_xlabel() == "sequence length T (steps)"
    hollow = [line for line in panel.get_lines() if line.get_markerfacecolor() == "white"]
    drawn = [list(line.get_xdata()) for line in hollow]  # pyright: ignore
    assert drawn == [[100.0], []]  # the second is the entry of the legend
    assert drawing.IMPROVING in panel.get_legend_handles_labels()[1]
    settled = drawing.score_against_length(frame.assign(improving=0), {"copy_memory": 0.95}, style)
    assert drawing.IMPROVING not in settled.axes[0].get_legend_handles_labels()[1]
    assert settled.axes[0].get_xlabel() == "dependency length T (steps)"
