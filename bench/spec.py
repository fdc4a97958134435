"""One training run with every default resolved: the whole scientific question, and its id."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

PROTOCOL = 1
"""Raised whenever the training loop gives other numbers for the same spec."""
SPEED_PROTOCOL = 1
"""Raised whenever something else is timed for the same spec, or something faster."""

Positive = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """Immutable, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    """Stop once the lower Wilson bound of the validation score has passed `solved` twice."""


class Part(Frozen):
    """A task or a model: its name, every field and its version."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
    fields: dict[str, Any]
    version: int


class Subject(Frozen):
    """A network and the task it is sized for: what is trained, or timed."""

    task: Part
    model: Part
    param_budget: int | None
    """Parameters asked for; None where the width was given."""
    width: int
    extra_width: int
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
    seed: int
    protocol: int = PROTOCOL

    @property
    def name(self) -> str:
        """For people: `tcn on copy_memory, T=50, seed 0`."""
        return f"{self.model.name} on {self.task.name}, T={self.length}, seed {self.seed}"

    @property
    def place(self) -> str:
        """Folder and name of its record, without the id: `copy_memory/tcn-T50-s0`."""
        return f"{self.task.name}/{self.model.name}-T{self.length}-s{self.seed}"


Measure = Literal["train", "forward", "step"]


class SpeedSpec(Subject):
    """What is timed, and how many sequences at once."""

    batch_size: Positive
    measures: tuple[Measure, ...]
    """`train`: a training step; `forward`: a whole sequence at once; `step`: streaming."""
    protocol: int = SPEED_PROTOCOL

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
    fields: dict[str, Any] = {}


class Sized(Named):
    width: int


class Yardstick(Frozen):
    """One comparison."""

    name: str = Field(pattern=r"^[\w ,=.]+$")
    kind: str
    what: str
    at_least: float | None = None
    """Aim of the ratio, theirs over ours."""
    at_most: float | None = None
    task: Named
    model: Sized
    rival: str | None = None
    """A model of ours of as many parameters, timed as well."""

    def met(self, ratio: float) -> bool:
        low = self.at_least is None or ratio >= self.at_least
        return low and (self.at_most is None or ratio <= self.at_most)
