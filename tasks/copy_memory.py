"""Copy memory: repeat a short message after a long silence.

    x   3 1 4 … 0 0 … 0 9 9 9 …      T = `length`; a symbol is recalled T + 10 steps later
    y   0 0 0 … 0 0 … 0 0 3 1 …      scored on the last 10 steps only

Ids: 0 is the blank, 1 to 8 are the symbols, 9 is the go signal. The input has 10 symbols, T − 1
blanks and the go signal 11 times, T + 20 steps in all. The first go signal announces the answer;
the other ten accompany it.

Source: Hochreiter & Schmidhuber 1997, in the layout of Bai, Kolter & Koltun 2018
(arXiv:1803.01271, section 4.1 and released code).

Departures: tokens enter one-hot instead of as a scalar. The score is the accuracy over the ten
recalled symbols, since an average over all positions is 99% at T = 1000 for a model without memory.
The cross-entropy over all positions, which the literature reports, is a further metric.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks._contract import Batch, Metric, Objective, Signature, Split, Task

NUM_SYMBOLS = 10
ALPHABET = 8
BLANK, GO = 0, 9


def cross_entropy(output: Tensor, batch: Batch) -> Tensor:
    """Mean over all T + 20 positions, in nats: (B,)."""
    return F.cross_entropy(output.transpose(1, 2), batch.y, reduction="none").mean(1)


def _recalled(output: Tensor, batch: Batch) -> Tensor:
    """Whether each of the ten symbols is right: (B, 10) bool."""
    return output[:, -NUM_SYMBOLS:].argmax(-1) == batch.y[:, -NUM_SYMBOLS:]


@dataclass(frozen=True, kw_only=True)
class CopyMemory(Task):
    """x, y: (B, length + 20) int64 ids; output: (B, length + 20, 10) logits over ids.

    The score is the share of the ten symbols that is recalled. Chance is 1/8; the task is solved
    at 0.95.
    """

    version = 1
    kind = "fixed-lag"
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (5, 20, 100)

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length {self.length} of copy_memory; valid: 1 or more")

    @property
    def signature(self) -> Signature:
        return Signature(
            input="token",
            num_inputs=ALPHABET + 2,
            num_outputs=ALPHABET + 2,
            per="step",
            num_steps=self.length + 2 * NUM_SYMBOLS,
            reach=self.length + NUM_SYMBOLS + 1,  # from a symbol to its repetition
        )

    @property
    def solved(self) -> float:
        return 0.95

    @property
    def objective(self) -> Objective:
        # Without memory, blanks are certain and symbols random: 10·ln 8 nats over T + 20 steps.
        memoryless = NUM_SYMBOLS * math.log(ALPHABET) / self.signature.num_steps
        return Objective(
            loss=lambda output, batch: cross_entropy(output, batch).mean(),
            score=Metric(
                name="recall",
                unit="share of symbols",
                higher_is_better=True,
                chance=1 / ALPHABET,
                values=lambda output, batch: _recalled(output, batch).float().mean(1),
            ),
            metrics=(
                Metric(
                    name="faultless",
                    unit="share of sequences",
                    higher_is_better=True,
                    chance=ALPHABET**-NUM_SYMBOLS,
                    values=lambda output, batch: _recalled(output, batch).all(1).float(),
                ),
                Metric(
                    name="cross_entropy",
                    unit="nats per step",
                    higher_is_better=False,
                    chance=memoryless,
                    values=cross_entropy,
                ),
            ),
        )

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        message = torch.randint(
            1, ALPHABET + 1, (n, NUM_SYMBOLS), generator=generator, device=device
        )
        x = torch.full((n, self.signature.num_steps), BLANK, device=device)
        x[:, :NUM_SYMBOLS] = message
        x[:, self.length + NUM_SYMBOLS - 1 :] = GO
        y = torch.full_like(x, BLANK)
        y[:, -NUM_SYMBOLS:] = message
        return Batch(x=x, y=y)
