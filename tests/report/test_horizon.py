"""The horizon of planted ladders: the largest solved length below the first failing one."""

import pandas as pd
import pytest

from bench.core.decision import Decision
from bench.plan.labels import labels
from bench.report.horizon import LONGER_BUDGETS, Rung, horizon
from bench.report.runs import horizons, runs_frame
from tests.support.records import outcome, record, spec
from tests.support.reports import labels_of


def rung(num_solved: int, num_run: int = 5, improving: int = 0, unsettled: int = 0) -> Rung:
    decision = Decision(num_solved=num_solved, num_failed=num_run - num_solved, num_seeds=5)
    return Rung(decision=decision, improving=improving, unsettled=max(improving, unsettled))


@pytest.mark.parametrize(
    ("rungs", "said"),
    [
        ({8: rung(5), 16: rung(4), 32: rung(3)}, "16 (4/5; T = 32: 3/5)"),
        ({8: rung(4, 4), 16: rung(0, 2), 32: rung(0, 2)}, "8 (decided 4/4; T = 16: decided 0/2)"),
        ({8: rung(5), 16: rung(5)}, "≥ 16 (5/5)"),
        ({8: rung(0), 16: rung(0)}, "< 8 (0/5)"),
        # Seeds that were improving leave it open whether more updates would do.
        ({8: rung(5), 16: rung(1, 3, 1)}, "8+ (5/5; T = 16: decided 1/3, 1 improving)"),
        ({8: rung(0, 2, 2)}, "not yet at 8 (decided 0/2, 2 improving)"),
        ({8: rung(0, 2, 0, 2)}, "not yet at 8 (decided 0/2)"),
        ({8: rung(5), 16: rung(0, 2, 0, 2)}, "8+ (5/5; T = 16: decided 0/2)"),
        # Two of the three failures are final, so the last one can't make the length solved.
        ({8: rung(5), 16: rung(2, 5, 0, 1)}, "8 (5/5; T = 16: 2/5)"),
        # A longer length may be solved although a shorter one is not.
        ({8: rung(5), 16: rung(3), 32: rung(5)}, "8* (5/5; T = 16: 3/5)"),
        ({8: rung(5), 16: rung(3, 5, 1), 32: rung(5)}, "8+* (5/5; T = 16: 3/5, 1 improving)"),
        ({8: rung(3), 16: rung(5)}, "< 8* (3/5)"),
        ({8: rung(3, 5, 1), 16: rung(5)}, "not yet at 8* (3/5, 1 improving)"),
        # A length that is not decided counts on neither side.
        ({8: rung(5), 16: rung(3, 3), 32: rung(4), 64: rung(1, 2)}, "≥ 32 (4/5)"),
        ({16: rung(5), 8: rung(5)}, "≥ 16 (5/5)"),
    ],
)
def test_a_horizon_and_how_it_reads(rungs: dict[int, Rung], said: str) -> None:
    found = horizon(rungs)
    assert str(found) == said
    assert found is not None
    assert said.startswith(found.reached)


def test_without_a_decided_length_there_is_no_horizon() -> None:
    assert horizon({8: rung(1, 2)}) is None
    assert horizon({}) is None


def frame(results: dict[tuple[int, int], dict[int, float]]) -> pd.DataFrame:
    """The frame of runs; `results`: T and budget → seed → score. Five seeds are planned at 100."""
    planned = [spec(length=T, seed=seed) for T in {T for T, _ in results} for seed in range(5)]
    made = [
        (spec(length=T, seed=seed, max_steps=budget), score)
        for (T, budget), scores in results.items()
        for seed, score in scores.items()
    ]
    specs = {each.id: each for each in [*planned, *(of for of, _ in made)]}
    records = [
        record(of, outcome=outcome(score, steps=of.training.max_steps)) for of, score in made
    ]
    thresholds = dict.fromkeys(specs, 0.95)
    return runs_frame(list(specs.values()), records, labels_of(specs.values()), thresholds)


def test_seeds_that_a_decided_cell_does_not_need_are_no_failures() -> None:
    runs = frame({(8, 100): dict.fromkeys(range(4), 1.0), (16, 100): {0: 0.2, 1: 0.2}})
    assert runs.groupby("T")["status"].agg(
        lambda found: (found == "not needed").sum()
    ).to_dict() == {
        8: 1,
        16: 3,
    }
    ((_, found),) = horizons(runs)
    assert str(found) == "8+ (decided 4/4; T = 16: decided 0/2)"


@pytest.mark.parametrize(("budget", "reached"), [(62_400, "8"), (62_399, "8+")])
def test_a_failure_within_a_smaller_budget_leaves_the_next_length_open(
    budget: int, reached: str
) -> None:
    runs = frame({(8, 100): dict.fromkeys(range(4), 1.0), (16, budget): {0: 0.2, 1: 0.2}})
    ((_, found),) = horizons(runs[runs["stands"]])
    assert found.reached == reached


def test_a_task_whose_confirmation_failed_needs_more_updates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = frame({(8, 100): dict.fromkeys(range(4), 1.0), (16, 62_400): {0: 0.2, 1: 0.2}})
    for budget, reached in ((62_400, "8"), (62_401, "8+")):
        monkeypatch.setitem(LONGER_BUDGETS, "copy_memory", budget)
        ((_, found),) = horizons(runs[runs["stands"]])
        assert found.reached == reached


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, "8"),
        ({"ended": "improving"}, "8+"),
        ({"ended": "diverged"}, "8+"),
        ({"ended": None, "status": "failed"}, "8+"),
    ],
)
def test_what_leaves_the_next_length_open_after_the_long_budget(
    changes: dict[str, str | None], reached: str
) -> None:
    runs = frame({(8, 100): dict.fromkeys(range(4), 1.0), (16, 62_400): {0: 0.2, 1: 0.2}})
    failing = runs["max_steps"] == 62_400
    for column, value in changes.items():
        runs[column] = runs[column].mask(failing, value)
    ((_, found),) = horizons(runs[runs["stands"]])
    assert found.reached == reached


def test_seeds_of_a_cell_that_is_not_decided_are_missing() -> None:
    runs = frame({(8, 100): {0: 1.0, 1: 0.2}})
    assert list(runs["status"]) == ["ok", "ok", "missing", "missing", "missing"]
    assert horizons(runs) == []


def test_of_several_budgets_the_largest_that_was_run_stands_for_a_seed() -> None:
    runs = frame({(8, 100): dict.fromkeys(range(4), 0.2), (8, 400): {0: 1.0, 1: 1.0, 2: 0.2}})
    standing = runs[runs["stands"]].sort_values("seed")
    assert list(standing["max_steps"]) == [400, 400, 400, 100, 100]
    assert list(standing["score"].fillna(-1)) == [1.0, 1.0, 0.2, 0.2, -1]
    assert not runs["stands"].all()
    ((_, found),) = horizons(runs[runs["stands"]])
    assert str(found) == "not yet at 8 (decided 2/4)"


def test_a_budget_that_was_not_run_does_not_stand_for_a_seed_that_was() -> None:
    specs = [spec(max_steps=budget) for budget in (100, 400)]
    thresholds = {each.id: 0.95 for each in specs}
    runs = runs_frame(specs, [record(specs[0], 0.2)], labels_of(specs), thresholds)
    assert list(runs["stands"]) == [True, False]
    # Without any run, the smaller budget is planned next.
    runs = runs_frame(specs[::-1], [], labels_of(specs), thresholds)
    assert list(runs["stands"]) == [False, True]


def test_budgets_do_not_make_rows_of_their_own_but_other_settings_do() -> None:
    plain, longer = spec(max_steps=100), spec(max_steps=400)
    other = spec(max_steps=400, learning_rate=0.1)
    assert {each.variant for each in labels([plain, longer]).values()} == {""}
    found = labels([plain, longer, other])
    of_plain, of_longer, of_other = (found[each.id].variant for each in (plain, longer, other))
    assert of_plain == of_longer != of_other
    assert "learning_rate" in of_other
