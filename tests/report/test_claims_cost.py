"""Verdicts on receptive fields and on cost follow from planted runs and times."""

from typing import Any

import pytest

import models
import tasks
from bench.report import claims
from bench.report.claims import fields
from bench.report.claims.cells import limits
from bench.report.claims.verdict import missing, named
from bench.report.frame import typed
from bench.report.runs import RUNS
from tests.support.claims import Rows, cell, judged, of_times, pair
from tests.support.reports import no_runs


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
        (measured((15, 15), (43, 43), (99, 98)), "undecided"),
        # Fields longer than the sequence are not judged.
        ([*FITS, *measured((501, 500))], "supported"),
        ([*FITS, *measured((500, 499))], "undecided"),
    ],
)
def test_c_is_arithmetic_that_measured_fields_check(cells: list[Rows], verdict: str) -> None:
    found = judged("c", *cells)
    assert found.word == ("supported by arithmetic" if verdict == "supported" else verdict)
    wrong = "the code or the stated field of tcn is wrong"
    assert found.sentence.endswith(wrong) == (verdict == "undecided")


def test_c_says_how_many_combinations_see_more_than_100_steps() -> None:
    verdict = judged("c", *FITS)
    assert verdict.sentence == (
        "by the formula, 10 layers see more than 100 steps in 8 of 9 combinations of kernel size "
        "and way to count layers; 15 of 15 measured receptive fields equal the formula"
    )
    column = "fewest layers, from 5 to 10, that see more than 100 steps"
    depths = [row[column] for row in verdict.table]
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
        "a shorter field can't solve a task whose answer needs the oldest input; 5 of 5 runs with "
        "a shorter field failed"
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
    assert of_times("e", *TWICE, pair(200, 1.0, 1.0, batch=1), device="cpu").sentence == (
        "fastest implementations, on cpu, T = 100 to 400: convolutional training is at least twice "
        "as fast in 0 of 1 case with batch 1 (ratio 1) and 3 of 3 cases with batch 64 (ratio 2)"
    )
    few = of_times("e", *TWICE[:2])
    assert few.sentence.startswith("missing: 1 more ratio of times; fastest implementations")


def test_times_take_the_fastest_network_of_each_family() -> None:
    slow = [pair(length, 5.0, 0.5) for length in (100, 200, 400)]
    verdict = of_times("e", *TWICE, *slow)
    assert [row["training throughput, convolutional / recurrent"] for row in verdict.table] == [
        5.0
    ] * 3


def test_every_implementation_has_a_verdict_of_its_own() -> None:
    slower = {"implementation": "stock", "train_steps_per_s": 1.0, "step_ms": 0.001}
    stock = [[{**row, **slower} for row in pair(n, 1.0, 1.0)] for n in (100, 200, 400)]
    fastest = of_times("e", *TWICE, *stock)
    assert [row["training throughput, convolutional / recurrent"] for row in fastest.table] == [
        2.0
    ] * 3
    assert {row["implementation"] for row in fastest.table} == {"fastest"}
    other = of_times("e2", *TWICE, *stock)
    assert (fastest.verdict, other.verdict) == ("supported", "contradicted")
    assert other.sentence.startswith("PyTorch's own layers, on one machine, T = 100 to 400")
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
    verdict = of_times("f", *steps(1.0, 1.0, 4.0), device="one CPU thread")
    assert verdict.sentence == (
        "fastest implementations, on one CPU thread, batch 1, T = 10 to 12: a convolutional "
        "step takes 1 to 4 times as long as a recurrent one (median 1)"
    )
    assert [row["the same with PyTorch's modules"] for row in verdict.table] == [3.0] * 3
    assert [row["convolution over its whole field / recurrent step"] for row in verdict.table] == [
        90.0
    ] * 3


def test_f_says_how_much_larger_the_state_is() -> None:
    sizes = [{"tcn": 4_000, "gru": 200}, {"tcn": 30_000, "gru": 300}, {"tcn": 800, "gru": None}]
    pairs = [
        [{**row, "state_bytes": of_model[row["model_label"]]} for row in rows]
        for rows, of_model in zip(steps(1.0, 1.0, 1.0), sizes, strict=True)
    ]
    verdict = of_times("f", *pairs)
    assert verdict.sentence.endswith("(median 1), and its state has 20 to 100 times the bytes")
    column = "state of a stream, convolutional / recurrent"
    assert [row[column] for row in verdict.table[:2]] == [20.0, 100.0]


def test_nothing_is_concluded_from_steps_that_include_the_call() -> None:
    verdict = of_times("f", *steps(1.0, 1.0, 4.0, protocol=1))
    assert verdict.verdict == "not tested"
    assert verdict.sentence == "no times of a step without the call from Python"


def test_a_sentence_names_at_most_three_items() -> None:
    assert named(["a", "b", "a", "c"]) == "a; b; c"
    assert named(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 further"
    cells = [("more", "less"), ("less",), ("x",), ("y",)]
    said = "missing: less (2 cells); more (1 cell); x (1 cell)"
    assert missing(cells) == f"{said}; y (1 cell)"  # a single further item is named
    assert missing([*cells, ("z",)]) == f"{said}; and 2 further points"


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
