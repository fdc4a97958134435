"""Group product: keep track of a state that every input changes.

    x   a b c a …            elements of a finite group, drawn uniformly
    y   a ab abc abca …      their product so far, read at every step or only at the last

Every input matters for every later answer, and no fixed number of last inputs is enough. A
recurrent network needs one bit of state for `Z2` (parity) and six states for `S3`. Elements are
numbered; 0 is the identity. Elements of S3 and A5 are permutations in lexicographic order, and in a
product the left one is applied first.

Sources: word problems of groups, Merrill, Petty & Sabharwal 2024 (arXiv:2404.08819); parity and
cycle navigation, Delétang et al. 2023 (arXiv:2207.02098), who read the last step only.

Departures: all elements of the group are inputs, also for the cyclic groups. There is no curriculum
of lengths. A trained network is also tested on sequences that are 2, 4 and 8 times as long. With
`read="last"` the gradient reaches the first steps only through all later ones, which makes the task
much harder to learn than with `read="every"`.
"""

import dataclasses
import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tasks._contract import Batch, Metric, Objective, Signature, Split, Task
from tasks._labels import cross_entropy, faultless, shares_right

Group = Literal["Z2", "Z5", "S3", "A5", "Z60"]
GROUPS: tuple[Group, ...] = ("Z2", "Z5", "S3", "A5", "Z60")
BEYOND = (2, 4, 8)
"""Lengths of the further tests, as multiples of `length`."""


@dataclass(frozen=True, kw_only=True)
class GroupProduct(Task):
    """x: (B, length) elements; y: (B, length) products, or (B,) with `read="last"`; output:
    (B, length, order) or (B, 1, order) logits.

    The score is the accuracy at the last step. Chance is 1 over the order of the group; the task is
    solved at 0.95.
    """

    version = 1
    kind = "state-tracking"
    smallest: ClassVar = {"length": 6}
    lengths: ClassVar = (8, 32, 128)
    named: ClassVar = ("group",)

    group: Group = "S3"
    """Z2, Z5 and Z60: sums modulo 2, 5 and 60. S3: permutations of three things. A5: even
    permutations of five things; its products are the hardest for networks of limited depth."""
    read: Literal["every", "last"] = "every"
    """Whether the product is read, and trained, at every step or only at the last."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length {self.length} of group_product; valid: 1 or more")
        if self.group not in GROUPS:
            raise ValueError(f"group {self.group!r} of group_product; valid: {', '.join(GROUPS)}")
        if self.read not in ("every", "last"):
            raise ValueError(f"read {self.read!r} of group_product; valid: every, last")

    @property
    def order(self) -> int:
        """Number of elements of the group."""
        return len(products(self.group))

    @property
    def signature(self) -> Signature:
        return Signature(
            input="token",
            num_inputs=self.order,
            num_outputs=self.order,
            per="step" if self.read == "every" else "sequence",
            num_steps=self.length,
            reach=self.length,
        )

    @property
    def needed_memory(self) -> int:
        return 0 if self.read == "every" else self.length

    @property
    def length_is(self) -> str:
        return "sequence length T"

    @property
    def solved(self) -> float:
        return 0.95

    @property
    def objective(self) -> Objective:
        chance = 1 / self.order

        def targets(batch: Batch) -> Tensor:
            """(B, T), or (B, 1) if only the last step is read."""
            return batch.y if self.read == "every" else batch.y[:, None]

        score = Metric(
            name="last_accuracy",
            unit="share of sequences",
            higher_is_better=True,
            chance=chance,
            values=lambda output, batch: shares_right(output[:, -1:], targets(batch)[:, -1:]),
        )
        all_steps = Metric(
            name="accuracy",
            unit="share of steps",
            higher_is_better=True,
            # The first product is the first input.
            chance=(1 + (self.length - 1) * chance) / self.length,
            values=lambda output, batch: shares_right(output, batch.y),
        )
        return Objective(
            loss=lambda output, batch: cross_entropy(output, targets(batch)),
            score=score,
            metrics=(all_steps, faultless(chance ** (self.length - 1)))
            if self.read == "every"
            else (),
        )

    def beyond(self) -> tuple[Task, ...]:
        return tuple(dataclasses.replace(self, length=times * self.length) for times in BEYOND)

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        shape, device = (n, self.length), generator.device
        x_BT = torch.randint(self.order, shape, generator=generator, device=device)
        table = _table(self.group, device)
        # After the round with shift s, step t holds the product of its last 2s inputs.
        y_BT, shift = x_BT, 1
        while shift < self.length:
            further = table[y_BT[:, :-shift], y_BT[:, shift:]]
            y_BT = torch.cat([y_BT[:, :shift], further], 1)
            shift *= 2
        return Batch(x=x_BT, y=y_BT if self.read == "every" else y_BT[:, -1])


@lru_cache(maxsize=len(GROUPS))
def products(group: Group) -> tuple[tuple[int, ...], ...]:
    """The multiplication table: row a, column b holds the number of the element ab."""
    if group.startswith("Z"):
        order = int(group[1:])
        return tuple(tuple((a + b) % order for b in range(order)) for a in range(order))
    size = int(group[1:])
    elements = [
        each
        for each in itertools.permutations(range(size))
        if group.startswith("S") or _is_even(each)
    ]
    number = {element: n for n, element in enumerate(elements)}
    return tuple(tuple(number[tuple(b[place] for place in a)] for b in elements) for a in elements)


def _is_even(permutation: tuple[int, ...]) -> bool:
    pairs = itertools.combinations(permutation, 2)
    return sum(first > second for first, second in pairs) % 2 == 0


@lru_cache(maxsize=2 * len(GROUPS))
def _table(group: Group, device: torch.device) -> Tensor:
    return torch.tensor(products(group), device=device)
