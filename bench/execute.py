"""Which process runs what: a pool of workers that a run can't take down.

Each worker is a process of its own, in the parent's process group. It takes one run at a time over
a pipe, as JSON, and writes its record itself, so that no finished run is lost with the parent.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.backend import Backend
from bench.machine import fingerprint
from bench.spec import Spec
from bench.store import Record, Store


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to be made."""

    spec: Spec
    estimate_s: float


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every worker is told once."""

    results: Path
    backend: Backend
    device: str
    plugins: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Event:
    """A run's step, loss and score; or its record, once it has ended."""

    spec: Spec
    step: int = 0
    max_steps: int = 0
    loss: float | None = None
    score: float | None = None
    record: Record | None = None


@dataclass(kw_only=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None


def make_record(spec: Spec, backend: Backend, status: str, **what: object) -> Record:
    """A record of this moment and this machine."""
    return Record.model_validate(
        {
            "spec": spec,
            "backend": backend,
            "machine": fingerprint(),
            "status": status,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **what,
        }
    )


def run_one(spec: Spec, setup: Setup, on_event: Callable[[Event], None]) -> Record:
    """Train one spec in this process and write its record; what goes wrong is in the record."""
    from bench.train import Progress, train
    from tasks import DataUnavailable

    def on_progress(progress: Progress) -> None:
        on_event(
            Event(
                spec=spec,
                step=progress.step,
                max_steps=progress.max_steps,
                loss=progress.loss,
                score=progress.score,
            )
        )

    try:
        outcome = train(spec, setup.device, on_progress)
        if outcome.stopped == "diverged":
            error = f"loss not finite after {outcome.steps} updates"
            record = make_record(spec, setup.backend, "diverged", error=error, outcome=outcome)
        else:
            record = make_record(spec, setup.backend, "ok", outcome=outcome)
    except DataUnavailable as error:
        record = make_record(spec, setup.backend, "skipped", error=str(error))
    except BrokenPipeError:
        raise  # the parent is gone: no fault of the run's
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        record = make_record(spec, setup.backend, "failed", error=reason)
    Store(setup.results).write(record)
    return record


def _work(connection: Connection, setup: Setup) -> None:
    """A worker's life: read a spec, run it, say how it went, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    from bench.backend import prepare
    from bench.plan import load_plugin

    prepare(setup.backend)
    for path in setup.plugins:
        load_plugin(path)

    def tell(event: Event) -> None:
        connection.send_bytes(
            json.dumps(
                {
                    "step": event.step,
                    "max_steps": event.max_steps,
                    "loss": event.loss,
                    "score": event.score,
                }
            ).encode()
        )

    try:
        while True:
            spec = Spec.model_validate_json(connection.recv_bytes())
            record = run_one(spec, setup, tell)
            connection.send_bytes(record.model_dump_json().encode())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone


def _start(setup: Setup) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, setup), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process=process, connection=ours)


def execute(
    jobs: Sequence[Job],
    setup: Setup,
    *,
    num_workers: int,
    time_limit_s: float | None,
    on_event: Callable[[Event], None],
) -> None:
    """Run every job, the longest first, and tell of each step and each record.

    After `time_limit_s` no further run starts; those that run are finished. A worker that dies
    fails its run, with the reason in the record, and is replaced.
    """
    queue = sorted(jobs, key=lambda job: -job.estimate_s)
    deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
    workers = [_start(setup) for _ in range(min(num_workers, len(queue)))]
    try:
        for worker in workers:
            _give(worker, queue, deadline)
        while busy := {worker.connection: worker for worker in workers if worker.job}:
            for connection in wait(list(busy)):
                worker = busy[connection]  # pyright: ignore[reportArgumentType]
                event = _heard(worker, setup)
                on_event(event)
                if event.record is None:
                    continue
                if not worker.process.is_alive() and queue:
                    workers[workers.index(worker)] = worker = _start(setup)
                _give(worker, queue, deadline)
    finally:
        for worker in workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _give(worker: _Worker, queue: list[Job], deadline: float | None) -> None:
    """Hand the worker the next job, where there is one and there is time."""
    worker.job = None
    if queue and worker.process.is_alive() and (deadline is None or time.monotonic() < deadline):
        job = queue.pop(0)
        worker.job = job
        # A worker that has just died can't be told; reading from it tells us.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send_bytes(job.spec.model_dump_json().encode())


def _heard(worker: _Worker, setup: Setup) -> Event:
    """What a busy worker says; where it has died, the record of that."""
    assert worker.job is not None
    spec = worker.job.spec
    try:
        content = json.loads(worker.connection.recv_bytes())
    except (EOFError, ConnectionResetError):
        worker.process.join()
        code = worker.process.exitcode or 0
        how = (
            f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
        )
        error = f"the worker process died: {how}"
        record = make_record(spec, setup.backend, "failed", error=error)
        Store(setup.results).write(record)
        return Event(spec=spec, record=record)
    if "spec" in content:
        return Event(spec=spec, record=Record.model_validate(content))
    return Event(spec=spec, **content)
