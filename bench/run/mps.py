"""NVIDIA's Multi-Process Service (MPS): with it, the runs of several processes share a GPU.

A small network uses a small part of a GPU. Without MPS the processes take turns on the whole GPU,
and several runs at once are no faster than one after the other. With it their kernels run at the
same time. See https://docs.nvidia.com/deploy/mps/.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
"""Program that starts and ends the service."""
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
"""Environment variables that name the folders of the service; CUDA reads the first."""
PATIENCE_S = 20.0


def available() -> bool:
    """Whether this machine has the program."""
    return shutil.which(CONTROL) is not None


@contextlib.contextmanager
def service() -> Iterator[Path | None]:
    """Run the service inside the block; yields the folder that `join` needs.

    None if there is no service to start, or if one that the user has started is used already.
    """
    if not available() or PIPES in os.environ:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bench-mps-") as folder:
        names = {PIPES: Path(folder, "pipes"), LOGS: Path(folder, "logs")}
        for path in names.values():
            path.mkdir()
        environment = os.environ | {name: str(path) for name, path in names.items()}
        if not _control(environment, "-d"):
            yield None
            return
        try:
            yield names[PIPES]
        finally:
            _control(environment, text="quit\n")


def join(folder: Path) -> None:
    """Let this process use the service; it must not have used CUDA before."""
    os.environ[PIPES] = str(folder)


def _control(environment: dict[str, str], *words: str, text: str = "") -> bool:
    """Call the program; returns whether it succeeded."""
    try:
        ended = subprocess.run(
            [CONTROL, *words],
            env=environment,
            input=text,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0
