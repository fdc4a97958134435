"""Sizes and initialisations of lstm, gru and rnn."""

from typing import Any

import pytest
import torch

import models
from models import Network
from tests.support.signatures import Signature


def network(name: str, width: int, reach: int = 20, **fields: Any) -> Network:
    torch.manual_seed(0)
    return models.network(name, Signature(reach=reach), width=width, **fields).double().eval()


def layer_of(name: str, width: int, reach: int = 20, **fields: Any) -> Any:
    core: Any = network(name, width, reach, **fields).core
    return core.layers[0]


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_each_gate_has_an_orthogonal_matrix(name: str, gates: int) -> None:
    matrices = layer_of(name, 5, recurrent_init="orthogonal").weight_hh_l0.chunk(gates)
    for matrix in matrices:
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(5).double(), rtol=0, atol=1e-6)


def test_the_identity_rnn_keeps_its_state() -> None:
    layer = layer_of("rnn", 300, recurrent_init="identity", nonlinearity="relu")
    assert torch.equal(layer.weight_hh_l0, torch.eye(300).double())
    assert not layer.bias_ih_l0.any()
    assert not layer.bias_hh_l0.any()
    assert layer.weight_ih_l0.std().item() == pytest.approx(0.001, rel=0.1)
    state = torch.rand(1, 2, 300).double()
    y, _ = layer(torch.zeros(2, 50, 3).double(), state)
    torch.testing.assert_close(y[:, -1], state[0])


def test_a_forget_bias_is_the_sum_of_the_forget_gates_two_biases() -> None:
    plain, biased = layer_of("lstm", 4, forget_bias=None), layer_of("lstm", 4)
    forget = (biased.bias_ih_l0 + biased.bias_hh_l0)[4:8]
    assert torch.equal(forget, torch.ones(4).double())
    assert (plain.bias_ih_l0 + plain.bias_hh_l0)[4:8].abs().max() <= 1  # twice 1/√4
    others = [0, 1, 2, 3, *range(8, 16)]
    assert torch.equal(plain.bias_ih_l0[others], biased.bias_ih_l0[others])


def test_chrono_overrides_the_forget_bias() -> None:
    recorded, present = (layer_of("lstm", 4, chrono=True, forget_bias=bias) for bias in (None, 1.0))
    assert torch.equal(recorded.bias_ih_l0, present.bias_ih_l0)
    assert torch.equal(recorded.bias_hh_l0, present.bias_hh_l0)
    assert not torch.equal(present.bias_ih_l0[4:8], torch.ones(4).double())


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_chrono_biases_forget_within_1_to_reach_steps(name: str) -> None:
    width, reach = 1000, 101
    layer = layer_of(name, width, reach, chrono=True)
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0)[width : 2 * width]  # f of i, f, g, o; z of r, z, n
    steps = bias.exp()  # uniform from 1 to T_max − 1
    assert 1 <= steps.min() < 2
    assert 99 < steps.max() <= 100
    assert steps.mean().item() == pytest.approx(50.5, abs=2)
    if name == "lstm":
        input_bias = (layer.bias_ih_l0 + layer.bias_hh_l0)[:width]
        assert torch.equal(input_bias, -bias)
