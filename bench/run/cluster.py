"""Runs on the nodes of a Ray cluster.

Each node receives the project as it is here, the source of plug-ins and the spec of a run. It
runs the spec in a separate process and returns the record as JSON. The record is written on this
machine, so the nodes need no shared file system. Ray chooses the node of each run, and repeats runs
whose worker or node is lost.
"""

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.backend import Backend
from bench.core.errors import RequestError
from bench.core.files import write_whole
from bench.core.machine import fingerprint
from bench.core.records import Record
from bench.core.store import Store
from bench.measure import weights
from bench.run import workers
from bench.run.job import Event, Job, Setup, make_record
from bench.run.queue import Queue
from bench.run.workers import Limits
from tasks import DATA_VARIABLES

if TYPE_CHECKING:
    import ray

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("bench", "models", "tasks")
"""Folders of the project that are sent to the nodes."""
INSTALL = "python -m pip install --editable '.[cluster]'"
GPU = "cuda:0"
"""Name of the GPU inside a run: Ray makes only one GPU visible to it."""
CONNECT_S = 40.0
"""Time limit for a cluster to answer."""
ANSWER_S = 10.0
"""Time limit for the port of the cluster to answer."""
LOOK_S = 5.0
"""Time after which the nodes of the cluster are counted again."""
MOST_LOSSES = 3
"""A run counts as failed when it has lost its worker or its node this many times."""
END_S = 5.0
"""Time for cancelled runs to end."""

_TRY = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], logging_level=logging.CRITICAL, log_to_driver=False)
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Stay connected to a running cluster while the block lasts; `auto` means this machine's.

    Raises `RequestError` if Ray is not installed or no cluster answers within a minute.
    """
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and "/" not in host and re.fullmatch("[0-9]{1,5}", port)):
        raise RequestError(f"--ray: {address!r}; valid: auto, HOST:PORT")
    if importlib.util.find_spec("ray") is None:
        raise RequestError(f"--ray: Ray is not installed here; to install it: {INSTALL}")
    _try(address)
    os.environ.setdefault("RAY_task_oom_retries", str(MOST_LOSSES - 1))  # default: no limit
    import ray

    variables = {
        name: os.path.abspath(os.path.expanduser(os.environ[name]))
        for name in DATA_VARIABLES
        if os.environ.get(name)
    }
    handler = signal.getsignal(signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        # Ray prints the logs of lost nodes. The records already hold the reason.
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
    """Raise `RequestError` unless a cluster answers.

    Ray is asked in a separate process: without an answer it waits two minutes and then exits.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
        except (OSError, OverflowError) as error:
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
        lines = tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"]
        raise RequestError(f"--ray: can't connect to {address}: {lines[-1]}")


def gpus() -> tuple[str, ...]:
    """The GPU that each run gets, if any node has one."""
    return (GPU,) if any(node.get("GPU") for node in _nodes()) else ()


def num_slots(backend: Backend, per_gpu: int = 1) -> int:
    """Runs at the same time on all live nodes; `RequestError` if no node has room for one."""
    found = _num_slots(backend, per_gpu)
    if not found:
        needs = " and ".join(f"{n:g} {kind}" for kind, n in _needs(backend, per_gpu).items())
        raise RequestError(f"--ray: no node of the cluster has what a run needs: {needs}")
    return found


def _num_slots(backend: Backend, per_gpu: int) -> int:
    return sum(
        int(min(node.get(kind, 0.0) / needed for kind, needed in _needs(backend, per_gpu).items()))
        for node in _nodes()
    )


def _needs(backend: Backend, per_gpu: int) -> dict[str, float]:
    """Resources that one run needs: kind → amount."""
    on_gpu = {"GPU": 1 / per_gpu} if backend.device == "cuda" else {}
    return {"CPU": float(backend.threads), **on_gpu}


def _nodes() -> list[dict[str, float]]:
    """Resources of each live node: kind → amount."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def make_run(
    job: Job, setup: Setup, sources: dict[str, bytes], run_timeout_s: float
) -> tuple[str, bytes | None]:
    """Make a run on this node, in a separate process.

    `sources` holds the source of each plug-in by name. Returns the record as JSON and, if they are
    to be kept, the weights as safetensors.
    """
    ended = []

    def on_event(event: Event) -> None:
        if event.record is not None:
            ended.append(event.record)

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        plugins = [replace(plugin, path=Path(folder, plugin.path.name)) for plugin in setup.plugins]
        for plugin in plugins:
            plugin.path.write_bytes(sources[plugin.name])
        setup = replace(setup, results=Path(folder, "results"), plugins=tuple(plugins))
        workers.execute(Queue([job]), setup, Limits(run_timeout_s=run_timeout_s), on_event)
        kept = weights.path(setup.results, job.spec, setup.backend)
        content = kept.read_bytes() if kept.is_file() else None
    (record,) = ended
    return record.model_dump_json(), content


def execute(
    queue: Queue,
    setup: Setup,
    limits: Limits,
    on_event: Callable[[Event], None],
    *,
    per_gpu: int = 1,
    fixed: bool = False,
) -> None:
    """Run what the queue hands out on the cluster, and report each record.

    At most as many runs are submitted at a time as the live nodes have room for or, if `fixed`, as
    `limits.num_workers` allows. After the time limit no further run is submitted. Raises
    `StorageError` if a record can't be written.
    """
    import ray

    needs = _needs(setup.backend, per_gpu)
    remote = ray.remote(
        num_cpus=needs["CPU"],
        num_gpus=needs.get("GPU", 0),
        max_retries=MOST_LOSSES - 1,
        max_calls=1 if "GPU" in needs else 0,  # the next run may get another GPU
    )(make_run)
    sources = {plugin.name: plugin.path.read_bytes() for plugin in setup.plugins}
    on_node = replace(setup, device="cpu" if setup.backend.device == "cpu" else GPU)
    deadline = time.monotonic() + limits.time_limit_s
    submitted: dict[ray.ObjectRef, Job] = {}
    try:
        while True:
            most = limits.num_workers if fixed else max(_num_slots(setup.backend, per_gpu), 1)
            while len(submitted) < most and time.monotonic() < deadline and (job := queue.take()):
                ref = remote.remote(job, on_node, sources, limits.run_timeout_s)
                submitted[ref] = job
            if not submitted:
                return
            for ref in _ended(list(submitted)):
                job = submitted.pop(ref)
                record = _written(ref, job, setup)
                queue.end(record)
                on_event(Event(spec=job.spec, record=record))
    finally:
        for ref in submitted:
            ray.cancel(ref)
        if submitted:
            ray.wait(list(submitted), num_returns=len(submitted), timeout=END_S)


def _ended(refs: "list[ray.ObjectRef]") -> "list[ray.ObjectRef]":
    """A run that has ended; an empty list if it is time to count the nodes again."""
    import ray

    try:
        return ray.wait(refs, num_returns=1, timeout=LOOK_S)[0]
    except SystemError as error:  # Ray wraps the exceptions that signal handlers raise
        raise error.__cause__ or error from None


def _written(ref: "ray.ObjectRef", job: Job, setup: Setup) -> Record:
    """The record of a run that has ended, after it was written here with its weights."""
    record, content = _returned(ref, job, setup.backend)
    if content is not None:
        write_whole(weights.path(setup.results, job.spec, setup.backend), content)
    Store(setup.results).write(record)
    return record


def _returned(ref: "ray.ObjectRef", job: Job, backend: Backend) -> tuple[Record, bytes | None]:
    """The record and the weights that a node returned; a failed record if there is none."""
    import ray
    from ray import exceptions

    try:
        text, content = ray.get(ref)
        record = Record.model_validate_json(text)
        if (record.spec, record.backend) != (job.spec, backend):
            raise ValueError("a node returned the record of another run")
    except exceptions.RayTaskError as error:
        reason = f"{type(error.cause).__name__}: {error.cause}"
    except (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
        exceptions.OutOfMemoryError,
    ) as error:
        last = _first_sentence(error)
        reason = f"the worker process died {MOST_LOSSES} times; the last time: {last}"
    except (exceptions.RayError, ValueError) as error:
        reason = f"{type(error).__name__}: {_first_sentence(error)}"
    else:
        # A node has the files of the project but not its git history.
        machine = record.machine.model_copy(update={"commit": fingerprint().commit})
        return record.model_copy(update={"machine": machine}), content
    return make_record(job.spec, backend, "failed", error=reason), None


def _first_sentence(error: object) -> str:
    """The first sentence of a message of Ray; its messages are long."""
    line = next(iter(str(error).strip().splitlines()), "")
    return line.split(". ")[0].rstrip(".")
