"""What every task is: a frozen dataclass of difficulty knobs that draws batches and scores answers.

Shape letters: B sequences, T steps (`signature.num_steps`), I inputs, O outputs.
"""

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tasks._media import Media

Split = Literal["train", "validation", "test"]

IGNORE = -100
"""Class id of a target that is neither trained nor scored (PyTorch's `ignore_index`)."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a network must accept and return for a task; plain values only."""

    input: Literal["token", "real"]
    """`token`: x is (B, T) int64 ids below `num_inputs`; `real`: (B, T, num_inputs) floats."""
    num_inputs: int
    num_outputs: int
    per: Literal["step", "sequence"]
    """Whether an answer is read at every step or once, at the last step."""
    num_steps: int
    reach: int
    """How many of the last inputs an answer may need; what a receptive field must cover."""
    grid: tuple[int, int] | None = None
    """Height and width of the image whose pixels the steps are, row by row; None: no image."""
    num_conditions: int = 0
    """Classes, or features a step, that a sequence is conditioned on; 0: none."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences and their answers.

    `x` is (B, T) int64 or (B, T, num_inputs) float32. `y` is (B, T) or (B,) class ids, or
    (B, num_outputs) floats, as the task's objective expects it. `lengths`, (B,) int64 from 1 to T,
    says where sequences of different lengths end; the steps after that are padding, and their
    class ids in `y` are IGNORE. None: all are T steps long.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None
    condition: Tensor | None = None
    """(B,) int64 class ids below `num_conditions`, or (B, T, num_conditions) floats, a row a step
    (local conditioning)."""

    def to(self, device: torch.device | str) -> "Batch":
        lengths = None if self.lengths is None else self.lengths.to(device)
        condition = None if self.condition is None else self.condition.to(device)
        return Batch(x=self.x.to(device), y=self.y.to(device), lengths=lengths, condition=condition)

    def part(self, start: int, stop: int) -> "Batch":
        """Sequences `start` up to but not including `stop`."""
        lengths = None if self.lengths is None else self.lengths[start:stop]
        condition = None if self.condition is None else self.condition[start:stop]
        return Batch(
            x=self.x[start:stop], y=self.y[start:stop], lengths=lengths, condition=condition
        )

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit computed per sequence: `values(output, batch)` is (B,) float32.

    `output` is (B, T, num_outputs), or (B, 1, num_outputs) where answers are read once a sequence.
    """

    name: str
    unit: str
    """That of a share in [0, 1] begins with `share of`."""
    higher_is_better: bool
    chance: float
    """Expected value for the best predictor that remembers nothing."""
    values: Callable[[Tensor, Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss to train on (a scalar), the score that models are compared by, further metrics."""

    loss: Callable[[Tensor, Batch], Tensor]
    score: Metric
    metrics: tuple[Metric, ...] = ()

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        return (self.score, *self.metrics)


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A family of sequences. Fields are difficulty knobs; the name is the file's name.

    A subclass checks its fields in `__post_init__` and raises `ValueError` naming the bad value
    and the valid ones.
    """

    length: int
    """T, the dependency length in steps: the x axis of every curve."""

    version: ClassVar[int]
    """Raised whenever the data change; part of every spec's id."""
    smallest: ClassVar[dict[str, Any]]
    """Fields of an instance small enough for a test and for the smoke profile."""
    lengths: ClassVar[tuple[int, ...]]
    """What a profile runs that does not list this task."""
    num_evaluation: ClassVar[int] = 2_000
    """Sequences in the validation stream and in the test stream, where these are not finite."""

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
        """The score that counts as solved, from above where lower is better; None: no horizon."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        """Draw `n` sequences on `generator.device`, with no randomness but the generator's."""

    def beyond(self) -> "tuple[Task, ...]":
        """The same at other lengths, which a network trained on this one is tested at as well."""
        return ()

    def baselines(self) -> dict[str, float]:
        """Name → score of a predictor that needs no network, on the test stream of seed 0."""
        return {}

    def shown(self, y: Tensor) -> Media | None:
        """What ids (B, T) look, sound or read like; None where ids are all there is to see."""
        return None

    def prompt(self, text: str) -> Tensor:
        """Ids (P,) of the beginning that a person names; `ValueError` says what is valid."""
        raise ValueError(f"{self.task_name()} takes no prompt")

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Of the classes that a sequence may be conditioned on, by id."""
        return ()

    def prepare(self) -> None:  # noqa: B027  most tasks need no files
        """Fetch and check what the task reads from disk; raises `tasks.DataUnavailable`."""

    @property
    def sources(self) -> str:
        """What `prepare` reads: of tasks that name the same, one is prepared."""
        return self.task_name()

    @property
    def note(self) -> str:
        """What every label says of the data beside the task's name; empty where it says enough."""
        return ""

    @property
    def chance(self) -> float:
        """Score of the best predictor that remembers nothing."""
        return self.objective.score.chance

    @property
    def fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def generator(
        self, split: Split, seed: int, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """The one source of the data of a split: seeded by task, fields, version, split, seed."""
        identity = json.dumps(
            [self.task_name(), self.fields, self.version, split, seed], sort_keys=True
        )
        digest = hashlib.sha256(identity.encode()).digest()
        generator = torch.Generator(device)
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return generator

    def evaluation(self, split: Split, seed: int, batch_size: int) -> Iterator[Batch]:
        """The validation or test sequences, each once, on the CPU: the same on every device.

        The sequences do not depend on `batch_size`.
        """
        generator = self.generator(split, seed)
        # Always the same blocks are drawn, then cut: a draw's values depend on its shape.
        block = self.sample(self.num_evaluation, generator, split)
        for start in range(0, self.num_evaluation, batch_size):
            yield block.part(start, start + batch_size)
