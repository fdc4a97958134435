"""Receptive fields and gradients of networks for which both are known."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
import tasks
from bench.measure import probe
from models import Network
from tasks import Batch
from tests.support.networks import Conditioned, Echo
from tests.support.signatures import REALS, Signature


def echo(weights: list[float]) -> Network:
    network = Network(Echo(weights), Signature(num_inputs=2, num_outputs=1))
    nn.init.ones_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    return network


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 7])
@pytest.mark.parametrize("form", [{}, {"gated": True}, {"residual": False}])
def test_perturbing_finds_the_field_of_the_formula(kernel_size: int, form: dict[str, bool]) -> None:
    for num_blocks in (1, 2, 7):
        net = models.network(
            "tcn", REALS, width=4, kernel_size=kernel_size, num_blocks=num_blocks, **form
        )
        field, seen = probe.measured_field(net, 20)
        assert field == net.receptive_field < seen


def test_perturbing_finds_that_a_declared_field_is_too_long() -> None:
    network = echo([1.0, 2.0, 3.0])
    network.core.receptive_field = 5
    assert probe.measured_field(network, 20) == (3, 5 + probe.MARGIN)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_an_infinite_field_is_measured_as_the_whole_sequence(name: str) -> None:
    assert probe.measured_field(models.network(name, REALS, width=4), 37) == (37, 37)


def test_gradients_by_hand() -> None:
    task = tasks.load("adding", length=4)
    batch = next(task.evaluation("validation", 0, probe.NUM_SEQUENCES))
    network = echo([3.0, 0.0, 1.0])
    found = probe.probe(network, task, batch, step=7)
    assert found is not None
    assert found.step == 7
    assert found.output_gradient.distances == (0, 1, 2, 3)
    # Each step has two features with the same weight: √2 · |weight|.
    expected = [3 * math.sqrt(2), 0.0, math.sqrt(2), 0.0]
    assert found.output_gradient.values == pytest.approx(expected, rel=1e-3)
    # Distance 0 holds 9/10 of the square, so 95% needs distance 2.
    assert found.effective_field == 3
    error = (network(batch.x)[0][:, -1] - batch.y).detach()
    rms = 2 * error.square().mean().sqrt().item()
    assert found.loss_gradient.values == pytest.approx([rms * e for e in expected], rel=1e-3)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_distances_count_from_the_end_of_each_sequence() -> None:
    task = tasks.load("variable_adding", length=9)
    batch = task.sample(64, task.generator("validation", 0))
    found = probe.probe(echo([3.0, 0.0, 1.0]), task, batch, step=0)
    assert found is not None
    values = dict(zip(found.output_gradient.distances, found.output_gradient.values, strict=True))
    assert values[0] == pytest.approx(3 * math.sqrt(2), rel=1e-3)
    assert values[1] == 0
    # Sequences of two steps have no third last input and must not lower the mean.
    assert values[2] == pytest.approx(math.sqrt(2), rel=1e-3)


def test_long_gradients_are_kept_at_few_distances() -> None:
    square = torch.arange(5000, dtype=torch.double) ** 2
    kept = probe._by_distance(square)
    assert len(kept.distances) <= probe.NUM_DISTANCES
    assert kept.distances[:2] == (0, 1)
    ends = [*kept.distances[1:], 5000]
    for start, end, value in zip(kept.distances, ends, kept.values, strict=True):
        assert value == pytest.approx(square[start:end].mean().sqrt().item(), rel=1e-3)


def test_a_gradient_that_is_not_finite_gives_no_probe() -> None:
    task = tasks.load("adding", length=4)
    batch = Batch(x=torch.ones(2, 4, 2), y=torch.ones(2, 1))
    assert probe.probe(echo([math.inf, 1.0]), task, batch, step=0) is None


def test_a_network_without_influence_has_no_effective_field() -> None:
    task = tasks.load("adding", length=4)
    found = probe.probe(echo([0.0, 0.0]), task, next(task.evaluation("validation", 0, 8)), step=0)
    assert found is not None
    assert found.effective_field == 0


def test_a_probe_does_not_use_dropout() -> None:
    task = tasks.load("adding", length=30)
    net = models.network("tcn", task.signature, width=8, dropout=0.5)
    batch = next(task.evaluation("validation", 0, 8))
    state = torch.get_rng_state()
    assert probe.probe(net, task, batch, step=0) == probe.probe(net, task, batch, step=0)
    assert torch.equal(torch.get_rng_state(), state)


class Rows(Echo):
    """Sees the current row of an image up to the current pixel, and no row above."""

    def __init__(self, width: int) -> None:
        super().__init__([1.0] * width)
        self.width = width

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        assert state is None
        begin = (x_BTI.shape[1] - 1) // self.width * self.width
        return x_BTI[:, begin:].sum((1, 2)).view(-1, 1, 1), None


def test_the_field_of_an_image_is_measured_at_the_end_of_a_row() -> None:
    network = echo([1.0])
    network.core = Rows(7)
    field, seen = probe.measured_field(network, 49, row=7)
    assert (field, seen % 7) == (7, 0)
    assert probe.measured_field(network, 49)[0] < 7  # it is shorter inside a row


@pytest.mark.parametrize("local", [False, True])
def test_a_network_with_conditions_is_probed_with_those_of_the_batch(local: bool) -> None:
    task = tasks.load("adding", length=4)
    batch = next(task.evaluation("validation", 0, 8))
    condition = torch.rand(8, 4, 3) if local else torch.arange(8)
    batch = dataclasses.replace(batch, condition=condition)
    network = Conditioned(Echo([3.0, 0.0, 1.0]), Signature(num_inputs=2, num_outputs=1))
    nn.init.ones_(network.head.weight)
    assert probe.measured_field(network, 20, condition) == (3, 3 + probe.MARGIN)
    found = probe.probe(network, task, batch, step=0)
    assert found is not None
    expected = [3 * math.sqrt(2), 0.0, math.sqrt(2), 0.0]
    assert found.output_gradient.values == pytest.approx(expected, rel=1e-3)
