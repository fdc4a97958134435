"""The compiled kernels of the TCN give what PyTorch's operations give, with every gradient."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import models
from models._conv_training import LateState
from models._stepper import tensors
from models.tcn import Tcn, TcnCore
from tests.support.signatures import Signature, sequences

WITHIN = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Of the largest value: sums are made in another order. PyTorch's own error is as large."""


def core(dtype: torch.dtype = torch.float64, width: int = 3, extra: int = 1, **fields: Any) -> Any:
    return Tcn(**fields).build_core(Signature(), width, extra).to(dtype)


def values_and_gradients(
    network: TcnCore, x: Tensor, last_only: bool, compiled: bool
) -> list[Tensor]:
    """Outputs, and the gradients of the inputs and of every parameter."""
    x = x.detach().clone().requires_grad_()
    y, _ = network(x, last_only=last_only, compiled=compiled)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum()
    return [y.detach(), *torch.autograd.grad(loss, [x, *network.parameters()])]


@pytest.mark.parametrize("dtype", WITHIN, ids=str)
@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 35),
    num_steps=st.integers(1, 60),
    kernel_size=st.integers(1, 9),
    num_blocks=st.integers(1, 5),
    width=st.integers(1, 15),
    extra=st.integers(0, 9),
    residual=st.booleans(),
    last_only=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_kernels_are_the_network(
    dtype: torch.dtype,
    batch_size: int,
    num_steps: int,
    kernel_size: int,
    num_blocks: int,
    width: int,
    extra: int,
    residual: bool,
    last_only: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    network = core(
        torch.float64,
        width,
        extra,
        kernel_size=kernel_size,
        num_blocks=num_blocks,
        residual=residual,
    )
    x = torch.randn(batch_size, num_steps, 3, dtype=torch.float64)
    exact = values_and_gradients(network, x, last_only, compiled=False)
    network, x = network.to(dtype), x.to(dtype)
    found = values_and_gradients(network, x, last_only, compiled=True)
    stock = values_and_gradients(network, x, last_only, compiled=False)
    for value, right, other in zip(found, exact, stock, strict=True):
        # In single precision a sum near zero may fall on the other side of a ReLU, in PyTorch too.
        allowed = WITHIN[dtype] * max(right.abs().max(), 1) + 3 * (other - right).abs().max()
        assert (value - right).abs().max() <= allowed


@pytest.mark.parametrize("last_only", [False, True])
def test_gradients_are_those_of_finite_differences(last_only: bool) -> None:
    torch.manual_seed(0)
    network = core(num_blocks=2, kernel_size=3)
    x = torch.randn(4, 9, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: network(x, last_only=last_only)[0], x)


def test_gradients_have_gradients() -> None:
    """By PyTorch's operations, since the kernels have no second derivative of their own."""
    torch.manual_seed(0)
    network = core(num_blocks=2, kernel_size=3)
    x = torch.randn(4, 9, 3, dtype=torch.double, requires_grad=True)

    def second(compiled: bool) -> tuple[Tensor, ...]:
        y, _ = network(x, compiled=compiled)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, *network.parameters()])

    for found, expected in zip(second(True), second(False), strict=True):
        assert found == pytest.approx(expected, abs=1e-10)


def test_a_graph_can_be_walked_twice_beside_another() -> None:
    network = core(num_blocks=2)
    first, _ = network(torch.randn(5, 9, 3, dtype=torch.double))
    network(torch.randn(5, 9, 3, dtype=torch.double))
    parameters = list(network.parameters())
    once = torch.autograd.grad(first.sum(), parameters, retain_graph=True)
    again = torch.autograd.grad(first.sum(), parameters)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_the_state_is_computed_when_it_is_read() -> None:
    network = core(num_blocks=3, kernel_size=3)
    x = torch.randn(4, 20, 3, dtype=torch.double)
    y, _ = network(x, compiled=False)
    _, state = network(x[:, :11])
    assert isinstance(state, LateState)
    rest, _ = network(x[:, 11:], state)
    torch.testing.assert_close(rest, y[:, 11:], rtol=0, atol=1e-10)
    _, expected = network(x[:, :11], compiled=False)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(expected), strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    network = core(num_blocks=2, kernel_size=3)
    x = torch.randn(5, 12, 3, dtype=torch.double)
    x[1, 6] = bad
    found, expected = network(x)[0], network(x, compiled=False)[0]
    assert torch.equal(found.isnan(), expected.isnan())
    assert found[0].isfinite().all()
    assert found[1, :6].isfinite().all()


def test_the_kernels_are_used_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch computes the rest: a long sequence, dropout, gated units, other types and devices."""
    calls = []
    monkeypatch.setattr("models.tcn.Blocks.apply", lambda *given: calls.append(1) or given[2])

    def computed(
        batch_size: int = 4,
        num_steps: int = 5,
        dtype: torch.dtype = torch.float32,
        last_only: bool = False,
        **fields: Any,
    ) -> int:
        calls.clear()
        network = models.network("tcn", Signature(), width=3, **fields).to(dtype)
        network.core(sequences(Signature(), batch_size, num_steps).to(dtype), last_only=last_only)
        return len(calls)

    assert computed()
    assert computed(batch_size=1)
    assert computed(batch_size=2, num_steps=300)
    assert not computed(batch_size=1, num_steps=300)
    assert computed(batch_size=1, num_steps=300, last_only=True)
    assert not computed(dtype=torch.bfloat16)
    assert not computed(gated=True)
    assert not computed(dropout=0.1)
    with torch.device("meta"):
        models.network("tcn", Signature(), width=3)(torch.zeros(4, 5, 3))
    assert not calls
