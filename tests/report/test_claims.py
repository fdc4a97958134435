"""Verdicts follow from planted runs by the rules of docs/method.md."""

from collections.abc import Mapping
from typing import Any

import pytest

import models
import tasks
from bench.plan.rates import Rates, Tried, Tuned
from bench.report import claims
from bench.report.claims import fields
from bench.report.claims.against import LONG_BUDGET
from bench.report.claims.cells import cells_of, limits
from bench.report.claims.verdict import Verdict, missing, named
from bench.report.frame import typed
from bench.report.runs import RUNS
from bench.report.times import TIMED
from tests.support.records import outcome, record, spec
from tests.support.reports import no_runs, runs_of

FAMILIES = {"tcn": "convolutional", "cnn": "convolutional", "gru": "recurrent", "lstm": "recurrent"}
Rows = list[dict[str, Any]]


def cell(
    model: str,
    length: int,
    num_solved: int,
    num_run: int = 5,
    *,
    variant: str = "",
    task: str = "adding",
    num_seeds: int | None = None,
    ended: str = "converged",
    field: int | None = None,
    reach: int | None = None,
    updates: int = 100,
    statuses: tuple[str, ...] = (),
    **columns: Any,
) -> Rows:
    """Rows of the frame of runs: of the seeds that ran, the first solve; a convolution covers 2 T.

    The others ended as `ended`; `statuses` are those of the last of them. By default as many seeds
    were planned as ran, but at least five.
    """
    family = FAMILIES.get(model, "other")
    if field is None and family == "convolutional":
        field = 2 * length
    rows = []
    for seed in range(max(num_run, 5) if num_seeds is None else num_seeds):
        solved = seed < num_solved
        row = {
            **{"task": task, "task_variant": "", "task_label": task, "T": length},
            **{"model": model, "variant": variant, "family": family},
            "model_label": f"{model} {variant}".strip(),
            **{"seed": seed, "stands": True, "status": "missing"},
            "reach": length if reach is None else reach,
            **{"max_steps": LONG_BUDGET, "batch": 32, "protocol": 1, "rate": 0.01},
        }
        if seed < num_run:
            row |= {
                **{"status": "ok", "ended": "solved" if solved else ended},
                **{"score": 1.0 if solved else 0.1, "solved": solved},
                **{"score_name": "recall", "unit": "share", "chance": 0.1, "solved_at": 0.95},
                **{"parameters": 12_400, "receptive_field": field},
                "solved_after": updates if solved else None,
                **columns,
            }
        rows.append(row)
    for row, status in zip(reversed(rows[:num_run]), statuses, strict=False):
        row["status"] = status
        if status == "failed":
            row |= {"score": None, "solved": False, "solved_at": None, "ended": None}
    return rows


def tuned(rate: float = 0.01, grid: tuple[float, ...] = (0.003, 0.01, 0.03)) -> Tuned:
    tried = (Tried(rate=each, num_runs=2, num_solved=1, updates=1, seconds=1) for each in grid)
    return Tuned(rate=rate, tried=tuple(tried))


def judged(
    key: str,
    *cells: Rows,
    timed: Rows = (),  # pyright: ignore[reportArgumentType]
    rates: Rates | None = None,
    backend: str | None = None,
) -> Verdict:
    """The verdict on a claim; by default every model has a tuned rate inside its grid."""
    rows = [row for each in cells for row in each]
    by_task: dict[str, Mapping[str, Tuned]] = {}
    for row in rows:
        by_task[row["task"]] = {**by_task.get(row["task"], {}), row["model_label"]: tuned()}
    chosen = by_task if rates is None else rates
    found = claims.verdicts(typed(RUNS, rows), typed(TIMED, timed), chosen, backend=backend)
    (verdict,) = (each for each in found if each.key == key)
    assert verdict.sentence
    return verdict


def pair(
    length: int, conv: float, rec: float, *, task: str = "adding", batch: int = 64, **columns: Any
) -> Rows:
    """Two timed networks: `conv` and `rec` are their training speeds and steps in milliseconds."""
    both = {"task_label": task, "T": length, "batch": batch, "parameters": 12_400}
    both |= {"steps": length, "timings": 1, "implementation": "fastest", "protocol": 2}
    return [
        both
        | {"model_label": "tcn", "family": "convolutional", "receptive_field": 2 * length}
        | {"train_steps_per_s": conv, "step_ms": conv, "plain_step_ms": 6.0, "window_ms": 90.0}
        | {"call_ms": 9.0}
        | columns,
        both
        | {"model_label": "gru", "family": "recurrent"}
        | {"train_steps_per_s": rec, "step_ms": rec, "plain_step_ms": 2.0, "call_ms": 6.0},
    ]


def of_times(key: str, *pairs: Rows, backend: str | None = None) -> Verdict:
    return judged(key, timed=[row for each in pairs for row in each], backend=backend)


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


def test_a_is_supported_by_a_cell_that_counts_against_the_family() -> None:
    verdict = judged("a", AT_50, failing(), TCN_150)
    assert (verdict.verdict, verdict.sentence) == (
        "supported",
        "gru did not solve adding at T = 150 within 62,400 updates, 156 times what tcn needed",
    )
    assert verdict.table[0]["not solved"] == "gru, decided 0/2 at T = 150"


def test_a_family_that_stops_early_supports_a_with_the_length_at_which_it_stopped() -> None:
    cells = (cell("gru", 5, 4, 4), cell("gru", 10, 0, 2), cell("gru", 20, 0, 2))
    longer = [cell("tcn", length, 4, 4, updates=2 * length) for length in (20, 150)]
    verdict = judged("a", *cells, *longer)
    assert verdict.verdict == "supported"
    assert verdict.sentence == (
        "gru did not solve adding at T = 10 within 62,400 updates, 1,560 times what tcn needed at "
        "T = 20"
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
            "62,400 updates for seeds at chance",
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
            "longer T of the best of the family",
        ),
        (
            [AT_50, failing(), cell("lstm", 50, 4, 4, updates=90), TCN_150],
            "longer T of the best of the family",
        ),
        ([AT_50, TCN_150], "longer T of the best of the family"),
        ([AT_50, cell("gru", 150, 0, 1), TCN_150], "longer T of the best of the family"),
        ([AT_50, failing(), cell("tcn", 150, 3)], "another family that solves the task at T > 100"),
        ([AT_50, failing(), cell("tcn", 99, 5)], "another family that solves the task at T > 100"),
        # A receptive field of 100 steps is no evidence of a longer memory.
        (
            [AT_50, failing(), cell("tcn", 150, 5, field=100)],
            "another family that solves the task at T > 100",
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
        "156 times what tcn needed",
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
    assert judged("b", *cells).verdict == verdict


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
    easy = [cell("tcn", 30, 0, 2, task="easy"), cell("gru", 30, 5, task="easy")]
    verdict = judged("b", *hard, *easy)
    assert verdict.verdict == "contradicted"
    assert verdict.sentence == (
        "gru solves easy at T = 30 after 100 updates (tcn does not); gru did not solve hard at "
        "T = 50 within 62,400 updates, 624 times what tcn needed"
    )
    assert [row["hard"] for row in verdict.table] == ["yes"] * 4 + ["no"]


def test_the_best_model_of_a_family_stands_for_it_where_none_solves_a_cell() -> None:
    # The lstm has the better score at T = 50, but solves nothing at T = 20.
    lucky = cell("lstm", 50, 0, 2, score=0.3)
    verdict = judged("b", SHORTER, cell("lstm", 20, 0, 2), TCN, lucky, cell("gru", 50, 0, 2))
    assert verdict.verdict == "supported"
    assert verdict.sentence.startswith("gru did not solve adding at T = 50")


def test_b_undecided_says_how_many_cells_are_hard_and_what_is_missing() -> None:
    verdict = judged("b", TCN, cell("gru", 50, 0, 2, ended="improving"))
    assert verdict.sentence.startswith("0 of 1 cells are hard and 0 are not; missing: ")
    mixed = [cell("tcn", 10, 5), cell("gru", 10, 5), TCN, SLOW]
    verdict = judged("b", *mixed)
    assert verdict.sentence == (
        "1 of 2 cells are hard and 1 are not; no task is clearly easy, and not all are hard"
    )


@pytest.mark.parametrize(("kernel_size", "num_blocks"), [(2, 5), (3, 4), (7, 2)])
def test_the_dilated_field_is_that_of_our_network(kernel_size: int, num_blocks: int):
    signature = tasks.load("adding", length=50).signature
    model = models.load("tcn", kernel_size=kernel_size, num_blocks=num_blocks)
    network = models.build(model, signature, 4, 0)
    assert claims.dilated_field(kernel_size, num_blocks, 2) == network.receptive_field


def measured(*found: tuple[int, int], seen: int = 500) -> list[Rows]:
    """One cell per pair of a computed and a measured field."""
    return [
        cell("tcn", 50 + i, 5, field=computed, measured_field=steps, seen_steps=seen)
        for i, (computed, steps) in enumerate(found)
    ]


FITS = measured((15, 15), (43, 43), (99, 99))


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([], "supported"),
        (FITS, "supported"),
        (measured((15, 15), (43, 43), (99, 98)), "contradicted"),
        # Fields longer than the sequence are not judged.
        ([*FITS, *measured((501, 500))], "supported"),
        ([*FITS, *measured((500, 499))], "contradicted"),
    ],
)
def test_c_is_arithmetic_that_measured_fields_check(cells: list[Rows], verdict: str) -> None:
    found = judged("c", *cells)
    assert found.word == f"{verdict} by arithmetic"


def test_c_says_from_which_depth_more_than_100_steps_are_seen() -> None:
    verdict = judged("c", *FITS)
    assert verdict.sentence == (
        "by the formula, 5 to 10 layers see more than 100 steps, depending on the kernel and on "
        "what counts as a layer; 15 of 15 measured fields equal it"
    )
    depths = [row["layers that see more than 100 steps"] for row in verdict.table]
    assert depths == [7, 6, 5, 6, 5, 5, None, 10, 8]


@pytest.mark.parametrize(("kernel_size", "verdict"), [(64, "supported"), (1, "contradicted")])
def test_c_with_extreme_kernels(
    kernel_size: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "KERNEL_SIZES", (kernel_size,))
    assert judged("c", *FITS).verdict == verdict


SHORT, COVERS = cell("cnn", 50, 0, field=49), cell("tcn", 50, 4, field=50)


def test_d1_is_arithmetic_and_runs_only_check_it() -> None:
    verdict = judged("d1", SHORT, COVERS)
    assert verdict.word == "supported by arithmetic"
    assert verdict.sentence.endswith(
        "a shorter field can't solve the task; 5 of 5 such runs do not"
    )
    assert [row["model"] for row in verdict.table] == ["cnn"]


@pytest.mark.parametrize(
    ("solved", "verdict"), [(0, "supported"), (3, "supported"), (4, "contradicted")]
)
def test_d1_fails_where_a_short_field_solves(solved: int, verdict: str) -> None:
    assert judged("d1", cell("cnn", 50, solved, field=49), COVERS).verdict == verdict


ENOUGH = cell("tcn", 40, 5)


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([COVERS], "supported"),
        ([ENOUGH, cell("tcn", 90, 3, field=300)], "contradicted"),
        # A cell that does not count against the family leaves it undecided.
        ([cell("tcn", 90, 3, field=300)], "undecided"),
        ([ENOUGH, cell("tcn", 90, 3, field=300, ended="improving")], "undecided"),
        ([ENOUGH, cell("tcn", 90, 0, 2, field=300, ended="at chance")], "contradicted"),
        # Every network that covers a cell is judged by itself, whatever others of its family do.
        ([cell("cnn", 40, 5), cell("tcn", 50, 5), cell("cnn", 50, 0, 2)], "contradicted"),
        ([ENOUGH, cell("tcn", 50, 5), cell("cnn", 50, 0, 2)], "undecided"),
        ([cell("tcn", 50, 0, field=60, reach=61), ENOUGH], "supported"),
        ([cell("tcn", 50, 4, 4, num_seeds=4)], "supported"),
        ([cell("tcn", 50, 3, 3, num_seeds=3)], "undecided"),
        ([ENOUGH, cell("tcn", 50, 3, 3, num_seeds=3)], "supported"),
        ([cell("gru", 50, 5)], "not tested"),
        ([cell("snail", 50, 5)], "not tested"),
    ],
)
def test_d2_asks_whether_every_covering_convolution_solves(cells: list[Rows], verdict: str) -> None:
    assert judged("d2", *cells).verdict == verdict


def test_too_few_seeds_are_what_is_missing() -> None:
    few = [cell(model, 50, 3, 3, num_seeds=3) for model in ("tcn", "gru")]
    said = "missing: 4 seeds that solve a T, or 2 that do not (1 cell)"
    assert {judged(key, *few).sentence for key in ("b", "d2")} == {said}


def test_d2_names_the_field_that_was_not_enough() -> None:
    assert judged("d2", ENOUGH, cell("tcn", 90, 3, field=300)).sentence == (
        "tcn did not solve adding at T = 90 within 62,400 updates, with a field of 300 for a reach "
        "of 90"
    )


TWICE = [pair(length, 2.0, 1.0) for length in (100, 200, 400)]


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        (TWICE, "supported"),
        ([pair(length, 1.99, 1.0) for length in (100, 200, 400)], "contradicted"),
        ([*TWICE, pair(200, 1.0, 1.0, batch=1)], "contradicted"),
        ([pair(length, 2.0, 1.0) for length in (99, 100, 200)], "undecided"),
        ([pair(length, 2.0, 1.0) for length in (97, 98, 99)], "not tested"),
        # Networks that do not see T steps do not count.
        ([*TWICE, pair(100, 1.0, 1.0, batch=1, receptive_field=99)[:1]], "supported"),
    ],
)
def test_e_asks_for_twice_the_throughput(pairs: list[Rows], verdict: str) -> None:
    assert of_times("e", *pairs).verdict == verdict


def test_e_names_implementation_device_batch_and_lengths() -> None:
    assert of_times("e", *TWICE, pair(200, 1.0, 1.0, batch=1), backend="cpu").sentence == (
        "fastest implementations, on cpu, batch 1 and 64, T = 100 to 400: convolutional training "
        "is at least twice as fast in 3 of 4 places (ratio 1 to 2), not on adding at T = 200, "
        "batch 1"
    )
    few = of_times("e", *TWICE[:2])
    assert few.sentence.startswith("missing: 1 more ratios of times; fastest implementations")


def test_times_take_the_fastest_network_of_each_family() -> None:
    slow = [pair(length, 5.0, 0.5) for length in (100, 200, 400)]
    verdict = of_times("e", *TWICE, *slow)
    assert [row["steps a second, ratio"] for row in verdict.table] == [5.0] * 3


def test_every_implementation_has_a_verdict_of_its_own() -> None:
    slower = {"implementation": "stock", "train_steps_per_s": 1.0, "step_ms": 0.001}
    stock = [[{**row, **slower} for row in pair(n, 1.0, 1.0)] for n in (100, 200, 400)]
    fastest = of_times("e", *TWICE, *stock)
    assert [row["steps a second, ratio"] for row in fastest.table] == [2.0] * 3
    assert {row["implementation"] for row in fastest.table} == {"fastest"}
    other = of_times("e2", *TWICE, *stock)
    assert (fastest.verdict, other.verdict) == ("supported", "contradicted")
    assert other.sentence.startswith("stock, on one machine, batch 64, T = 100 to 400")
    assert {row["implementation"] for row in other.table} == {"stock"}


def steps(*ratios: float, **columns: Any) -> list[Rows]:
    return [
        [{**row, **columns} for row in pair(10 + i, ratio, 1.0, batch=1)]
        for i, ratio in enumerate(ratios)
    ]


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.1] * 9 + [5.0], "contradicted"),
        ([2.0] * 3, "contradicted"),
        ([2.01] * 9 + [1.0], "supported"),
        ([2.01] * 8 + [1.0] * 2, "contradicted"),
        ([2.01] * 2, "undecided"),
        ([], "not tested"),
    ],
)
def test_f_takes_the_share_of_ratios(ratios: list[float], verdict: str) -> None:
    assert of_times("f", *steps(*ratios)).verdict == verdict


def test_f_is_about_one_stream_and_names_its_device() -> None:
    assert of_times("f", *[pair(n, 9.0, 1.0) for n in (10, 20, 30)]).verdict == "not tested"
    verdict = of_times("f", *steps(1.0, 1.0, 4.0), backend="cpu-float32-1thread")
    assert verdict.sentence == (
        "fastest implementations, on cpu-float32-1thread, batch 1, T = 10 to 12: a convolutional "
        "step takes 1 to 4 times as long as a recurrent one (median 1)"
    )
    assert [row["PyTorch's modules, ratio"] for row in verdict.table] == [3.0] * 3
    assert [row["field read again, ratio"] for row in verdict.table] == [90.0] * 3


def test_nothing_is_concluded_from_steps_that_include_the_call() -> None:
    verdict = of_times("f", *steps(1.0, 1.0, 4.0, protocol=1))
    assert verdict.verdict == "not tested"
    assert verdict.sentence == "no times of a step without the call from Python"


def test_a_sentence_names_at_most_three_items() -> None:
    assert named(["a", "b", "a", "c"]) == "a; b; c"
    assert named(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 further"
    cells = [("more", "less"), ("less",), ("x",), ("y",)]
    said = "missing: less (2 cells); more (1 cell); x (1 cell); and 1 further points"
    assert missing(cells) == said


def test_what_was_not_tested_is_computed() -> None:
    rows = [
        *cell("tcn", 20, 5),
        *cell("gru", 300, 3, 3, num_seeds=3),
        *cell("gru", 50, 5, 7, statuses=("failed", "skipped")),
    ]
    runs = typed(RUNS, rows)
    assert limits(runs) == [
        "Networks of other sizes than 12,400 parameters.",
        "Training beyond the budgets of 62,400 updates.",
        "Another optimizer, clipping or initialisation than those of the settings.",
        "Cells with too few seeds to count: 2 of 3.",
        "Planned runs that were skipped or have not been made: 1.",
    ]
    (nothing,) = limits(no_runs())
    assert nothing.startswith("No cell has 4 seeds that solve it or 2 that do not")
