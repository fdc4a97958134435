"""One training run with every default resolved: the whole scientific question, and its id."""

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

PROTOCOL = 1
"""Raised whenever the training loop gives other numbers for the same spec."""
SPEED_PROTOCOL = 1
"""Raised whenever something else is timed for the same spec, or something faster."""

Positive = Annotated[int, Field(ge=1, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer that fits a 64-bit column of a table."""


class Frozen(BaseModel):
    """Immutable, strict about keys, and of numbers that JSON has: neither NaN nor Inf."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Training(Frozen):
    """How a network is trained."""

    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    cooldown: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Last share of the budget, in which the rate falls in a line towards zero; 0: never."""
    clip_norm: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        BeforeValidator(lambda value: None if value == "none" else value),
    ] = 1.0
    """Largest norm of the gradient over all parameters; None (`"none"` in TOML): not clipped."""
    batch_size: Positive = 32
    max_steps: Positive
    """The budget, in updates."""
    validate_every: Positive = 100
    num_validation: Positive = 500
    """Sequences of the validation stream read each time."""
    stop_when_solved: bool = True
    """Stop once the validation score has clearly passed `solved` twice: by its Wilson bound where
    it is a share, else by two standard errors."""


def _survive_json(fields: dict[str, Any]) -> dict[str, Any]:
    # What comes back otherwise, or in another order, would have another id each time.
    for name, value in fields.items():
        if not _is_plain(value):
            raise ValueError(f"field {name} holds what JSON has not, or a number beyond 64 bits")
    return fields


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(key) for key in value) and all(
            map(_is_plain, value.values())
        )
    return isinstance(value, list | tuple) and all(map(_is_plain, value))


Fields = Annotated[dict[str, Any], AfterValidator(_survive_json)]
"""Of a task or a model, by name."""


class Part(Frozen):
    """A task or a model: its name, every field and its version."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
    fields: Fields
    version: Count


class Subject(Frozen):
    """A network and the task it is sized for: what is trained, or timed."""

    task: Part
    model: Part
    param_budget: Positive | None
    """Parameters asked for; None where the width was given."""
    width: Positive
    extra_width: Count
    plugin_sha256: dict[str, str] = {}
    """SHA-256 of the file that defines the task or model, where it is a plug-in."""

    @field_validator("task")
    @classmethod
    def _has_length(cls, task: Part) -> Part:
        if type(task.fields.get("length")) is not int:
            raise ValueError("a task's fields hold its length, a whole number")
        return task

    @property
    def length(self) -> int:
        return self.task.fields["length"]

    @cached_property
    def network(self) -> str:
        """The same for whatever is done with the same network on the same task."""
        content = {field: getattr(self, field) for field in Subject.model_fields}
        return _digest(Subject.model_construct(**content))

    @cached_property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return _digest(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what has been computed of the original is computed anew."""
        copied = super().model_copy(update=update, deep=deep)
        for computed in ("network", "id"):
            vars(copied).pop(computed, None)
        return copied


def _digest(content: Frozen) -> str:
    canonical = json.dumps(content.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class Spec(Subject):
    """What is trained, how and from which seed."""

    training: Training
    seed: Count
    protocol: Count = PROTOCOL

    @property
    def name(self) -> str:
        """For people: `tcn on copy_memory, T=50, seed 0`."""
        return f"{self.model.name} on {self.task.name}, T={self.length}, seed {self.seed}"

    @property
    def place(self) -> str:
        """Folder and name of its record, without the id: `copy_memory/tcn-T50-s0`."""
        return f"{self.task.name}/{self.model.name}-T{self.length}-s{self.seed}"


Measure = Literal["train", "forward", "step", "sample"]


class SpeedSpec(Subject):
    """What is timed, and how many sequences at once."""

    batch_size: Positive
    measures: tuple[Measure, ...]
    """`train`: a training step; `forward`: a whole sequence at once; `step`: streaming; `sample`:
    sequences drawn from a network that predicts its own next input."""
    protocol: Count = SPEED_PROTOCOL

    @property
    def name(self) -> str:
        """For people: `tcn on copy_memory, T=50, batch 64`."""
        return f"{self.model.name} on {self.task.name}, T={self.length}, batch {self.batch_size}"

    @property
    def place(self) -> str:
        """Folder and name of its record, without the id: `copy_memory/tcn-T50-b64`."""
        return f"{self.task.name}/{self.model.name}-T{self.length}-b{self.batch_size}"


class Named(Frozen):
    name: str
    fields: Fields = {}


class Sized(Named):
    width: int


class Yardstick(Frozen):
    """One comparison."""

    name: str = Field(pattern=r"^[A-Za-z0-9_ ,=.]{1,100}$")
    kind: str
    what: str
    at_least: float | None = None
    """Aim of the ratio, theirs over ours."""
    at_most: float | None = None
    task: Named
    model: Sized
    rival: str | None = None
    """A model of ours of as many parameters, timed as well."""

    @model_validator(mode="after")
    def _has_an_aim(self) -> "Yardstick":
        if self.at_least is None and self.at_most is None:
            raise ValueError("at_least or at_most is wanted")
        return self

    def met(self, ratio: float) -> bool:
        low = self.at_least is None or ratio >= self.at_least
        return low and (self.at_most is None or ratio <= self.at_most)
