"""Weights of trained networks as safetensors files, which `models.load` reads as well.

They are kept if a profile says `keep_weights` or a command `--keep-weights`. The path is that of
the record: `weights/BACKEND/TASK/MODEL-T50-s0-ID.safetensors`.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

import models
from bench.core.backend import Backend
from bench.core.errors import RequestError
from bench.core.files import write_whole
from bench.core.spec import Spec
from bench.plan.grid import model_of, network_of, task_of
from models import Network


def path(results: Path, spec: Spec, backend: Backend) -> Path:
    return results / "weights" / backend.name / f"{spec.place}-{spec.id}.safetensors"


def write(results: Path, spec: Spec, backend: Backend, weights: Mapping[str, Tensor]) -> None:
    """Write the whole file or nothing; raises `StorageError` if that fails."""
    content = models.serialize(
        weights,
        model=model_of(spec),
        signature=task_of(spec).signature,
        width=spec.width,
        extra_width=spec.extra_width,
    )
    write_whole(path(results, spec, backend), content)


def trained(results: Path, spec: Spec, backend: Backend) -> Network:
    """The network of a run as it was tested, on the CPU; `RequestError` if it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    file = path(results, spec, backend)
    network = network_of(spec)
    try:
        network.load_state_dict(load(file.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"cannot read the weights in {file}: {reason}") from None
    return network.eval()
