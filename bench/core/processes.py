"""Child processes: how they start, how they end, and how they notice that their parent is gone."""

import multiprocessing
import os
import signal
import threading
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

PRELOADED = ["bench.measure.train", "bench.measure.speed", "models._ready", "torch._dynamo"]
"""Modules that every worker needs (every torch optimizer imports `torch._dynamo`). Python ignores
a wrong name here, so a test imports them."""
PATIENCE_S = 5.0
"""How long a process may take to end before it is killed."""


@cache
def context() -> ForkServerContext:
    """Forks processes from a small server that has imported what each of them needs.

    The server itself never uses CUDA, since a process forked after CUDA has started can't use it.
    Modules of PyTorch ask for a GPU when they are imported, which starts CUDA unless PyTorch asks
    the driver's management library (NVML) instead.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


def start_server() -> None:
    """Start the server if it does not run. It imports its modules while this process goes on."""
    context()
    forkserver.ensure_running()


def renew_server() -> None:
    """End the server; the next process starts a new one. None of its processes may be running.

    Processes of one server have the memory layout that it had when it forked them, so their times
    are alike. Processes of different servers are independent. A new server costs its imports once,
    where a new interpreter for each process would import everything each time.
    """
    forkserver._forkserver._stop()  # pyright: ignore


def end_with_parent() -> None:
    """Make this process end as soon as its parent ends, even if the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


def end(*processes: BaseProcess) -> None:
    """Terminate the processes, and kill those that do not end in time."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()


def how_it_ended(process: BaseProcess) -> str:
    """`signal 9 (SIGKILL)` or `exit status 3`, for a process that has been joined."""
    code = process.exitcode or 0
    return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
