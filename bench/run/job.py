"""One training run or one timing: from the spec to the record."""

import gc
import random
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from bench.core.backend import Backend, prepare, release_memory
from bench.core.errors import StorageError, short_reason, traceback_of
from bench.core.machine import fingerprint
from bench.core.processes import context, end, end_with_parent, how_it_ended, renew_server
from bench.core.records import Record, SpeedRecord, now
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Store
from bench.core.timings import SPEED_SECONDS, Speed, merged
from bench.measure import weights
from bench.measure.checkpoint import Place, remove
from bench.measure.train import train
from bench.plan.plugins import Plugin, load
from bench.run import mps
from tasks import DataUnavailable


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to make."""

    spec: Spec
    estimate_s: float
    memory_bytes: int = 0
    """Estimated GPU memory; 0 on a CPU."""
    keep_weights: bool = False
    """Whether the tested weights are written beside the record."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker process needs for every run."""

    results: Path
    backend: Backend
    device: str
    plugins: tuple[Plugin, ...] = ()
    speed_seconds: float = SPEED_SECONDS
    mps: Path | None = None
    """Folder of the service through which worker processes share a GPU, if it runs."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Progress of a run: its step, loss and score, or its record once it has ended."""

    spec: Spec
    step: int = 0
    max_steps: int = 0
    loss: float | None = None
    score: float | None = None
    record: Record | None = None


def make_record(spec: Spec, backend: Backend, status: str, **content: object) -> Record:
    """A training record with the present time and this machine."""
    return Record.model_validate({**_origin(spec, backend), "status": status, **content})


def make_speed_record(
    spec: SpeedSpec, backend: Backend, status: str, **content: object
) -> SpeedRecord:
    """A speed record with the present time and this machine."""
    return SpeedRecord.model_validate({**_origin(spec, backend), "status": status, **content})


def _origin(spec: Spec | SpeedSpec, backend: Backend) -> dict[str, object]:
    return {"spec": spec, "backend": backend, "machine": fingerprint(), "created": now()}


def failure(error: BaseException, setup: Setup) -> dict[str, str]:
    """The fields of a record that explain an error."""
    user_files = [plugin.path for plugin in setup.plugins]
    return {"error": short_reason(error, user_files), "traceback": traceback_of(error)}


def run_one(
    spec: Spec, setup: Setup, on_event: Callable[[Event], None], *, keep_weights: bool = False
) -> Record:
    """Train one spec in this process and write its record; an error becomes a failed record."""
    try:
        record = _trained(spec, setup, on_event, keep_weights=keep_weights)
    except (BrokenPipeError, KeyboardInterrupt, StorageError):
        raise  # the parent is gone, the user interrupts, or the disk is full: not the run's fault
    except BaseException as error:  # a plug-in may call sys.exit
        record = make_record(spec, setup.backend, "failed", **failure(error, setup))
    if record.status == "failed":
        # This comes after the except block, where the traceback still keeps tensors alive.
        release_memory(setup.device)
    Store(setup.results).write(record)
    remove(_place(spec, setup))
    return record


def run_in_this_process(
    jobs: Iterable[Job], setup: Setup, on_event: Callable[[Event], None]
) -> None:
    """Train one spec after the other in this process; the first error is raised unchanged."""
    prepare(setup.backend)
    for job in jobs:
        try:
            record = _trained(job.spec, setup, on_event, keep_weights=job.keep_weights)
        except Exception:
            remove(_place(job.spec, setup))  # the next attempt starts over
            raise
        Store(setup.results).write(record)
        remove(_place(job.spec, setup))
        on_event(Event(spec=job.spec, record=record))


def _place(spec: Spec, setup: Setup) -> Place:
    """The place of the run's checkpoint."""
    return Place(results=setup.results, spec=spec, backend=setup.backend)


def _trained(
    spec: Spec, setup: Setup, on_event: Callable[[Event], None], *, keep_weights: bool
) -> Record:
    """The record of a run that trained, diverged or has no data; other errors are raised."""
    keep = partial(weights.write, setup.results, spec, setup.backend) if keep_weights else None
    try:
        outcome = train(
            spec,
            setup.device,
            lambda progress: on_event(Event(spec=spec, **vars(progress))),
            capture=setup.backend.capture,
            place=_place(spec, setup),
            keep=keep,
        )
    except DataUnavailable as error:
        return make_record(spec, setup.backend, "skipped", error=str(error))
    if outcome.stopped == "diverged":
        reason = f"loss not finite after {outcome.steps} updates"
        return make_record(spec, setup.backend, "diverged", error=reason, outcome=outcome)
    return make_record(spec, setup.backend, "ok", outcome=outcome)


def begin(setup: Setup) -> None:
    """Prepare a worker process: signals, threads, precision and plug-ins."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    end_with_parent()
    gc.freeze()  # what the server has imported stays, so the collector need not look at it
    if setup.mps is not None:
        mps.join(setup.mps)
    prepare(setup.backend)
    for plugin in setup.plugins:
        load(plugin.path)


def measure_one(spec: SpeedSpec, setup: Setup) -> SpeedRecord:
    """Time one spec in this process; an error becomes a failed record."""
    from bench.measure.speed import measure

    try:
        speed = measure(spec, setup.backend, setup.device, setup.speed_seconds)
    except DataUnavailable as error:
        return make_speed_record(spec, setup.backend, "skipped", error=str(error))
    except BaseException as error:
        return make_speed_record(spec, setup.backend, "failed", **failure(error, setup))
    return make_speed_record(spec, setup.backend, "ok", speed=speed)


def measure(
    specs: Sequence[SpeedSpec],
    setup: Setup,
    *,
    num_processes: int = 1,
    earlier: Sequence[SpeedRecord] = (),
) -> Iterator[SpeedRecord]:
    """Time each spec in several fresh processes; one record per process, merged with those before.

    Each round times all specs in a new order, so that the processes of a spec are spread over the
    whole time. Only one process works at a time, so that the times are not disturbed. The merged
    record is written after each process. `earlier` holds unfinished records that are continued. If
    a process fails, the spec is not timed again, and what was measured before is kept.
    """
    parts = {spec.id: list[Speed]() for spec in specs}
    for record in earlier:
        if record.speed is not None:
            parts[record.spec.id].append(record.speed)
    failed: set[str] = set()
    for number in range(1, num_processes + 1):
        due = [spec for spec in specs if sum(p.num_processes for p in parts[spec.id]) < number]
        random.Random(number).shuffle(due)
        if number > 1:
            renew_server()
        for spec in due:
            if spec.id in failed:
                continue
            record, known = in_fresh_process(spec, setup), parts[spec.id]
            if record.speed is None:
                failed.add(spec.id)
            else:
                known.append(record.speed)
                record = record.model_copy(update={"speed": merged(known)})
            if record.speed is not None or not known:
                Store(setup.results).write(record)
            yield record


def in_fresh_process(spec: SpeedSpec, setup: Setup) -> SpeedRecord:
    """Time one spec in a process of its own; if the process dies, the record is a failed one."""
    ours, theirs = context().Pipe()
    process = context().Process(
        target=_measure, args=(theirs, spec.model_dump_json(), setup), daemon=True
    )
    process.start()
    theirs.close()
    try:
        return SpeedRecord.model_validate_json(ours.recv_bytes())
    except (EOFError, ConnectionResetError):
        process.join()
        reason = f"the worker process died: {how_it_ended(process)}"
        return make_speed_record(spec, setup.backend, "failed", error=reason)
    finally:
        end(process)
        ours.close()


def _measure(connection: Connection, spec: str, setup: Setup) -> None:
    """Time one spec and send its record: the target of a process."""
    begin(setup)
    record = measure_one(SpeedSpec.model_validate_json(spec), setup)
    connection.send_bytes(record.model_dump_json().encode())
