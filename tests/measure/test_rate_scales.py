"""A parameter with a smaller learning rate moves less, whichever way an update is computed."""

import pytest
import torch
from torch import Tensor, nn

import bench.measure.update
import models
from bench.measure.flat import clip, flatten
from bench.measure.update import Updater
from bench.plan.grid import task_of
from models import Model
from tests.support.leaky import Leaky, SlowLeaky
from tests.support.training import tiny


@pytest.fixture(params=["flat", "one tensor each"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "flat":
        monkeypatch.setattr(bench.measure.update, "flatten", lambda groups: None)
    return request.param


def moved(model: Model, optimizer: str) -> dict[str, Tensor]:
    """The change of each parameter by the first update."""
    spec = tiny(optimizer=optimizer, clip_norm=None, max_steps=10)
    task = task_of(spec)
    torch.manual_seed(0)
    network = models.build(model, task.signature, 6)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    Updater(network, task, spec.training, task.generator("train", 0))()
    return {name: value.detach() - before[name] for name, value in network.named_parameters()}


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.usefixtures("way")
def test_a_scaled_parameter_moves_less_and_the_others_as_before(optimizer: str) -> None:
    plain, slow = moved(Leaky(), optimizer), moved(SlowLeaky(), optimizer)
    for name, distance in plain.items():
        factor = 0.1 if name == "core.rate" else 1.0
        assert distance.abs().max() > 0
        # A difference of two weights near 6 in single precision.
        torch.testing.assert_close(slow[name], factor * distance, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("way")
def test_the_factor_holds_while_the_rate_falls() -> None:
    spec = tiny(optimizer="sgd", max_steps=4, cooldown=0.75, learning_rate=1.0)
    task = task_of(spec)
    network = models.build(SlowLeaky(), task.signature, 6)
    take_step = Updater(network, task, spec.training, task.generator("train", 0))
    rates = []
    for _ in range(4):
        take_step()
        rates.append([group["lr"] for group in take_step.optimizer.param_groups])
    for (slow, fast), expected in zip(map(sorted, rates), (1, 1, 2 / 3, 1 / 3), strict=True):
        assert fast == pytest.approx(expected)
        assert slow == pytest.approx(0.1 * expected)


def test_a_network_without_factors_is_one_tensor() -> None:
    spec = tiny()
    task = task_of(spec)
    for model, number in ((Leaky(), 1), (SlowLeaky(), 2)):
        network = models.build(model, task.signature, 6)
        take_step = Updater(network, task, spec.training, task.generator("train", 0))
        assert [len(g["params"]) for g in take_step.optimizer.param_groups] == [1] * number


def test_the_norm_that_is_clipped_is_that_of_all_groups() -> None:
    parts = [nn.Parameter(torch.randn(size)) for size in (3, 4, 5)]
    bare = [nn.Parameter(part.detach().clone()) for part in parts]
    wholes = flatten([parts[:2], parts[2:]])
    assert wholes is not None

    for group in (parts, bare):
        torch.cat([(n + 1) * part for n, part in enumerate(group)]).square().sum().backward()
    clip(wholes, 0.5)
    torch.nn.utils.clip_grad_norm_(bare, 0.5)
    for ours, theirs in zip(parts, bare, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
