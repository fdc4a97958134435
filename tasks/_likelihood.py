"""Likelihood of sequences of ids: what the generation tasks share.

    y   y_1 y_2 y_3 …      ids below K
    x    K  y_1 y_2 …      the ids one step late, after a start token: p(y_t | y_<t) is read at t

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
"""Steps of the training stream, at least, that baselines are fitted on."""
FEWEST_COUNTED = 500
"""Training sequences, at least."""


def one_step_late(y_BT: Tensor, num_levels: int) -> Tensor:
    """What a network reads to predict `y_BT`: the start token, then all ids but the last."""
    return F.pad(y_BT[:, :-1], (1, 0), value=num_levels)


def pair_counts(batches: Iterable[Batch], num_levels: int, num_scored: int) -> Tensor:
    """How often y_t follows x_t in the last steps: (K + 1, K) doubles, last after the start."""
    counts = torch.zeros((num_levels + 1) * num_levels, dtype=torch.long)
    for batch in batches:
        pairs = batch.x[:, -num_scored:] * num_levels + batch.y[:, -num_scored:]
        counts += torch.bincount(pairs.flatten(), minlength=len(counts))
    return counts.view(num_levels + 1, num_levels).double()


def bits_of_simple_predictors(train: Tensor, test: Tensor) -> dict[str, float]:
    """Bits a step on `test`, of predictors fitted on `train`; both as `pair_counts` gives them.

    `uniform`: every id alike. `unigram`: how often each was met, one more each. `markov-1`: after
    each id, how often the next was met, and one more spread as the unigram is.
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
    """A generation task scored in bits a step; chance is what a unigram has."""

    @property
    @abstractmethod
    def num_levels(self) -> int:
        """K: ids are below it, and it is the start token."""

    @property
    def num_steps(self) -> int:
        return self.length

    @property
    def num_scored(self) -> int:
        """How many steps, the last ones, are trained and scored."""
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
    def solved(self) -> None:
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
    """Bits a step of `uniform`, `unigram` and `markov-1` on the test stream of seed 0."""
    train, test = (
        pair_counts(batches, task.num_levels, task.num_scored)
        for batches in (some_training(task), task.evaluation("test", 0, FEWEST_COUNTED))
    )
    return bits_of_simple_predictors(train, test)


def some_training(task: Task) -> Iterator[Batch]:
    """Sequences of the training stream of seed 0, at least `NUM_COUNTED` steps of them."""
    generator = task.generator("train", 0)
    for _ in range(max(1, -(-NUM_COUNTED // (FEWEST_COUNTED * task.signature.num_steps)))):
        yield task.sample(FEWEST_COUNTED, generator)
