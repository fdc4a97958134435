"""Checkpoints of training runs: a killed run continues where it was, a longer one from a shorter.

Runs that differ in `max_steps` alone make the same updates until the learning rate of the shorter
one falls. A run keeps its state at its last validation before that, and a longer run continues from
it. The state is removed if the run solves its task or diverges, since no longer run is then needed.

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
STATES = "states"
"""Folder of the states from which longer runs continue."""


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
    """Where the checkpoint and the state of a run are stored, and the identities of the files."""

    results: Path
    spec: Spec
    backend: Backend

    @property
    def path(self) -> Path:
        return self.results / FOLDER / self.backend.name / f"{self.spec.id}.pt"

    @property
    def state_path(self) -> Path:
        """The same for all runs that differ in `max_steps` alone: the last one replaces it."""
        return self.results / STATES / self.backend.name / f"{self.spec.constant_phase}.pt"

    @property
    def identity(self) -> dict[str, object]:
        return self._identity(self.spec.id)

    @property
    def state_identity(self) -> dict[str, object]:
        return self._identity(self.spec.constant_phase)

    def _identity(self, spec_id: str) -> dict[str, object]:
        """All that must be the same for a run to continue with the same numbers."""
        return {
            "format": FORMAT,
            "spec": spec_id,
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
    _write(place.path, place.identity, checkpoint, f"checkpoint of {place.spec.name}")


def is_kept(spec: Spec, step: int) -> bool:
    """Whether a run keeps its state at this step: its last validation at the full rate."""
    training = spec.training
    following = step + training.validate_every
    return (
        step > 0
        and step % training.validate_every == 0
        and training.is_constant(step)
        and not (following <= training.max_steps and training.is_constant(following))
    )


def write_state(place: Place, checkpoint: Checkpoint) -> None:
    """Keep the state from which a longer run continues, in place of that of a shorter run."""
    _write(place.state_path, place.state_identity, checkpoint, f"state of {place.spec.name}")


def read_state(place: Place, like: Mapping[str, Tensor]) -> Checkpoint | None:
    """The state of a shorter run from which this run continues, or None.

    A run does not continue from its own state, so that it trains every update when it is repeated.
    """
    found = _read(place.state_path, place.state_identity, like)
    if found is None:
        return None
    step, training = found.fit.step, place.spec.training
    usable = training.is_constant(step) and not is_kept(place.spec, step)
    return found if usable else None


def _write(path: Path, identity: dict[str, object], checkpoint: Checkpoint, what: str) -> None:
    content = {"identity": identity, "checkpoint": checkpoint.model_dump()}
    try:
        write_whole(path, pack(content))
    except OSError as error:
        reason = error.strerror or error
        print(f"warning: no {what}: {reason}", file=sys.stderr)


def read(place: Place, like: Mapping[str, Tensor]) -> Checkpoint | None:
    """The checkpoint from which the run continues, or None.

    `like` holds weights of the run's network. A file that is damaged or belongs to another run is
    removed, with a warning.
    """
    return _read(place.path, place.identity, like)


def _read(path: Path, identity: dict[str, object], like: Mapping[str, Tensor]) -> Checkpoint | None:
    try:
        content = unpack(path.read_bytes())
        if content["identity"] != identity:
            raise ValueError("from another run, backend or version")
        found = Checkpoint.model_validate(content["checkpoint"])
        if not all(_shapes(w) == _shapes(like) for w in (found.weights, found.fit.best_weights)):
            raise ValueError("from another network")
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file can make torch raise anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        print(f"warning: {path}: {reason}; the run starts again", file=sys.stderr)
        _remove(path)
        return None
    return found


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in weights.items()}


def remove(place: Place) -> None:
    """Remove a run's checkpoint, if there is one."""
    _remove(place.path)


def remove_state(place: Place) -> None:
    """Remove the state from which longer runs continue, if there is one."""
    _remove(place.state_path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def remove_leftovers(results: Path, records: Iterable[Record]) -> None:
    """Remove checkpoints of finished runs, and half-written files of killed processes.

    Another process may lose the checkpoint that it is writing. It writes the next one when due.
    """
    for record in records:
        if record.finished:
            remove(Place(results=results, spec=record.spec, backend=record.backend))
    for folder in (FOLDER, STATES):
        for path in (results / folder).glob("*/*.tmp"):
            _remove(path)
