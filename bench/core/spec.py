"""The specs of runs: everything that determines a result, with every default resolved."""

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

PROTOCOL = 2
"""Version of the training loop. It is raised when the same spec would give other numbers."""
SPEED_PROTOCOL = 2
"""Version of the timings. It is raised when what is timed changes, or becomes faster."""

Positive = Annotated[int, Field(ge=1, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer that fits a 64-bit column of a table."""


class Frozen(BaseModel):
    """Base of all specs and records: immutable, no unknown keys, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Training(Frozen):
    """How a network is trained."""

    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    cooldown: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Fraction of the updates, at the end, in which the rate falls linearly towards 0; 0: never."""
    clip_norm: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        BeforeValidator(lambda value: None if value == "none" else value),
    ] = 1.0
    """Largest norm of the whole gradient. None (`"none"` in TOML): the gradient is not clipped."""
    batch_size: Positive = 32
    max_steps: Positive
    """Largest number of updates."""
    validate_every: Positive = 100
    num_validation: Positive = 500
    """Number of sequences in each validation."""
    stop_when_solved: bool = True
    """Whether to stop once two validation scores clearly pass the task's `solved`: by their Wilson
    bound if they are shares, otherwise by two standard errors."""


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    # If JSON changed a value, the spec would have another id after it is read back.
    for name, value in fields.items():
        if not _is_plain(value):
            raise ValueError(f"field {name} holds a value that JSON does not keep as it is")
    return fields


def _is_plain(value: object) -> bool:
    """Whether JSON keeps the value: no NaN, no lone surrogates, and integers of 64 bits."""
    match value:
        case str():
            return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
        case bool() | None:
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case dict():
            plain = all(isinstance(key, str) and _is_plain(key) for key in value)
            return plain and all(map(_is_plain, value.values()))
        case list() | tuple():
            return all(map(_is_plain, value))
    return False


Fields = Annotated[dict[str, Any], AfterValidator(_checked)]
"""The fields of a task or a model, by name."""


class Part(Frozen):
    """A task or a model: its name, every field and its version."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
    fields: Fields
    version: Count


class Subject(Frozen):
    """A network and the task that it is sized for."""

    task: Part
    model: Part
    param_budget: Positive | None
    """Number of parameters asked for. None if the width was given instead."""
    width: Positive
    extra_width: Count
    plugin_sha256: dict[str, str] = {}
    """Name of each plug-in file that defines the task or the model → the SHA-256 of the file."""

    @field_validator("task")
    @classmethod
    def _has_length(cls, task: Part) -> Part:
        if type(task.fields.get("length")) is not int:
            raise ValueError("the fields of a task must include its length, an integer")
        return task

    @property
    def length(self) -> int:
        return self.task.fields["length"]

    @cached_property
    def network(self) -> str:
        """An id of the network and task alone, shared by all specs with the same ones."""
        content = {field: getattr(self, field) for field in Subject.model_fields}
        return _digest(Subject.model_construct(**content))

    @cached_property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return _digest(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As in pydantic, but without the original's cached ids."""
        copied = super().model_copy(update=update, deep=deep)
        for computed in ("network", "id"):
            vars(copied).pop(computed, None)
        return copied


def _digest(content: Frozen) -> str:
    dumped = content.model_dump(mode="json")
    if isinstance(content, SpeedSpec) and content.protocol == 1:
        del dumped["implementation"]  # the ids of old records were made without this field
    canonical = json.dumps(dumped, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class Spec(Subject):
    """One training run."""

    training: Training
    seed: Count
    protocol: Count = PROTOCOL

    @property
    def name(self) -> str:
        """For display: `tcn on copy_memory, T=50, seed 0`."""
        return f"{self.model.name} on {self.task.name}, T={self.length}, seed {self.seed}"

    @property
    def place(self) -> str:
        """Folder and file name of the record, without the id: `copy_memory/tcn-T50-s0`."""
        return f"{self.task.name}/{self.model.name}-T{self.length}-s{self.seed}"


Measure = Literal["train", "forward", "step", "sample"]
Implementation = Literal["fastest", "stock"]


class SpeedSpec(Subject):
    """One timing of a network."""

    batch_size: Positive
    """Number of sequences that are processed at once."""
    measures: tuple[Measure, ...]
    """`train`: a training step. `forward`: whole sequences in one call. `step`: one step at a
    time. `sample`: drawing sequences from a network that predicts its own next input."""
    implementation: Implementation = "fastest"
    """`fastest`: the compiled kernels of this project where they apply. `stock`: PyTorch's own
    layers, and the textbook's network for a TCN."""
    protocol: Count = SPEED_PROTOCOL

    @property
    def name(self) -> str:
        """For display: `tcn on copy_memory, T=50, batch 64`."""
        return f"{self.model.name} on {self.task.name}, T={self.length}, batch {self.batch_size}"

    @property
    def place(self) -> str:
        """Folder and file name of the record, without the id: `copy_memory/tcn-T50-b64`."""
        return f"{self.task.name}/{self.model.name}-T{self.length}-b{self.batch_size}"


class Named(Frozen):
    """A task or a model of a yardstick, with the fields that differ from their defaults."""

    name: str
    fields: Fields = {}


class Sized(Named):
    width: int


class Yardstick(Frozen):
    """One comparison of a network of ours with another implementation."""

    name: str = Field(pattern=r"^[A-Za-z0-9_ ,=.]{1,100}$")
    kind: str
    """Kind of the comparison, which decides what is measured."""
    what: str
    """Description for readers."""
    at_least: float | None = None
    """`at_least` and `at_most` bound the target ratio: the other side's time over ours."""
    at_most: float | None = None
    task: Named
    model: Sized
    batch_size: Positive = 32
    """Number of sequences of a training step."""
    rival: str | None = None
    """Another model of ours with the same number of parameters, which is timed as well."""

    @model_validator(mode="after")
    def _has_an_aim(self) -> "Yardstick":
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self

    def met(self, ratio: float) -> bool:
        low = self.at_least is None or ratio >= self.at_least
        return low and (self.at_most is None or ratio <= self.at_most)
