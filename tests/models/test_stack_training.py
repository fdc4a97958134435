"""The compiled kernels of gated stacks give what PyTorch's operations give, with every gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import models
from models._block import Stack, StackCore
from models._conv_training import LateState
from models._stepper import tensors
from models.mingru import MinGru
from models.minlstm import MinLstm
from tests.support.signatures import Signature, sequences

WITHIN = {torch.float32: 2e-5, torch.float64: 1e-10}
"""Of the largest value: sums are made in another order. PyTorch's own error is as large."""
GATED: list[type[Stack]] = [MinGru, MinLstm]


def core(kind: type[Stack], width: int = 5, extra: int = 1, inputs: int = 3, **how: Any) -> Any:
    return kind(**how).build_core(Signature(num_inputs=inputs), width, extra).double()


def values_and_gradients(
    network: StackCore, x: Tensor, last_only: bool, compiled: bool
) -> list[Tensor]:
    """Outputs, and the gradients of the inputs and of every parameter."""
    x = x.detach().clone().requires_grad_()
    y, _ = network(x, last_only=last_only, compiled=compiled)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum()
    return [y.detach(), *torch.autograd.grad(loss, [x, *network.parameters()])]


@pytest.mark.parametrize("dtype", WITHIN, ids=str)
@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(GATED),
    batch_size=st.integers(4, 35),
    num_steps=st.integers(1, 60),
    width=st.integers(3, 15),  # a norm over one channel is little more than a sign
    extra=st.integers(0, 3),
    inputs=st.integers(1, 12),
    num_layers=st.integers(1, 3),
    last_only=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_kernels_are_the_network(
    dtype: torch.dtype,
    kind: type[Stack],
    batch_size: int,
    num_steps: int,
    width: int,
    extra: int,
    inputs: int,
    num_layers: int,
    last_only: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    network = core(kind, width, extra, inputs, num_layers=num_layers)
    x = torch.randn(batch_size, num_steps, inputs, dtype=torch.float64)
    exact = values_and_gradients(network, x, last_only, compiled=False)
    network, x = network.to(dtype), x.to(dtype)
    found = values_and_gradients(network, x, last_only, compiled=True)
    stock = values_and_gradients(network, x, last_only, compiled=False)
    with torch.no_grad():
        plain, _ = network(x, last_only=last_only)  # nothing is kept for gradients
    assert torch.equal(plain, found[0])
    for value, right, other in zip(found, exact, stock, strict=True):
        # In single precision a candidate near zero may fall on the other side, in PyTorch too.
        allowed = WITHIN[dtype] * max(right.abs().max(), 1) + 3 * (other - right).abs().max()
        assert (value - right).abs().max() <= allowed


@pytest.mark.parametrize("kind", GATED)
def test_gradients_have_gradients(kind: type[Stack]) -> None:
    """By PyTorch's operations, since the kernels have no second derivative of their own."""
    torch.manual_seed(0)
    for inputs in (3, 9):  # fewer inputs than channels, and more
        network = core(kind, inputs=inputs)
        x = torch.randn(4, 9, inputs, dtype=torch.double, requires_grad=True)

        def second(compiled: bool, network: Any = network, x: Tensor = x) -> tuple[Tensor, ...]:
            y, _ = network(x, compiled=compiled)
            (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
            return torch.autograd.grad(
                first.square().sum(), [x, *network.parameters()], allow_unused=True
            )

        for found, expected in zip(second(True), second(False), strict=True):
            if expected is not None:
                assert found == pytest.approx(expected, abs=1e-9)


def test_a_graph_can_be_walked_twice_beside_another() -> None:
    network = core(MinGru)
    first, _ = network(torch.randn(5, 40, 3, dtype=torch.double))
    parameters = list(network.parameters())
    once = torch.autograd.grad(first.sum(), parameters, retain_graph=True)
    network(torch.randn(5, 40, 3, dtype=torch.double))
    again = torch.autograd.grad(first.sum(), parameters)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize("kind", GATED)
def test_the_state_is_computed_when_it_is_read(kind: type[Stack]) -> None:
    network = core(kind)
    x = torch.randn(4, 40, 3, dtype=torch.double)
    y, _ = network(x, compiled=False)
    _, state = network(x[:, :21])
    assert isinstance(state, LateState)
    rest, _ = network(x[:, 21:], state)
    torch.testing.assert_close(rest, y[:, 21:], rtol=0, atol=1e-10)
    _, expected = network(x[:, :21], compiled=False)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(expected), strict=True))


def test_what_is_not_finite_stays_in_its_sequence() -> None:
    network = core(MinGru)
    x = torch.randn(5, 40, 3, dtype=torch.double)
    x[1, 20] = float("nan")
    found, expected = network(x)[0], network(x, compiled=False)[0]
    assert torch.equal(found.isnan(), expected.isnan())
    assert found[0].isfinite().all()


def test_the_kernels_are_used_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("models._stack_training._Stack.apply", lambda *g: calls.append(1) or g[2])

    def computed(batch_size: int = 4, dtype: torch.dtype = torch.float32) -> int:
        network = models.network("mingru", Signature(), width=3).to(dtype)
        network.core(sequences(Signature(), batch_size, 5).to(dtype))
        return len(calls)

    assert computed() == 1
    assert computed(batch_size=1) == 1
    assert computed(dtype=torch.bfloat16) == 1
    with torch.device("meta"):
        models.network("mingru", Signature(), width=3)(torch.zeros(4, 5, 3))
    assert len(calls) == 1
