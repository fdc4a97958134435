"""Likelihood of sequences of ids: the part that the generation tasks share.

    y   y_1 y_2 y_3 …      ids below K
    x    K  y_1 y_2 …      the start token K, then the ids one step late

The output at step t gives p(y_t | y_<t).

Shape letters: B sequences, T steps, K levels.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks._contract import Batch, Metric, Objective, Signature, Task

NUM_COUNTED = 2**20
"""Least number of training steps that baselines are fitted to."""
FEWEST_COUNTED = 500
"""Least number of training sequences for the same."""


def one_step_late(y_BT: Tensor, num_levels: int) -> Tensor:
    """The input of a network that predicts `y_BT`: the start token, then all ids but the last."""
    return F.pad(y_BT[:, :-1], (1, 0), value=num_levels)


def pair_counts(batches: Iterable[Batch], num_levels: int, num_scored: int) -> Tensor:
    """Counts of the pairs (x_t, y_t) in the last steps: (K + 1, K) doubles, row K for the start."""
    counts = torch.zeros((num_levels + 1) * num_levels, dtype=torch.long)
    for batch in batches:
        pairs = batch.x[:, -num_scored:] * num_levels + batch.y[:, -num_scored:]
        counts += torch.bincount(pairs.flatten(), minlength=len(counts))
    return counts.view(num_levels + 1, num_levels).double()


def bits_of_simple_predictors(train: Tensor, test: Tensor) -> dict[str, float]:
    """Bits per step on `test` of predictors fitted to `train`; both are results of `pair_counts`.

    `uniform` gives every id the same probability. `unigram` counts each id, plus one. `markov-1`
    counts the ids that follow each id, plus one in total that is shared as in `unigram`.
    """
    num_levels = test.shape[1]
    seen = train.sum(0) + 1
    unigram = seen / seen.sum()
    markov = (train + unigram) / (train.sum(1, keepdim=True) + 1)
    total = test.sum()
    return {
        "uniform": math.log2(num_levels),
        "unigram": -float((test * unigram.log2()).sum() / total),
        "markov-1": -float((test * markov.log2()).sum() / total),
    }


@dataclass(frozen=True, kw_only=True)
class LikelihoodTask(Task):
    """A generation task scored in bits per step; chance is the score of the `unigram` baseline."""

    @property
    @abstractmethod
    def num_levels(self) -> int:
        """K, the number of ids; the id K is the start token."""

    @property
    def num_steps(self) -> int:
        return self.length

    @property
    def num_scored(self) -> int:
        """Number of steps, at the end of a sequence, that are trained and scored."""
        return self.num_steps

    @property
    def num_conditions(self) -> int:
        return 0

    @property
    def grid(self) -> tuple[int, int] | None:
        return None

    @property
    def signature(self) -> Signature:
        return Signature(
            input="token",
            num_inputs=self.num_levels + 1,
            num_outputs=self.num_levels,
            per="step",
            num_steps=self.num_steps,
            reach=self.length,
            grid=self.grid,
            num_conditions=self.num_conditions,
        )

    @property
    def solved(self) -> float | None:
        return None

    @property
    def objective(self) -> Objective:
        bits = Metric(
            name="bits_per_dim",
            unit="bits",
            higher_is_better=False,
            chance=baselines_of(self)["unigram"],
            values=lambda output, batch: self.nats(output, batch).mean(1) / math.log(2),
        )
        total = Metric(
            name="nats",
            unit="nats per sequence",
            higher_is_better=False,
            chance=bits.chance * math.log(2) * self.num_scored,
            values=lambda output, batch: self.nats(output, batch).sum(1),
        )
        return Objective(
            loss=lambda output, batch: self.nats(output, batch).mean(),
            score=bits,
            metrics=(total,),
        )

    def nats(self, output: Tensor, batch: Batch) -> Tensor:
        """Negative log-likelihood of each scored step: (B, num_scored)."""
        y_BT, output_BTK = batch.y[:, -self.num_scored :], output[:, -self.num_scored :]
        each = F.cross_entropy(output_BTK.flatten(0, 1), y_BT.flatten(), reduction="none")
        return each.view_as(y_BT)

    def baselines(self) -> dict[str, float]:
        return dict(baselines_of(self))

    def batch_of(self, y_BT: Tensor, condition: Tensor | None = None) -> Batch:
        return Batch(x=one_step_late(y_BT, self.num_levels), y=y_BT, condition=condition)


@lru_cache(maxsize=16)
def baselines_of(task: LikelihoodTask) -> dict[str, float]:
    """Bits per step of `uniform`, `unigram` and `markov-1` on the test stream of seed 0."""
    train, test = (
        pair_counts(batches, task.num_levels, task.num_scored)
        for batches in (some_training(task), task.evaluation("test", 0, FEWEST_COUNTED))
    )
    return bits_of_simple_predictors(train, test)


def some_training(task: Task) -> Iterator[Batch]:
    """Sequences of the training stream of seed 0, with at least `NUM_COUNTED` steps in all."""
    generator = task.generator("train", 0)
    for _ in range(max(1, -(-NUM_COUNTED // (FEWEST_COUNTED * task.signature.num_steps)))):
        yield task.sample(FEWEST_COUNTED, generator)
