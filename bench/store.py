"""Records on disk: one JSON file each, written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bench.backend import Backend
from bench.machine import Machine
from bench.spec import Frozen, Spec

SCHEMA = 1
"""Raised whenever older records can no longer be read as they are."""


class MetricInfo(Frozen):
    """What a figure of merit means."""

    name: str
    unit: str
    higher_is_better: bool
    chance: float


class CurvePoint(Frozen):
    """One validation."""

    step: int
    """Updates done."""
    seconds: float
    """Wall time since the run began."""
    train_loss: float | None
    """Mean over the batches since the last validation; None before the first and if not finite."""
    validation_loss: float | None = None
    """Mean over validation sequences; None if not finite."""
    values: dict[str, float | None]
    """Mean over validation sequences, a metric; None if not finite."""


class Latency(Frozen):
    """Of one sequence alone, while other runs may share the machine."""

    sequence_ms: float
    """To read a whole sequence and answer, in milliseconds."""
    step_us: float
    """To take one further step from a state, in microseconds."""


class Outcome(Frozen):
    """What training gave."""

    label: str
    """The model and what differs from its defaults: `lstm num_layers=2`."""
    task_label: str
    """The task and what differs from its defaults, `length` aside: `pixel_mnist side=7`."""
    num_parameters: int
    receptive_field: int | None
    """None: without end."""
    num_steps: int
    """Steps of a sequence."""
    solved_at: float | None
    """The score that counted as solved in this run; None: the task has no horizon."""
    metrics: tuple[MetricInfo, ...]
    """The score first."""
    curve: tuple[CurvePoint, ...]
    stopped: Literal["solved", "budget", "diverged"]
    steps: int
    """Updates done."""
    best_step: int
    """Updates behind the weights that validated best, which the test was run with."""
    test: dict[str, float | None]
    """Mean over test sequences, a metric; None if not finite."""
    num_test: int
    train_seconds: float
    total_seconds: float
    peak_memory_bytes: int | None
    """Allocated on the GPU; None on a CPU."""
    latency: Latency | None = None
    """None in records made without it."""

    @property
    def score(self) -> MetricInfo:
        return self.metrics[0]

    @property
    def test_score(self) -> float:
        """The score on the test stream; chance where it is not finite."""
        value = self.test[self.score.name]
        return self.score.chance if value is None else value

    @property
    def solved(self) -> bool | None:
        return None if self.solved_at is None else self.test_score >= self.solved_at


class Record(Frozen):
    """What one spec produced on one backend."""

    schema_version: Literal[1] = SCHEMA
    spec: Spec
    backend: Backend
    machine: Machine
    status: Literal["ok", "diverged", "failed", "skipped"]
    error: str | None = None
    """Why it failed or was skipped, or how it diverged."""
    outcome: Outcome | None = None
    """There unless it failed or was skipped."""
    created: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    """UTC."""

    @property
    def finished(self) -> bool:
        """Whether a bench need not run it again."""
        return self.status in ("ok", "diverged")


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file among the records that is not one."""

    path: Path
    reason: str


class Store:
    """The records below a results folder."""

    def __init__(self, root: Path) -> None:
        self.runs = root / "runs"
        self.aside = root / "set-aside"

    def path(self, spec: Spec, backend: Backend) -> Path:
        """Where the record of a spec lies: `runs/BACKEND/TASK/MODEL-T50-s0-ID.json`."""
        name = f"{spec.model.name}-T{spec.length}-s{spec.seed}-{spec.id}.json"
        return self.runs / backend.name / spec.task.name / name

    def write(self, record: Record) -> Path:
        """Synced under a unique temporary name, then renamed: a reader meets it whole."""
        path = self.path(record.spec, record.backend)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(record.model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return path

    def read(self, path: Path) -> Record | Damaged:
        """The record in a file, validated, or why it is none."""
        try:
            record = Record.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"]))
            return Damaged(path=path, reason=f"{place}: {first['msg']}" if place else first["msg"])
        except OSError as error:
            return Damaged(path=path, reason=error.strerror or str(error))
        if path != self.path(record.spec, record.backend):
            return Damaged(path=path, reason="its name or folder does not fit what it holds")
        return record

    def _paths(self) -> Iterator[Path]:
        yield from sorted(self.runs.rglob("*.json"))

    def read_all(self) -> tuple[list[Record], list[Damaged]]:
        """Every record, and every file that is none."""
        records, damaged = [], []
        for path in self._paths():
            found = self.read(path)
            (damaged if isinstance(found, Damaged) else records).append(found)
        return records, damaged

    def set_aside(self, damaged: Damaged) -> Path:
        """Move a file that is no record out of the way; nothing is deleted."""
        self.aside.mkdir(parents=True, exist_ok=True)
        target = self.aside / f"{damaged.path.name}.{secrets.token_hex(4)}"
        os.replace(damaged.path, target)
        return target
