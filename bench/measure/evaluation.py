"""Loss and metrics of a network on a stream of batches, and whether its score clearly suffices."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.intervals import wilson
from bench.core.records import MetricInfo, is_share
from bench.measure.update import outputs
from tasks import Batch, Split, Task

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


def spread(task: Task, split: Split, seed: int, number: int, batch_size: int) -> list[Batch]:
    """At most `number` sequences from all parts of a stream, in the stream's order, in batches.

    One sequence is drawn from each of `number` equal parts, since a stream may have an order of its
    own, such as one kind of sound after the other. The draw is the same for every model and seed.
    Besides these sequences, one batch of the stream is in memory.
    """

    def stream() -> Iterable[Batch]:
        return task.evaluation(split, seed, batch_size)

    places = _places(sum(map(len, stream())), number)
    parts: list[Batch] = []
    start = 0
    for batch in stream():
        inside = places[(places >= start) & (places < start + len(batch))]
        parts.append(batch.rows(inside - start))
        start += len(batch)
    whole = _joined(parts)
    return [whole.part(i, i + batch_size) for i in range(0, len(whole), batch_size)]


def _places(total: int, number: int) -> Tensor:
    """A place in each of `number` equal parts of 0, 1, …, `total` − 1; every place if too few."""
    edges = torch.arange(min(number, total) + 1) * total // max(min(number, total), 1)
    draw = torch.rand(len(edges) - 1, generator=torch.Generator().manual_seed(0))
    return edges[:-1] + (draw * edges.diff()).long()


def _joined(parts: Sequence[Batch]) -> Batch:
    def joined(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    x, y, lengths, condition = map(joined, ("x", "y", "lengths", "condition"))
    assert x is not None
    assert y is not None
    return Batch(x=x, y=y, lengths=lengths, condition=condition)


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
