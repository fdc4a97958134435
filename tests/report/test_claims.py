"""Verdicts follow from planted records by the rules of docs/method.md."""

# pyright: reportArgumentType=false
# (The annotations of pandas are too wide for pyright to follow.)

from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from markdown_it import MarkdownIt
from torch import Tensor

import models
import tasks
from bench.plan.rates import Rates, Tried, Tuned
from bench.report import claims, tables
from bench.report.claims import _fields
from bench.report.claims._cells import cells_of, limits
from tests.support.records import outcome, record, spec

FAMILIES = {"tcn": "convolutional", "cnn": "convolutional", "gru": "recurrent", "lstm": "recurrent"}


def cell(
    model: str,
    length: int,
    num_solved: int,
    *,
    task: str = "adding",
    num_seeds: int = 5,
    field: int | None = None,
    reach: int | None = None,
    updates: int = 100,
    statuses: tuple[str, ...] = (),
    **columns: Any,
) -> list[dict[str, Any]]:
    """Rows as of `tables.runs_frame`: the first seeds solve; a convolution covers twice T."""
    family = FAMILIES.get(model.split()[0], "other")
    if field is None and family == "convolutional":
        field = 2 * length
    rows = []
    for seed in range(num_seeds):
        solved = seed < num_solved
        rows.append(
            {
                "task": task,
                "model": model,
                "T": length,
                "seed": seed,
                "family": family,
                "reach": length if reach is None else reach,
                "status": "ok",
                "error": None,
                "max_steps": 1000,
                "score": 1.0 if solved else 0.1,
                "solved": solved,
                "score_name": "recall",
                "unit": "share",
                "chance": 0.1,
                "solved_at": 0.95,
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


def of_runs(key: str, *cells: list[dict[str, Any]], rates: Rates | None = None):
    frame = pd.DataFrame([row for rows in cells for row in rows])
    return _only(key, claims.verdicts(frame, pd.DataFrame(), rates or {}))


def _only(key: str, found: list[claims.Verdict]) -> claims.Verdict:
    (verdict,) = (each for each in found if each.key == key)
    assert (verdict.verdict == "holds when") == bool(verdict.conditions)
    return verdict


def timed(
    length: int, conv: float, rec: float, *, task: str = "adding", batch: int = 64, **columns: Any
) -> list[dict[str, Any]]:
    """Two networks: `conv` and `rec` are their speeds in training, and a step's milliseconds."""
    both = {"task": task, "T": length, "batch": batch, "parameters": 12_400}
    return [
        both
        | {"model": "tcn", "family": "convolutional", "receptive_field": 2 * length}
        | {"train_steps_per_s": conv, "step_ms": conv, "plain_step_ms": 6.0, "window_ms": 90.0}
        | columns,
        both
        | {"model": "gru", "family": "recurrent", "receptive_field": None}
        | {"train_steps_per_s": rec, "step_ms": rec, "plain_step_ms": 2.0, "window_ms": None},
    ]


def of_times(key: str, *pairs: list[dict[str, Any]], backend: str | None = None):
    frame = pd.DataFrame([row for pair in pairs for row in pair])
    return _only(key, claims.verdicts(pd.DataFrame(), frame, {}, backend=backend))


def test_nothing_is_judged_without_records():
    found = claims.verdicts(pd.DataFrame(), pd.DataFrame(), {})
    assert [verdict.key for verdict in found] == ["a", "b", "c", "d1", "d2", "e", "f"]
    assert {verdict.verdict for verdict in found} == {"not enough evidence yet"}
    assert all(verdict.because for verdict in found[:5])


def test_records_reach_the_verdicts_through_the_frame_of_runs():
    lengths, seeds = (50, 150), range(5)
    specs = [
        spec(task="adding", model=model, length=length, seed=seed)
        for model in ("tcn", "gru")
        for length in lengths
        for seed in seeds
    ]
    fields = {"tcn": 400, "gru": None}
    records = [
        record(each, None)  # failed
        if each.seed == 4
        else record(
            each,
            outcome=outcome(
                float(each.model.name == "tcn"), receptive_field=fields[each.model.name]
            ),
        )
        for each in specs
    ]
    labels = {each.id: (each.task.name, each.model.name) for each in specs}
    runs = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, 0.95))
    found = claims.verdicts(runs, pd.DataFrame(), {})
    assert _only("a", found).verdict == "holds"
    assert _only("b", found).verdict == "holds"
    assert any("4 of 5 seeds (0.38 to 0.96)" in each for each in _only("a", found).because)
    assert _only("d2", found).verdict == "holds"
    assert _only("d1", found).verdict == "not enough evidence yet"


# (a)


def test_a_fails_where_a_recurrent_network_solves_more_than_100_steps():
    verdict = of_runs("a", cell("gru", 101, 4), cell("tcn", 101, 5))
    assert verdict.verdict == "fails"
    assert "4 of 5 seeds" in verdict.because[0]


def test_a_holds_where_only_a_convolution_does():
    verdict = of_runs("a", cell("gru", 101, 3), cell("tcn", 101, 4), cell("gru", 80, 5))
    assert verdict.verdict == "holds"
    assert "The longest T that one solves is 80" in verdict.because[0]


def test_a_says_that_length_is_no_obstacle_to_what_solves_nothing():
    verdict = of_runs("a", cell("gru", 101, 0), cell("tcn", 101, 5), cell("gru", 5, 0))
    assert "it is not the length" in verdict.because[0]


def test_a_names_the_tasks_on_either_side_and_those_undecided():
    verdict = of_runs(
        "a",
        cell("gru", 200, 5, task="easy"),
        cell("gru", 200, 0, task="hard"),
        cell("tcn", 200, 5, task="hard"),
        cell("gru", 200, 0, task="nobody's"),
        cell("tcn", 200, 0, task="nobody's"),
    )
    assert verdict.verdict == "holds when"
    assert verdict.conditions == "on hard. Not on easy"
    assert any(sentence.startswith("nobody's is undecided") for sentence in verdict.because)


@pytest.mark.parametrize(
    "cells",
    [
        [cell("gru", 100, 0), cell("tcn", 100, 5)],
        [cell("gru", 101, 0), cell("tcn", 101, 3)],
        [cell("gru", 101, 3, num_seeds=3), cell("tcn", 101, 5)],
        [cell("gru", 101, 4, num_seeds=4), cell("tcn", 101, 5)],
        [cell("gru", 101, 0), cell("tcn", 101, 3, num_seeds=3)],
        [cell("tcn", 101, 5)],
        [cell("gru", 101, 5, solved_at=None, solved=None)],
    ],
    ids=["T=100", "unsolved", "3 of 3", "4 of 4", "3 of 3 beside", "no recurrent", "no score"],
)
def test_a_has_not_enough_evidence(cells: list[list[dict[str, Any]]]):
    assert of_runs("a", *cells).verdict == "not enough evidence yet"


def test_a_leaves_out_what_a_field_of_100_steps_solves():
    cells = [cell("gru", 120, 5), cell("tcn", 120, 5)]
    assert of_runs("a", *cells).verdict == "fails"
    near = of_runs("a", *cells, cell("tcn num_blocks=3", 120, 4, field=100))
    assert near.verdict == "not enough evidence yet"
    assert "tcn num_blocks=3" in near.because[0]
    assert of_runs("a", *cells, cell("cnn", 120, 4, field=101)).verdict == "fails"


def test_failed_runs_are_not_solved_and_skipped_ones_do_not_count():
    tcn = cell("tcn", 150, 5)
    assert of_runs("a", tcn, cell("gru", 150, 5, statuses=("failed",))).verdict == "fails"
    failed = of_runs("a", tcn, cell("gru", 150, 5, statuses=("failed", "failed")))
    assert failed.verdict == "holds"
    assert any("2 runs failed" in sentence for sentence in failed.not_tested)
    skipped = of_runs("a", tcn, cell("gru", 150, 5, statuses=("skipped",)))
    assert skipped.verdict == "not enough evidence yet"
    assert any("1 planned runs were skipped" in sentence for sentence in skipped.not_tested)
    more = of_runs("a", tcn, cell("gru", 150, 5, num_seeds=7, statuses=("missing", "skipped")))
    assert more.verdict == "fails"


def test_variants_are_not_pooled():
    halves = [cell(f"gru num_layers={n}", 150, 5, num_seeds=3) for n in (1, 2)]
    assert of_runs("a", *halves, cell("tcn", 150, 5)).verdict == "not enough evidence yet"


# (b)


def test_b_compares_the_updates_of_the_best():
    tcn = cell("tcn", 50, 5, updates=100)
    assert of_runs("b", tcn, cell("gru", 50, 5, updates=200)).verdict == "fails"
    assert of_runs("b", tcn, cell("gru", 50, 5, updates=201)).verdict == "holds"
    quick = cell("lstm", 50, 4, updates=10)
    slow = cell("gru", 50, 5, updates=201)
    assert of_runs("b", tcn, quick, slow).verdict == "holds"  # more seeds before fewer updates
    assert of_runs("b", tcn, cell("lstm", 50, 5, updates=10), slow).verdict == "fails"
    assert of_runs("b", tcn, cell("cnn", 50, 5, updates=300), slow).verdict == "holds"
    unsolved = cell("tcn", 50, 3, updates=1)
    assert of_runs("b", unsolved, slow).verdict == "fails"


@pytest.mark.parametrize(
    ("num_hard", "verdict"),
    [(0, "fails"), (1, "fails"), (2, "holds when"), (3, "holds when"), (4, "holds"), (5, "holds")],
)
def test_b_takes_the_share_of_hard_cells(num_hard: int, verdict: str):
    cells = [
        each
        for i, length in enumerate((10, 20, 30, 40, 50))
        for each in (cell("tcn", length, 5), cell("gru", length, 3 if i < num_hard else 4))
    ]
    assert of_runs("b", *cells).verdict == verdict


def test_b_asks_for_every_task_and_names_the_cells():
    verdict = of_runs(
        "b",
        cell("tcn", 20, 5, task="hard"),
        cell("gru", 20, 0, task="hard"),
        cell("tcn", 30, 0, task="easy"),
        cell("gru", 30, 5, task="easy"),
        cell("tcn", 40, 3, task="easy"),
        cell("gru", 40, 3, task="easy"),
    )
    assert verdict.verdict == "holds when"
    assert verdict.conditions == "on hard at T = 20. Not on easy at T = 30"


def test_b_needs_evidence_of_both_families_in_the_same_cell():
    for cells in (
        [cell("tcn", 50, 5)],
        [cell("tcn", 50, 5), cell("gru", 60, 5)],
        [cell("tcn", 50, 5), cell("gru", 50, 3, num_seeds=3)],
        [cell("tcn", 50, 3), cell("gru", 50, 3)],
    ):
        assert of_runs("b", *cells).verdict == "not enough evidence yet"


def test_b_counts_learning_rates_and_diverged_runs():
    def tuned(*num_solved: int) -> Tuned:
        tried = (
            Tried(rate=10.0**-i, num_runs=4, num_solved=solved, updates=100.0, seconds=1.0)
            for i, solved in enumerate(num_solved)
        )
        return Tuned(rate=1.0, tried=tuple(tried))

    rates = {
        "adding": {"gru": tuned(2, 1, 1), "tcn num_blocks=2": tuned(2, 2)},
        "copy_memory": {"lstm": tuned(1), "snail": tuned(2)},
    }
    cells = [cell("tcn", 50, 5), cell("gru", 50, 5, statuses=("diverged",))]
    because = " ".join(of_runs("b", *cells, rates=rates).because)
    assert "1 of 4 with recurrent models, 2 of 2 with convolutional models" in because
    assert "diverged: 0 of 5 convolutional, 1 of 5 recurrent" in because


# (c)


def stack_field(kernel_size: int, num_layers: int) -> int:
    """Of one dilated convolution a layer, by perturbing every input of a random stack."""
    generator = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(1, 1, kernel_size, generator=generator, dtype=torch.float64)
        for _ in range(num_layers)
    ]
    num_steps = 2 * kernel_size * 2**num_layers

    def last(x_NT: Tensor) -> Tensor:
        h_N1T = x_NT.unsqueeze(1)
        for i, weight in enumerate(weights):
            h_N1T = F.conv1d(F.pad(h_N1T, ((kernel_size - 1) * 2**i, 0)), weight, dilation=2**i)
        return h_N1T[:, 0, -1]

    # A row an input: changed by one there and nowhere else.
    base_1T = torch.randn(1, num_steps, generator=generator, dtype=torch.float64)
    changed_TT = base_1T + torch.eye(num_steps, dtype=torch.float64)
    moved = (last(changed_TT) - last(base_1T)).abs() > 1e-9
    return num_steps - int(moved.nonzero()[0])


@pytest.mark.parametrize(("kernel_size", "num_layers"), [(2, 1), (2, 5), (3, 4), (7, 3)])
def test_the_dilated_field_is_what_perturbation_finds(kernel_size: int, num_layers: int):
    assert claims.dilated_field(kernel_size, num_layers, 1) == stack_field(kernel_size, num_layers)


@pytest.mark.parametrize(("kernel_size", "num_blocks"), [(2, 5), (3, 4), (7, 2)])
def test_the_dilated_field_is_that_of_our_network(kernel_size: int, num_blocks: int):
    signature = tasks.load("adding", length=50).signature
    model = models.load("tcn", kernel_size=kernel_size, num_blocks=num_blocks)
    network = models.build(model, signature, 4, 0)
    assert claims.dilated_field(kernel_size, num_blocks, 2) == network.receptive_field


def measured(*fields: tuple[int, int], seen: int = 500) -> list[list[dict[str, Any]]]:
    """A cell a (computed, measured) field."""
    return [
        cell("tcn", 50 + i, 5, field=computed, measured_field=found, seen_steps=seen)
        for i, (computed, found) in enumerate(fields)
    ]


def test_c_says_from_which_depth():
    verdict = of_runs("c", *measured((15, 15), (43, 43), (99, 99)))
    assert verdict.verdict == "holds when"
    assert verdict.conditions == (
        "with one convolution a layer, k = 2 from 7 layers on, k = 3 from 6 layers on, "
        "k = 7 from 5 layers on; "
        "with two convolutions a layer, k = 2 from 6 layers on, k = 3 from 5 layers on, "
        "k = 7 from 5 layers on; "
        "with two convolutions a block, each counted as a layer, k = 2 not up to 10 layers "
        "(63 steps), k = 3 from 10 layers on, k = 7 from 8 layers on"
    )
    assert any("15 of 15 runs" in sentence for sentence in verdict.because)
    assert "5 to 10 layers see 32 to 1,024 for k = 2" in verdict.because[0]


def test_c_fails_on_one_field_that_differs():
    verdict = of_runs("c", *measured((15, 15), (43, 43), (99, 98)))
    assert verdict.verdict == "fails"
    assert any("98 measured, 99 computed" in sentence for sentence in verdict.because)


def test_c_judges_fields_no_longer_than_the_sequence():
    fits = measured((15, 15), (43, 43), (99, 99))
    assert of_runs("c", *fits, *measured((501, 500))).verdict == "holds when"
    assert of_runs("c", *fits, *measured((500, 499))).verdict == "fails"
    assert of_runs("c", *measured((15, 15), (43, 43))).verdict == "not enough evidence yet"
    assert of_runs("c", cell("gru", 50, 5, measured_field=50, seen_steps=50)).verdict == (
        "not enough evidence yet"
    )


def test_c_holds_or_fails_with_kernels_that_leave_no_doubt(monkeypatch: pytest.MonkeyPatch):
    fits = measured((15, 15), (43, 43), (99, 99))
    monkeypatch.setattr(_fields, "KERNEL_SIZES", (64,))
    assert of_runs("c", *fits).verdict == "holds"
    monkeypatch.setattr(_fields, "KERNEL_SIZES", (1,))
    assert of_runs("c", *fits).verdict == "fails"


# (d)


def test_d1_holds_where_a_short_field_solves_nothing_that_a_covering_one_solves():
    short = cell("tcn num_blocks=2", 50, 0, field=49)
    assert of_runs("d1", short, cell("tcn", 50, 4, field=50)).verdict == "holds"
    for other in (
        cell("tcn", 50, 3, field=50),
        cell("tcn", 60, 5, field=60),
        cell("gru", 50, 5),
        cell("tcn", 50, 4, num_seeds=4, field=50),
    ):
        assert of_runs("d1", short, other).verdict == "not enough evidence yet"
    few = cell("tcn num_blocks=2", 50, 0, num_seeds=4, field=49)
    assert of_runs("d1", few, cell("tcn", 50, 5)).verdict == "not enough evidence yet"


def test_d1_is_undecided_where_single_seeds_of_a_short_field_solve():
    verdict = of_runs("d1", cell("cnn", 50, 1, field=49), cell("tcn", 50, 5))
    assert verdict.verdict == "not enough evidence yet"
    assert "1 of 5 seeds" in verdict.because[0]


def test_d1_fails_where_a_short_field_solves():
    verdict = of_runs("d1", cell("cnn", 50, 4, field=49), cell("tcn", 50, 5))
    assert verdict.verdict == "fails"
    assert "cnn with a field of 49 for a reach of 50 solves T = 50" in verdict.because[0]


def test_d1_holds_on_some_tasks():
    verdict = of_runs(
        "d1",
        cell("cnn", 50, 4, field=49, task="loose"),
        cell("cnn", 50, 0, field=49, task="strict"),
        cell("tcn", 50, 5, task="strict"),
    )
    assert verdict.verdict == "holds when"
    assert verdict.conditions == "on strict. Not on loose"


def test_d2_asks_whether_every_covering_convolution_solves():
    solving, failing = cell("tcn", 50, 4, field=50), cell("tcn", 90, 3, field=300)
    assert of_runs("d2", solving).verdict == "holds"
    assert of_runs("d2", failing).verdict == "fails"
    assert of_runs("d2", solving, cell("cnn", 90, 0, field=89)).verdict == "holds"
    both = of_runs("d2", solving, failing)
    assert both.verdict == "holds when"
    assert both.conditions == "on adding up to T = 50. Not always on adding at T = 90"
    for nothing in (cell("tcn", 50, 4, num_seeds=4), cell("gru", 50, 5), cell("snail", 50, 5)):
        assert of_runs("d2", nothing).verdict == "not enough evidence yet"


def test_the_reach_decides_what_a_field_covers():
    verdict = of_runs("d2", cell("tcn", 50, 0, field=60, reach=61), cell("tcn", 40, 5))
    assert verdict.verdict == "holds"


# (e)


def test_e_asks_for_twice_the_throughput_in_every_cell():
    twice = [timed(length, 2.0, 1.0) for length in (100, 200, 400)]
    assert of_times("e", *twice).verdict == "holds"
    less = [timed(length, 1.99, 1.0) for length in (100, 200, 400)]
    assert of_times("e", *less).verdict == "fails"
    mixed = of_times("e", *twice, timed(200, 1.0, 1.0, batch=1))
    assert mixed.verdict == "holds when"
    assert mixed.conditions == (
        "for adding, batch 64 at T = 100, 200, 400. Not for adding, batch 1 at T = 200"
    )


def test_e_needs_three_ratios_from_100_steps_on():
    pairs = [timed(length, 2.0, 1.0) for length in (99, 100, 200)]
    assert of_times("e", *pairs).verdict == "not enough evidence yet"


def test_times_take_the_fastest_network_that_sees_the_length():
    pairs = [timed(length, 2.0, 1.0, batch=1) for length in (100, 200, 400)]
    blind = [timed(length, 50.0, 1.0, batch=1, receptive_field=99)[:1] for length in (100, 200)]
    assert of_times("e", *pairs, *blind).verdict == "holds"
    assert "2 times as fast" in of_times("e", *pairs, *blind).because[0]
    slow = [timed(length, 5.0, 0.5, batch=1) for length in (100, 200, 400)]
    assert "5 times as fast as" in of_times("e", *pairs, *slow).because[0]
    assert "5 against 1 steps" in of_times("e", *pairs, *slow).because[0]
    steps = of_times("f", *pairs, *slow)  # the fastest steps: 2 ms against 0.5 ms
    assert "takes 4 times" in steps.because[0]


# (f)


def steps(*ratios: float) -> list[list[dict[str, Any]]]:
    return [timed(10 + i, ratio, 1.0, batch=1) for i, ratio in enumerate(ratios)]


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.1] * 9 + [5.0], "fails"),
        ([1.1] * 8 + [5.0] * 2, "holds when"),
        ([1.5] * 3, "fails"),
        ([2.0] * 3, "fails"),
        ([2.01] * 9 + [1.0], "holds"),
        ([2.01] * 8 + [1.0] * 2, "holds when"),
        ([2.01] * 2, "not enough evidence yet"),
    ],
)
def test_f_takes_the_share_of_ratios(ratios: list[float], verdict: str):
    assert of_times("f", *steps(*ratios)).verdict == verdict


def test_f_tells_how_the_claim_comes_about():
    verdict = of_times("f", *steps(1.0, 1.0, 1.0, 4.0))
    assert verdict.conditions == "on adding at T = 13. Not on adding at T = 10, 11, 12"
    because = " ".join(verdict.because)
    assert "step by step, both of them, it takes 3 times" in because
    assert "without a stepper, it takes 90 times" in because


def test_f_is_of_one_stream():
    pairs = [timed(length, 9.0, 1.0, batch=64) for length in (10, 20, 30)]
    assert of_times("f", *pairs).verdict == "not enough evidence yet"


def test_times_say_which_device_they_are_not_of():
    pairs = [timed(length, 2.0, 1.0, batch=1) for length in (100, 200, 400)]
    for key in "e", "f":
        cpu = of_times(key, *pairs, backend="cpu-float32-1thread").not_tested
        assert "A GPU: the times are of cpu-float32-1thread." in cpu
        cuda = of_times(key, *pairs, backend="cuda-float32-graph").not_tested
        assert not any(sentence.startswith("A GPU") for sentence in cuda)


# The page


def test_what_was_not_tested_is_computed():
    not_tested = of_runs("b", cell("tcn", 20, 5), cell("gru", 300, 3, num_seeds=3)).not_tested
    assert "Any T but these: adding at T = 20." in not_tested
    assert "Any recurrent model: none has 5 seeds." in not_tested
    assert "1 of 2 models and cells have fewer than 5 seeds and are no evidence." in not_tested
    assert "Training beyond the budgets of 1,000 updates." in not_tested


def test_the_page_has_every_verdict_and_the_figures_that_were_drawn():
    cells = [cell("tcn", 150, 5), cell("gru", 150, 0)]
    frame = pd.DataFrame([row for rows in cells for row in rows])
    pairs = [row for length in (100, 200, 400) for row in timed(length, 2.0, 1.0, batch=1)]
    found = claims.verdicts(frame, pd.DataFrame(pairs), {}, backend="cpu-float32-1thread")
    page = claims.page(found, "quick", drawn={"solved_vs_length", "horizon_vs_cost"})
    for verdict in found:
        assert f"| {verdict.key} | {verdict.claim} | **{verdict.verdict}**" in page
        assert f"## {verdict.key}. {verdict.claim}" in page
        assert all(sentence in page for sentence in (*verdict.because, *verdict.not_tested))
    assert page.count("](figures/") == page.count("](figures/solved_vs_length.png)") == 1
    assert page.count(limits(frame, cells_of(frame))[0]) == 1  # said once for all
    assert page.index("| d2 |") < page.index("## a. ")


def test_every_figure_has_a_caption():
    found = claims.verdicts(pd.DataFrame(), pd.DataFrame(), {})
    assert {name for verdict in found for name in verdict.figures} <= set(claims.CAPTIONS)


def test_the_page_shows_labels_as_they_are():
    label = r"snail |x|=<b>*a*</b> `c`_d_ [e](f) &amp; \g"
    verdict = claims.Verdict(
        key="a",
        claim="A claim.",
        verdict="holds when",
        conditions=label,
        because=(label,),
        figures=(),
        not_tested=(label + "\n# no heading",),
    )
    page = claims.page([verdict], label)
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    inline = [token for token in tokens if token.type == "inline"]
    shown = ["".join(child.content for child in token.children or ()) for token in inline]
    assert sum(label in text for text in shown) == 5
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2"]
    kinds = {child.type for token in inline for child in token.children or ()}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close", "code_inline"}
