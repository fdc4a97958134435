"""The pool of workers: which process makes which run, on which device, and their messages.

Each worker is a process of its own, in the parent's process group. It takes one run at a time over
a pipe, as JSON, and writes its record itself, so that no finished run is lost with the parent.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bench.core.errors import StorageError
from bench.core.processes import context, end, how_it_ended
from bench.core.records import Record
from bench.core.spec import Spec
from bench.core.store import Store
from bench.run.job import Event, Job, Setup, begin, make_record, run_one

OUT_OF_MEMORY = "OutOfMemoryError"
"""How the reason begins of a run that a GPU had no room for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much at once, and for how long."""

    num_workers: int = 1
    """Runs at once, over all devices."""
    room: Mapping[str, int | None] | None = None
    """Device → bytes that runs may take together, None: no limit; by default the setup's alone."""
    time_limit_s: float | None = None
    """After this no further run starts; those that run are finished."""
    run_timeout_s: float | None = None
    """A run that takes longer is ended and fails."""


@dataclass(kw_only=True)
class _Worker:
    device: str
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    due: float = float("inf")
    """When its run has taken too long."""
    overdue: bool = False


def execute(
    jobs: Sequence[Job], setup: Setup, limits: Limits, on_event: Callable[[Event], None]
) -> None:
    """Run every job in the given order, and report each step and each record.

    A worker that dies, or takes too long, fails its run with the reason in the record, and is
    replaced. On a device whose room is limited a run waits until there is room for it, or until it
    is alone there; one that the device had no room for after all is run again by itself. Raises
    `StorageError` where a record can't be written: what else would run is of no use.
    """
    pool = _Pool(jobs, setup, limits)
    try:
        pool.fill()
        while pool.busy:
            for worker in pool.heard():
                event = pool.receive(worker)
                if event is not None:
                    on_event(event)
            pool.fill()
    finally:
        pool.close()


class _Pool:
    """Workers and the runs that wait for one."""

    def __init__(self, jobs: Sequence[Job], setup: Setup, limits: Limits) -> None:
        self.setup = setup
        self.limits = limits
        self.room = limits.room or {setup.device: None}
        self.waiting = list(jobs)
        limit_s = limits.time_limit_s
        self.deadline = float("inf") if limit_s is None else time.monotonic() + limit_s
        self.workers: list[_Worker] = []

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.job]

    def fill(self) -> None:
        """Hand out what there are workers, room and time for; start workers where some lack."""
        devices = list(self.room)
        for number in range(self.limits.num_workers):
            if not self.waiting or time.monotonic() >= self.deadline:
                return
            if number == len(self.workers):
                self.workers.append(self._start(devices[number % len(devices)]))
            worker = self.workers[number]
            if worker.job is None and (job := self._next(worker.device)):
                if not worker.process.is_alive():
                    worker = self.workers[number] = self._replaced(worker)
                self._give(worker, job)

    def heard(self) -> list[_Worker]:
        """The workers that have something to say, or have died; those that are overdue are ended.

        Waits until there is one, or one is overdue.
        """
        by_connection = {worker.connection: worker for worker in self.busy}
        due = min(worker.due for worker in by_connection.values())
        timeout = None if due == float("inf") else max(due - time.monotonic(), 0.0)
        ready = wait(list(by_connection), timeout)
        for worker in by_connection.values():
            if worker.connection not in ready and time.monotonic() >= worker.due:
                worker.overdue = True
                worker.process.kill()
                worker.due = float("inf")
        return [by_connection[connection] for connection in ready]  # pyright: ignore

    def receive(self, worker: _Worker) -> Event | None:
        """What a busy worker says; where it has died, the record of that. None: it runs again."""
        assert worker.job is not None
        job = worker.job
        spec = job.spec
        try:
            content = json.loads(worker.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            worker.process.join()
            record = make_record(spec, self.setup.backend, "failed", error=self._death(worker))
            store = Store(self.setup.results)
            left = store.read(store.root / record.path)
            if isinstance(left, Record) and left.finished:
                record = left  # it died when its run had ended, before it could say so
            else:
                store.write(record)
        else:
            if "unwritable" in content:
                raise StorageError(content["unwritable"])
            if "spec" not in content:
                return Event(spec=spec, **content)
            record = Record.model_validate(content)
        worker.job, worker.due = None, float("inf")
        room = self.room[worker.device]
        if (
            room is not None
            and job.memory_bytes < room
            and record.status == "failed"
            and (record.error or "").startswith(OUT_OF_MEMORY)
        ):
            self.waiting.append(replace(job, memory_bytes=room))
            return None
        return Event(spec=spec, record=record)

    def close(self) -> None:
        for worker in self.workers:
            worker.connection.close()
        end(*(worker.process for worker in self.workers))

    def _next(self, device: str) -> Job | None:
        """The longest run that there is room for on the device, taken from those that wait."""
        taken = [job.memory_bytes for w in self.busy if w.device == device and (job := w.job)]
        room = self.room[device]
        for i, job in enumerate(self.waiting):
            if room is None or not taken or sum(taken) + job.memory_bytes <= room:
                return self.waiting.pop(i)
        return None

    def _give(self, worker: _Worker, job: Job) -> None:
        worker.job = job
        if self.limits.run_timeout_s is not None:
            worker.due = time.monotonic() + self.limits.run_timeout_s
        # A worker that has just died can't be told; reading from it tells us.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            content = {"spec": job.spec.model_dump(mode="json"), "keep": job.keep_weights}
            worker.connection.send_bytes(json.dumps(content).encode())

    def _start(self, device: str) -> _Worker:
        ours, theirs = context().Pipe()
        setup = replace(self.setup, device=device)
        process = context().Process(target=_work, args=(theirs, setup), daemon=True)
        process.start()
        theirs.close()
        return _Worker(device=device, process=process, connection=ours)

    def _replaced(self, worker: _Worker) -> _Worker:
        worker.connection.close()
        end(worker.process)
        return self._start(worker.device)

    def _death(self, worker: _Worker) -> str:
        """How a process ended that should not have."""
        if worker.overdue:
            minutes = (self.limits.run_timeout_s or 0.0) / 60
            return f"took longer than the run timeout of {minutes:g} min"
        return f"the worker process died: {how_it_ended(worker.process)}"


def _work(connection: Connection, setup: Setup) -> None:
    """A worker's life: read a spec, run it, say how it went, until the pipe closes."""
    begin(setup)

    def tell(content: Mapping[str, object]) -> None:
        connection.send_bytes(json.dumps(content).encode())

    def on_event(event: Event) -> None:
        tell(
            {
                "step": event.step,
                "max_steps": event.max_steps,
                "loss": event.loss,
                "score": event.score,
            }
        )

    try:
        while True:
            content = json.loads(connection.recv_bytes())
            spec = Spec.model_validate(content["spec"])
            try:
                record = run_one(spec, setup, on_event, keep_weights=content["keep"])
            except StorageError as error:
                tell({"unwritable": str(error)})
            else:
                connection.send_bytes(record.model_dump_json().encode())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone
