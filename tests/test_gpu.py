"""Captured steps equal eager steps. These tests need a GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import models
import tasks
from bench.core.backend import Backend, prepare
from bench.core.records import Outcome, Record
from bench.core.spec import Spec, Training
from bench.measure import checkpoint, speed
from bench.measure.train import Progress, train
from bench.measure.update import Updater
from bench.plan.grid import network_of, task_of
from bench.run import workers
from bench.run.job import Event, Job, Setup
from bench.run.queue import Queue
from bench.run.workers import Limits
from models._stepper import CapturedStepper
from tests.support.leaky import Leaky, SlowLeaky
from tests.support.signatures import BUILT_IN, Signature, skip_unless_supported
from tests.support.timing import spec_of
from tests.support.training import tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
GRAPH = Backend(device="cuda", capture=True)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize(
    "task_name",
    ["copy_memory", "adding", "variable_adding", "markov_source", "char_text", "audio"],
)
@pytest.mark.parametrize("model", BUILT_IN)
def test_captured_steps_are_the_eager_ones(model: str, task_name: str, optimizer: str) -> None:
    prepare(GRAPH)
    task = tasks.load(task_name, length=30)
    skip_unless_supported(model, task.signature)
    training = Training(
        learning_rate=1e-3,
        batch_size=8,
        max_steps=20,
        cooldown=0.5,
        optimizer=optimizer,  # pyright: ignore
    )
    losses, weights = [], []
    for capture in (True, False):
        torch.manual_seed(0)
        network = models.network(model, task.signature, width=12).cuda()
        network.train()
        take_step = Updater(network, task, training, task.generator("train", 0, "cuda"), capture)
        assert take_step.captured == capture, take_step.eager_because
        taken = []
        for _ in range(20):
            take_step()
            taken.append(take_step.mean_loss())
        losses.append(taken)
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert len(set(losses[0])) > 10  # a graph that repeats one batch would repeat its losses
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    # Adam also moves weights whose gradient is rounding noise, a whole step in its direction.
    close = torch.isclose(weights[0], weights[1], rtol=1e-2, atol=1e-4)
    assert close.float().mean() >= 0.99


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_captured_step_moves_a_scaled_parameter_less(optimizer: str) -> None:
    prepare(GRAPH)
    spec = tiny(optimizer=optimizer, clip_norm=None)
    task, distances = task_of(spec), []
    for model in (Leaky(), SlowLeaky()):
        torch.manual_seed(0)
        network = models.build(model, task.signature, 6).cuda()
        before = [value.detach().clone() for value in network.parameters()]
        take_step = Updater(network, task, spec.training, task.generator("train", 0, "cuda"), True)
        assert take_step.captured, take_step.eager_because
        take_step()
        after = [value.detach() for value in network.parameters()]
        distances.append([a - b for a, b in zip(after, before, strict=True)])
    names = [name for name, _ in network.named_parameters()]
    for name, plain, slow in zip(names, *distances, strict=True):
        factor = 0.1 if name == "core.rate" else 1.0
        assert plain.abs().max() > 0
        torch.testing.assert_close(slow, factor * plain, rtol=1e-3, atol=1e-6)


def test_a_captured_run_gives_the_result_of_an_eager_one() -> None:
    prepare(GRAPH)
    found = [train(tiny(max_steps=40), "cuda:0", capture=capture) for capture in (True, False)]
    assert found[0].eager_because is None
    assert found[0].test["recall"] == pytest.approx(found[1].test["recall"], abs=0.02)
    assert found[0].peak_memory_bytes


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("capture", [True, False])
def test_training_steps_continue_from_a_checkpoint(capture: bool, optimizer: str) -> None:
    prepare(GRAPH)
    spec = tiny("adding", optimizer=optimizer, cooldown=0.8)
    task = task_of(spec)

    def updater(network: nn.Module, seed: int) -> Updater:
        generator = task.generator("train", seed, "cuda")
        take_step = Updater(network, task, spec.training, generator, capture)
        assert take_step.captured == capture, take_step.eager_because
        return take_step

    def losses(take_step: Updater) -> list[float]:
        taken = []
        for _ in range(5):
            take_step()
            taken.append(take_step.mean_loss())
        return taken

    network, other = network_of(spec).cuda(), network_of(spec).cuda()
    first = updater(network, seed=0)
    losses(first)
    state = first.state()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    second = updater(other, seed=1)
    other.load_state_dict(weights)
    second.load(state)
    assert losses(second) == pytest.approx(losses(first), rel=1e-4)


@pytest.mark.parametrize("model", ["tcn", "lstm"])
def test_a_captured_run_continues_from_its_checkpoint(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(GRAPH)
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)
    spec = tiny(model=model, max_steps=40)
    if model == "tcn":
        fields = {**spec.model.fields, "dropout": 0.3}
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"fields": fields})})
    place = checkpoint.Place(results=tmp_path, spec=spec, backend=GRAPH)

    def stop(progress: Progress) -> None:
        if progress.step == 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(spec, "cuda:0", stop, capture=True, place=place)
    met: list[int] = []
    found = train(spec, "cuda:0", lambda p: met.append(p.step), capture=True, place=place)
    assert met == [20, 30, 40]
    assert found.eager_because is None
    expected = train(spec, "cuda:0", capture=True)
    assert [p.train_loss for p in found.curve[1:]] == pytest.approx(
        [p.train_loss for p in expected.curve[1:]], rel=1e-3
    )


def test_a_captured_run_continues_from_the_state_of_a_shorter_one(tmp_path: Path) -> None:
    prepare(GRAPH)
    short, long = tiny("adding", max_steps=30), tiny("adding", max_steps=60)
    met: list[int] = []

    def trained(spec: Spec, place: checkpoint.Place | None) -> Outcome:
        met.clear()
        return train(spec, "cuda:0", lambda p: met.append(p.step), capture=True, place=place)

    expected = trained(long, None)
    for spec in (short, long):
        found = trained(spec, checkpoint.Place(results=tmp_path, spec=spec, backend=GRAPH))
    assert met == [20, 30, 40, 50, 60]
    assert found.eager_because is None
    assert [p.train_loss for p in found.curve[1:]] == pytest.approx(
        [p.train_loss for p in expected.curve[1:]], rel=1e-3
    )


def with_a_wait(network: nn.Module) -> None:
    """Let `forward` wait for the device, which no capture allows."""
    original = network.forward

    def waits(*arguments: Any, **how: Any) -> Any:
        y, state = original(*arguments, **how)
        y.sum().item()
        return y, state

    network.forward = waits


def test_a_step_that_cannot_be_captured_gives_the_reason() -> None:
    task = tasks.load("copy_memory", length=5)
    network = models.network("rnn", task.signature, width=12).cuda()
    with_a_wait(network)
    training = Training(learning_rate=1e-3, batch_size=8, max_steps=20)
    take_step = Updater(network, task, training, task.generator("train", 0, "cuda"), capture=True)
    assert not take_step.captured
    assert take_step.eager_because
    take_step()
    assert take_step.mean_loss() > 0


# PyTorch can't keep weights in bfloat16 in one piece, and warns.
BFLOAT16 = pytest.param(
    torch.bfloat16, marks=pytest.mark.filterwarnings("ignore:RNN module weights:UserWarning")
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, BFLOAT16])
@pytest.mark.parametrize("model", BUILT_IN)
def test_a_captured_stepper_is_forward(model: str, dtype: torch.dtype) -> None:
    prepare(GRAPH)
    task = tasks.load("adding", length=60)
    skip_unless_supported(model, task.signature)
    torch.manual_seed(0)
    network = models.network(model, task.signature, width=12).cuda().to(dtype).eval()
    x = task.sample(3, task.generator("train", 0, "cuda")).x.to(dtype)
    with torch.no_grad():
        expected, _ = network(x)
        _, state = network(x[:, :7])
    stepper = network.stepper(3)
    # A state that grows has no buffers of a fixed size, so that its steps can't be captured.
    assert isinstance(stepper, CapturedStepper) != network.core.state_grows
    stepper.load(state)
    ys = torch.stack([stepper(x_t) for x_t in x[:, 7:].unbind(1)], 1)
    within = {torch.float32: 1e-5, torch.float64: 1e-10}.get(dtype, 2e-2)
    assert (ys - expected[:, 7:]).abs().max() <= within * expected.abs().max()


@pytest.mark.parametrize("model", BUILT_IN)
def test_cached_sampling_is_naive_sampling(model: str) -> None:
    prepare(GRAPH)
    signature = Signature(
        input="token", num_inputs=6, num_outputs=5, reach=42, grid=(6, 7), num_conditions=3
    )
    torch.manual_seed(0)
    network = models.network(model, signature, width=12).double().cuda()
    features = torch.randn(3, 42, 3, generator=torch.Generator().manual_seed(1))
    for condition in (torch.tensor([2, 0, 1]), features):
        made = [
            models.generate(
                network,
                42,
                batch_size=3,
                condition=condition,
                generator=torch.Generator().manual_seed(0),
                cached=cached,
            )
            for cached in (True, False)
        ]
        assert made[0].is_cuda
        assert torch.equal(*made)


def test_convolutions_and_recurrent_layers_have_the_precision_of_float32() -> None:
    prepare(GRAPH)
    torch.manual_seed(0)
    x = torch.randn(16, 64, 100, device="cuda")
    conv = nn.Conv1d(64, 64, 5, device="cuda")
    layers = [conv, *(kind(100, 64, device="cuda") for kind in (nn.RNN, nn.GRU, nn.LSTM))]
    with torch.no_grad():
        for layer in layers:
            single = layer(x)
            double = layer.double()(x.double())
            if not isinstance(layer, nn.Conv1d):
                single, double = single[0], double[0]
            # TF32 has an error of about 3e-4.
            assert (single - double).abs().max() <= 3e-5 * double.abs().max(), type(layer)


def test_worker_processes_train_on_the_gpu(tmp_path: Path) -> None:
    setup = Setup(results=tmp_path, backend=GRAPH, device="cuda:0")
    specs = [tiny(seed=seed, max_steps=20) for seed in range(3)]
    records: list[Record] = []

    def on_event(event: Event) -> None:
        if event.record is not None:
            records.append(event.record)

    queue = Queue([Job(spec=spec, estimate_s=1.0) for spec in specs])
    workers.execute(queue, setup, Limits(num_workers=2), on_event)
    assert [record.error for record in records] == [None] * 3
    for record in records:
        assert record.outcome is not None
        assert record.outcome.eager_because is None
        assert record.outcome.peak_memory_bytes


def test_a_run_whose_step_cannot_be_captured_trains_eagerly_with_dropout() -> None:
    prepare(GRAPH)
    task = tasks.load("copy_memory", length=5)
    network = models.network("tcn", task.signature, width=12, dropout=0.3).cuda()
    with_a_wait(network)
    training = Training(learning_rate=1e-3, batch_size=8, max_steps=20)
    take_step = Updater(network, task, training, task.generator("train", 0, "cuda"), capture=True)
    assert take_step.eager_because
    for _ in range(3):
        take_step()
    assert take_step.mean_loss() > 0


def test_speed_is_measured_on_the_gpu() -> None:
    prepare(GRAPH)
    found = speed.measure(spec_of("tcn", batch_size=4), GRAPH, "cuda:0")
    assert found.train is not None
    assert found.train.memory_bytes
    assert found.streaming is not None
    assert found.streaming.stepper == "CapturedStepper"
