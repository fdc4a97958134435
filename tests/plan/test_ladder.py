"""Ladders: which runs come next, for every outcome of the runs before."""

import random
import re
from pathlib import Path

import pytest

from bench.core.decision import Decision
from bench.core.errors import RequestError
from bench.core.spec import Spec
from bench.plan.ladder import (
    Ladder,
    Result,
    Rung,
    climb,
    longer_runs,
    most_left,
    next_runs,
    num_certain,
    result_of,
    with_budget,
)
from tests.support.plans import plan_of
from tests.support.records import cost_outcome, outcome, record, spec

SOLVED, FAILED = Result(status="ok", ending="solved"), Result(status="ok", ending="converged")
IMPROVING, AT_CHANCE = (
    Result(status="ok", ending="improving"),
    Result(status="ok", ending="at chance"),
)
DIVERGED = Result(status="diverged", ending="diverged")
LETTERS = {"s": SOLVED, "f": FAILED, "i": IMPROVING, "c": AT_CHANCE, "d": DIVERGED}
EXTEND = 400


def ladder(
    *lengths: int, seeds: int = 5, extend: int | None = None, task: str = "copy_memory"
) -> Ladder:
    cells = tuple(
        tuple(spec(task=task, length=length, seed=seed) for seed in range(seeds))
        for length in lengths
    )
    return Ladder(cells, extend)


def planted(of: Ladder, **outcomes: str) -> dict[str, Result]:
    """`T8="ssf"`: at T = 8 the first two seeds solved the task and the third did not.

    `L8` gives the runs with the second budget; a dot means that there is none.
    """
    found = {}
    for cell in of.cells:
        for kind in "TL":
            letters = outcomes.get(f"{kind}{cell[0].length}", "")
            for each, letter in zip(cell, letters, strict=False):
                if letter != ".":
                    made = each if kind == "T" else of.longer[each.id]
                    found[made.id] = LETTERS[letter]
    return found


def seeds(specs: list[Spec]) -> list[tuple[int, int]]:
    return [(each.length, each.seed) for each in specs]


def states(of: Ladder, **outcomes: str) -> list[str]:
    return [rung.state for rung in climb(of, planted(of, **outcomes))]


@pytest.mark.parametrize(
    ("ran", "together"),
    [
        ("", [0, 1]),  # two failures would decide the cell
        ("s", [1, 2]),
        ("ss", [2, 3]),
        ("sss", [3]),  # one more success decides
        ("f", [1]),  # one more failure decides
        ("sf", [2]),
        ("ssf", [3]),
        ("sssf", [4]),
        ("ssss", []),
        ("ff", []),
        ("sff", []),
    ],
)
def test_seeds_run_in_order_until_they_decide(ran: str, together: list[int]) -> None:
    one = ladder(8)
    assert seeds(next_runs([one], planted(one, T8=ran))) == [(8, seed) for seed in together]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 9])
def test_seeds_that_run_together_are_all_needed(number: int) -> None:
    for solved in range(number + 1):
        for failed in range(number + 1 - solved):
            cell = Decision(num_solved=solved, num_failed=failed, num_seeds=number)
            certain = num_certain(cell)
            assert (certain == 0) == (cell.solved is not None)
            for good in range(certain):  # any outcome of all but the last of them
                bad = certain - 1 - good
                ran = Decision(num_solved=solved + good, num_failed=failed + bad, num_seeds=number)
                assert ran.solved is None


def test_a_run_that_has_started_is_not_started_again() -> None:
    one = ladder(8)
    first, second = next_runs([one], {})
    assert next_runs([one], {}, running={first.id}) == [second]
    assert next_runs([one], {}, running={first.id, second.id}) == []
    assert next_runs([one], {first.id: FAILED}, running={second.id}) == []


def test_a_solved_rung_opens_the_next_one() -> None:
    one = ladder(8, 16, 32)
    assert seeds(next_runs([one], planted(one, T8="ssss"))) == [(16, 0), (16, 1)]
    assert states(one, T8="ssss") == ["solved", "open", "waiting"]
    assert states(one, T8="sss") == ["open", "waiting", "waiting"]


def test_one_failed_rung_does_not_end_the_climb() -> None:
    one = ladder(8, 16, 32, 64)
    assert states(one, T8="ff") == ["failed", "open", "waiting", "waiting"]
    assert states(one, T8="ff", T16="ssss") == ["failed", "solved", "open", "waiting"]
    assert states(one, T8="ff", T16="ssss", T32="ff")[3] == "open"


def test_two_failed_rungs_in_a_row_end_the_climb_and_the_rest_says_why() -> None:
    one = ladder(4, 8, 16, 32, 64)
    rungs = climb(one, planted(one, T4="ssss", T8="ff", T16="sff"))
    assert [rung.state for rung in rungs][1:] == ["failed", "failed", "not climbed", "not climbed"]
    assert {rung.why for rung in rungs[3:]} == {"it failed T = 8 and T = 16"}
    assert [str(rung.decision) for rung in rungs[:3]] == [
        "decided 4/4",
        "decided 0/2",
        "decided 1/3",
    ]
    assert next_runs([one], planted(one, T4="ssss", T8="ff", T16="sff")) == []


def test_a_rung_that_waits_says_for_which_length() -> None:
    one = ladder(4, 8, 16)
    assert [rung.why for rung in climb(one, {})] == ["", *["T = 4 is not decided"] * 2]


def test_a_skipped_run_ends_the_climb_with_its_reason() -> None:
    one = ladder(4, 8)
    results = {one.specs[0].id: Result(status="skipped", error="no file")}
    rungs = climb(one, results)
    assert [(rung.state, rung.why) for rung in rungs] == [
        ("not climbed", "it was skipped: no file")
    ] * 2
    assert next_runs([one], results) == most_left(one, results) == []
    assert rungs[0].decision.num_run == 0


def test_a_crashed_run_counts_as_not_solved() -> None:
    one = ladder(4, 8)
    crashed = {each.id: Result(status="failed", error="broken") for each in one.cells[0][:2]}
    assert [rung.state for rung in climb(one, crashed)] == ["failed", "open"]


def test_the_shortest_length_of_all_ladders_comes_first() -> None:
    high, low = ladder(64, 128, task="adding"), ladder(1, 2, 4)
    both = [high, low]
    assert [length for length, _ in seeds(next_runs(both, {}))] == [1, 1, 64, 64]
    results = planted(low, T1="ssss", T2="ssss") | planted(high, T64="s")
    assert seeds(next_runs(both, results)) == [(4, 0), (4, 1), (64, 1), (64, 2)]


def test_what_is_left_at_most_shrinks_to_nothing() -> None:
    one = ladder(4, 8, 16)
    assert len(most_left(one, {})) == 15
    assert len(most_left(one, planted(one, T4="ssss"))) == 10
    assert len(most_left(one, planted(one, T4="sff"))) == 10
    assert most_left(one, planted(one, T4="ff", T8="ff")) == []
    assert most_left(one, planted(one, T4="ssss", T8="ssss", T16="sssfs")) == []


def test_failing_seeds_that_may_not_be_at_their_end_go_on() -> None:
    one = ladder(8, 16, extend=EXTEND)
    results = planted(one, T8="fi", T16="cd")
    longer = longer_runs([one], results)
    assert seeds(longer) == [(8, 0), (8, 1), (16, 0)]
    assert {each.training.max_steps for each in longer} == {EXTEND}
    assert longer_runs([one], results, running={longer[0].id}) == longer[1:]
    assert longer_runs([ladder(8, 16)], results) == []


@pytest.mark.parametrize("ran", ["i", "si", "sssis", "ssis", ""])
def test_no_seed_of_a_cell_that_is_open_or_solved_goes_on(ran: str) -> None:
    one = ladder(8, extend=EXTEND)
    assert longer_runs([one], planted(one, T8=ran)) == []


def test_the_run_with_the_larger_budget_stands_for_its_seed() -> None:
    one = ladder(8, 16, 32, 64, extend=EXTEND)
    before = {"T8": "ssss", "T16": "ii", "T32": "cc"}
    assert states(one, **before)[1:] == ["failed", "failed", "not climbed"]
    # One seed of two solves with the larger budget: the cell is open again.
    assert states(one, **before, L16="si")[1:] == ["open", "failed", "waiting"]
    assert seeds(next_runs([one], planted(one, **before, L16="si"))) == [(16, 2)]
    # Once it is solved, the climb goes on beyond the one failed length above it.
    assert states(one, T8="ssss", T16="iissss", T32="cc", L16="ss") == [
        "solved",
        "solved",
        "failed",
        "open",
    ]
    # With both seeds failing again, nothing is left to do.
    again = planted(one, **before, L16="ii", L32="cc")
    assert next_runs([one], again) == longer_runs([one], again) == []
    rung: Rung = climb(one, again)[1]
    assert {each.training.max_steps for each in rung.specs[:2]} == {EXTEND}
    assert {each.training.max_steps for each in rung.specs[2:]} == {100}


@pytest.mark.parametrize("trial", range(30))
def test_every_climb_ends_and_runs_no_seed_in_vain(trial: int) -> None:
    draw = random.Random(trial)
    both = [ladder(1, 2, 4, 8, extend=EXTEND), ladder(4, 8, task="adding", extend=EXTEND)]
    results: dict[str, Result] = {}
    most = {each.id for one in both for each in one.specs}
    while due := next_runs(both, results) or longer_runs(both, results):
        left = {each.id for one in both for each in most_left(one, results)}
        assert left <= most
        for each in draw.sample(due, k=draw.randint(1, len(due))):
            assert each.id in left or each.training.max_steps == EXTEND
            results[each.id] = LETTERS[draw.choice("sssfic")]
    for one in both:
        for rung in climb(one, results):
            assert rung.state in ("solved", "failed", "not climbed")
            assert rung.decision.num_run == 0 or rung.state != "not climbed"


def test_a_result_follows_from_the_record_and_the_tasks_own_threshold() -> None:
    made = record(spec(), outcome=outcome(0.9))
    assert result_of(made, 0.85).solved
    assert not result_of(made, 0.95).solved
    assert result_of(record(spec(), outcome=cost_outcome(0.1)), 0.2).solved
    crashed = result_of(record(spec(), None), 0.95)
    assert (crashed.status, crashed.ending, crashed.solved) == ("failed", None, False)


def test_another_budget_changes_nothing_else() -> None:
    one = spec(max_steps=100)
    longer = with_budget(one, 400)
    assert longer.id != one.id
    assert with_budget(longer, 100) == one
    assert with_budget(longer, 100).id == one.id


CLIMB = """
description = "two ladders and a grid"
seeds = [0, 1, 2, 3, 4]
param_budget = 2000
extend = 40
models = ["gru", { name = "tcn", fields = { kernel_size = 3 } }]
[training]
max_steps = 5
learning_rate = 0.01
[[grid]]
task = "copy_memory"
lengths = [8, 2, 4]
ladder = true
[[grid]]
task = "copy_memory"
lengths = [16]
ladder = true
[[grid]]
task = "adding"
lengths = [10]
"""


@pytest.fixture
def climbed(tmp_path: Path) -> Path:
    path = tmp_path / "climbed.toml"
    path.write_text(CLIMB)
    return path


def test_grids_with_a_ladder_give_one_ladder_per_task_and_model(climbed: Path) -> None:
    plan = plan_of(climbed)
    assert [one.cells[0][0].model.name for one in plan.ladders] == ["gru", "tcn"]
    for one in plan.ladders:
        assert [cell[0].length for cell in one.cells] == [2, 4, 8, 16]
        assert [[each.seed for each in cell] for cell in one.cells] == [[0, 1, 2, 3, 4]] * 4
        assert {each.id for each in one.specs} <= set(plan.studies)
        assert {each.training.max_steps for each in one.longer.values()} == {40}
    assert {each.task.name for each in plan.specs} == {"copy_memory", "adding"}
    both = plan_of(climbed, "learning_rate=[0.1, 0.2]", models=("gru",)).ladders
    assert [one.specs[0].training.learning_rate for one in both] == [0.1, 0.2]
    assert plan_of(climbed, "ladder=false").ladders == ()
    assert {one.extend for one in plan_of(climbed, "extended=false").ladders} == {None}


def test_longer_runs_have_the_studies_of_the_shorter_ones_and_keep_weights(climbed: Path) -> None:
    plan = plan_of(climbed, "keep_weights=true")
    longer = [(key, each) for one in plan.ladders for key, each in one.longer.items()]
    assert longer
    for key, each in longer:
        assert plan.studies[each.id] == plan.studies[key] == {"main"}
        assert each.id in plan.kept


def test_a_run_that_another_grid_asks_for_is_made_in_any_case(climbed: Path) -> None:
    assert {
        e.task.name for e in plan_of(climbed).specs if e.id in plan_of(climbed).only_climbed
    } == {"copy_memory"}
    climbed.write_text(CLIMB + '[[grid]]\ntask = "copy_memory"\nlengths = [4]\nmodels = ["gru"]')
    plan = plan_of(climbed)
    fixed = [each for each in plan.specs if each.id not in plan.only_climbed]
    assert {
        (each.model.name, each.length) for each in fixed if each.task.name == "copy_memory"
    } == {("gru", 4)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("extend = 40", "extend = 5", "extend = 5; valid: more than the 5 updates"),
        ("extend = 40", "extend = 0", "extend = 0"),
        (
            'task = "adding"\nlengths = [10]',
            'task = "pixel_mnist"\nlengths = [49]\nladder = true',
            "grid.2.ladder: pixel_mnist has no score that counts as solved",
        ),
    ],
)
def test_a_ladder_that_can_not_be_climbed_is_refused(
    climbed: Path, old: str, new: str, said: str
) -> None:
    assert old in CLIMB
    climbed.write_text(CLIMB.replace(old, new))
    with pytest.raises(RequestError, match=re.escape(said)):
        plan_of(climbed)
