"""The figure of the answer: which variant stands for a model, and how its mark is drawn."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bench.core.decision import Decision
from bench.plan.labels import labels
from bench.report import front
from bench.report.data import Data
from bench.report.horizon import Rung, horizon
from bench.report.sections import reach
from tests.support.records import outcome, record, spec
from tests.support.reports import source


def data_with_a_variant() -> Data:
    """A TCN that solves T = 10, its variant that solves 20, and a GRU that solves nothing."""
    plain = {("tcn", 10): 1.0, ("tcn", 20): 0.2, ("gru", 10): 0.2}
    made = [
        record(spec(model=model, length=length, seed=seed), score)
        for (model, length), score in plain.items()
        for seed in range(3)
    ]
    for length, score in ((10, 1.0), (20, 1.0), (40, 0.2)):
        for seed in range(3):
            of = spec(length=length, seed=seed)
            of = of.model_copy(
                update={"model": of.model.model_copy(update={"fields": {"kernel_size": 2}})}
            )
            made.append(record(of, outcome=outcome(score, label="tcn kernel_size=2")))
    specs = [each.spec for each in made]
    return Data(replace(source(specs, made), labels=labels(specs)))


def test_the_variant_that_gets_furthest_stands_for_its_model() -> None:
    data = data_with_a_variant()
    found = {each.model: each for each in reach.reaches(data)}
    assert set(found) == {"gru", "tcn"}
    assert (found["tcn"].label, found["tcn"].found.length) == ("tcn kernel_size=2", 20)
    assert (found["tcn"].shortest, found["tcn"].longest) == (10, 40)
    assert found["gru"].found.length is None


def test_a_larger_network_does_not_stand_for_its_model() -> None:
    small, large = (
        spec(model="gru", length=10).model_copy(update={"param_budget": each})
        for each in (10_000, 50_000)
    )
    made = [
        record(of.model_copy(update={"seed": seed}), score)
        for of, score in ((small, 0.2), (large, 1.0))
        for seed in range(3)
    ]
    specs = [each.spec for each in made]
    studies = {each.id: frozenset({"variants"}) for each in specs if each.param_budget == 50_000}
    data = Data(replace(source(specs, made, studies=studies), labels=labels(specs)))
    assert len(data.horizons) == 2
    (found,) = reach.reaches(data)
    assert found.found.length is None
    assert front.reach(data) == [
        "The families can't be compared yet: no task has decided lengths of both."
    ]


def entries_of(figure: Figure) -> list[tuple[Text, Line2D]]:
    (legend,) = figure.legends
    return list(zip(legend.get_texts(), legend.get_lines(), strict=True))


def test_a_model_keeps_its_look_and_is_hollow_where_nothing_is_solved() -> None:
    data = data_with_a_variant()
    figure = reach.reach_figure(reach.reaches(data), data.style)
    (axes,) = figure.axes
    marks = {str(line.get_label()): line for line in axes.get_lines()}
    assert set(marks) == {"gru", "tcn"}
    assert marks["tcn"].get_color() == data.style["tcn"]["color"]
    assert marks["tcn"].get_markerfacecolor() == data.style["tcn"]["color"]
    assert marks["gru"].get_markerfacecolor() == "white"
    # The legend shows the mark of the model, not that of one of its results.
    legend = {text.get_text(): line for text, line in entries_of(figure)}
    assert legend["gru"].get_markerfacecolor() == data.style["gru"]["color"]


@pytest.mark.parametrize(
    ("solved", "failed", "unsettled", "sign"),
    [
        ((10,), None, 0, "→"),
        ((10,), 20, 0, ""),
        ((10,), 20, 5, "+"),
        ((), 20, 5, ""),
        ((10, 40), 20, 0, "*"),
        ((10, 40), 20, 5, "+*"),
        ((40,), 20, 5, "*"),
    ],
)
def test_a_sign_says_what_lies_beyond_the_mark(
    solved: tuple[int, ...], failed: int | None, unsettled: int, sign: str
) -> None:
    decision = Decision(num_solved=5, num_failed=0, num_seeds=5)
    rungs = {length: Rung(decision=decision) for length in solved}
    if failed is not None:
        decision = Decision(num_solved=0, num_failed=5, num_seeds=5)
        rungs[failed] = Rung(decision=decision, unsettled=unsettled)
    found = horizon(rungs)
    assert found is not None
    mark = reach.Reach(task="a", model="b", label="b", found=found, shortest=10, longest=20)
    assert mark.sign == sign
