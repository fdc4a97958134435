"""Mamba's mixer: the compiled loops equal PyTorch's operations, with all gradients."""

import pytest
import torch
from torch import Tensor

from models import _mamba_kernels, _mamba_training
from models._mamba_training import selective_scan, short_conv

Inputs = tuple[Tensor, ...]


def scan_inputs(sizes: tuple[int, int, int, int], dtype: torch.dtype) -> Inputs:
    """u, raw, a, b, c, skip, z, h of these numbers of sequences, steps, units and state values."""
    batch, steps, units, numbers = sizes
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def per_step(size: int) -> Tensor:
        return drawn(batch, steps, size)

    return (
        *(per_step(units), 3 * per_step(units), -drawn(numbers, units).exp()),
        *(per_step(numbers), per_step(numbers), drawn(units), per_step(units)),
        drawn(batch, numbers, units),
    )


def conv_inputs(dtype: torch.dtype) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 9, 5), (4, 5), (5,))
    return tuple(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)


def by_loop(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The equations of `selective_scan`, one step after the other."""
    u, raw, a, b, c, skip, z, h = inputs
    outputs = []
    for t in range(u.shape[1]):
        delta = torch.log1p(raw[:, t].exp())
        h = torch.exp(delta[:, None] * a) * h + (delta * u[:, t])[:, None] * b[:, t, :, None]
        y = (c[:, t, :, None] * h).sum(1) + skip * u[:, t]
        outputs.append(y * z[:, t] * torch.sigmoid(z[:, t]))
    return torch.stack(outputs, 1), h


@pytest.fixture(params=["compiled", "by PyTorch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by PyTorch":
        monkeypatch.setattr(_mamba_training, "_has_kernels", lambda x: False)


SEGMENT = _mamba_kernels.SEGMENT


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1), (3, SEGMENT, 5, 2), (2, SEGMENT + 1, 8, 3), (2, 2 * SEGMENT + 7, 17, 4)]
)
def test_the_selective_scan_is_the_loop(
    sizes: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    """Outputs and gradients, also of the last state."""
    inputs = [part.requires_grad_() for part in scan_inputs(sizes, dtype)]
    exact = [part.detach().double().requires_grad_() for part in inputs]
    found, expected = selective_scan(*inputs), by_loop(*exact)
    signs = [
        torch.sign(torch.sin(torch.arange(part.numel()))).reshape(part.shape) for part in found
    ]

    def gradients(outputs: Inputs, leaves: list[Tensor]) -> Inputs:
        total = sum((part * sign.to(part)).sum() for part, sign in zip(outputs, signs, strict=True))
        assert isinstance(total, Tensor)
        return torch.autograd.grad(total, leaves)

    within = 1e-11 if dtype is torch.float64 else 2e-5
    pairs = zip(
        (*found, *gradients(found, inputs)), (*expected, *gradients(expected, exact)), strict=True
    )
    for part, other in pairs:
        assert part.dtype is dtype
        assert (part - other).abs().max() <= within * other.abs().max()


@pytest.mark.usefixtures("way")
def test_gradients_are_those_of_finite_differences() -> None:
    inputs = [part.requires_grad_() for part in scan_inputs((2, 5, 3, 2), torch.float64)]
    assert torch.autograd.gradcheck(selective_scan, inputs)
    assert torch.autograd.gradgradcheck(selective_scan, inputs)
    inputs = [part.requires_grad_() for part in conv_inputs(torch.float64)]
    assert torch.autograd.gradcheck(short_conv, inputs)
    assert torch.autograd.gradgradcheck(short_conv, inputs)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_short_convolution_is_that_of_pytorch(dtype: torch.dtype) -> None:
    x_BSD, w_KD, bias_D = conv_inputs(dtype)
    conv = torch.nn.Conv1d(5, 5, 4, groups=5, dtype=dtype)
    conv.load_state_dict({"weight": w_KD.T.unsqueeze(1), "bias": bias_D})
    expected = torch.nn.functional.silu(conv(x_BSD.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(short_conv(x_BSD, w_KD, bias_D), expected)
