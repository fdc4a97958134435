"""A training run on disk while it lasts, so that a killed one goes on where it was.

A file is a SHA-256 and what that is of, as `torch.save` writes it: tensors, numbers, strings, lists
and dicts alone, so that reading one runs no code of its own.
"""

import contextlib
import hashlib
import io
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor

from bench.core.backend import Backend
from bench.core.files import write_whole
from bench.core.records import CurvePoint, Record
from bench.core.spec import Frozen, Spec
from bench.measure.update import UpdaterState

INTERVAL_S = 60.0
"""Between two checkpoints of a run, and before its first, at least."""
MOST_BYTES = 256 * 2**20
"""A larger checkpoint is neither written nor read."""
FORMAT = 1
"""Raised whenever older checkpoints can no longer be gone on from."""
FOLDER = "checkpoints"
DIGEST_BYTES = 32


@dataclass(kw_only=True)
class Fit:
    """What the loop has done so far."""

    best_weights: dict[str, Tensor]
    curve: list[CurvePoint]
    step: int = 0
    """Updates done."""
    train_loss: float | None = None
    """Mean over the batches since the last validation."""
    best_step: int = 0
    best_merit: tuple[float, float] | None = None
    """Score, the higher the better, and minus the loss."""
    times_solved: int = 0
    """Validations running that were clearly solved."""
    stopped: Literal["solved", "budget", "diverged"] = "budget"
    train_seconds: float = 0.0
    earlier_seconds: float = 0.0
    """Wall time of the run in processes before this one."""


class Checkpoint(Frozen):
    """All that the rest of a run depends on, just before a validation."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    fit: Fit
    weights: dict[str, Tensor]
    updater: UpdaterState
    rng: Tensor
    """The state of the CPU's global generator, which dropout draws from."""
    cuda_rng: Tensor | None
    """The same of the GPU's, where the run is on one."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the checkpoint of a run lies, and what it must be of."""

    results: Path
    spec: Spec
    backend: Backend

    @property
    def path(self) -> Path:
        return _path(self.results, self.spec, self.backend)

    @property
    def identity(self) -> dict[str, object]:
        """Whatever else would go on to other numbers."""
        return {
            "format": FORMAT,
            "spec": self.spec.id,
            "protocol": self.spec.protocol,
            "torch": str(torch.__version__),
            "backend": self.backend.model_dump(),
        }


def _path(results: Path, spec: Spec, backend: Backend) -> Path:
    return results / FOLDER / backend.name / f"{spec.id}.pt"


def is_due(since: float) -> bool:
    """Whether it is time for a checkpoint, the last one being of `since` by `perf_counter`."""
    return time.perf_counter() - since >= INTERVAL_S


def pack(content: Mapping[str, object]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    packed = buffer.getvalue()
    return hashlib.sha256(packed).digest() + packed


def unpack(content: bytes) -> dict[str, Any]:
    """What was packed; raises `ValueError` where a byte is another, which torch may not notice."""
    digest, packed = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != digest:
        raise ValueError("damaged")
    return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)


def write(place: Place, checkpoint: Checkpoint) -> None:
    """In the place of the last one. What keeps it from being written does not end the run."""
    content = pack({"identity": place.identity, "checkpoint": checkpoint.model_dump()})
    if len(content) > MOST_BYTES:
        return
    try:
        write_whole(place.path, content)
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"warning: no checkpoint of {place.spec.name}: {reason}", file=sys.stderr)


def read(place: Place, like: Mapping[str, Tensor]) -> Checkpoint | None:
    """What the run goes on from; None where there is nothing.

    `like` are the weights of the network it is for. A file that is damaged or of anything else is
    removed.
    """
    try:
        if place.path.stat().st_size > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES} bytes")
        content = unpack(place.path.read_bytes())
        if content["identity"] != place.identity:
            raise ValueError("of another run, backend or version")
        found = Checkpoint.model_validate(content["checkpoint"])
        if not all(_shapes(w) == _shapes(like) for w in (found.weights, found.fit.best_weights)):
            raise ValueError("of another network")
    except FileNotFoundError:
        return None
    except Exception as error:  # there is no end of what a damaged file makes torch raise
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        print(f"warning: {place.path}: {reason}; the run begins anew", file=sys.stderr)
        remove(place)
        return None
    return found


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in weights.items()}


def remove(place: Place) -> None:
    """Remove a run's checkpoint, where there is one."""
    _unlink(place.path)


def remove_leftovers(results: Path, records: Iterable[Record]) -> None:
    """Remove checkpoints of runs that have ended, and what a kill left half written.

    A bench at work elsewhere that loses what it is just writing writes it again.
    """
    ended = {_path(results, r.spec, r.backend) for r in records if r.finished}
    for path in (results / FOLDER).glob("*/*"):
        if path in ended or path.suffix == ".tmp":
            _unlink(path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
