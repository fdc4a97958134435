"""The adding problem in sequences of different lengths: add the two marked numbers.

    values   .52 .11 .83 .94 .27  0   0  …     uniform on [0, 1], then padding
    marks     0   1   0   0   1   0   0  …     two of the sequence's own steps
    y        .11 + .27 = .38                   read at the sequence's own last step

Source: the adding problem of Hochreiter & Schmidhuber 1997, as in `adding`.

Departures: the number of steps is drawn for each sequence, uniformly from `shortest` to `length`.
A trained network is also tested, without further training, on sequences that all have 1, 2 or 4
times `length` steps. The score is that of `adding`.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch

from tasks._adding import AddingProblem
from tasks._contract import Batch, Split, Task

BEYOND = (1, 2, 4)
"""Lengths of the further tests, as multiples of `length`."""


@dataclass(frozen=True, kw_only=True)
class VariableAdding(AddingProblem):
    """x: (B, length, 2) values and marks, zero after a sequence's end; y: (B, 1) sums; output:
    (B, 1, 1), read at each sequence's last step. Score and threshold are those of `adding`.
    """

    version = 1
    smallest: ClassVar = {"length": 8}
    lengths: ClassVar = (50,)

    shortest: int = 2
    """Number of steps of the shortest sequence."""

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length {self.length} of variable_adding; valid: 2 or more")
        if not 2 <= self.shortest <= self.length:
            raise ValueError(
                f"shortest {self.shortest} of variable_adding; valid: 2 to length {self.length}"
            )

    def beyond(self) -> tuple[Task, ...]:
        lengths = [times * self.length for times in BEYOND]
        return tuple(dataclasses.replace(self, length=each, shortest=each) for each in lengths)

    @property
    def length_is(self) -> str:
        return "longest sequence T, marks anywhere"

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        values_BT = torch.rand(n, self.length, generator=generator, device=device)
        draw_B3 = torch.rand(n, 3, generator=generator, device=device)
        spread = self.length - self.shortest + 1
        lengths_B = self.shortest + (draw_B3[:, 0] * spread).long()
        first_B = (draw_B3[:, 1] * lengths_B).long()
        # One of the other steps: skipping the first one keeps the two apart.
        second_B = (draw_B3[:, 2] * (lengths_B - 1)).long()
        second_B = second_B + (second_B >= first_B).long()
        positions_B2 = torch.stack([first_B, second_B], 1)
        inside_BT = torch.arange(self.length, device=device) < lengths_B[:, None]
        marks_BT = torch.zeros_like(values_BT).scatter_(1, positions_B2, 1.0)
        y_B1 = values_BT.gather(1, positions_B2).sum(1, keepdim=True)
        return Batch(
            x=torch.stack([values_BT * inside_BT, marks_BT], -1), y=y_B1, lengths=lengths_B
        )
