"""Checkpoints of training runs, so that a killed run continues where it was.

A file is a SHA-256 digest and the content that it belongs to, written by `torch.save`. The content
has only tensors, numbers, strings, lists and dicts, so that reading it runs no foreign code.
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
"""Shortest time between two checkpoints, and before the first one."""
FORMAT = 1
"""Raised whenever a run can no longer continue from older checkpoints."""
FOLDER = "checkpoints"


@dataclass(kw_only=True)
class Fit:
    """The progress of a run."""

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
    """Validations in a row that clearly passed the threshold."""
    stopped: Literal["solved", "budget", "diverged"] = "budget"
    train_seconds: float = 0.0
    earlier_seconds: float = 0.0
    """Wall time that the run spent in earlier processes."""


class Checkpoint(Frozen):
    """Everything that the rest of a run depends on, just before a validation."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    fit: Fit
    weights: dict[str, Tensor]
    updater: UpdaterState
    rng: Tensor
    """State of the global generator on the CPU, from which dropout draws."""
    cuda_rng: Tensor | None
    """State of the global generator on the GPU; None on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the checkpoint of a run is stored, and the identity that the file must have."""

    results: Path
    spec: Spec
    backend: Backend

    @property
    def path(self) -> Path:
        return self.results / FOLDER / self.backend.name / f"{self.spec.id}.pt"

    @property
    def identity(self) -> dict[str, object]:
        """All that must be the same for the run to continue with the same numbers."""
        return {
            "format": FORMAT,
            "spec": self.spec.id,
            "protocol": self.spec.protocol,
            "torch": str(torch.__version__),
            "backend": self.backend.model_dump(),
        }


def is_due(since: float) -> bool:
    """Whether a checkpoint is due; `since` is the `perf_counter` time of the last one."""
    return time.perf_counter() - since >= INTERVAL_S


def pack(content: Mapping[str, object]) -> bytes:
    torch.save(content, buffer := io.BytesIO())
    return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


def unpack(content: bytes) -> dict[str, Any]:
    """The packed content; `ValueError` if any byte has changed, which torch may not notice."""
    digest, packed = content[:32], content[32:]
    if hashlib.sha256(packed).digest() != digest:
        raise ValueError("damaged")
    return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)


def step_of(content: bytes) -> int:
    """Updates done in a packed checkpoint; `ValueError` if it is not a valid one."""
    try:
        step = unpack(content)["checkpoint"]["fit"]["step"]
    except Exception as error:  # a damaged file can make torch raise anything
        raise ValueError(f"not a valid checkpoint: {type(error).__name__}") from None
    if type(step) is not int:
        raise ValueError("not a valid checkpoint: its step is not a number")
    return step


def write(place: Place, checkpoint: Checkpoint) -> None:
    """Replace the previous checkpoint. A failure to write is a warning and does not end the run."""
    content = {"identity": place.identity, "checkpoint": checkpoint.model_dump()}
    try:
        write_whole(place.path, pack(content))
    except OSError as error:
        reason = error.strerror or error
        print(f"warning: no checkpoint of {place.spec.name}: {reason}", file=sys.stderr)


def read(place: Place, like: Mapping[str, Tensor]) -> Checkpoint | None:
    """The checkpoint from which the run continues, or None.

    `like` holds weights of the run's network. A file that is damaged or belongs to another run is
    removed, with a warning.
    """
    try:
        content = unpack(place.path.read_bytes())
        if content["identity"] != place.identity:
            raise ValueError("from another run, backend or version")
        found = Checkpoint.model_validate(content["checkpoint"])
        if not all(_shapes(w) == _shapes(like) for w in (found.weights, found.fit.best_weights)):
            raise ValueError("from another network")
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file can make torch raise anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        print(f"warning: {place.path}: {reason}; the run starts again", file=sys.stderr)
        remove(place)
        return None
    return found


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in weights.items()}


def remove(place: Place) -> None:
    """Remove a run's checkpoint, if there is one."""
    with contextlib.suppress(OSError):
        place.path.unlink()


def remove_leftovers(results: Path, records: Iterable[Record]) -> None:
    """Remove checkpoints of finished runs, and half-written files of killed processes.

    Another process may lose the checkpoint that it is writing. It writes the next one when due.
    """
    for record in records:
        if record.finished:
            remove(Place(results=results, spec=record.spec, backend=record.backend))
    for path in (results / FOLDER).glob("*/*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()
