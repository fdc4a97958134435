"""The training loop: one spec gives one outcome.

repeat
    validate, on a stream of its own, and keep the weights that validated best
    stop if the score was clearly passed twice in a row, diverged, or the budget is used up
    take the next steps: sample a batch, backward pass, clip the gradient, update
test once, on a third stream, with the weights that validated best
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from bench.core.backend import forget_peak_memory, peak_memory_bytes
from bench.core.records import Beyond, CurvePoint, Latency, MetricInfo, Outcome, Probes
from bench.core.spec import Spec
from bench.measure.checkpoint import (
    Checkpoint,
    Fit,
    Place,
    is_due,
    is_kept,
    read,
    read_state,
    remove_state,
    write,
    write_state,
)
from bench.measure.evaluation import Evaluation, clearly_passed, evaluate, finite, spread
from bench.measure.probe import NUM_SEQUENCES, measured_field, probe
from bench.measure.timing import latency, seconds_of
from bench.measure.update import Updater, of_steps, outputs
from bench.plan.grid import model_of, network_of, task_of
from bench.plan.labels import label
from models import Network, num_parameters
from tasks import Batch, Metric, Task

EVALUATION_BATCH = 250
TIMES_SOLVED = 2
"""Validations in a row that must clearly pass the threshold before a run stops early."""
NUM_TIMED_SEQUENCES = 5
NUM_TIMED_STEPS = 30


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, reported at each validation."""

    step: int
    max_steps: int
    loss: float | None
    score: float | None


@dataclass(frozen=True)
class _Run:
    """The parts of a run that stay the same while it trains."""

    spec: Spec
    device: str
    task: Task
    network: Network
    take_step: Updater
    began: float

    def seconds(self, fit: Fit) -> float:
        """Wall time of the run so far, earlier processes included."""
        return fit.earlier_seconds + time.perf_counter() - self.began


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

    With `capture`, on a GPU, the training step is replayed as a graph where that is possible. With
    `place` a long run writes checkpoints there, and continues from the one it finds or else from
    the state of a shorter run; an unsolved run leaves its state for a longer one. `keep` receives
    the weights that are tested.

    Raises whatever the task or the model raises. NaN and Inf are an outcome, not an error.
    """
    began = time.perf_counter()
    forget_peak_memory(device)
    task = task_of(spec)
    # Initialisation and dropout draw from PyTorch's global generator. Weights are drawn on the
    # CPU, so that they are the same on every device.
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        torch.manual_seed(_weights_seed(spec))
        network = network_of(spec).to(device)
        (probed,) = spread(task, "validation", spec.seed, NUM_SEQUENCES, EVALUATION_BATCH)
        probed = probed.to(device)
        row = task.signature.grid[1] if task.signature.grid else 1
        field = measured_field(network, task.signature.num_steps, probed.condition, row)
        initial = probe(network, task, probed, step=0)
        generator = task.generator("train", spec.seed, device)
        take_step = Updater(network, task, spec.training, generator, capture)
        run = _Run(spec, device, task, network, take_step, began)
        fit = _fit(run, place, on_progress)
        network.load_state_dict(fit.best_weights)
        if keep is not None:
            keep(fit.best_weights)
        test = _tested(run, task)
        beyond = tuple(
            Beyond(length=other.length, test=found.values, num_test=found.num_sequences)
            for other, found in ((other, _tested(run, other)) for other in task.beyond())
        )
        seconds = run.seconds(fit)
        trained = probe(network, task, probed, step=fit.best_step)
    probes = None
    if initial is not None and trained is not None:
        measured, seen = field
        probes = Probes(measured_field=measured, seen_steps=seen, initial=initial, trained=trained)
    outcome = _outcome(run, fit, test, beyond, seconds, probes, probed.part(0, 1))
    if place is not None and (outcome.stopped != "budget" or outcome.solved):
        remove_state(place)
    return outcome


def _fit(run: _Run, place: Place | None, on_progress: Callable[[Progress], None]) -> Fit:
    """Train until the task is clearly solved, the loss diverges or the budget is used up."""
    network, task, training = run.network, run.task, run.spec.training
    score = _info(task.objective.score)
    validation = spread(
        task, "validation", run.spec.seed, training.num_validation, EVALUATION_BATCH
    )
    fit = _begin(run, place)
    saved_at = run.began
    while True:
        if place is not None and is_due(saved_at):
            write(place, _checkpoint(run, fit))
            saved_at = time.perf_counter()
        if place is not None and is_kept(run.spec, fit.step):
            write_state(place, _checkpoint(run, fit))

        found = evaluate(network, task, validation, run.device)
        fit.curve.append(
            CurvePoint(
                step=fit.step,
                seconds=round(run.seconds(fit), 4),
                train_loss=fit.train_loss,
                validation_loss=found.loss,
                values=found.values,
            )
        )
        value = found.values[score.name]
        on_progress(
            Progress(step=fit.step, max_steps=training.max_steps, loss=fit.train_loss, score=value)
        )
        if value is None or found.loss is None or (fit.step > 0 and fit.train_loss is None):
            fit.stopped = "diverged"
            return fit

        # While the score does not change yet, the loss decides which weights are better.
        merit = (value if score.higher_is_better else -value, -found.loss)
        if fit.best_merit is None or merit > fit.best_merit:
            fit.best_merit, fit.best_step, fit.best_weights = merit, fit.step, _weights(network)

        if training.stop_when_solved and task.solved is not None:
            passed = clearly_passed(score, found, task.solved)
            fit.times_solved = fit.times_solved + 1 if passed else 0
            if fit.times_solved == TIMES_SOLVED:
                fit.stopped = "solved"
                return fit
        if fit.step == training.max_steps:
            return fit

        num_updates = min(training.validate_every, training.max_steps - fit.step)
        network.train()
        fit.train_seconds += seconds_of(run.take_step, num_updates, run.device)
        fit.train_loss = finite(run.take_step.mean_loss())
        fit.step += num_updates


def _tested(run: _Run, task: Task) -> Evaluation:
    """The network on the test stream of a task."""
    stream = task.evaluation("test", run.spec.seed, EVALUATION_BATCH)
    return evaluate(run.network, task, stream, run.device)


def _begin(run: _Run, place: Place | None) -> Fit:
    """The state before the first validation of this process.

    It is that of the checkpoint of this run or of a shorter run, if there is one.
    """
    fit = Fit(best_weights=_weights(run.network), curve=[])
    if place is None:
        return fit
    found = read(place, fit.best_weights) or read_state(place, fit.best_weights)
    if found is None:
        return fit
    run.network.load_state_dict(found.weights)
    run.take_step.load(found.updater)
    torch.random.set_rng_state(found.rng)
    if found.cuda_rng is not None:
        torch.cuda.set_rng_state(found.cuda_rng, run.device)
    return found.fit


def _checkpoint(run: _Run, fit: Fit) -> Checkpoint:
    return Checkpoint(
        fit=replace(fit, earlier_seconds=run.seconds(fit)),
        weights=_weights(run.network),
        updater=run.take_step.state(),
        rng=torch.random.get_rng_state(),
        cuda_rng=None if run.device == "cpu" else torch.cuda.get_rng_state(run.device),
    )


def _outcome(
    run: _Run,
    fit: Fit,
    test: Evaluation,
    beyond: tuple[Beyond, ...],
    seconds: float,
    probes: Probes | None,
    one: Batch,
) -> Outcome:
    """The outcome of a run; the sequence `one` is timed after the peak memory is read."""
    spec, task = run.spec, run.task
    receptive_field = run.network.receptive_field
    return Outcome(
        label=label(model_of(spec), spec.model.name),
        task_label=label(task, spec.task.name),
        num_parameters=num_parameters(run.network),
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
        peak_memory_bytes=peak_memory_bytes(run.device),
        eager_because=run.take_step.eager_because,
        latency=_latency(run.network, task, one, run.device),
        probes=probes,
        beyond=beyond,
        baselines=task.baselines(),
    )


def _info(metric: Metric) -> MetricInfo:
    return MetricInfo.model_validate(metric, from_attributes=True)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _weights_seed(spec: Spec) -> int:
    """The seed of the weights depends on the run's seed and the model's name alone.

    A model starts from the same draw on another task or with another learning rate.
    """
    identity = f"{spec.model.name} {spec.seed}".encode()
    return int.from_bytes(hashlib.sha256(identity).digest()[:8], "big") >> 1


@torch.inference_mode()
def _latency(network: nn.Module, task: Task, one: Batch, device: str) -> Latency:
    """Median times of one sequence at its full length, and of one further step after it.

    A step is `network(x_t, state)`, from the state after the whole sequence.
    """
    network.eval()
    whole, condition = replace(one, lengths=None), one.condition
    x_t, condition_t = one.x[:, -1:], of_steps(condition, slice(-1, None))
    _, state = network(one.x, condition=condition)
    read = partial(outputs, network, task, whole)
    take_step = partial(network, x_t, state, condition=condition_t)
    sequence = latency(read, device, warm_up=2, least=NUM_TIMED_SEQUENCES)
    step = latency(take_step, device, warm_up=2, least=NUM_TIMED_STEPS)
    return Latency(sequence_ms=1e3 * sequence.median, step_us=1e6 * step.median)
