"""The adding problem: add the two marked numbers of a long list.

    values   .52 .11 .83 .94 .27 .65 …     uniform on [0, 1]
    marks     0   1   0   0   1   0  …     two of the T = `length` steps
    y        .11 + .27 = .38               read at the last step

Source: Hochreiter & Schmidhuber 1997, in the form of Bai, Kolter & Koltun 2018
(arXiv:1803.01271, section 4.1): the two marked steps are drawn anywhere, without replacement.

Departures: the score is the share of answers with an error below 0.04, the tolerance of Hochreiter
& Schmidhuber; the mean squared error, which the literature reports, is a further metric. With
`markers="halves"`, one step is marked in each half of the sequence, as in Arjovsky, Shah & Bengio
2016 (arXiv:1511.06464).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from tasks._adding import AddingProblem
from tasks._contract import Batch, Split


@dataclass(frozen=True, kw_only=True)
class Adding(AddingProblem):
    """x: (B, length, 2) values and marks; y: (B, 1) sums; output: (B, 1, 1).

    The score is the share of sequences with |error| < 0.04. Chance is 0.0784 and comes from always
    answering 1. The task is solved at 0.95.
    """

    version = 1
    smallest: ClassVar = {"length": 8}
    lengths: ClassVar = (20, 50, 200)

    markers: Literal["anywhere", "halves"] = "anywhere"
    """Where the two marked steps are: anywhere, or one in each half."""

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length {self.length} of adding; valid: 2 or more")
        if self.markers not in ("anywhere", "halves"):
            raise ValueError(f"markers {self.markers!r} of adding; valid: anywhere, halves")

    @property
    def length_is(self) -> str:
        anywhere = ", marks anywhere" if self.markers == "anywhere" else ""
        return f"sequence length T{anywhere}"

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        values_BT = torch.rand(n, self.length, generator=generator, device=device)
        draw_B2 = torch.rand(n, 2, generator=generator, device=device)
        if self.markers == "anywhere":
            first = (draw_B2[:, 0] * self.length).long()
            # One of the other T − 1 steps: skipping the first one keeps the two apart.
            second = (draw_B2[:, 1] * (self.length - 1)).long()
            second = second + (second >= first).long()
        else:
            half = self.length // 2
            first = (draw_B2[:, 0] * half).long()
            second = half + (draw_B2[:, 1] * (self.length - half)).long()
        positions_B2 = torch.stack([first, second], 1)
        marks_BT = torch.zeros_like(values_BT).scatter_(1, positions_B2, 1.0)
        y = values_BT.gather(1, positions_B2).sum(1, keepdim=True)
        return Batch(x=torch.stack([values_BT, marks_BT], -1), y=y)
