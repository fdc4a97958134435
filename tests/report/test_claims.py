"""Verdicts on learning follow from planted runs by the rules of docs/method.md."""

from typing import Any

import pytest

from bench.plan.rates import Rates
from bench.report import claims
from bench.report.claims.cells import cells_of
from bench.report.frame import typed
from bench.report.horizon import LONG_BUDGET
from bench.report.runs import RUNS
from bench.report.times import TIMED
from tests.support.claims import Rows, cell, judged, tuned
from tests.support.records import outcome, record, spec
from tests.support.reports import no_runs, runs_of


def test_nothing_is_judged_without_records() -> None:
    found = claims.verdicts(no_runs(), typed(TIMED, []), {})
    assert [verdict.key for verdict in found] == ["a", "b", "c", "d1", "d2", "e", "f"]
    of_runs = [verdict.verdict for verdict in found if not verdict.arithmetic]
    assert of_runs == ["not tested"] * 5
    assert {verdict.word for verdict in found if verdict.arithmetic} == {"supported by arithmetic"}


def test_records_reach_the_verdicts_through_the_frame_of_runs() -> None:
    specs = [
        spec(task="adding", model=model, length=length, seed=seed)
        for model in ("tcn", "gru")
        for length in (50, 150)
        for seed in range(5)
    ]
    field = {"tcn": 400, "gru": None}
    records = [
        record(each, None)  # failed
        if each.seed == 4
        else record(
            each,
            outcome=outcome(
                float(each.model.name == "tcn" or each.length == 50),
                receptive_field=field[each.model.name],
            ),
        )
        for each in specs
    ]
    runs = runs_of(specs, records)
    found = claims.verdicts(runs, typed(TIMED, []), {})
    words = {verdict.key: verdict.verdict for verdict in found}
    assert [words[key] for key in ("a", "b", "d2")] == ["undecided", "undecided", "supported"]
    assert found[0].table[0]["others beyond 100"] == "tcn, 4/5 at T = 150"
    assert "runs of seeds that ended with an error" in found[0].table[0]["missing"]
    (at_150,) = (each for each in cells_of(runs) if each.model == "gru" and each.length == 150)
    assert at_150.endings == {"at chance": 4, "failed": 1}


AT_50 = cell("gru", 50, 4, 4)
TCN_150 = cell("tcn", 150, 4, 4, updates=400)


def failing(**changes: Any) -> Rows:
    """A recurrent cell at T = 150 that two seeds decide."""
    return cell("gru", 150, 0, 2, **changes)


def test_a_is_contradicted_by_a_recurrent_network_beyond_100_steps() -> None:
    verdict = judged("a", cell("gru", 101, 4, 4), cell("tcn", 101, 5))
    assert (verdict.verdict, verdict.sentence) == (
        "contradicted",
        "gru solves adding at T = 101",
    )
    assert judged("a", cell("gru", 101, 5, solved_at=None, solved=None)).verdict == "not tested"


@pytest.mark.parametrize("memory", [0, 100])
def test_a_leaves_out_lengths_that_need_no_more_than_100_steps(memory: int) -> None:
    cells = cell("gru", 200, 4, 4, memory=memory), cell("tcn", 200, 4, 4, memory=memory)
    assert judged("a", *cells).verdict == "not tested"


def test_a_is_supported_by_a_cell_that_counts_against_the_family() -> None:
    verdict = judged("a", AT_50, failing(), TCN_150)
    assert (verdict.verdict, verdict.sentence) == (
        "supported",
        "gru did not solve adding at T = 150 within 62,400 updates, 156 times as many as tcn "
        "needed",
    )
    assert verdict.table[0]["not solved"] == "gru, decided 0/2 at T = 150"


def test_a_family_that_stops_early_supports_a_with_the_length_at_which_it_stopped() -> None:
    cells = (cell("gru", 5, 4, 4), cell("gru", 10, 0, 2), cell("gru", 20, 0, 2))
    longer = [cell("tcn", length, 4, 4, updates=2 * length) for length in (20, 150)]
    verdict = judged("a", *cells, *longer)
    assert verdict.verdict == "supported"
    assert verdict.sentence == (
        "gru did not solve adding at T = 10 within 62,400 updates, 1,560 times as many as tcn "
        "needed at T = 20"
    )


@pytest.mark.parametrize(
    ("cells", "lacks"),
    [
        (
            [AT_50, failing(ended="improving"), TCN_150],
            "more updates for seeds that were improving",
        ),
        (
            [AT_50, failing(ended="at chance", max_steps=LONG_BUDGET - 1), TCN_150],
            "a larger budget for every failing seed",
        ),
        ([AT_50, failing(ended="diverged"), TCN_150], "settings with which no seed diverges"),
        (
            [AT_50, failing(statuses=("failed",)), TCN_150],
            "new runs of seeds that ended with an error",
        ),
        ([failing(), TCN_150], "a shorter T that the same model solves"),
        ([cell("gru", 50, 3, 4), failing(), TCN_150], "a shorter T that the same model solves"),
        (
            [cell("gru", 50, 4, 4, clip_norm=0.5), failing(), TCN_150],
            "the same settings at the shorter T",
        ),
        # The best variant is the one that solves the largest T, and of several the fastest.
        (
            [AT_50, failing(), cell("lstm", 60, 4, 4), TCN_150],
            "runs of the family's best model at a longer T",
        ),
        (
            [AT_50, failing(), cell("lstm", 50, 4, 4, updates=90), TCN_150],
            "runs of the family's best model at a longer T",
        ),
        ([AT_50, TCN_150], "runs of the family's best model at a longer T"),
        ([AT_50, cell("gru", 150, 0, 1), TCN_150], "runs of the family's best model at a longer T"),
        (
            [AT_50, failing(), cell("tcn", 150, 3)],
            "another family that solves the task beyond 100 steps",
        ),
        (
            [AT_50, failing(), cell("tcn", 99, 5)],
            "another family that solves the task beyond 100 steps",
        ),
        # A receptive field of 100 steps is no evidence of a longer memory.
        (
            [AT_50, failing(), cell("tcn", 150, 5, field=100)],
            "another family that solves the task beyond 100 steps",
        ),
        (
            [AT_50, failing(rate=0.02), TCN_150],
            "a learning rate tuned for the model on the task",
        ),
    ],
)
def test_a_is_undecided_and_says_what_is_missing(cells: list[Rows], lacks: str) -> None:
    verdict = judged("a", *cells)
    assert verdict.verdict == "undecided"
    assert verdict.sentence.startswith("missing: ")
    assert f"{lacks} (1 cell)" in verdict.sentence
    assert lacks in verdict.table[0]["missing"]


def test_seeds_at_chance_count_after_the_longer_budget() -> None:
    assert judged("a", AT_50, failing(ended="at chance"), TCN_150).verdict == "supported"


def test_a_variant_that_solves_less_does_not_stand_for_its_family() -> None:
    worse = [cell("lstm", 20, 4, 4), cell("lstm", 50, 0, 2, ended="improving")]
    assert judged("a", AT_50, failing(), *worse, TCN_150).verdict == "supported"


@pytest.mark.parametrize(
    ("rates", "lacks"),
    [
        ({}, "a learning rate tuned for the model on the task"),
        ({"adding": {"lstm": tuned()}}, "a learning rate tuned for the model on the task"),
        ({"adding": {"gru": tuned(0.03)}}, "a learning rate tuned for the model on the task"),
        ({"adding": {"gru": tuned(grid=(0.003, 0.01))}}, "a wider grid of rates"),
    ],
)
def test_a_rate_at_the_edge_of_its_grid_or_of_no_sweep_decides_nothing(
    rates: Rates, lacks: str
) -> None:
    verdict = judged("a", AT_50, failing(), TCN_150, rates=rates)
    assert (verdict.verdict, lacks in verdict.sentence) == ("undecided", True)


def test_one_task_is_enough_to_contradict_a_and_the_sentence_names_both_sides() -> None:
    easy = [cell("gru", length, 4, 4, task="easy") for length in (101, 200)]
    verdict = judged("a", *easy, AT_50, failing(), TCN_150)
    assert (verdict.verdict, verdict.sentence) == (
        "contradicted",
        "gru solves easy at T = 200; gru did not solve adding at T = 150 within 62,400 updates, "
        "156 times as many as tcn needed",
    )
    assert [row["result"] for row in verdict.table] == ["contradicts it", "supports it"]


@pytest.mark.parametrize(
    ("cells", "solves", "fails"),
    [
        (cell("gru", 50, 4, 4), True, False),
        (cell("gru", 50, 5), True, False),
        (cell("gru", 50, 3, 3), False, False),
        (cell("gru", 50, 3, 3, num_seeds=3), False, False),  # solved, but by too few seeds
        (cell("gru", 50, 0, 2), False, True),
        (cell("gru", 50, 3), False, True),
        (cell("gru", 50, 0, 1), False, False),
        (cell("gru", 50, 0, 1, num_seeds=1), False, False),
        # Runs that ended with an error do not solve the task; skipped runs are still to be made.
        (cell("gru", 50, 5, statuses=("failed",)), True, False),
        (cell("gru", 50, 5, statuses=("failed", "failed")), False, True),
        (cell("gru", 50, 5, statuses=("skipped", "skipped")), False, False),
    ],
)
def test_a_verdict_needs_four_solving_seeds_or_two_failing_ones(
    cells: Rows, solves: bool, fails: bool
) -> None:
    (found,) = cells_of(typed(RUNS, cells))
    assert (found.solves, found.fails) == (solves, fails)


TCN, SLOW = cell("tcn", 50, 5, updates=100), cell("gru", 50, 5, updates=201)
SHORTER = cell("gru", 20, 5, updates=100)


def at_three_lengths(*cells: Rows) -> list[Rows]:
    """The cells, and the same ones at two longer T."""
    return [
        [{**row, "T": row["T"] + more} for row in each] for more in (0, 100, 200) for each in cells
    ]


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([TCN, cell("gru", 50, 5, updates=200)], "contradicted"),
        ([TCN, SLOW], "supported"),
        # Of the models that solve a cell, the one with the fewest updates is the best.
        ([TCN, cell("lstm", 50, 4, updates=10), SLOW], "contradicted"),
        ([TCN, cell("cnn", 50, 5, updates=300), SLOW], "supported"),
        ([cell("tcn", 50, 3, updates=1), SLOW], "contradicted"),
        # Both families need evidence in the same cell, which some model solves.
        ([TCN], "not tested"),
        ([TCN, cell("gru", 60, 5)], "not tested"),
        ([TCN, cell("gru", 50, 3, 3, num_seeds=3)], "undecided"),
        ([cell("tcn", 50, 3), cell("gru", 50, 3)], "undecided"),
        # A cell that is not solved is hard only where it counts against the family.
        ([SHORTER, TCN, cell("gru", 50, 0, 2)], "supported"),
        ([SHORTER, TCN, cell("gru", 50, 0, 2, ended="improving")], "undecided"),
        ([TCN, cell("gru", 50, 0, 2)], "undecided"),
        # An undecided cell may be hard or easy; the verdict must hold either way.
        ([cell("tcn", 20, 5), SHORTER, TCN, cell("gru", 50, 0, 2, ended="improving")], "undecided"),
    ],
)
def test_b_compares_the_updates_of_the_best(cells: list[Rows], verdict: str) -> None:
    assert judged("b", *at_three_lengths(*cells)).verdict == verdict


def test_b_needs_a_task_with_three_lengths() -> None:
    two = [cell(model, length, 5) for model in ("tcn", "gru") for length in (10, 20)]
    assert judged("b", *two).sentence == (
        "0 of 2 cells are hard and 2 are not; missing: a task with 3 lengths at which both "
        "families count (1 cell)"
    )
    assert judged("b", *two, cell("tcn", 30, 5), cell("gru", 30, 5)).verdict == "contradicted"


def test_b_counts_a_length_that_one_ladder_did_not_reach() -> None:
    tcn = [cell("tcn", length, 5) for length in (10, 20, 40, 80)]
    gru = [cell("gru", 10, 5, updates=300), cell("gru", 20, 0, 2), cell("gru", 40, 0, 2)]
    verdict = judged("b", *tcn, *gru)
    assert [row["T"] for row in verdict.table] == [10, 20, 40, 80]
    assert verdict.verdict == "supported"
    assert verdict.table[-1]["best recurrent"].startswith("gru, decided 0/2 at T = 20")

    open_ended = [cell("gru", 10, 5, updates=300), cell("gru", 20, 0, 2, ended="improving")]
    verdict = judged("b", *tcn, *open_ended)
    assert [row["hard"] for row in verdict.table] == ["yes", "undecided", "undecided", "undecided"]
    # A ladder that ended because no longer length was planned says nothing about longer ones.
    assert len(judged("b", *tcn, gru[0]).table) == 1

    easy = [cell("gru", length, 5) for length in (10, 20, 40, 80)]
    verdict = judged("b", cell("tcn", 10, 5), cell("tcn", 20, 0, 2), *easy)
    assert [row["hard"] for row in verdict.table] == ["no"] * 4


@pytest.mark.parametrize(
    ("num_hard", "verdict"),
    [
        *((number, "contradicted") for number in (0, 1)),
        *((number, "undecided") for number in (2, 3)),
        *((number, "supported") for number in (4, 5)),
    ],
)
def test_b_takes_the_share_of_hard_cells(num_hard: int, verdict: str) -> None:
    cells = [
        each
        for i, length in enumerate((10, 20, 30, 40, 50))
        for each in (
            cell("tcn", length, 5),
            cell("gru", length, 4, updates=201 if i < num_hard else 100),
        )
    ]
    assert judged("b", *cells).verdict == verdict


def test_b_is_contradicted_by_one_easy_task_and_names_a_cell_of_either_side() -> None:
    hard = [cell("gru", 10, 5, task="hard")]
    for length in (20, 30, 40, 50):
        hard += [cell("tcn", length, 5, task="hard"), cell("gru", length, 0, 2, task="hard")]
    easy = []
    for length in (30, 40, 50):
        easy += [cell("tcn", length, 0, 2, task="easy"), cell("gru", length, 5, task="easy")]
    verdict = judged("b", *hard, *easy)
    assert verdict.verdict == "contradicted"
    assert verdict.sentence == (
        "gru solves easy at T = 50 after 100 updates (tcn does not solve it); in favour of the "
        "claim: gru "
        "did not solve hard at T = 50 within 62,400 updates, 624 times as many as tcn needed"
    )
    assert [row["hard"] for row in verdict.table] == ["yes"] * 4 + ["no"] * 3


def test_the_best_model_of_a_family_stands_for_it_where_none_solves_a_cell() -> None:
    # The lstm has the better score at T = 50, but solves nothing at T = 20.
    lucky = cell("lstm", 50, 0, 2, score=0.3)
    cells = [SHORTER, cell("lstm", 20, 0, 2), TCN, lucky, cell("gru", 50, 0, 2)]
    verdict = judged("b", *cells, cell("tcn", 100, 5), cell("tcn", 200, 5))
    assert verdict.verdict == "supported"
    assert verdict.sentence.startswith("gru did not solve adding at T = 50")


def test_b_undecided_says_how_many_cells_are_hard_and_what_is_missing() -> None:
    verdict = judged("b", TCN, cell("gru", 50, 0, 2, ended="improving"))
    assert verdict.sentence.startswith("0 of 1 cells are hard and 0 are not; missing: ")
    mixed = [cell("tcn", 10, 5), cell("gru", 10, 5), TCN, SLOW, *at_three_lengths(TCN, SLOW)[2:]]
    verdict = judged("b", *mixed, cell("tcn", 90, 5), cell("gru", 90, 5))
    assert verdict.sentence == (
        "3 of 5 cells are hard and 2 are not; no task is clearly easy, and not all are hard"
    )
