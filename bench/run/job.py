"""One run in this process, from spec to record; and the times of one network, in a fresh one."""

import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from bench.core.backend import Backend, release_memory
from bench.core.errors import StorageError, message_of
from bench.core.machine import fingerprint
from bench.core.processes import context, end, end_with_parent, how_it_ended
from bench.core.records import Record, SpeedRecord, now
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Store
from bench.plan.plugins import Plugin


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to be made."""

    spec: Spec
    estimate_s: float
    memory_bytes: int = 0
    """On the GPU, by estimate."""
    scout: bool = False
    """Run before longer ones, since it tells how long others take."""
    keep_weights: bool = False
    """Whether the weights that were tested are kept beside the record."""

    @property
    def rank(self) -> tuple[bool, float]:
        """The order of runs: scouts, then the longest first."""
        return not self.scout, -self.estimate_s


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every worker is told once."""

    results: Path
    backend: Backend
    device: str
    plugins: tuple[Plugin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Event:
    """A run's step, loss and score; or its record, once it has ended."""

    spec: Spec
    step: int = 0
    max_steps: int = 0
    loss: float | None = None
    score: float | None = None
    record: Record | None = None


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


def _reason(error: BaseException) -> str:
    """What went wrong, and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"{type(error).__name__}: {message_of(error)} ({place})"


def run_one(
    spec: Spec, setup: Setup, on_event: Callable[[Event], None], *, keep_weights: bool = False
) -> Record:
    """Train one spec in this process and write its record; what goes wrong is in the record."""
    from bench.measure import weights
    from bench.measure.checkpoint import Place, remove
    from bench.measure.train import Progress, train
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
        outcome = train(
            spec,
            setup.device,
            on_progress,
            capture=setup.backend.capture,
            place=place,
            keep=partial(weights.write, setup.results, spec, setup.backend)
            if keep_weights
            else None,
        )
        if outcome.stopped == "diverged":
            error = f"loss not finite after {outcome.steps} updates"
            record = make_record(spec, setup.backend, "diverged", error=error, outcome=outcome)
        else:
            record = make_record(spec, setup.backend, "ok", outcome=outcome)
    except DataUnavailable as error:
        record = make_record(spec, setup.backend, "skipped", error=str(error))
    except (BrokenPipeError, KeyboardInterrupt, StorageError):
        raise  # the parent is gone, or wants an end, or the disk is full: no fault of the run's
    except BaseException as error:  # a plug-in may even leave by sys.exit
        record = make_record(spec, setup.backend, "failed", error=_reason(error))
    if record.status == "failed":
        release_memory(setup.device)  # here, where no traceback holds any of it
    Store(setup.results).write(record)
    remove(place)
    return record


def begin(setup: Setup) -> None:
    """What a process does first that is to run or time something."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    end_with_parent()
    from bench.core.backend import prepare
    from bench.plan.plugins import load

    prepare(setup.backend)
    for plugin in setup.plugins:
        load(plugin.path)


def measure_one(spec: SpeedSpec, setup: Setup) -> SpeedRecord:
    """Time one spec in this process; what goes wrong is in the record."""
    from bench.measure.speed import measure
    from tasks import DataUnavailable

    what: dict[str, object]
    try:
        what = {"status": "ok", "speed": measure(spec, setup.backend, setup.device)}
    except DataUnavailable as error:
        what = {"status": "skipped", "error": str(error)}
    except BaseException as error:
        what = {"status": "failed", "error": _reason(error)}
    return SpeedRecord.model_validate({**_here_and_now(spec, setup.backend), **what})


def measure(specs: Sequence[SpeedSpec], setup: Setup) -> Iterator[SpeedRecord]:
    """Time one spec after the other, each in a fresh process, and write its record.

    One at a time, so that nothing of ours runs beside it.
    """
    for spec in specs:
        ours, theirs = context().Pipe()
        process = context().Process(
            target=_measure, args=(theirs, spec.model_dump_json(), setup), daemon=True
        )
        process.start()
        theirs.close()
        try:
            record = SpeedRecord.model_validate_json(ours.recv_bytes())
        except (EOFError, ConnectionResetError):
            process.join()
            what = {
                "status": "failed",
                "error": f"the worker process died: {how_it_ended(process)}",
            }
            record = SpeedRecord.model_validate({**_here_and_now(spec, setup.backend), **what})
        finally:
            end(process)
            ours.close()
        Store(setup.results).write(record)
        yield record


def _measure(connection: Connection, spec: str, setup: Setup) -> None:
    """The life of a process that times one spec."""
    begin(setup)
    record = measure_one(SpeedSpec.model_validate_json(spec), setup)
    connection.send_bytes(record.model_dump_json().encode())
