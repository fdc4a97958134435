"""How a spec executes: which device, in which precision, on how many threads."""

from typing import Literal

from bench.errors import unknown
from bench.spec import Frozen


class Backend(Frozen):
    """In the record and its path, never in the spec's id."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["float32"] = "float32"
    threads: int = 1
    """Threads of one run on the CPU."""

    @property
    def name(self) -> str:
        """As a folder name: `cpu-float32-1thread`."""
        return f"{self.device}-{self.dtype}" + (
            f"-{self.threads}thread" if self.device == "cpu" else ""
        )


def choose_device(wanted: str) -> str:
    """A torch device for `auto`, `cpu`, `cuda` or `cuda:N`; `RequestError` where there is none."""
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if wanted == "auto":
        return gpus[0] if gpus else "cpu"
    if wanted == "cuda" and gpus:
        return gpus[0]
    valid = ["auto", "cpu", *(["cuda"] if gpus else []), *gpus]
    if wanted not in valid:
        raise unknown("or absent device", wanted, valid, "--device")
    return wanted


def prepare(backend: Backend) -> None:
    """Set this process up for the backend: threads, and full precision in matrix products."""
    import torch

    torch.set_num_threads(backend.threads)
    torch.set_float32_matmul_precision("highest")


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize(device)


def peak_memory_bytes(device: str) -> int:
    """The most memory this process has held: on the GPU, or resident on the CPU."""
    if device == "cpu":
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    import torch

    return torch.cuda.max_memory_allocated(device)
