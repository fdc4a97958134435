"""How a spec executes: which device, in which precision, on how many threads."""

import ctypes
import os
from collections.abc import Sequence
from typing import Literal

from bench.core.errors import unknown
from bench.core.spec import Frozen, Positive

USED_SHARE = 0.9
"""Of a GPU's free memory, by the runs that share it."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of two settings in glibc's malloc.h."""


class Backend(Frozen):
    """In the record and its path, never in the spec's id."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["float32"] = "float32"
    threads: Positive = 1
    """Threads of one run on the CPU."""
    capture: bool = False
    """Whether training steps are replayed as a CUDA graph."""

    @property
    def name(self) -> str:
        """As a folder name: `cpu-float32-1thread`, `cuda-float32-graph`."""
        if self.device == "cpu":
            return f"cpu-{self.dtype}-{self.threads}thread"
        return f"cuda-{self.dtype}-{'graph' if self.capture else 'eager'}"


def choose_devices(wanted: str, gpus: Sequence[str] | None = None) -> tuple[str, ...]:
    """Torch devices for `auto`, `cpu`, `cuda` (every GPU) or `cuda:N`.

    `gpus` are those there are, by default this machine's. Raises `RequestError` for any other.
    """
    import torch

    if gpus is None:
        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    gpus = tuple(gpus)
    if wanted == "auto":
        return gpus or ("cpu",)
    if wanted == "cuda" and gpus:
        return gpus
    valid = ["auto", "cpu", *(["cuda"] if gpus else []), *gpus]
    if wanted not in valid:
        raise unknown("or absent device", wanted, valid, "--device")
    return (wanted,)


def prepare(backend: Backend) -> None:
    """Set this process up for the backend: threads, and full precision in every product."""
    import torch

    _keep_freed_memory()
    torch.set_num_threads(backend.threads)
    torch.backends.fp32_precision = "ieee"  # pyright: ignore  no TF32 on a GPU


def _keep_freed_memory() -> None:
    """Let the C library reuse large blocks, where it would ask the system for them every time.

    The activations of long sequences are large blocks, and new pages take up to half the time of an
    update. Only glibc has these settings; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)


def forget_peak_memory(device: str) -> None:
    """Begin to measure anew what `peak_memory_bytes` gives."""
    import torch

    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: str) -> int | None:
    """The most memory allocated on the GPU; None on the CPU, where a process can't begin anew."""
    import torch

    return None if device == "cpu" else torch.cuda.max_memory_allocated(device)


def room_bytes(device: str) -> int | None:
    """What runs may take of a GPU's memory together; None on the CPU: no limit is kept there."""
    import torch

    if device == "cpu":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(USED_SHARE * free)


def release_memory(device: str) -> None:
    """Give back to the GPU what this process holds of its memory and does not use."""
    import torch

    if device != "cpu":
        torch.cuda.empty_cache()


def num_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
