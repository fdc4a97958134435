"""The compiled scans are the layers of PyTorch, whatever the sizes, states and gradients."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import models
from models._recurrent_training import LEAST_SEQUENCES, can_scan, scan
from tests.support.signatures import Signature, sequences

LAYERS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "rnn": lambda inputs, units: nn.RNN(inputs, units, batch_first=True),
    "rnn relu": lambda inputs, units: nn.RNN(inputs, units, nonlinearity="relu", batch_first=True),
    "gru": lambda inputs, units: nn.GRU(inputs, units, batch_first=True),
    "lstm": lambda inputs, units: nn.LSTM(inputs, units, batch_first=True),
}
WITHIN = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Of the largest value: sums are made in another order. PyTorch's own error is as large."""


def parts(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def states(layer: nn.RNNBase, batch_size: int, dtype: torch.dtype) -> Any:
    given = [
        torch.randn(1, batch_size, layer.hidden_size, dtype=dtype, requires_grad=True)
        for _ in range(2)
    ]
    return tuple(given) if isinstance(layer, nn.LSTM) else given[0]


def values_and_gradients(
    compute: Callable[[Tensor, Any], tuple[Tensor, Any]], layer: nn.RNNBase, x: Tensor, state: Any
) -> list[Tensor]:
    """Outputs, last states, and the gradients of the inputs, the states and every parameter."""
    x = x.detach().clone().requires_grad_()
    y, last = compute(x, state)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum()
    for part in parts(last):
        loss = loss + part.square().sum()
    wanted = [x, *(parts(state) if state is not None else ()), *layer.parameters()]
    return [y.detach(), *parts(last), *torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize("dtype", WITHIN, ids=str)
@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=12, deadline=None)
@given(
    batch_size=st.integers(1, 40),
    num_steps=st.integers(1, 40),
    num_inputs=st.integers(1, 20),
    num_units=st.integers(1, 20),
    with_state=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_scan_is_the_layer(
    kind: str,
    dtype: torch.dtype,
    batch_size: int,
    num_steps: int,
    num_inputs: int,
    num_units: int,
    with_state: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    layer = LAYERS[kind](num_inputs, num_units).to(dtype)
    x = torch.randn(batch_size, num_steps, num_inputs, dtype=dtype)
    assert can_scan(layer, x)
    state = states(layer, batch_size, dtype) if with_state else None
    expected = values_and_gradients(layer, layer, x, state)
    found = values_and_gradients(lambda x, s: scan(layer, x, s), layer, x, state)
    for value, right in zip(found, expected, strict=True):
        assert (value - right).abs().max() <= WITHIN[dtype] * max(right.abs().max(), 1)


@pytest.mark.parametrize("batch_size", [1, LEAST_SEQUENCES - 1, LEAST_SEQUENCES, 17])
@pytest.mark.parametrize("kind", LAYERS)
def test_long_sequences_have_the_gradients_of_the_layer(kind: str, batch_size: int) -> None:
    """Weight gradients are summed over some steps at a time: 32, or 256 of a single sequence."""
    torch.manual_seed(0)
    layer = LAYERS[kind](3, 7).double()
    x = torch.randn(batch_size, 600, 3, dtype=torch.double)
    found = values_and_gradients(lambda x, s: scan(layer, x, s), layer, x, None)
    for value, right in zip(found, values_and_gradients(layer, layer, x, None), strict=True):
        assert (value - right).abs().max() <= 1e-10 * max(right.abs().max(), 1)


def test_lanes_without_a_sequence_do_not_grow() -> None:
    """Their states would double at each step, and infinity times zero is not a number."""
    layer = LAYERS["rnn relu"](1, 2)
    with torch.no_grad():
        for name, values in (("hh", 2 * torch.eye(2)), ("ih", torch.ones(2, 1))):
            layer.get_parameter(f"weight_{name}_l0").copy_(values)
            layer.get_parameter(f"bias_{name}_l0").fill_(0.5)
    y, _ = scan(layer, torch.full((LEAST_SEQUENCES, 200, 1), -2.0), None)
    assert not y.any()
    gradients = torch.autograd.grad(y.sum(), list(layer.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_memory_is_used_again_only_when_its_graph_is_gone() -> None:
    layer, x = LAYERS["lstm"](2, 3), torch.randn(2, 11, 2)

    def memory(y: Tensor) -> set[int]:
        function: Any = y.grad_fn
        return {array.ctypes.data for array in function.room}

    first, _ = scan(layer, x, None)
    second, _ = scan(layer, x, None)
    used = memory(first)
    assert not used & memory(second)
    del first
    third, _ = scan(layer, x, None)
    assert memory(third) == used


@pytest.mark.parametrize("kind", LAYERS)
def test_a_scan_is_nearer_to_double_precision_than_its_tolerance(kind: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind](3, 24)
    exact = copy.deepcopy(layer).double()
    x = torch.randn(16, 300, 3)
    found = values_and_gradients(lambda x, s: scan(layer, x, s), layer, x, None)
    expected = values_and_gradients(exact, exact, x.double(), None)
    for value, right in zip(found, expected, strict=True):
        assert (value - right).abs().max() <= 1e-5 * right.abs().max()


@pytest.mark.parametrize("batch_size", [1, LEAST_SEQUENCES])
@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_are_those_of_finite_differences(kind: str, batch_size: int) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind](2, 3).double()
    x = torch.randn(batch_size, 4, 2, dtype=torch.double, requires_grad=True)
    state = states(layer, batch_size, torch.double)

    def compute(x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y, last = scan(layer, x, state if kind == "lstm" else state[0])
        return y, *parts(last)

    assert torch.autograd.gradcheck(compute, (x, *parts(state)))


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_have_gradients(kind: str) -> None:
    """By PyTorch's layer, since the scans have no second derivative of their own."""
    torch.manual_seed(0)
    layer = LAYERS[kind](2, 3).double()
    x = torch.randn(2, 4, 2, dtype=torch.double, requires_grad=True)

    def second(compute: Callable[[Tensor, Any], tuple[Tensor, Any]]) -> tuple[Tensor, ...]:
        y, _ = compute(x, None)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, *layer.parameters()])

    for found, expected in zip(second(lambda x, s: scan(layer, x, s)), second(layer), strict=True):
        assert found == pytest.approx(expected, abs=1e-10)


def test_a_graph_can_be_walked_twice() -> None:
    layer = LAYERS["gru"](2, 3)
    y, _ = scan(layer, torch.randn(2, 5, 2), None)
    first = torch.autograd.grad(y.sum(), list(layer.parameters()), retain_graph=True)
    second = torch.autograd.grad(y.sum(), list(layer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_not_a_number_stays_one() -> None:
    for kind in LAYERS:
        layer = LAYERS[kind](1, 4)
        x = torch.zeros(2, 6, 1)
        x[0, 2] = float("nan")
        y, _ = scan(layer, x, None)
        assert y[0, 2:].isnan().all()
        assert y[0, :2].isfinite().all()
        assert y[1].isfinite().all()


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_the_scan_is_used_where_it_can_be(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And PyTorch's layer elsewhere: on other devices, in other precisions."""
    calls = []

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return scan(*arguments)

    monkeypatch.setattr("models._recurrent.scan", counted)
    signature = Signature()
    network = models.network(name, signature, width=4)
    network(sequences(signature, 2, 5).float())
    assert len(calls) == 1
    network.to(torch.bfloat16)(sequences(signature, 2, 5).bfloat16())
    with torch.device("meta"):
        models.network(name, signature, width=4)(torch.zeros(2, 5, 3))
    assert len(calls) == 1
