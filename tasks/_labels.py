"""Objectives of tasks whose targets are class ids at some of the steps.

Shape letters: B sequences, T steps, C classes.
"""

import torch.nn.functional as F
from torch import Tensor

from tasks._contract import IGNORE, Batch, Metric, Objective


def cross_entropy(output_BTC: Tensor, y_BT: Tensor) -> Tensor:
    """Mean over the targets that are not ignored, in nats: a scalar."""
    return F.cross_entropy(output_BTC.transpose(1, 2), y_BT, ignore_index=IGNORE)


def shares_right(output_BTC: Tensor, y_BT: Tensor) -> Tensor:
    """Share of the targets that are named, of those that are not ignored: (B,)."""
    right_BT = output_BTC.argmax(-1) == y_BT
    return right_BT.sum(1) / (y_BT != IGNORE).sum(1)


def all_right(output_BTC: Tensor, y_BT: Tensor) -> Tensor:
    """1 for a sequence without a wrong answer, else 0: (B,)."""
    return ((output_BTC.argmax(-1) == y_BT) | (y_BT == IGNORE)).all(1).float()


def labelled(name: str, unit: str, *, chance: float, all_by_chance: float) -> Objective:
    """Cross-entropy; the score is the share of right answers, and a further metric the share of
    sequences without a wrong one. Without memory they are `chance` and `all_by_chance`."""

    def values(output: Tensor, batch: Batch) -> Tensor:
        return shares_right(output, batch.y)

    return Objective(
        loss=lambda output, batch: cross_entropy(output, batch.y),
        score=Metric(name=name, unit=unit, higher_is_better=True, chance=chance, values=values),
        metrics=(faultless(all_by_chance),),
    )


def faultless(chance: float) -> Metric:
    """The share of sequences without a wrong answer."""
    return Metric(
        name="faultless",
        unit="share of sequences",
        higher_is_better=True,
        chance=chance,
        values=lambda output, batch: all_right(output, batch.y),
    )
