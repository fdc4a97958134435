"""Loss and metrics of a network on a stream of batches, and whether its score clearly suffices."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from bench.core.intervals import wilson
from bench.core.records import MetricInfo, is_share
from bench.measure.update import outputs
from tasks import Batch, Task

STANDARD_ERRORS = 2.0
"""Standard errors by which a score that is not a share must pass its threshold to be clear."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Means over sequences; None where a mean is not finite."""

    values: dict[str, float | None]
    loss: float | None
    num_sequences: int
    score_error: float | None = None
    """Standard error of the score's mean; None for a single sequence."""


@torch.inference_mode()
def evaluate(network: nn.Module, task: Task, batches: Iterable[Batch], device: str) -> Evaluation:
    """Every metric and the loss, in evaluation mode. Each sequence counts the same."""
    network.eval()
    metrics = task.objective.all_metrics
    totals = torch.zeros(1 + len(metrics), dtype=torch.double, device=device)
    squares = torch.zeros((), dtype=torch.double, device=device)  # of the score
    num_sequences = 0
    for host_batch in batches:
        batch = host_batch.to(device)
        output = outputs(network, task, batch)
        num_sequences += len(batch)
        every = [metric.values(output, batch) for metric in metrics]
        squares += every[0].double().square().sum()
        loss = task.objective.loss(output, batch).double() * len(batch)
        totals += torch.stack([loss, *(values.sum(dtype=torch.double) for values in every)])
    mean_loss, *means = map(finite, (totals / num_sequences).tolist())
    return Evaluation(
        values=dict(zip((metric.name for metric in metrics), means, strict=True)),
        loss=mean_loss,
        num_sequences=num_sequences,
        score_error=_standard_error(squares.item(), means[0], num_sequences),
    )


def clearly_passed(score: MetricInfo, found: Evaluation, threshold: float) -> bool:
    """Whether the mean score passes the threshold by more than its sampling error.

    The bound of the Wilson interval decides for a share, two standard errors for any other score.
    """
    value = found.values[score.name]
    if value is None:
        return False
    if is_share(score.unit):
        lower_bound, _ = wilson(value * found.num_sequences, found.num_sequences)
        return lower_bound > threshold
    if found.score_error is None:
        return False
    margin = value - threshold if score.higher_is_better else threshold - value
    return margin > STANDARD_ERRORS * found.score_error


def finite(value: float) -> float | None:
    """The value, or None where it is NaN or infinite."""
    return value if math.isfinite(value) else None


def _standard_error(sum_of_squares: float, mean: float | None, n: int) -> float | None:
    """Standard error of the mean of n values; None where it is not defined."""
    if mean is None or n < 2:
        return None
    return math.sqrt(max(sum_of_squares / n - mean**2, 0.0) / (n - 1))
