"""Selective copy: repeat, in order, the ten symbols that are scattered among blanks.

    x   _ 3 _ _ 1 _ … 4 _ | G G G …      `length` steps with ten symbols, then ten go signals
    y                       3 1 4 …      scored on the go signals only

Ids: 0 to 7 are the symbols, 8 is the blank, 9 is the go signal. The places of the symbols are drawn
at random without replacement, so the distance between a symbol and its answer differs from sequence
to sequence. A filter that looks a fixed number of steps back cannot find them.

Sources: Gu & Dao 2023 (arXiv:2312.00752, section 4.1.1); Poli et al. 2024 (MAD, arXiv:2403.17844).

Departures: an alphabet of 8 instead of 14 symbols and ten instead of 16 answers, as in
`copy_memory`. All filler tokens are the same blank. A symbol may stand on the last step before the
first go signal. A trained network is also tested on sequences that are 2 and 4 times as long.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from tasks._contract import IGNORE, Batch, Objective, Signature, Split, Task
from tasks._labels import labelled

NUM_SYMBOLS = 10
ALPHABET = 8
BLANK, GO = ALPHABET, ALPHABET + 1
BEYOND = (2, 4)
"""Lengths of the further tests, as multiples of `length`."""


@dataclass(frozen=True, kw_only=True)
class SelectiveCopy(Task):
    """x: (B, length + 10) ids below 10; y: (B, length + 10) ids below 8, ignored before the go
    signals; output: (B, length + 10, 8) logits over the symbols.

    The score is the share of the ten symbols that is recalled. Chance is 1/8; the task is solved
    at 0.95.
    """

    version = 1
    kind = "varying-places"
    smallest: ClassVar = {"length": 12}
    lengths: ClassVar = (16, 64, 256)

    def __post_init__(self) -> None:
        if self.length < NUM_SYMBOLS:
            raise ValueError(
                f"length {self.length} of selective_copy; valid: {NUM_SYMBOLS} or more"
            )

    @property
    def signature(self) -> Signature:
        return Signature(
            input="token",
            num_inputs=ALPHABET + 2,
            num_outputs=ALPHABET,
            per="step",
            num_steps=self.length + NUM_SYMBOLS,
            # Symbol j stands on step j or later and is due j steps after the first go signal.
            # Counted from the end, it can be found without the steps before it.
            reach=self.length + 1,
        )

    @property
    def length_is(self) -> str:
        return "length T that holds the symbols"

    @property
    def solved(self) -> float:
        return 0.95

    @property
    def objective(self) -> Objective:
        return labelled(
            "recall",
            "share of symbols",
            chance=1 / ALPHABET,
            all_by_chance=ALPHABET**-NUM_SYMBOLS,
        )

    def beyond(self) -> tuple[Task, ...]:
        return tuple(dataclasses.replace(self, length=times * self.length) for times in BEYOND)

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        shape = (n, NUM_SYMBOLS)
        message_BS = torch.randint(ALPHABET, shape, generator=generator, device=device)
        order_BT = torch.rand(n, self.length, generator=generator, device=device)
        places_BS = order_BT.topk(NUM_SYMBOLS, dim=1).indices.sort(1).values
        x_BT = torch.full((n, self.signature.num_steps), BLANK, device=device)
        x_BT.scatter_(1, places_BS, message_BS)
        x_BT[:, self.length :] = GO
        return Batch(x=x_BT, y=F.pad(message_BS, (self.length, 0), value=IGNORE))
