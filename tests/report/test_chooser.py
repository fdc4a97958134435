"""The form "Choose a model" of the page has the answers of `python -m bench choose`."""

import itertools
import json
import random
from math import inf
from typing import Any

import pytest

from bench.plan.needed import Folder
from bench.report import advice, chooser
from bench.report.choosing import Problem, choose
from bench.report.claims.against import LONG_RUNS
from bench.report.evidence import Evidence
from tasks import KINDS, Kind
from tests.support.evidence import failing, solving

SLOW, FAST = [300, 310, 290, 300, 300], [90, 100, 100, 110, 100]


def planted() -> list[Evidence]:
    """Two tasks, models without times or with bounds, and one that each budget leaves out."""
    return [
        solving("tcn", 50, FAST, step_us=6.0, state_bytes=20_000, minutes=3.0),
        solving("gru", 50, SLOW, step_us=1.5, state_bytes=228, minutes=20.0),
        solving("lstm", 50, SLOW, state_bytes=392, minutes=6.0),
        solving("rnn", 50, SLOW, minutes=20.0, step_from_others=(3.0, 15.0)),
        solving("attention", 50, SLOW, minutes=20.0, step_from_others=(12.0, inf)),
        solving("tcn", 300, FAST, step_us=8.0, state_bytes=40_000, minutes=9.0),
        failing("gru", 300, step_us=1.5, missing=(LONG_RUNS,), allowed=15_600),
        solving("gru", 64, FAST, task="adding", step_us=1.5, state_bytes=228, minutes=2.0),
    ]


def content() -> dict[str, Any]:
    return json.loads(chooser.content(planted(), "Times.", "reference"))


def looked_up(data: dict[str, Any], problem: Problem) -> list[Any]:
    """The answer as the script of the page finds it."""
    kind = next(each for each in data["kinds"] if each["name"] == problem.kind)
    ranges = [each for each in kind["ranges"] if problem.length <= each["to"]]
    found, place = (ranges or kind["ranges"][-1:])[0], 0
    budgets = (problem.step_us, problem.state_bytes, problem.minutes)
    levels = (data["latencies"], data["states"], data["minutes"])
    for budget, offered in zip(budgets, levels, strict=True):
        place = place * (len(offered) + 1) + [inf, *offered].index(budget)
    return data["answers"][found["answers"][place]]


def problems() -> list[Problem]:
    """Problems at the ends of all ranges, and at random."""
    offered = itertools.product(
        (inf, *chooser.LATENCIES_US), (inf, *chooser.STATES_BYTES), (inf, *chooser.MINUTES)
    )
    budgets, chance = list(offered), random.Random(0)
    kinds: list[Kind] = ["fixed-lag", "accumulation", "recall"]
    lengths = [*range(1, 130), *chance.sample(range(130, 2000), 200)]
    return [
        Problem(kind=kind, length=T, step_us=step, state_bytes=state, minutes=minutes)
        for kind in kinds
        for T in lengths
        for step, state, minutes in [budgets[0], *chance.sample(budgets, 4)]
    ]


def test_every_answer_is_that_of_the_command() -> None:
    data, evidence = content(), planted()
    folder = Folder(profile="reference", results=chooser.RESULTS)
    for problem in problems():
        expected = choose(problem, evidence)
        pick, other, sure, why, tested, rows, further, commands = looked_up(data, problem)
        assert (pick, other, sure) == (expected.pick, expected.runner_up, expected.sure), problem
        assert tuple(why[: len(expected.why)]) == expected.why, problem
        assert len(why) - len(expected.why) == bool(expected.needs)
        assert tested == (advice.tested(expected) if expected.places else None)
        assert len(rows) + further == len(expected.cells)
        shown = [list(advice.row(each)) for each in expected.cells[: len(rows)]]
        assert [data["rows"][each] for each in rows] == shown
        said = [command.replace(chooser.LENGTH, str(problem.length)) for _, command in commands]
        assert said == [step.command for step in advice.steps(expected, folder)], problem


def test_every_kind_has_answers_and_budgets_matter() -> None:
    data = content()
    assert [each["name"] for each in data["kinds"]] == list(KINDS)
    picks = {
        looked_up(data, Problem(kind="fixed-lag", length=50, step_us=step, minutes=most))[0]
        for step, most in ((inf, inf), (2, inf), (1, inf), (inf, 1))
    }
    assert picks == {"tcn", "gru", None}


@pytest.mark.parametrize("word", ["</script>", "&"])
def test_no_text_ends_the_element_that_holds_it(word: str) -> None:
    assert word not in chooser.content(planted(), f"{word}<b>", "reference")
