"""One training run with every default resolved: the whole scientific question, and its id."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

PROTOCOL = 1
"""Raised whenever the training loop gives other numbers for the same spec."""

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


class Spec(Frozen):
    """What is trained, how and from which seed."""

    task: Part
    model: Part
    param_budget: int | None
    """Parameters asked for; None where the width was given."""
    width: int
    extra_width: int
    training: Training
    seed: int
    protocol: int = PROTOCOL
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

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """For people: `tcn on copy_memory, T=50, seed 0`."""
        return f"{self.model.name} on {self.task.name}, T={self.length}, seed {self.seed}"
