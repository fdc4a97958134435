"""The interface of a task: a frozen dataclass of difficulty knobs that draws and scores batches.

Shape letters: B sequences, T steps (`signature.num_steps`), I inputs, O outputs.
"""

import dataclasses
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tasks._media import Media

Split = Literal["train", "validation", "test"]
Kind = Literal["fixed-lag", "varying-places", "recall", "accumulation", "state-tracking", "local"]
KINDS: dict[Kind, str] = {
    "fixed-lag": "the answer depends on inputs at a fixed distance",
    "varying-places": "a few inputs matter, at places that differ from sequence to sequence",
    "recall": "an input names what has to be found again, such as a key",
    "accumulation": "the answer sums up evidence from several inputs",
    "state-tracking": "every input changes a state, and the answer is the state",
    "local": "the next input is predicted, mostly from the last ones: texture, text, sound",
}
"""Kind of problem → what it means. `python -m bench choose` looks for tasks of a kind."""

IGNORE = -100
"""Class id of a target that is neither trained nor scored (PyTorch's `ignore_index`)."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The inputs and outputs of a network for a task, in plain values."""

    input: Literal["token", "real"]
    """`token`: x is (B, T) int64 ids below `num_inputs`. `real`: x is (B, T, num_inputs) floats."""
    num_inputs: int
    num_outputs: int
    per: Literal["step", "sequence"]
    """Whether the output is read at every step, or only at the last step of the sequence."""
    num_steps: int
    reach: int
    """Number of last inputs that an answer may depend on: a receptive field has to cover them."""
    grid: tuple[int, int] | None = None
    """Height and width, where the steps are the pixels of an image row by row; None: no image."""
    num_conditions: int = 0
    """Number of classes, or of features per step, that condition a sequence; 0: unconditional."""

    def __post_init__(self) -> None:
        for name, valid in (("input", ("token", "real")), ("per", ("step", "sequence"))):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name}={getattr(self, name)!r}; valid: {' or '.join(valid)}")
        for name in ("num_inputs", "num_outputs", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; valid: 1 or more")
        if self.num_conditions < 0:
            raise ValueError(f"num_conditions={self.num_conditions}; valid: 0 or more")
        if self.grid is not None and self.grid[0] * self.grid[1] != self.num_steps:
            raise ValueError(f"grid={self.grid}; valid: {self.num_steps} pixels, one per step")
        if not 1 <= self.reach <= self.num_steps:
            raise ValueError(
                f"reach={self.reach}; valid: from 1 to the number of steps, {self.num_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences and their targets.

    `x` is (B, T) int64 or (B, T, num_inputs) float32. `y` is (B, T) or (B,) class ids, or
    (B, num_outputs) floats, as the task's objective expects it. `lengths` is (B,) int64 from 1 to T
    where sequences differ in length: later steps are padding, and their class ids in `y` are
    IGNORE. It is None where all sequences are T steps long.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None
    condition: Tensor | None = None
    """(B,) int64 class ids below `num_conditions`, or (B, T, num_conditions) floats that condition
    each step (local conditioning)."""

    def to(self, device: torch.device | str) -> "Batch":
        lengths = None if self.lengths is None else self.lengths.to(device)
        condition = None if self.condition is None else self.condition.to(device)
        return Batch(x=self.x.to(device), y=self.y.to(device), lengths=lengths, condition=condition)

    def part(self, start: int, stop: int) -> "Batch":
        """The sequences from `start` up to, but not including, `stop`."""
        lengths = None if self.lengths is None else self.lengths[start:stop]
        condition = None if self.condition is None else self.condition[start:stop]
        return Batch(
            x=self.x[start:stop], y=self.y[start:stop], lengths=lengths, condition=condition
        )

    def rows(self, index: Tensor) -> "Batch":
        """The sequences at these places, (N,) int64."""
        lengths = None if self.lengths is None else self.lengths[index]
        condition = None if self.condition is None else self.condition[index]
        return Batch(x=self.x[index], y=self.y[index], lengths=lengths, condition=condition)

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure of quality with one value per sequence: `values(output, batch)` is (B,) float32.

    `output` is (B, T, num_outputs), or (B, 1, num_outputs) where it is read once per sequence.
    """

    name: str
    unit: str
    """The unit of a share, from 0 to 1, starts with `share of`. Any other unit is valid too."""
    higher_is_better: bool
    chance: float
    """Expected value of the best predictor without memory."""
    values: Callable[[Tensor, Batch], Tensor]

    def __post_init__(self) -> None:
        if not math.isfinite(self.chance):
            raise ValueError(f"chance={self.chance} of {self.name}; valid: a finite number")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss for training (a scalar), the score that compares models, and further metrics."""

    loss: Callable[[Tensor, Batch], Tensor]
    score: Metric
    metrics: tuple[Metric, ...] = ()

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        return (self.score, *self.metrics)


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A distribution of sequences with targets. Its fields are difficulty knobs.

    The name of a task is the name of its file. A subclass checks its fields in `__post_init__` and
    raises a `ValueError` that names the bad value and the valid ones.
    """

    length: int
    """T, the dependency length in steps: the x axis of every curve."""

    version: ClassVar[int]
    """Version of the data, raised whenever these change; part of the id of every run."""
    smallest: ClassVar[dict[str, Any]]
    """Fields of an instance that is small enough for tests and for the smoke profile."""
    lengths: ClassVar[tuple[int, ...]]
    """Lengths for a profile that does not list this task."""
    named: ClassVar[tuple[str, ...]] = ()
    """Fields that tables and figures always show after the name, also with their default value."""
    kind: ClassVar[Kind | None] = None
    """The kind of problem that the task stands for; None: no choice of a model is based on it."""
    num_evaluation: ClassVar[int] = 2_000
    """Number of validation sequences, and of test sequences, where they are drawn at random."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind is not None and cls.kind not in KINDS:
            raise ValueError(f"{cls.__name__}.kind is {cls.kind!r}; valid: {', '.join(KINDS)}")

    @classmethod
    def task_name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @property
    @abstractmethod
    def signature(self) -> Signature: ...

    @property
    @abstractmethod
    def objective(self) -> Objective: ...

    @property
    @abstractmethod
    def solved(self) -> float | None:
        """The score at which the task counts as solved; None: it has no horizon."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        """Draw `n` sequences on `generator.device`; all randomness comes from the generator."""

    def beyond(self) -> "tuple[Task, ...]":
        """The same task at other lengths, on which a network trained on this one is tested too."""
        return ()

    def baselines(self) -> dict[str, float]:
        """Scores of predictors that need no network, by name, on the test stream of seed 0."""
        return {}

    def shown(self, y: Tensor) -> Media | None:
        """The pictures, sounds or texts that the ids (B, T) stand for; None: they are just ids."""
        return None

    def prompt(self, text: str) -> Tensor:
        """Ids (P,) of the prompt that `text` names; `ValueError` says what is valid."""
        raise ValueError(f"{self.task_name()} takes no prompt")

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Names of the classes that condition a sequence, by id."""
        return ()

    def prepare(self) -> None:  # noqa: B027  most tasks need no files
        """Fetch and check the files that the task reads; raises `tasks.DataUnavailable`."""

    @property
    def sources(self) -> str:
        """A key of the files that `prepare` reads: one of all tasks with this key is prepared."""
        return self.task_name()

    @property
    def length_is(self) -> str:
        """What T is, in steps, for the axis of figures."""
        return "dependency length T"

    @property
    def needed_memory(self) -> int:
        """Number of last inputs that every network needs to solve the task; 0: neighbours suffice.

        It is smaller than `length` if later inputs are enough for the threshold, or if the targets
        teach the task one step at a time. Such a network learns from neighbouring steps and keeps a
        state over `length` steps; it never has to learn from an input that lies far back.
        """
        return self.length

    @property
    def note(self) -> str:
        """A remark on the data that labels show after the task's name; empty: none."""
        return ""

    @property
    def chance(self) -> float:
        """Score of the best predictor without memory."""
        return self.objective.score.chance

    @property
    def fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def generator(
        self, split: Split, seed: int, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """The generator for a split's data, seeded by task, fields, version, split and seed."""
        identity = json.dumps(
            [self.task_name(), self.fields, self.version, split, seed], sort_keys=True
        )
        digest = hashlib.sha256(identity.encode()).digest()
        generator = torch.Generator(device)
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return generator

    def evaluation(self, split: Split, seed: int, batch_size: int) -> Iterator[Batch]:
        """The validation or test sequences, each once, on the CPU.

        They depend neither on the device of the training nor on `batch_size`.
        """
        generator = self.generator(split, seed)
        # The values of a draw depend on its shape, so all are drawn at once and then cut.
        block = self.sample(self.num_evaluation, generator, split)
        for start in range(0, self.num_evaluation, batch_size):
            yield block.part(start, start + batch_size)
