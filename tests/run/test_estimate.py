"""Estimates of time and memory, names of runs, and the progress bar."""

import pytest

from bench.core.backend import Backend
from bench.core.machine import fingerprint
from bench.plan.grid import network_of
from bench.run.estimate import (
    PROCESS_BYTES,
    RUN_S,
    SHARED,
    START_S,
    TIMING_S,
    Estimator,
    rule_of_thumb,
    wall_seconds,
)
from bench.run.job import Event, Job
from bench.run.progress import ProgressBar, unique_names
from bench.run.queue import Queue
from models import num_parameters
from tests.support.records import BACKEND, outcome, record, spec


def test_a_network_of_a_given_width_is_counted() -> None:
    wide = spec(max_steps=1000).model_copy(update={"param_budget": None, "width": 40})
    same = wide.model_copy(update={"param_budget": num_parameters(network_of(wide))})
    assert rule_of_thumb(wide, "cpu") == pytest.approx(rule_of_thumb(same, "cpu"))
    narrow = wide.model_copy(update={"width": 10})
    assert rule_of_thumb(narrow, "cpu") < rule_of_thumb(wide, "cpu")


def test_records_correct_the_rule() -> None:
    run = spec(length=10, max_steps=10_000)
    rule = rule_of_thumb(run, "cpu")
    slow = outcome(steps=10_000).model_copy(update={"total_seconds": RUN_S + 3 * rule})
    estimator = Estimator(BACKEND, [record(run, outcome=slow)])

    def factor(**changes: int | str) -> float:
        other = spec(**{"length": 10, "max_steps": 10_000, **changes})  # pyright: ignore
        return (estimator.seconds(other) - RUN_S) / rule_of_thumb(other, "cpu")

    assert factor(seed=1) == pytest.approx(3)
    assert factor(length=40) == pytest.approx(3)
    assert factor(model="gru") == pytest.approx(3)  # no record of a gru: the mean of all models
    on_gpu = Estimator(Backend(device="cuda"), [record(run, outcome=slow)])
    assert on_gpu.seconds(run) == RUN_S + rule_of_thumb(run, "cuda")


def test_runs_that_are_solved_early_shorten_the_estimate_of_similar_runs() -> None:
    early = outcome(steps=20).model_copy(update={"total_seconds": RUN_S + 1.0})
    records = [record(spec(seed=seed), outcome=early) for seed in range(20)]
    estimator = Estimator(BACKEND, records)
    assert estimator.seconds(spec(seed=99)) == pytest.approx(RUN_S + 1.0)
    to_the_end = estimator.seconds(spec(seed=99, stop_when_solved=False))
    assert to_the_end == pytest.approx(RUN_S + 5.0)


def test_a_calibration_replaces_only_records_of_other_machines() -> None:
    run = spec(length=10)
    slow = outcome().model_copy(update={"total_seconds": 1e6})
    elsewhere = Estimator(BACKEND, [record(run, outcome=slow)])
    elsewhere.calibrate([run], "cpu")
    assert elsewhere.seconds(run) < 1e4
    here = Estimator(BACKEND, [record(run, outcome=slow, machine=fingerprint())])
    here.calibrate([run], "cpu")
    assert here.seconds(run) == pytest.approx(1e6)


def test_wall_time_counts_workers_timings_and_report() -> None:
    assert wall_seconds([], 2) == 0
    assert wall_seconds([10.0], 2) == START_S + 10
    assert wall_seconds([10.0, 10.0], 2) == START_S + SHARED * 10
    assert wall_seconds([30.0, 1.0], 2) == START_S + SHARED * 30  # as long as the longest
    assert wall_seconds([], 2, num_timings=4) == 4 * TIMING_S
    assert wall_seconds([], 2, num_reported=1) < wall_seconds([], 2, num_reported=1000)


def test_memory_is_estimated_from_the_largest_ratio_in_the_records() -> None:
    assert Estimator(BACKEND).memory_bytes(spec()) == 0
    gpu = Backend(device="cuda")
    guess = Estimator(gpu).memory_bytes(spec())
    most = outcome().model_copy(update={"peak_memory_bytes": 10 * guess})
    learned = Estimator(gpu, [record(spec(seed=1), backend=gpu, outcome=most)])
    assert learned.memory_bytes(spec()) == PROCESS_BYTES + 10 * guess
    assert learned.memory_bytes(spec(length=100)) > learned.memory_bytes(spec())


def test_the_bar_is_weighted_by_the_estimated_work() -> None:
    long, short = spec(seed=0), spec(seed=1)
    queue = Queue([Job(spec=long, estimate_s=30.0), Job(spec=short, estimate_s=10.0)])
    bar = ProgressBar(queue)
    bar(Event(spec=short, record=record(short)))
    assert bar.share == pytest.approx(0.25)
    bar(Event(spec=long, step=50, max_steps=100))
    assert bar.share == pytest.approx(0.25 + 0.375)
    bar(Event(spec=long, record=record(long)))
    assert (bar.share, bar.num_left) == (pytest.approx(1.0), 0)
    bar.close()


def test_every_run_has_a_name_of_its_own() -> None:
    plain = spec(model="lstm")
    chrono = plain.model_copy(
        update={"model": plain.model.model_copy(update={"fields": {"chrono": True}})}
    )
    faster = spec(model="lstm", learning_rate=0.01)
    names = unique_names([plain, chrono, faster])
    assert names[chrono.id] == "lstm chrono=True on copy_memory, T=10, seed 0"
    assert names[plain.id] == "lstm on copy_memory, T=10, seed 0, learning_rate=0.001"
    assert names[faster.id] == "lstm on copy_memory, T=10, seed 0, learning_rate=0.01"
