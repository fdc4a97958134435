"""How a spec executes: which device, in which precision, on how many threads."""

import ctypes
import os
from collections.abc import Sequence
from typing import Any, Literal

from bench.core.errors import unknown
from bench.core.spec import Frozen, Positive

USED_SHARE = 0.9
"""Share of a GPU's free memory that all runs together may use."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of two settings in glibc's malloc.h."""


class Backend(Frozen):
    """It is part of a record and of its path, but not of the spec's id."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["float32"] = "float32"
    threads: Positive = 1
    """CPU threads of one run."""
    capture: bool = False
    """Whether training steps are captured and replayed as a CUDA graph."""

    @property
    def name(self) -> str:
        """Name of the backend's folder: `cpu-float32-1thread`, `cuda-float32-graph`."""
        if self.device == "cpu":
            return f"cpu-{self.dtype}-{self.threads}thread"
        return f"cuda-{self.dtype}-{'graph' if self.capture else 'eager'}"

    @property
    def words(self) -> str:
        """What it is called in sentences: `one CPU thread`, `a GPU with CUDA graphs`."""
        if self.device == "cpu":
            return "one CPU thread" if self.threads == 1 else f"{self.threads} CPU threads"
        return "a GPU with CUDA graphs" if self.capture else "a GPU"


def choose_devices(wanted: str, gpus: Sequence[str] | None = None) -> tuple[str, ...]:
    """The torch devices for `auto`, `cpu`, `cuda` (all GPUs) or `cuda:N`.

    `gpus` are the available GPUs, by default those of this machine. Raises `RequestError` for any
    other device.
    """
    import torch

    if gpus is None:
        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if wanted == "auto":
        return tuple(gpus) or ("cpu",)
    if wanted == "cuda" and gpus:
        return tuple(gpus)
    valid = ["auto", "cpu", *(["cuda"] if gpus else []), *gpus]
    if wanted not in valid:
        raise unknown("or absent device", wanted, valid, "--device")
    return (wanted,)


def prepare(backend: Backend) -> None:
    """Set the number of threads, and full precision for matrix products, in this process."""
    import torch

    _keep_freed_memory()
    torch.set_num_threads(backend.threads)
    # No TF32 on a GPU. PyTorch 2.11 does not pass the first setting on to cuDNN's layers.
    backends: Any = torch.backends
    for each in (backends, backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
        each.fp32_precision = "ieee"


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
    """Wait until the device has finished all its work."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)


def forget_peak_memory(device: str) -> None:
    """Reset the maximum that `peak_memory_bytes` returns."""
    import torch

    if device != "cpu":
        torch.cuda.init()  # the counters do not exist before
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: str) -> int | None:
    """The most memory allocated on the GPU; None on the CPU, where this can't be reset."""
    import torch

    return None if device == "cpu" else torch.cuda.max_memory_allocated(device)


def room_bytes(device: str) -> int | None:
    """Memory of the GPU that all runs together may use; None (no limit) on the CPU."""
    import torch

    return None if device == "cpu" else int(USED_SHARE * torch.cuda.mem_get_info(device)[0])


def release_memory(device: str) -> None:
    """Return the GPU memory that this process has cached but does not use."""
    import torch

    if device != "cpu":
        torch.cuda.empty_cache()


def num_cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
