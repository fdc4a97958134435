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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.backend import Backend
from bench.machine import fingerprint
from bench.spec import Spec, SpeedSpec
from bench.store import Record, SpeedRecord, Store


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
    return Record.model_validate({**_here_and_now(spec, backend), "status": status, **what})


def _here_and_now(spec: Spec | SpeedSpec, backend: Backend) -> dict[str, object]:
    return {
        "spec": spec,
        "backend": backend,
        "machine": fingerprint(),
        "created": now(),
    }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reason(error: Exception) -> str:
    """What went wrong, and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"


def run_one(spec: Spec, setup: Setup, on_event: Callable[[Event], None]) -> Record:
    """Train one spec in this process and write its record; what goes wrong is in the record."""
    from bench.checkpoint import Place, remove
    from bench.train import Progress, train
    from tasks import DataUnavailable

    place = Place(results=setup.results, spec=spec, backend=setup.backend)

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
        outcome = train(spec, setup.device, on_progress, capture=setup.backend.capture, place=place)
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
        record = make_record(spec, setup.backend, "failed", error=_reason(error))
    Store(setup.results).write(record)
    remove(place)
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
        record = make_record(spec, setup.backend, "failed", error=_death(worker.process))
        Store(setup.results).write(record)
        return Event(spec=spec, record=record)
    if "spec" in content:
        return Event(spec=spec, record=Record.model_validate(content))
    return Event(spec=spec, **content)


def _death(process: BaseProcess) -> str:
    """How a process ended that should not have."""
    code = process.exitcode or 0
    how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
    return f"the worker process died: {how}"


def measure_one(spec: SpeedSpec, setup: Setup) -> SpeedRecord:
    """Time one spec in this process; what goes wrong is in the record."""
    from bench.speed import measure
    from tasks import DataUnavailable

    what: dict[str, object]
    try:
        what = {"status": "ok", "speed": measure(spec, setup.backend, setup.device)}
    except DataUnavailable as error:
        what = {"status": "skipped", "error": str(error)}
    except Exception as error:
        what = {"status": "failed", "error": _reason(error)}
    return SpeedRecord.model_validate({**_here_and_now(spec, setup.backend), **what})


def measure(specs: Sequence[SpeedSpec], setup: Setup) -> Iterator[SpeedRecord]:
    """Time one spec after the other, each in a fresh process, and write its record.

    One at a time, so that nothing of ours runs beside it.
    """
    context = multiprocessing.get_context("forkserver")
    # What each of them would else load anew; the last is what any optimizer of torch's takes.
    context.set_forkserver_preload(["bench.speed", "numba", "torch._dynamo"])
    for spec in specs:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_measure, args=(theirs, spec.model_dump_json(), setup), daemon=True
        )
        process.start()
        theirs.close()
        try:
            record = SpeedRecord.model_validate_json(ours.recv_bytes())
        except (EOFError, ConnectionResetError):
            process.join()
            what = {"status": "failed", "error": _death(process)}
            record = SpeedRecord.model_validate({**_here_and_now(spec, setup.backend), **what})
        finally:
            process.terminate()
            process.join()
            ours.close()
        Store(setup.results).write(record)
        yield record


def _measure(connection: Connection, spec: str, setup: Setup) -> None:
    """The life of a process that times one spec."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    from bench.backend import prepare
    from bench.plan import load_plugin

    prepare(setup.backend)
    for path in setup.plugins:
        load_plugin(path)
    record = measure_one(SpeedSpec.model_validate_json(spec), setup)
    connection.send_bytes(record.model_dump_json().encode())
