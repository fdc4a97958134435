"""The linear scan: equal to a loop, at any length, in both directions, with all gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import _scan
from models._scan import linear_scan

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def by_loop(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    states = []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1)


def drawn(sizes: tuple[int, int, int], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(sizes, dtype=dtype, generator=generator) for _ in range(2))
    h = torch.randn(sizes[0], sizes[2], dtype=dtype, generator=generator)
    return a / (1 + a.abs()), b, h


@pytest.fixture(params=["compiled", "by doubling"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by doubling":
        monkeypatch.setattr(_scan, "COMPILED", ())


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 5), (2, 17, 4), (5, 64, 1)])
def test_a_scan_is_the_loop(sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    a, b, h = drawn(sizes, dtype)
    tolerance = 1e-5 if dtype in (torch.float32, torch.complex64) else 1e-12
    found = linear_scan(a, b, h)
    assert torch.allclose(found, by_loop(a, b, h), rtol=tolerance, atol=tolerance)
    zeros = torch.zeros_like(h)
    assert torch.allclose(linear_scan(a, b), by_loop(a, b, zeros), rtol=tolerance, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 4), st.integers(0, 1000))
def test_a_sequence_may_be_cut_anywhere(steps: int, cut: int, batch: int, seed: int) -> None:
    a, b, h = drawn((batch, steps, 3), torch.float64, seed)
    cut = min(cut, steps - 1)
    whole = linear_scan(a, b, h)
    if cut:
        before = linear_scan(a[:, :cut], b[:, :cut], h)
        assert torch.allclose(before, whole[:, :cut], rtol=0, atol=1e-12)
        h = before[:, -1]
    after = linear_scan(a[:, cut:], b[:, cut:], h)
    assert torch.allclose(after, whole[:, cut:], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_are_those_of_finite_differences(dtype: torch.dtype) -> None:
    inputs = [part.requires_grad_() for part in drawn((2, 5, 3), dtype)]
    assert torch.autograd.gradcheck(linear_scan, inputs)
    assert torch.autograd.gradgradcheck(linear_scan, inputs)


@pytest.mark.usefixtures("way")
def test_one_factor_for_all_steps_may_be_an_expanded_view() -> None:
    _, b, h = drawn((2, 9, 3), torch.complex128)
    factor = (torch.rand(3, dtype=torch.complex128) / 2).requires_grad_()
    linear_scan(factor.expand(2, 9, 3), b, h).abs().sum().backward()
    (expected,) = torch.autograd.grad(by_loop(factor.expand(2, 9, 3), b, h).abs().sum(), factor)
    assert factor.grad is not None
    assert torch.allclose(factor.grad, expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("way")
def test_a_hundred_thousand_steps_keep_four_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    a = 1 - 1e-4 * torch.rand(1, 100_000, 4, generator=generator, dtype=torch.float64)
    b = torch.randn(1, 100_000, 4, generator=generator, dtype=torch.float64)
    exact = linear_scan(a, b)
    single = linear_scan(a.float(), b.float())
    error = (single - exact).abs().max() / exact.abs().max()
    assert error < 1e-4


def test_it_runs_on_the_meta_device() -> None:
    a, b = torch.empty(2, 3, 7, 4, device="meta")
    linear_scan(a, b.requires_grad_()).sum().backward()
    assert b.grad is not None
    assert b.grad.shape == b.shape
