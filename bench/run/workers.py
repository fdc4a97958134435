"""A pool of worker processes that make the runs.

A worker receives one run at a time over a pipe, as JSON. It writes the record itself, so that no
finished run is lost if the parent is killed.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bench.core.errors import StorageError
from bench.core.processes import context, end, how_it_ended
from bench.core.records import Record
from bench.core.spec import Spec
from bench.core.store import Store
from bench.run.job import Event, Job, Setup, begin, make_record, run_one
from bench.run.queue import Queue

OUT_OF_MEMORY = "OutOfMemoryError"
"""Beginning of the error of a run for which the GPU had too little memory."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the number of simultaneous runs and on their time."""

    num_workers: int = 1
    """Runs at the same time, over all devices."""
    room: Mapping[str, int | None] | None = None
    """Device → bytes for all its runs together (None: no limit). By default the setup's device."""
    time_limit_s: float = math.inf
    """After this time no further run starts. Runs that have started are finished."""
    run_timeout_s: float = math.inf
    """A run that takes longer is ended and counts as failed."""


@dataclass(kw_only=True)
class _Worker:
    device: str
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    due: float = math.inf
    """When the timeout of its run ends, by `time.monotonic`."""
    overdue: bool = False
    """Whether it was killed because its run took too long."""


def execute(queue: Queue, setup: Setup, limits: Limits, on_event: Callable[[Event], None]) -> None:
    """Run what the queue hands out, and report each step and each record.

    If a worker dies or its run takes too long, the run is recorded as failed, with the reason, and
    the worker is replaced. On a device with limited memory, a run waits until there is room for it
    or until it is alone there. A run that is out of memory nevertheless is repeated alone.
    Raises `StorageError` if a record can't be written.
    """
    pool = _Pool(queue, setup, limits)
    try:
        pool.fill()
        while pool.busy:
            for worker in pool.ready():
                event = pool.receive(worker)
                if event is not None:
                    on_event(event)
            pool.fill()
    finally:
        pool.close()


class _Pool:
    """The workers, and the queue of the runs that wait for one."""

    def __init__(self, queue: Queue, setup: Setup, limits: Limits) -> None:
        self.setup = setup
        self.limits = limits
        self.room = limits.room or {setup.device: None}
        self.queue = queue
        self.deadline = time.monotonic() + limits.time_limit_s
        self.workers: list[_Worker] = []

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.job]

    def fill(self) -> None:
        """Give runs to idle workers while there is room and time; starts missing workers."""
        devices = list(self.room)
        for number in range(self.limits.num_workers):
            if time.monotonic() >= self.deadline or not self.queue.has_next():
                return
            if number == len(self.workers):
                self.workers.append(self._start(devices[number % len(devices)]))
            worker = self.workers[number]
            if worker.job is None and (job := self._next(worker.device)):
                if not worker.process.is_alive():
                    worker = self.workers[number] = self._replaced(worker)
                self._give(worker, job)

    def ready(self) -> list[_Worker]:
        """Wait until workers have sent a message, have died or are overdue; returns the first two.

        Overdue workers are killed.
        """
        by_connection = {worker.connection: worker for worker in self.busy}
        due = min(worker.due for worker in by_connection.values())
        timeout = None if due == math.inf else max(due - time.monotonic(), 0.0)
        ready = wait(list(by_connection), timeout)
        for worker in by_connection.values():
            if worker.connection not in ready and time.monotonic() >= worker.due:
                worker.overdue = True
                worker.process.kill()
                worker.due = math.inf
        return [by_connection[connection] for connection in ready]  # pyright: ignore

    def receive(self, worker: _Worker) -> Event | None:
        """The event that a busy worker has sent, or a failed record if it has died.

        None if its run is repeated alone because it was out of memory.
        """
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
                record = left  # the worker died after it had written the record
            else:
                store.write(record)
        else:
            if "unwritable" in content:
                raise StorageError(content["unwritable"])
            if "spec" not in content:
                return Event(spec=spec, **content)
            record = Record.model_validate(content)
        worker.job, worker.due = None, math.inf
        room = self.room[worker.device]
        if (
            room is not None
            and job.memory_bytes < room
            and record.status == "failed"
            and (record.error or "").startswith(OUT_OF_MEMORY)
        ):
            self.queue.put_back(replace(job, memory_bytes=room))
            return None
        self.queue.end(record)
        return Event(spec=spec, record=record)

    def close(self) -> None:
        for worker in self.workers:
            worker.connection.close()
        end(*(worker.process for worker in self.workers))

    def _next(self, device: str) -> Job | None:
        """Take the first run that the device has room for from the queue."""
        taken = [job.memory_bytes for w in self.busy if w.device == device and (job := w.job)]
        room = self.room[device]
        return self.queue.take(
            lambda job: room is None or not taken or sum(taken) + job.memory_bytes <= room
        )

    def _give(self, worker: _Worker, job: Job) -> None:
        worker.job = job
        worker.due = time.monotonic() + self.limits.run_timeout_s
        # If the worker has just died, `receive` will notice.
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
        """Why a worker died in the middle of a run."""
        if worker.overdue:
            return f"took longer than the run timeout of {self.limits.run_timeout_s / 60:g} min"
        return f"the worker process died: {how_it_ended(worker.process)}"


def _work(connection: Connection, setup: Setup) -> None:
    """Receive specs, run them and send events and records, until the parent closes the pipe."""
    begin(setup)

    def send(content: Mapping[str, object]) -> None:
        connection.send_bytes(json.dumps(content).encode())

    def on_event(event: Event) -> None:
        send({key: getattr(event, key) for key in ("step", "max_steps", "loss", "score")})

    try:
        while True:
            content = json.loads(connection.recv_bytes())
            spec = Spec.model_validate(content["spec"])
            try:
                record = run_one(spec, setup, on_event, keep_weights=content["keep"])
            except StorageError as error:
                send({"unwritable": str(error)})
            else:
                connection.send_bytes(record.model_dump_json().encode())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone
