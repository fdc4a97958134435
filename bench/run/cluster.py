"""The same runs on the nodes of a Ray cluster, which need the dependencies and nothing else.

The project travels to them as it is here, plug-ins as their source, a run as its spec; a record
comes back as JSON and is written here, so that nodes need not share a file system. A node makes a
run as one machine would, in a process that the run can't take down.
"""

import contextlib
import importlib.util
import logging
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from bench.core.backend import Backend
from bench.core.errors import RequestError
from bench.core.files import write_whole
from bench.core.machine import fingerprint
from bench.core.records import Record
from bench.core.store import Store
from bench.measure import weights
from bench.plan.plugins import Plugin
from bench.run import workers
from bench.run.job import Event, Job, Setup, make_record
from bench.run.workers import Limits
from tasks import DATA_VARIABLES

if TYPE_CHECKING:
    import ray

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("bench", "models", "tasks")
"""What travels of the project."""
INSTALL = "python -m pip install --editable '.[cluster]'"
GPU = "cuda:0"
"""What a run calls the GPU it is given: Ray shows it no other."""
CONNECT_S = 40.0
"""A cluster that has not answered by then does not."""
ANSWER_S = 10.0
"""The same of its port."""
POLL_S = 1.0
"""Between two reports of one run, and between two times that they are asked for."""
LOOK_S = 5.0
"""Between two looks at which nodes there are."""
MOST_LOSSES = 3
"""A run that has lost its worker or its node so often has failed."""
END_S = 5.0
"""For runs that were asked to end."""

_TRY = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to a running cluster, `auto` being this machine's, while the block lasts.

    Raises `RequestError` where Ray is not installed and where no cluster answers within a minute.
    """
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and "/" not in host and re.fullmatch("[0-9]{1,5}", port)):
        raise RequestError(f"--ray: {address!r}; valid: auto, HOST:PORT")
    if importlib.util.find_spec("ray") is None:
        raise RequestError(f"--ray: Ray is not installed here; to install it: {INSTALL}")
    _try(address)
    import ray

    variables = {
        name: os.path.abspath(os.path.expanduser(os.environ[name]))
        for name in DATA_VARIABLES
        if os.environ.get(name)
    }
    handler = signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        # Ray prints the logs of a node that is lost. What becomes of its runs is told in a line.
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, Path(folder, package), ignore=ignored)
        try:
            ray.init(
                address=address,
                runtime_env={"working_dir": folder, "env_vars": variables},
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
            signal.signal(signal.SIGTERM, handler)  # Ray has set its own
            yield
        finally:
            ray.shutdown()


def _try(address: str) -> None:
    """Raises `RequestError` unless a cluster answers.

    In a process of its own: Ray itself waits for two minutes, and then ends its process.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
        except (OSError, OverflowError) as error:  # the latter: no such port
            reason = getattr(error, "strerror", None) or str(error)
            raise RequestError(f"--ray: no cluster answers at {address}: {reason}") from None
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY, address],
            capture_output=True,
            text=True,
            timeout=CONNECT_S,
        )
    except subprocess.TimeoutExpired:
        reason = f"nothing within {CONNECT_S:g} s"
        raise RequestError(f"--ray: no cluster answers at {address}: {reason}") from None
    if tried.returncode:
        said = tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"]
        raise RequestError(f"--ray: can't connect to {address}: {said[-1]}")


def gpus() -> tuple[str, ...]:
    """The GPU that a run is given, where any node has one."""
    return (GPU,) if any(node.get("GPU") for node in _nodes()) else ()


def num_slots(backend: Backend, per_gpu: int = 1) -> int:
    """Runs at once on the nodes that are up; `RequestError` where none has room for one."""
    found = _num_slots(backend, per_gpu)
    if not found:
        needs = " and ".join(f"{n:g} {kind}" for kind, n in _needs(backend, per_gpu).items())
        raise RequestError(f"--ray: no node of the cluster has what a run takes: {needs}")
    return found


def _num_slots(backend: Backend, per_gpu: int) -> int:
    return sum(
        int(min(node.get(kind, 0.0) / needed for kind, needed in _needs(backend, per_gpu).items()))
        for node in _nodes()
    )


def _needs(backend: Backend, per_gpu: int) -> dict[str, float]:
    """What a run takes of a node."""
    on_gpu = {"GPU": 1 / per_gpu} if backend.device == "cuda" else {}
    return {"CPU": float(backend.threads), **on_gpu}


def _nodes() -> list[dict[str, float]]:
    """What each node has that is up: kind → how many."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a node is told of a run."""

    job: Job
    backend: Backend
    plugins: tuple[Plugin, ...]
    sources: dict[str, bytes]
    """Of the plug-ins, by their names."""
    run_timeout_s: float | None


Progress = tuple[int, int, float | None, float | None]
"""Step, steps at most, loss, score."""


class Reports:
    """How far each run is, kept beside who asks; a run that has begun has said so."""

    def __init__(self) -> None:
        self._latest: dict[str, Progress] = {}

    def put(self, spec_id: str, progress: Progress) -> None:
        self._latest[spec_id] = progress

    def take(self) -> dict[str, Progress]:
        """What is new, by the spec's id."""
        taken, self._latest = self._latest, {}
        return taken


def make_run(order: Order, reports: Any) -> tuple[str, bytes | None]:
    """Make a run on this node, in a process of its own.

    Returns its record as JSON and, where they are to be kept, its weights as safetensors.
    """
    spec = order.job.spec
    reports.put.remote(spec.id, (0, spec.training.max_steps, None, None))
    reported, ended = time.monotonic(), []

    def on_event(event: Event) -> None:
        nonlocal reported
        if event.record is not None:
            ended.append(event.record)
        elif time.monotonic() - reported >= POLL_S:
            reported = time.monotonic()
            progress = (event.step, event.max_steps, event.loss, event.score)
            reports.put.remote(spec.id, progress)

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        plugins = [replace(plugin, path=Path(folder, plugin.path.name)) for plugin in order.plugins]
        for plugin in plugins:
            plugin.path.write_bytes(order.sources[plugin.name])
        setup = Setup(
            results=Path(folder, "results"),
            backend=order.backend,
            device="cpu" if order.backend.device == "cpu" else GPU,
            plugins=tuple(plugins),
        )
        workers.execute([order.job], setup, Limits(run_timeout_s=order.run_timeout_s), on_event)
        kept = weights.path(setup.results, spec, order.backend)
        content = kept.read_bytes() if kept.is_file() else None
    (record,) = ended
    return record.model_dump_json(), content


def execute(
    jobs: Sequence[Job],
    setup: Setup,
    limits: Limits,
    on_event: Callable[[Event], None],
    *,
    per_gpu: int = 1,
    fixed: bool = False,
) -> None:
    """Run every job on the cluster in the given order, and report steps and each record.

    As many at once as the nodes have room for, those that come later included; `fixed`: as many as
    the limits say. A run whose worker or node is lost is given out again, a few times. Raises
    `StorageError` where a record can't be written.
    """
    pool = _Pool(jobs, setup, limits, per_gpu, fixed)
    try:
        pool.fill()
        while pool.flights:
            for event in pool.heard():
                on_event(event)
            pool.fill()
    finally:
        pool.close()


@dataclass(kw_only=True)
class _Flight:
    """A run that has been given out."""

    job: Job
    begun: bool = False


class _Pool:
    """The runs that are given out and those that wait."""

    def __init__(
        self, jobs: Sequence[Job], setup: Setup, limits: Limits, per_gpu: int, fixed: bool
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.setup = setup
        self.limits = limits
        self.per_gpu = per_gpu
        self.fixed = fixed
        limit_s = limits.time_limit_s
        self.deadline = math.inf if limit_s is None else time.monotonic() + limit_s
        self.waiting = deque(jobs)
        self.flights: dict[ray.ObjectRef, _Flight] = {}
        self.losses: Counter[str] = Counter()
        self.sources = {plugin.name: plugin.path.read_bytes() for plugin in setup.plugins}
        self.listened = 0.0
        self.looked = -math.inf
        self.most = limits.num_workers
        """Runs that are given out at once."""
        needs = _needs(setup.backend, per_gpu)
        self.remote = ray.remote(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0),
            max_retries=0,  # lost runs are given out again from here, so that they are counted
            max_calls=1 if "GPU" in needs else 0,  # the next one may be given another GPU
        )(make_run)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        reports = ray.remote(Reports).options(num_cpus=0, scheduling_strategy=here)
        self.reports: Any = reports.remote()
        self.asked = self.reports.take.remote()

    def fill(self) -> None:
        """Give out what there is room and time for."""
        if time.monotonic() >= self.deadline:
            self._call_back()
            return
        if time.monotonic() - self.looked >= LOOK_S and not self.fixed:
            self.looked = time.monotonic()
            # Twice as many as can run: no node waits for us, and a cluster that can grow does.
            self.most = max(2 * _num_slots(self.setup.backend, self.per_gpu), 1)
        while self.waiting and len(self.flights) < self.most:
            job = self.waiting.popleft()
            order = Order(
                job=job,
                backend=self.setup.backend,
                plugins=self.setup.plugins,
                sources=self.sources,
                run_timeout_s=self.limits.run_timeout_s,
            )
            self.flights[self.remote.remote(order, self.reports)] = _Flight(job=job)

    def heard(self) -> list[Event]:
        """What the runs have said since, and the records of those that have ended, written."""
        ready = _wait(list(self.flights))
        events = self._listen() if time.monotonic() - self.listened >= POLL_S else []
        for ref in ready:
            job = self.flights.pop(ref).job
            record, content = self._record(ref, job)
            if record is None:
                self.waiting.appendleft(job)
            else:
                if content is not None:
                    write_whole(
                        weights.path(self.setup.results, job.spec, self.setup.backend), content
                    )
                Store(self.setup.results).write(record)
                events.append(Event(spec=job.spec, record=record))
        return events

    def close(self) -> None:
        """Call back all that is given out; what does not heed it ends with the connection."""
        import ray

        for ref in self.flights:
            ray.cancel(ref)
        if self.flights:
            ray.wait(list(self.flights), num_returns=len(self.flights), timeout=END_S)

    def _call_back(self) -> None:
        """Whatever has been given out and has not begun."""
        import ray

        self.waiting.clear()
        if all(flight.begun for flight in self.flights.values()):
            return
        for _ in range(2):  # what was asked for before, and how it is now
            self._listen(ANSWER_S)
        for ref in [ref for ref, flight in self.flights.items() if not flight.begun]:
            ray.cancel(ref)
            del self.flights[ref]

    def _listen(self, patience_s: float = 0.0) -> list[Event]:
        """How far the runs are, as far as that has been answered."""
        import ray
        from ray.exceptions import RayError

        self.listened = time.monotonic()
        answered, _ = ray.wait([self.asked], timeout=patience_s)
        if not answered:
            return []
        try:
            said: dict[str, Progress] = ray.get(self.asked)
        except RayError:  # nobody is left to tell: any of them may have begun
            for flight in self.flights.values():
                flight.begun = True
            return []
        self.asked = self.reports.take.remote()
        events = []
        for flight in self.flights.values():
            spec = flight.job.spec
            if spec.id in said:
                flight.begun = True
                step, max_steps, loss, score = said[spec.id]
                events.append(
                    Event(spec=spec, step=step, max_steps=max_steps, loss=loss, score=score)
                )
        return events

    def _record(self, ref: "ray.ObjectRef", job: Job) -> tuple[Record | None, bytes | None]:
        """What came of a run, and its weights; no record where it is to be given out again."""
        import ray
        from ray import exceptions

        try:
            said, content = ray.get(ref)
            record = Record.model_validate_json(said)
            if (record.spec, record.backend) != (job.spec, self.setup.backend):
                raise ValueError("a record of another run")
        except (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,
        ) as error:
            self.losses[job.spec.id] += 1
            losses = self.losses[job.spec.id]
            if losses < MOST_LOSSES:
                said = f"{job.spec.name} was lost and is given out again: {_first_sentence(error)}"
                tqdm.write(said, file=sys.stderr)
                return None, None
            reason = f"the worker process died, {losses} times; the last: {_first_sentence(error)}"
        except exceptions.RayTaskError as error:
            reason = f"{type(error.cause).__name__}: {error.cause}"
        except (exceptions.RayError, ValueError) as error:
            reason = f"{type(error).__name__}: {_first_sentence(error)}"
        else:
            # A node has the files, and not their history.
            machine = record.machine.model_copy(update={"commit": fingerprint().commit})
            return record.model_copy(update={"machine": machine}), content
        return make_record(job.spec, self.setup.backend, "failed", error=reason), None


def _wait(refs: "list[ray.ObjectRef]") -> "list[ray.ObjectRef]":
    """Those that have ended: one, or none once it is time to look at the others."""
    import ray

    try:
        return ray.wait(refs, num_returns=1, timeout=POLL_S)[0]
    except SystemError as error:  # what Ray makes of what the handler of a signal raises
        raise error.__cause__ or error from None


def _first_sentence(error: object) -> str:
    """Ray says a great deal."""
    line = next(iter(str(error).strip().splitlines()), "")
    return line.split(". ")[0].rstrip(".")
