"""Markov source: predict ids, each of which depends on the one T steps before it.

    y   3 1 4 … | 5 6 1 …      the first T = `length` ids are drawn uniformly
    x   S 3 1 4 … | 5 6 …      the start token S, then the ids one step late

Each later id is π(y_{t−T}) for one fixed permutation π of the K = 8 ids; with probability `noise`
it is drawn uniformly instead. So T independent chains are interleaved, the last T − 1 ids carry no
information on the next, and the entropy of an id given all ids before it is known:

    H = −p log₂ p − (K − 1) q log₂ q,    q = noise / K,  p = 1 − noise + q

The score is the gap between the model and the source in bits per id, over the 32 ids after the
first T: the mean of log₂ p_source(y_t | y_{t−T}) − log₂ p_model(y_t | y_<t). The source itself has
a gap of exactly 0 on every sequence. A model whose gap is below 0 by more than the sampling error
has seen the answer. A predictor without memory has a gap of log₂ K − H; the task is solved at 5% of
that.

Source: our own; entropy rates of Markov sources are those of Cover & Thomas 2006, section 4.2.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from tasks._contract import Batch, Metric, Objective, Split
from tasks._likelihood import LikelihoodTask, baselines_of

CYCLE: tuple[int, ...] = (0, 3, 5, 7, 4, 1, 6, 2)
"""π maps each id to the next in this list, and the last to the first. No id follows itself."""
NUM_SCORED = 32
"""Number of ids after the first T, which are trained and scored."""
SOLVED_SHARE = 0.05
"""The task is solved at this share of the gap without memory."""


@dataclass(frozen=True, kw_only=True)
class MarkovSource(LikelihoodTask):
    """y: (B, length + 32) ids below 8; x: the id 8, then the same one step late; output:
    (B, length + 32, 8) logits.

    The score is `gap_bits`; lower is better. Chance is log₂ 8 − H, 2.33 bits at the default noise.
    """

    version = 1
    kind = "fixed-lag"
    smallest: ClassVar = {"length": 4}
    lengths: ClassVar = (5, 20, 50)

    noise: float = 0.1
    """Probability that an id is drawn uniformly, independent of all others."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length {self.length} of markov_source; valid: 1 or more")
        if not 0 < self.noise < 1:
            raise ValueError(f"noise {self.noise} of markov_source; valid: between 0 and 1")

    @property
    def num_levels(self) -> int:
        return len(CYCLE)

    @property
    def num_steps(self) -> int:
        return self.length + NUM_SCORED

    @property
    def num_scored(self) -> int:
        return NUM_SCORED

    @property
    def probabilities(self) -> tuple[float, float]:
        """Probability of π(y_{t−T}), and of each other id."""
        other = self.noise / len(CYCLE)
        return 1 - self.noise + other, other

    @property
    def entropy_bits(self) -> float:
        """H, the entropy of an id given all ids before it."""
        follows, other = self.probabilities
        return -follows * math.log2(follows) - (len(CYCLE) - 1) * other * math.log2(other)

    @property
    def solved(self) -> float:
        return SOLVED_SHARE * self.chance

    @property
    def objective(self) -> Objective:
        memoryless = math.log2(len(CYCLE))

        def bits(output: Tensor, batch: Batch) -> Tensor:
            """(B, 32)"""
            return self.nats(output, batch) / math.log(2)

        def gap(output: Tensor, batch: Batch) -> Tensor:
            return (bits(output, batch) - self.source_bits(batch)).mean(1)

        return Objective(
            loss=lambda output, batch: self.nats(output, batch).mean(),
            score=Metric(
                name="gap_bits",
                unit="bits",
                higher_is_better=False,
                chance=memoryless - self.entropy_bits,
                values=gap,
            ),
            metrics=(
                Metric(
                    name="bits",
                    unit="bits",
                    higher_is_better=False,
                    chance=memoryless,
                    values=lambda output, batch: bits(output, batch).mean(1),
                ),
            ),
        )

    def source_bits(self, batch: Batch) -> Tensor:
        """−log₂ of the source's own probability of each scored id: (B, 32)."""
        follows, other = self.probabilities
        following = _following(batch.y.device)[batch.y[:, : -self.length]]
        right = batch.y[:, self.length :] == following
        return torch.where(right, -math.log2(follows), -math.log2(other))

    def baselines(self) -> dict[str, float]:
        """Gaps of the simple predictors: their bits minus those of the source on the same test."""
        test = self.evaluation("test", 0, self.num_evaluation)
        source = torch.cat([self.source_bits(batch) for batch in test]).mean().item()
        return {name: value - source for name, value in baselines_of(self).items()}

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        num_rounds = -(-self.num_steps // self.length)
        shape = (n, num_rounds, self.length)
        place = torch.randint(len(CYCLE), shape, generator=generator, device=device)
        drawn = torch.rand(shape, generator=generator, device=device) < self.noise
        # A chain moves one place along the cycle in each round since it was last drawn.
        round_R1 = torch.arange(num_rounds, device=device)[:, None]
        last = torch.where(drawn, round_R1, 0).cummax(1).values
        place = (place.gather(1, last) + round_R1 - last) % len(CYCLE)
        y = _cycle(device)[place].flatten(1)[:, : self.num_steps]
        return self.batch_of(y)


@lru_cache(maxsize=4)
def _cycle(device: torch.device) -> Tensor:
    return torch.tensor(CYCLE, device=device)


@lru_cache(maxsize=4)
def _following(device: torch.device) -> Tensor:
    """π as a table, (8,)."""
    follower = dict(zip(CYCLE, CYCLE[1:] + CYCLE[:1], strict=True))
    return torch.tensor([follower[each] for each in range(len(CYCLE))], device=device)
