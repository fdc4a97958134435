"""Verdicts follow from planted runs by the rules of docs/method.md."""

from typing import Any

import pytest

import models
import tasks
from bench.report import claims
from bench.report.claims import fields
from bench.report.claims.cells import limits
from bench.report.claims.verdict import Verdict
from bench.report.frame import typed
from bench.report.runs import RUNS
from bench.report.times import TIMED
from tests.support.records import outcome, record, spec
from tests.support.reports import no_runs, runs_of

FAMILIES = {"tcn": "convolutional", "cnn": "convolutional", "gru": "recurrent", "lstm": "recurrent"}
UNDECIDED = "not enough evidence yet"
Rows = list[dict[str, Any]]


def cell(
    model: str,
    length: int,
    num_solved: int,
    *,
    variant: str = "",
    task: str = "adding",
    num_seeds: int = 5,
    field: int | None = None,
    reach: int | None = None,
    updates: int = 100,
    statuses: tuple[str, ...] = (),
    **columns: Any,
) -> Rows:
    """Rows of the frame of runs: the first seeds solve; a convolution covers twice T.

    `statuses` are those of the last seeds.
    """
    family = FAMILIES.get(model, "other")
    if field is None and family == "convolutional":
        field = 2 * length
    rows = []
    for seed in range(num_seeds):
        solved = seed < num_solved
        rows.append(
            {
                **{"task": task, "task_variant": "", "task_label": task, "T": length},
                **{"model": model, "variant": variant, "family": family},
                "model_label": f"{model} {variant}".strip(),
                "seed": seed,
                "reach": length if reach is None else reach,
                "status": "ok",
                "max_steps": 1000,
                "batch": 32,
                "protocol": 1,
                "score": 1.0 if solved else 0.1,
                "solved": solved,
                **{"score_name": "recall", "unit": "share", "chance": 0.1, "solved_at": 0.95},
                "parameters": 12_400,
                "receptive_field": field,
                "solved_after": updates if solved else None,
                **columns,
            }
        )
    for row, status in zip(reversed(rows), statuses, strict=False):
        row["status"] = status
        if status == "failed":
            row |= {"score": None, "solved": False, "solved_at": None, "receptive_field": None}
    return rows


def judged(key: str, *cells: Rows, timed: Rows = (), backend: str | None = None) -> Verdict:  # pyright: ignore[reportArgumentType]
    runs = typed(RUNS, [row for rows in cells for row in rows])
    found = claims.verdicts(runs, typed(TIMED, timed), backend=backend)
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
    found = claims.verdicts(no_runs(), typed(TIMED, []))
    assert [verdict.key for verdict in found] == ["a", "b", "c", "d1", "d2", "e", "f"]
    assert {verdict.verdict for verdict in found} == {UNDECIDED}


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
                float(each.model.name == "tcn"), receptive_field=field[each.model.name]
            ),
        )
        for each in specs
    ]
    found = claims.verdicts(runs_of(specs, records), typed(TIMED, []))
    words = {verdict.key: verdict.verdict for verdict in found}
    assert [words[key] for key in ("a", "b", "d1", "d2")] == ["holds", "holds", UNDECIDED, "holds"]
    assert found[0].table[0]["best other that solves it"] == "tcn, 4 of 5 seeds (0.38 to 0.96)"


SOLVED_150 = cell("tcn", 150, 5)
NEAR = [cell("gru", 120, 5), cell("tcn", 120, 5)]


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([cell("gru", 101, 4), cell("tcn", 101, 5)], "fails"),
        ([cell("gru", 101, 3), cell("tcn", 101, 4), cell("gru", 80, 5)], "holds"),
        ([cell("gru", 100, 0), cell("tcn", 100, 5)], UNDECIDED),
        ([cell("gru", 101, 0), cell("tcn", 101, 3)], UNDECIDED),
        ([cell("gru", 101, 3, num_seeds=3), cell("tcn", 101, 5)], UNDECIDED),
        ([cell("gru", 101, 4, num_seeds=4), cell("tcn", 101, 5)], UNDECIDED),
        ([cell("gru", 101, 0), cell("tcn", 101, 3, num_seeds=3)], UNDECIDED),
        ([cell("tcn", 101, 5)], UNDECIDED),
        ([cell("gru", 101, 5, solved_at=None, solved=None)], UNDECIDED),
        # What a receptive field of 100 steps solves is left out.
        (NEAR, "fails"),
        ([*NEAR, cell("tcn", 120, 4, variant="num_blocks=3", field=100)], UNDECIDED),
        ([*NEAR, cell("cnn", 120, 4, field=101)], "fails"),
        # Failed runs are not solved; skipped and missing runs do not count.
        ([SOLVED_150, cell("gru", 150, 5, statuses=("failed",))], "fails"),
        ([SOLVED_150, cell("gru", 150, 5, statuses=("failed", "failed"))], "holds"),
        ([SOLVED_150, cell("gru", 150, 5, statuses=("skipped",))], UNDECIDED),
        (
            [SOLVED_150, cell("gru", 150, 5, num_seeds=7, statuses=("missing", "skipped"))],
            "fails",
        ),
        # Variants are not pooled.
        (
            [
                SOLVED_150,
                cell("gru", 150, 5, num_seeds=3, variant="num_layers=1"),
                cell("gru", 150, 5, num_seeds=3, variant="num_layers=2"),
            ],
            UNDECIDED,
        ),
    ],
)
def test_a_asks_for_recurrent_networks_beyond_100_steps(cells: list[Rows], verdict: str) -> None:
    assert judged("a", *cells).verdict == verdict


def test_a_names_the_tasks_on_either_side() -> None:
    verdict = judged(
        "a",
        cell("gru", 200, 5, task="easy"),
        cell("gru", 200, 0, task="hard"),
        cell("tcn", 200, 5, task="hard"),
        cell("gru", 200, 0, task="nobody's"),
        cell("tcn", 200, 0, task="nobody's"),
    )
    assert verdict.verdict == "holds when"
    assert verdict.sentence == "it is supported by hard and contradicted by easy"
    results = {row["task"]: row["result"].partition(":")[0] for row in verdict.table}
    assert results == {"easy": "against", "hard": "for", "nobody's": "undecided"}


TCN, SLOW = cell("tcn", 50, 5, updates=100), cell("gru", 50, 5, updates=201)


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([TCN, cell("gru", 50, 5, updates=200)], "fails"),
        ([TCN, SLOW], "holds"),
        # More solving seeds count before fewer updates.
        ([TCN, cell("lstm", 50, 4, updates=10), SLOW], "holds"),
        ([TCN, cell("lstm", 50, 5, updates=10), SLOW], "fails"),
        ([TCN, cell("cnn", 50, 5, updates=300), SLOW], "holds"),
        ([cell("tcn", 50, 3, updates=1), SLOW], "fails"),
        # Both families need evidence in the same cell, which some model solves.
        ([TCN], UNDECIDED),
        ([TCN, cell("gru", 60, 5)], UNDECIDED),
        ([TCN, cell("gru", 50, 3, num_seeds=3)], UNDECIDED),
        ([cell("tcn", 50, 3), cell("gru", 50, 3)], UNDECIDED),
    ],
)
def test_b_compares_the_updates_of_the_best(cells: list[Rows], verdict: str) -> None:
    assert judged("b", *cells).verdict == verdict


@pytest.mark.parametrize(
    ("num_hard", "verdict"),
    [(0, "fails"), (1, "fails"), (2, "holds when"), (3, "holds when"), (4, "holds"), (5, "holds")],
)
def test_b_takes_the_share_of_hard_cells(num_hard: int, verdict: str) -> None:
    cells = [
        each
        for i, length in enumerate((10, 20, 30, 40, 50))
        for each in (cell("tcn", length, 5), cell("gru", length, 3 if i < num_hard else 4))
    ]
    assert judged("b", *cells).verdict == verdict


def test_b_asks_for_every_task_and_names_at_most_three_cells() -> None:
    hard = [
        each
        for length in (20, 30, 40, 50)
        for each in (cell("tcn", length, 5, task="hard"), cell("gru", length, 0, task="hard"))
    ]
    easy = [cell("tcn", 30, 0, task="easy"), cell("gru", 30, 5, task="easy")]
    verdict = judged("b", *hard, *easy)
    assert verdict.verdict == "holds when"
    assert verdict.sentence == "it is supported by 4 cells and contradicted by easy at T = 30"
    assert [row["hard"] for row in verdict.table] == ["yes"] * 4 + ["no"]


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
        (FITS, "holds when"),
        (measured((15, 15), (43, 43), (99, 98)), "fails"),
        (measured((15, 15), (43, 43)), UNDECIDED),
        # Fields longer than the sequence are not judged.
        ([*FITS, *measured((501, 500))], "holds when"),
        ([*FITS, *measured((500, 499))], "fails"),
        ([cell("gru", 50, 5, measured_field=50, seen_steps=50)], UNDECIDED),
    ],
)
def test_c_compares_measured_fields_with_computed_ones(cells: list[Rows], verdict: str) -> None:
    assert judged("c", *cells).verdict == verdict


def test_c_says_from_which_depth_more_than_100_steps_are_seen() -> None:
    verdict = judged("c", *FITS)
    assert verdict.sentence.startswith("the measured field is the computed one in 15 of 15 runs")
    depths = [row["layers that see more than 100 steps"] for row in verdict.table]
    assert depths == [7, 6, 5, 6, 5, 5, None, 10, 8]


@pytest.mark.parametrize(("kernel_size", "verdict"), [(64, "holds"), (1, "fails")])
def test_c_with_extreme_kernels(
    kernel_size: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "KERNEL_SIZES", (kernel_size,))
    assert judged("c", *FITS).verdict == verdict


SHORT, COVERS = cell("cnn", 50, 0, field=49), cell("tcn", 50, 4, field=50)


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([SHORT, COVERS], "holds"),
        ([SHORT, cell("tcn", 50, 3, field=50)], UNDECIDED),
        ([SHORT, cell("tcn", 60, 5, field=60)], UNDECIDED),
        ([SHORT, cell("gru", 50, 5)], UNDECIDED),
        ([SHORT, cell("tcn", 50, 4, num_seeds=4, field=50)], UNDECIDED),
        ([cell("cnn", 50, 0, num_seeds=4, field=49), COVERS], UNDECIDED),
        # Single seeds of a short field that solve leave it undecided.
        ([cell("cnn", 50, 1, field=49), COVERS], UNDECIDED),
        ([cell("cnn", 50, 4, field=49), COVERS], "fails"),
        ([cell("cnn", 50, 4, field=49, task="loose"), SHORT, COVERS], "holds when"),
    ],
)
def test_d1_asks_whether_a_short_field_solves(cells: list[Rows], verdict: str) -> None:
    assert judged("d1", *cells).verdict == verdict


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([COVERS], "holds"),
        ([cell("tcn", 90, 3, field=300)], "fails"),
        ([COVERS, cell("tcn", 90, 3, field=300)], "holds when"),
        ([COVERS, cell("cnn", 90, 0, field=89)], "holds"),
        ([cell("tcn", 50, 0, field=60, reach=61), cell("tcn", 40, 5)], "holds"),
        ([cell("tcn", 50, 4, num_seeds=4)], UNDECIDED),
        ([cell("gru", 50, 5)], UNDECIDED),
        ([cell("snail", 50, 5)], UNDECIDED),
    ],
)
def test_d2_asks_whether_every_covering_convolution_solves(cells: list[Rows], verdict: str) -> None:
    assert judged("d2", *cells).verdict == verdict


TWICE = [pair(length, 2.0, 1.0) for length in (100, 200, 400)]


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        (TWICE, "holds"),
        ([pair(length, 1.99, 1.0) for length in (100, 200, 400)], "fails"),
        ([*TWICE, pair(200, 1.0, 1.0, batch=1)], "holds when"),
        ([pair(length, 2.0, 1.0) for length in (99, 100, 200)], UNDECIDED),
        # Networks that do not see T steps do not count.
        ([*TWICE, pair(100, 1.0, 1.0, batch=1, receptive_field=99)[:1]], "holds"),
    ],
)
def test_e_asks_for_twice_the_throughput_in_every_cell(pairs: list[Rows], verdict: str) -> None:
    assert of_times("e", *pairs).verdict == verdict


def test_times_take_the_fastest_network_of_each_family() -> None:
    slow = [pair(length, 5.0, 0.5) for length in (100, 200, 400)]
    verdict = of_times("e", *TWICE, *slow)
    assert [row["steps a second, ratio"] for row in verdict.table] == [5.0] * 3


def test_times_are_compared_within_one_implementation() -> None:
    slower = {"implementation": "stock", "train_steps_per_s": 9.0, "step_ms": 0.001}
    stock = [[{**row, **slower} for row in pair(n, 9.0, 9.0)] for n in (100, 200, 400)]
    verdict = of_times("e", *TWICE, *stock)
    assert [row["steps a second, ratio"] for row in verdict.table] == [2.0] * 3
    assert {row["implementation"] for row in verdict.table} == {"fastest"}
    assert "batch 64, T = 100 to 400" in verdict.sentence


def steps(*ratios: float) -> list[Rows]:
    return [pair(10 + i, ratio, 1.0, batch=1) for i, ratio in enumerate(ratios)]


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.1] * 9 + [5.0], "fails"),
        ([1.1] * 8 + [5.0] * 2, "holds when"),
        ([1.5] * 3, "fails"),
        ([2.0] * 3, "fails"),
        ([2.01] * 9 + [1.0], "holds"),
        ([2.01] * 8 + [1.0] * 2, "holds when"),
        ([2.01] * 2, UNDECIDED),
    ],
)
def test_f_takes_the_share_of_ratios(ratios: list[float], verdict: str) -> None:
    assert of_times("f", *steps(*ratios)).verdict == verdict


def test_f_is_about_one_stream_and_names_its_device() -> None:
    assert of_times("f", *[pair(n, 9.0, 1.0) for n in (10, 20, 30)]).verdict == UNDECIDED
    verdict = of_times("f", *steps(1.0, 1.0, 4.0), backend="cpu-float32-1thread")
    assert verdict.sentence.startswith(
        "fastest implementations, on cpu-float32-1thread, batch 1, T = 10 to 12: a convolutional "
        "step"
    )
    assert [row["single calls from Python, ratio"] for row in verdict.table] == [1.5] * 3
    assert [row["PyTorch's modules, ratio"] for row in verdict.table] == [3.0] * 3
    assert [row["field read again, ratio"] for row in verdict.table] == [90.0] * 3


def test_what_was_not_tested_is_computed() -> None:
    rows = [
        *cell("tcn", 20, 5),
        *cell("gru", 300, 3, num_seeds=3),
        *cell("gru", 50, 5, num_seeds=7, statuses=("failed", "skipped")),
    ]
    runs = typed(RUNS, rows)
    assert limits(runs) == [
        "Networks of other sizes than 12,400 parameters.",
        "Training beyond the budgets of 1,000 updates.",
        "Another optimizer, clipping or initialisation than those of the settings.",
        "Models in a cell with fewer than 5 seeds: 1 of 3.",
        "Planned runs that were skipped or have not been made: 1.",
    ]
