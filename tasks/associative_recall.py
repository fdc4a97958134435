"""Associative recall: after a list of keys and values, give the value of each key that is queried.

    x   k3 v7 k1 v2 … | k1 _ _ _ k3 _ …      P = `num_pairs` pairs, then each key once more
    y                   v2       v7          scored on the queries only

Ids: 0 is the blank; the others below V/2 are keys and those from V/2 on are values, for a
`vocabulary` of V ids. The keys of a sequence differ from each other, and so do its values. After
the list, every second step is a slot for a query; the other steps are blank. The slots are drawn
without replacement: slot g has a probability proportional to g^(a − 1) with a = 0.01, so most
queries come soon after the list and some late.

Source: multi-query associative recall, Arora et al. 2023 (arXiv:2312.04927, section 4 and released
code).

Departures: the number of pairs stays the same at every length, while the paper lets it grow, so
that T alone changes the distance. There are 4 pairs and 16 ids, so that small networks can learn
the task. The paper has up to 512 pairs and 8,192 ids. Steps without a query are blank, never random
tokens. A trained network is also tested on sequences that are 2 and 4 times as long.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from tasks._contract import IGNORE, Batch, Objective, Signature, Split, Task
from tasks._labels import labelled

POWER = 0.01
"""a, which decides how soon the queries come."""
BEYOND = (2, 4)
"""Lengths of the further tests, as multiples of `length`."""


@dataclass(frozen=True, kw_only=True)
class AssociativeRecall(Task):
    """x: (B, length) ids below `vocabulary`; y: (B, length) values, counted from 0 and ignored
    where there is no query; output: (B, length, vocabulary − vocabulary // 2) logits over values.

    The score is the share of queries that are answered. Chance is 1 over the number of values; a
    network that knows a sequence's values but not their keys gets 1 / `num_pairs`. The task is
    solved at 0.95.
    """

    version = 1
    kind = "recall"
    smallest: ClassVar = {"length": 8, "num_pairs": 2, "vocabulary": 16}
    lengths: ClassVar = (32, 64, 128)

    num_pairs: int = 4
    """P, the number of keys, each of which is queried once."""
    vocabulary: int = 16
    """V, the number of ids."""

    def __post_init__(self) -> None:
        if self.num_pairs < 1:
            raise ValueError(f"num_pairs {self.num_pairs} of associative_recall; valid: 1 or more")
        if self.vocabulary < 2 * self.num_pairs + 2:
            raise ValueError(
                f"vocabulary {self.vocabulary} of associative_recall; valid with "
                f"{self.num_pairs} pairs: {2 * self.num_pairs + 2} or more"
            )
        if self.length < 4 * self.num_pairs:
            raise ValueError(
                f"length {self.length} of associative_recall; valid with {self.num_pairs} pairs: "
                f"{4 * self.num_pairs} or more"
            )

    @property
    def num_keys(self) -> int:
        return self.vocabulary // 2 - 1

    @property
    def num_values(self) -> int:
        return self.vocabulary - self.vocabulary // 2

    @property
    def num_slots(self) -> int:
        """Steps on which a query may stand."""
        return (self.length - 2 * self.num_pairs) // 2

    @property
    def signature(self) -> Signature:
        return Signature(
            input="token",
            num_inputs=self.vocabulary,
            num_outputs=self.num_values,
            per="step",
            num_steps=self.length,
            # From the first value, on step 1, to the last slot. The first key is not needed: it is
            # the key that the rest of the list lacks.
            reach=2 * self.num_pairs + 2 * self.num_slots - 2,
        )

    @property
    def length_is(self) -> str:
        return "sequence length T"

    @property
    def solved(self) -> float:
        return 0.95

    @property
    def objective(self) -> Objective:
        return labelled(
            "recall",
            "share of queries",
            chance=1 / self.num_values,
            # The values of a sequence differ from each other.
            all_by_chance=1 / math.perm(self.num_values, self.num_pairs),
        )

    def baselines(self) -> dict[str, float]:
        return {"any_of_the_values": 1 / self.num_pairs}

    def beyond(self) -> tuple[Task, ...]:
        return tuple(dataclasses.replace(self, length=times * self.length) for times in BEYOND)

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device, first_value = generator.device, self.vocabulary // 2

        def chosen(number: int) -> torch.Tensor:
            """(B, P) different numbers below `number`, in random order."""
            draw = torch.rand(n, number, generator=generator, device=device)
            return draw.topk(self.num_pairs, dim=1).indices

        keys_BP, values_BP = 1 + chosen(self.num_keys), chosen(self.num_values)
        pairs_BS = torch.stack([keys_BP, first_value + values_BP], 2).flatten(1)
        weight_G = torch.arange(1, self.num_slots + 1, device=device) ** (POWER - 1)
        # The largest of weight over exponential draws: one after the other without replacement.
        draw_BG = torch.rand(n, self.num_slots, generator=generator, device=device)
        waiting_BG = -torch.log1p(-draw_BG).clamp(max=-1e-30)
        slots_BP = (weight_G / waiting_BG).topk(self.num_pairs, dim=1).indices
        steps_BP = 2 * self.num_pairs + 2 * slots_BP
        x_BT = F.pad(pairs_BS, (0, self.length - pairs_BS.shape[1]))
        y_BT = torch.full_like(x_BT, IGNORE)
        return Batch(x=x_BT.scatter_(1, steps_BP, keys_BP), y=y_BT.scatter_(1, steps_BP, values_BP))
