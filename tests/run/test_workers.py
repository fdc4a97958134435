"""The pool of workers: which run goes to which device, and runs that fail."""

from pathlib import Path

import pytest

from bench.core.backend import Backend
from bench.core.records import Record
from bench.core.spec import Part, Spec
from bench.plan.plugins import Plugin
from bench.run import workers
from bench.run.job import Event, Job, Setup
from bench.run.queue import Queue
from bench.run.workers import Limits
from tests.support.records import BACKEND, spec

TROUBLE = """
import os, time, torch
from dataclasses import dataclass
from tasks.copy_memory import CopyMemory

@dataclass(frozen=True, kw_only=True)
class Trouble(CopyMemory):
    version = 1
    how: str = ""

    def sample(self, n, generator, split="train"):
        if self.how == "hangs":
            while True:
                time.sleep(1)
        if self.how == "leaves":
            raise SystemExit(0)
        if self.how == "takes the GPU's memory":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().sample(n, generator, split)
"""


def small(task: str = "copy_memory", seed: int = 0, **fields: str) -> Spec:
    run = spec(model="rnn", max_steps=2, validate_every=2, num_validation=5, seed=seed)
    return run.model_copy(
        update={
            "task": Part(name=task, fields={"length": 3, **fields}, version=1),
            "model": run.model.model_copy(update={"fields": {}}),
        }
    )


def run(
    specs: list[Spec], tmp_path: Path, limits: Limits, plugin: Path | None = None
) -> dict[str, Record]:
    plugins = () if plugin is None else (Plugin(path=plugin),)
    setup = Setup(results=tmp_path / "results", backend=BACKEND, device="cpu", plugins=plugins)
    found: dict[str, Record] = {}

    def on_event(event: Event) -> None:
        if event.record is not None:
            assert event.spec.id not in found
            found[event.spec.id] = event.record

    queue = Queue(Job(spec=each, estimate_s=1.0) for each in specs)
    workers.execute(queue, setup, limits, on_event)
    return found


@pytest.fixture
def trouble(tmp_path: Path) -> Path:
    path = tmp_path / "trouble_2.py"
    path.write_text(TROUBLE)
    return path


def test_a_run_that_hangs_is_ended_and_no_other(trouble: Path, tmp_path: Path) -> None:
    hangs, leaves = small("trouble_2", how="hangs"), small("trouble_2", how="leaves")
    fine = [small(seed=seed) for seed in range(3)]
    limits = Limits(num_workers=2, run_timeout_s=6.0)
    found = run([hangs, leaves, *fine], tmp_path, limits, trouble)
    assert found[hangs.id].error == "took longer than the run timeout of 0.1 min"
    assert (found[leaves.id].error or "").startswith("SystemExit: 0 (trouble_2.py:")
    assert [found[each.id].status for each in (hangs, leaves)] == ["failed"] * 2
    assert [found[each.id].status for each in fine] == ["ok"] * 3


def test_a_run_that_is_out_of_memory_is_repeated_alone(
    trouble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    give = workers._Pool._give

    def told(pool: workers._Pool, worker: workers._Worker, job: Job) -> None:
        given.append((job.spec.id, job.memory_bytes))
        give(pool, worker, job)

    monkeypatch.setattr(workers._Pool, "_give", told)
    large = small("trouble_2", how="takes the GPU's memory")
    found = run([large], tmp_path, Limits(room={"cpu": 100}), trouble)
    assert given == [(large.id, 0), (large.id, 100)]
    assert (found[large.id].error or "").startswith("OutOfMemoryError: CUDA out of memory.")


class Started:
    """A pool whose workers are never started, to see which runs it hands out."""

    def __init__(self, sizes: dict[int, int], limits: Limits, monkeypatch: pytest.MonkeyPatch):
        class Alive:
            def is_alive(self) -> bool:
                return True

        def start(pool: object, device: str) -> workers._Worker:
            return workers._Worker(device=device, process=Alive(), connection=None)  # pyright: ignore

        def give(pool: object, worker: workers._Worker, job: Job) -> None:
            worker.job = job

        monkeypatch.setattr(workers._Pool, "_start", start)
        monkeypatch.setattr(workers._Pool, "_give", give)
        backend = Backend(device="cuda")
        setup = Setup(results=Path(), backend=backend, device="cuda:0")
        jobs = [
            Job(spec=small(seed=seed), estimate_s=100.0 - seed, memory_bytes=size)
            for seed, size in sizes.items()
        ]
        self.pool = workers._Pool(Queue(jobs), setup, limits)

    def running(self) -> dict[str, list[int]]:
        self.pool.fill()
        found: dict[str, list[int]] = {}
        for worker in self.pool.workers:
            if worker.job:
                found.setdefault(worker.device, []).append(worker.job.spec.seed)
        return found

    def end(self, seed: int) -> None:
        (worker,) = (w for w in self.pool.busy if w.job and w.job.spec.seed == seed)
        worker.job = None


def test_runs_share_a_device_as_far_as_its_room_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(num_workers=4, room={"cuda:0": 10, "cuda:1": 10})
    pool = Started({0: 8, 1: 6, 2: 5, 3: 4, 4: 2, 5: 30}, limits, monkeypatch)
    assert pool.running() == {"cuda:0": [0, 4], "cuda:1": [1, 3]}
    pool.end(0)
    assert pool.running() == {"cuda:0": [2, 4], "cuda:1": [1, 3]}
    for seed in (1, 3):
        pool.end(seed)
    assert pool.running() == {"cuda:0": [2, 4], "cuda:1": [5]}  # too large, but alone
    assert not pool.pool.queue.has_next()


def test_a_run_waits_while_the_devices_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Started({0: 6, 1: 6}, Limits(num_workers=2, room={"cuda:0": 10}), monkeypatch)
    assert pool.running() == {"cuda:0": [0]}
    pool.end(0)
    assert pool.running() == {"cuda:0": [1]}
