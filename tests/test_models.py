"""The contract over every model found by name, and what is particular to each."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import models
from models import Network
from models.tcn import causal_conv, receptive_field


@dataclass(frozen=True, kw_only=True)
class Signature:
    input: str = "real"
    num_inputs: int = 3
    num_outputs: int = 2
    reach: int = 20


TOKENS = Signature(input="token", num_inputs=5, num_outputs=4)
REALS = Signature()


def network(name: str, signature: Signature = REALS, width: int = 6, **fields: Any) -> Network:
    torch.manual_seed(0)
    return models.network(name, signature, width=width, **fields).double().eval()


def sequences(signature: Signature, n: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if signature.input == "token":
        return torch.randint(signature.num_inputs, (n, steps), generator=generator)
    return torch.randn(n, steps, signature.num_inputs, generator=generator, dtype=torch.double)


@pytest.fixture(params=models.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[TOKENS, REALS], ids=["tokens", "reals"])
def signature(request: pytest.FixtureRequest) -> Signature:
    return request.param


def test_outputs_are_what_the_signature_says(name: str, signature: Signature) -> None:
    net = network(name, signature)
    x = sequences(signature, 3, 11)
    assert net(x)[0].shape == (3, 11, signature.num_outputs)
    y, state = net(x, last_only=True)
    assert y.shape == (3, 1, signature.num_outputs)
    assert state is None


@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8))
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("name", models.names())
def test_cutting_the_sequence_changes_nothing(name: str, cuts: list[int]) -> None:
    net = network(name)
    x = sequences(REALS, 2, sum(cuts))
    state, pieces = None, []
    for chunk in x.split(cuts, 1):
        y, state = net(chunk, state)
        pieces.append(y)
    # In double precision only the order of sums differs.
    torch.testing.assert_close(torch.cat(pieces, 1), net(x)[0], rtol=0, atol=1e-12)


def test_the_future_does_not_change_the_past(name: str, signature: Signature) -> None:
    net = network(name, signature)
    x = sequences(signature, 2, 30)
    changed = x.clone()
    changed[:, 17] = changed[:, 17] + 1 if signature.input == "real" else (x[:, 17] + 1) % 5
    y, other = net(x)[0], net(changed)[0]
    assert torch.equal(y[:, :17], other[:, :17])
    assert (y[:, 17] != other[:, 17]).any()  # inclusive of its own step


def test_gradients_reach_every_parameter_and_are_finite(name: str) -> None:
    net = network(name)
    net(sequences(REALS, 2, 30))[0].square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


def test_the_last_step_alone_is_the_last_step(name: str) -> None:
    for steps in (1, 5, 40):
        net = network(name)
        x = sequences(REALS, 2, steps)
        full = torch.autograd.grad(net(x)[0][:, -1:].square().sum(), list(net.parameters()))
        last = torch.autograd.grad(net(x, last_only=True)[0].square().sum(), list(net.parameters()))
        torch.testing.assert_close(net(x)[0][:, -1:], net(x, last_only=True)[0])
        torch.testing.assert_close(full, last)


@pytest.mark.parametrize("budget", [10_000, 12_500, 31_000, 98_000, 300_000])
@pytest.mark.parametrize("reach", [11, 61, 784, 4107])
def test_the_budget_is_met_within_3_percent(name: str, budget: int, reach: int) -> None:
    for like in (TOKENS, REALS, Signature(num_inputs=1, num_outputs=10)):
        signature = Signature(**{**vars(like), "reach": reach})
        width, extra = models.fit_width(models.load(name), signature, budget)
        with torch.device("meta"):
            count = models.num_parameters(models.build(models.load(name), signature, width, extra))
        assert abs(count - budget) <= 0.03 * budget


def test_stacked_layers_meet_the_budget_too() -> None:
    for name in ("lstm", "gru", "rnn"):
        net = models.network(name, REALS, param_budget=10_000, num_layers=3)
        assert abs(models.num_parameters(net) - 10_000) <= 300


def test_a_budget_that_can_not_be_met_names_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=rf"param_budget 40 of {name} .* nearest is \d+"):
        models.network(name, Signature(num_inputs=10, num_outputs=10), param_budget=40)


def test_the_seed_decides_the_weights(name: str) -> None:
    first, second = network(name).state_dict(), network(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_unknown_names_and_bad_fields_are_value_errors() -> None:
    with pytest.raises(ValueError, match=r"'lstmm'.*gru, lstm"):
        models.load("lstmm")
    with pytest.raises(ValueError, match="num_layers 0 of gru; valid: 1 or more"):
        models.load("gru", num_layers=0)
    with pytest.raises(ValueError, match="kernel_size 0 of tcn"):
        models.load("tcn", kernel_size=0)
    with pytest.raises(ValueError, match="dropout 1"):
        models.load("tcn", dropout=1.0)
    with pytest.raises(ValueError, match="num_blocks 0"):
        models.load("tcn", num_blocks=0)
    with pytest.raises(ValueError, match="one of param_budget"):
        models.network("tcn", REALS)


# Recurrent


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_recurrent_parameters_are_the_closed_form(name: str, gates: int) -> None:
    net = network(name, width=7)
    layer = gates * 7 * (REALS.num_inputs + 7 + 2)
    assert models.num_parameters(net) == layer + 7 * REALS.num_outputs + REALS.num_outputs
    assert net.receptive_field == math.inf


# TCN


def textbook_conv(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """z_t = b + Σ_i Σ_j x_{t − i·d, j} w_{i, j}, one number at a time; tap i = 0 is the last."""
    num_sequences, num_steps, num_inputs = x.shape
    num_outputs, _, kernel_size = weight.shape
    z = torch.zeros(num_sequences, num_steps, num_outputs, dtype=x.dtype)
    for b in range(num_sequences):
        for t in range(num_steps):
            for o in range(num_outputs):
                z[b, t, o] = bias[o]
                for i in range(kernel_size):
                    for j in range(num_inputs):
                        if t - i * dilation >= 0:
                            z[b, t, o] += x[b, t - i * dilation, j] * weight[o, j, -1 - i]
    return z


@pytest.mark.parametrize(
    ("steps", "kernel_size", "dilation"), [(1, 3, 1), (7, 1, 4), (9, 3, 2), (5, 4, 8), (12, 2, 5)]
)
def test_the_convolution_is_the_textbook_formula(
    steps: int, kernel_size: int, dilation: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, steps, 3, dtype=torch.double)
    weight, bias = torch.randn(4, 3, kernel_size, dtype=torch.double), torch.randn(4).double()
    expected = textbook_conv(x, weight, bias, dilation)
    torch.testing.assert_close(causal_conv(x, weight, bias, dilation=dilation), expected)
    for past in range(steps):
        part = causal_conv(x, weight, bias, dilation=dilation, num_past=past)
        torch.testing.assert_close(part, expected[:, past:])
        strided = causal_conv(x, weight, bias, dilation=dilation, num_past=past, stride=3)
        torch.testing.assert_close(strided, expected[:, past:].flip(1)[:, ::3].flip(1))


class TextbookTcn(nn.Module):
    """Bai et al.'s network as it is usually written: pad both sides, convolve, cut off the end."""

    def __init__(self, net: Network, kernel_size: int) -> None:
        super().__init__()
        self.net, self.kernel_size = net, kernel_size

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(1, 2)
        for i, block in enumerate(self.net.core.blocks):  # pyright: ignore
            padding = (self.kernel_size - 1) * 2**i
            z = h
            for conv in (block.conv1.conv, block.conv2.conv):
                z = F.conv1d(z, conv.weight, conv.bias, padding=padding, dilation=2**i)
                z = F.relu(z[..., : z.shape[-1] - padding] if padding else z)
            h = F.relu(block.skip(h.transpose(1, 2)).transpose(1, 2) + z)
        return self.net.head(h.transpose(1, 2))


@given(
    kernel_size=st.integers(1, 5),
    num_blocks=st.integers(1, 5),
    steps=st.integers(1, 70),
    extra=st.integers(0, 5),
)
@settings(deadline=None, max_examples=40)
def test_the_tcn_is_the_textbook_tcn(
    kernel_size: int, num_blocks: int, steps: int, extra: int
) -> None:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"kernel_size": kernel_size, "num_blocks": num_blocks}
    net = models.network("tcn", REALS, width=4, extra_width=extra, **fields).double()
    x = sequences(REALS, 2, steps)
    expected = TextbookTcn(net, kernel_size)(x)
    torch.testing.assert_close(net(x)[0], expected)
    torch.testing.assert_close(net(x, last_only=True)[0], expected[:, -1:])
    parameters = list(net.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(net(x, last_only=True)[0].sum(), parameters, materialize_grads=True),
        torch.autograd.grad(expected[:, -1].sum(), parameters, materialize_grads=True),
    )


@pytest.mark.parametrize(("kernel_size", "num_blocks"), [(2, 1), (2, 3), (3, 2), (5, 2), (1, 3)])
def test_the_receptive_field_is_exact(kernel_size: int, num_blocks: int) -> None:
    fields: dict[str, Any] = {"kernel_size": kernel_size, "num_blocks": num_blocks}
    net = network("tcn", width=16, **fields)
    field = int(net.receptive_field)
    assert field == receptive_field(kernel_size, num_blocks)
    x = sequences(REALS, 1, field + 3).requires_grad_()
    net(x)[0][:, -1].sum().backward()
    assert x.grad is not None
    touched = (x.grad[0] != 0).any(1)
    # ReLU may close a path here and there, but neither the oldest nor anything beyond it.
    assert touched[3]
    assert not touched[:3].any()


def test_depth_covers_twice_the_reach_unless_given() -> None:
    for reach in (1, 12, 61, 1011, 4107):
        signature = Signature(reach=reach)
        field = models.network("tcn", signature, width=2).receptive_field
        assert field >= 2 * reach
        assert field < 4 * reach + 20
    assert models.network("tcn", REALS, width=2, num_blocks=2).receptive_field == 43


def test_weights_are_normalised() -> None:
    net = network("tcn")
    conv = net.core.blocks[0].conv1.conv  # pyright: ignore
    scale, direction = (
        conv.parametrizations.weight.original0,
        conv.parametrizations.weight.original1,
    )
    expected = scale * direction / direction.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(conv.weight, expected)


def test_dropout_acts_in_training_alone() -> None:
    net, x = network("tcn", dropout=0.5), sequences(REALS, 2, 20)
    assert torch.equal(net(x)[0], net(x)[0])
    net.train()
    assert not torch.equal(net(x)[0], net(x)[0])
