"""The training loop: one spec → one outcome.

Samples on the device, clips after the backward pass, validates on a stream of its own, and meets
the test stream once, with the weights that validated best.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn

from bench.core.backend import forget_peak_memory, peak_memory_bytes, synchronize
from bench.core.intervals import wilson
from bench.core.records import Beyond, CurvePoint, Latency, MetricInfo, Outcome, Probes, is_share
from bench.core.spec import Spec, Training
from bench.measure.checkpoint import Checkpoint, Fit, Place, is_due, read, write
from bench.measure.probe import NUM_SEQUENCES, measured_field, probe
from bench.measure.update import Updater, of_steps, outputs
from bench.plan.grid import model_of, network_of, task_of
from bench.plan.labels import label
from models import num_parameters
from tasks import Batch, Metric, Task

EVALUATION_BATCH = 250
NUM_TIMED_SEQUENCES = 5
NUM_TIMED_STEPS = 30
STANDARD_ERRORS = 2.0
"""Between a score that is no share and its threshold, for it to count as clearly solved."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is, at a validation."""

    step: int
    max_steps: int
    loss: float | None
    score: float | None


def train(
    spec: Spec,
    device: str,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    *,
    capture: bool = False,
    place: Place | None = None,
    keep: Callable[[dict[str, Tensor]], None] | None = None,
) -> Outcome:
    """Train and test the network of a spec on `device` (`cpu`, `cuda:0`, …).

    With `capture`, on a GPU, the training step is replayed as a graph where that can be done. With
    `place` a long run leaves checkpoints there, and goes on from the one it finds. `keep` is given
    the weights that are tested.

    Raises whatever the task or the model raises; NaN and Inf are an outcome.
    """
    begin = time.perf_counter()
    forget_peak_memory(device)
    task = task_of(spec)
    # Initialisation and dropout draw from here; the weights on the CPU, alike on every device.
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        torch.manual_seed(_weights_seed(spec))
        network = network_of(spec).to(device)
        probed = next(task.evaluation("validation", spec.seed, NUM_SEQUENCES)).to(device)
        signature = task.signature
        row = signature.grid[1] if signature.grid else 1
        field, seen_steps = measured_field(network, signature.num_steps, probed.condition, row)
        initial = probe(network, task, probed, step=0)
        generator = task.generator("train", spec.seed, device)
        take_step = Updater(network, task, spec.training, generator, capture)
        fit = _fit(network, task, spec, device, take_step, begin, place, on_progress)
        network.load_state_dict(fit.best_weights)
        if keep is not None:
            keep(fit.best_weights)
        test = _tested(network, task, spec, device)
        beyond = [(other, _tested(network, other, spec, device)) for other in task.beyond()]
        seconds = fit.earlier_seconds + time.perf_counter() - begin
        trained = probe(network, task, probed, step=fit.best_step)
    receptive_field = network.receptive_field
    return Outcome(
        label=label(model_of(spec), spec.model.name),
        task_label=label(task, spec.task.name),
        num_parameters=num_parameters(network),
        receptive_field=None if math.isinf(receptive_field) else int(receptive_field),
        num_steps=task.signature.num_steps,
        solved_at=task.solved,
        metrics=tuple(_info(metric) for metric in task.objective.all_metrics),
        curve=tuple(fit.curve),
        stopped=fit.stopped,
        steps=fit.curve[-1].step,
        best_step=fit.best_step,
        test=test.values,
        num_test=test.num_sequences,
        train_seconds=fit.train_seconds,
        total_seconds=seconds,
        peak_memory_bytes=peak_memory_bytes(device),
        eager_because=take_step.eager_because,
        latency=_latency(network, task, probed.part(0, 1), device),
        probes=None
        if initial is None or trained is None
        else Probes(measured_field=field, seen_steps=seen_steps, initial=initial, trained=trained),
        beyond=tuple(
            Beyond(length=other.length, test=found.values, num_test=found.num_sequences)
            for other, found in beyond
        ),
        baselines=task.baselines(),
    )


def _info(metric: Metric) -> MetricInfo:
    return MetricInfo(
        name=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        chance=metric.chance,
    )


def _tested(network: nn.Module, task: Task, spec: Spec, device: str) -> "Evaluation":
    """On the task's test stream."""
    return evaluate(network, task, task.evaluation("test", spec.seed, EVALUATION_BATCH), device)


def _fit(
    network: nn.Module,
    task: Task,
    spec: Spec,
    device: str,
    take_step: Updater,
    begin: float,
    place: Place | None,
    on_progress: Callable[[Progress], None],
) -> Fit:
    """Train until clearly solved (where the spec says so), diverged or out of budget."""
    training = spec.training
    score = _info(task.objective.score)
    validation = list(_first(task.evaluation("validation", spec.seed, EVALUATION_BATCH), training))
    fit = Fit(best_weights=_weights(network), curve=[])
    if place is not None and (left := read(place, like=fit.best_weights)) is not None:
        fit = _resume(left, network, take_step, device)
    saved_at = begin
    while True:
        if place is not None and is_due(saved_at):
            write(place, _checkpoint(fit, network, take_step, device, begin))
            saved_at = time.perf_counter()
        found = evaluate(network, task, validation, device)
        value = found.values[score.name]
        fit.curve.append(
            CurvePoint(
                step=fit.step,
                seconds=round(fit.earlier_seconds + time.perf_counter() - begin, 4),
                train_loss=fit.train_loss,
                validation_loss=found.loss,
                values=found.values,
            )
        )
        on_progress(
            Progress(step=fit.step, max_steps=training.max_steps, loss=fit.train_loss, score=value)
        )
        if value is None or found.loss is None or (fit.step > 0 and fit.train_loss is None):
            fit.stopped = "diverged"
            return fit
        # Where the score does not move yet, the loss tells which weights are better.
        merit = (value if score.higher_is_better else -value, -found.loss)
        if fit.best_merit is None or merit > fit.best_merit:
            fit.best_merit, fit.best_step, fit.best_weights = merit, fit.step, _weights(network)
        if training.stop_when_solved and task.solved is not None:
            passed = clearly_passed(score, value, found, task.solved)
            fit.times_solved = fit.times_solved + 1 if passed else 0
            if fit.times_solved == 2:
                fit.stopped = "solved"
                return fit
        if fit.step == training.max_steps:
            return fit
        num_updates = min(training.validate_every, training.max_steps - fit.step)
        synchronize(device)
        start = time.perf_counter()
        network.train()
        for _ in range(num_updates):
            take_step()
        fit.train_loss = _finite(take_step.mean_loss())  # waits for the device
        fit.train_seconds += time.perf_counter() - start
        fit.step += num_updates


def _checkpoint(
    fit: Fit, network: nn.Module, take_step: Updater, device: str, begin: float
) -> Checkpoint:
    """The run as it is."""
    seconds = fit.earlier_seconds + time.perf_counter() - begin
    return Checkpoint(
        fit=replace(fit, earlier_seconds=seconds),
        weights=_weights(network),
        updater=take_step.state(),
        rng=torch.random.get_rng_state(),
        cuda_rng=None if device == "cpu" else torch.cuda.get_rng_state(device),
    )


def _resume(left: Checkpoint, network: nn.Module, take_step: Updater, device: str) -> Fit:
    """Everything as it was when the checkpoint was written; tensors stay where they are."""
    network.load_state_dict(left.weights)
    take_step.load(left.updater)
    torch.random.set_rng_state(left.rng)
    if left.cuda_rng is not None:
        torch.cuda.set_rng_state(left.cuda_rng, device)
    return left.fit


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Means over sequences; None where not finite."""

    values: dict[str, float | None]
    loss: float | None
    num_sequences: int
    score_error: float | None = None
    """Standard error of the score's mean; None of a single sequence."""


def clearly_passed(score: MetricInfo, value: float, found: Evaluation, threshold: float) -> bool:
    """Whether a mean score is beyond the threshold by more than chance among sequences explains.

    A share is by the bound of its Wilson interval, any other score by two standard errors.
    """
    if is_share(score.unit):
        lower_bound, _ = wilson(value * found.num_sequences, found.num_sequences)
        return lower_bound > threshold
    if found.score_error is None:
        return False
    margin = value - threshold if score.higher_is_better else threshold - value
    return margin > STANDARD_ERRORS * found.score_error


@torch.inference_mode()
def evaluate(network: nn.Module, task: Task, batches: Iterable[Batch], device: str) -> Evaluation:
    """Every metric and the loss, in evaluation mode."""
    network.eval()
    names = ["loss", *(metric.name for metric in task.objective.all_metrics)]
    totals = torch.zeros(len(names), dtype=torch.double, device=device)
    squares = torch.zeros((), dtype=torch.double, device=device)  # of the score
    num_sequences = 0
    for host_batch in batches:
        batch = host_batch.to(device)
        output = outputs(network, task, batch)
        num_sequences += len(batch)
        every = [metric.values(output, batch) for metric in task.objective.all_metrics]
        squares += every[0].double().square().sum()
        totals += torch.stack(
            [
                task.objective.loss(output, batch).double() * len(batch),
                *(values.sum(dtype=torch.double) for values in every),
            ]
        )
    loss, *means = map(_finite, (totals / num_sequences).tolist())
    return Evaluation(
        values=dict(zip(names[1:], means, strict=True)),
        loss=loss,
        num_sequences=num_sequences,
        score_error=_standard_error(squares.item(), means[0], num_sequences),
    )


def _standard_error(sum_of_squares: float, mean: float | None, n: int) -> float | None:
    """Of the mean of n values; None where one value alone, or no number, says nothing."""
    if mean is None or n < 2:
        return None
    return math.sqrt(max(sum_of_squares / n - mean**2, 0.0) / (n - 1))


def _first(batches: Iterator[Batch], training: Training) -> Iterator[Batch]:
    """The first `num_validation` sequences; all, where there are fewer."""
    left = training.num_validation
    while left > 0 and (batch := next(batches, None)) is not None:
        yield batch.part(0, left)
        left -= len(batch)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _weights_seed(spec: Spec) -> int:
    """From the seed and the model alone: another task or rate starts from the same draw."""
    identity = f"{spec.model.name} {spec.seed}".encode()
    return int.from_bytes(hashlib.sha256(identity).digest()[:8], "big") >> 1


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@torch.inference_mode()
def _latency(network: nn.Module, task: Task, one: Batch, device: str) -> Latency:
    """Medians, after warm-up, for one sequence at its full length.

    A step is `network(x_t, state)`, the state being that of the whole sequence.
    """
    network.eval()
    whole, condition = replace(one, lengths=None), one.condition
    x_t, condition_t = one.x[:, -1:], of_steps(condition, slice(-1, None))
    _, state = network(one.x, condition=condition)
    return Latency(
        sequence_ms=1e3
        * _median_s(lambda: outputs(network, task, whole), NUM_TIMED_SEQUENCES, device),
        step_us=1e6
        * _median_s(lambda: network(x_t, state, condition=condition_t), NUM_TIMED_STEPS, device),
    )


def _median_s(call: Callable[[], object], repeats: int, device: str) -> float:
    samples = []
    for i in range(repeats + 2):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        if i >= 2:  # the first two warm up
            samples.append(time.perf_counter() - start)
    return median(samples)
