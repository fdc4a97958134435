"""Processes of ours: how they start, end, and notice that the one they work for is gone."""

import multiprocessing
import os
import signal
import threading
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

PRELOADED = ["bench.measure.train", "bench.measure.speed", "numba", "torch._dynamo"]
"""What every worker needs; the last is imported by any optimizer of torch. Tested to exist."""
PATIENCE_S = 5.0
"""For a process that was asked to end."""


@cache
def context() -> ForkServerContext:
    """Processes are forked from a small server that has imported what each of them needs.

    The server does no work, so that nothing of CUDA's is in what it forks.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


def end_with_parent() -> None:
    """End this process as soon as the one that it was started by has ended, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


def end(*processes: BaseProcess) -> None:
    """Ask them to end, and see to it."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()


def how_it_ended(process: BaseProcess) -> str:
    """`signal 9 (SIGKILL)`, `exit status 3`; the process has been joined."""
    code = process.exitcode or 0
    return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
