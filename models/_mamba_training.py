"""The two parts of Mamba's mixer that run over time: on the CPU by the loops of `_mamba_kernels`.

PyTorch computes what the loops do not: other devices and precisions, and gradients of gradients.

Shape letters: B sequences, T steps, S = T + K − 1 steps, D units, N numbers of a unit's state, K
taps, C segments.
"""

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models._scan import linear_scan


def short_conv(x_BSD: Tensor, w_KD: Tensor, bias_D: Tensor) -> Tensor:
    """SiLU of a causal convolution of each unit, (B, T, D)."""
    if _has_kernels(x_BSD):
        y_BTD: Tensor = _Conv.apply(x_BSD.contiguous(), w_KD, bias_D)
        return y_BTD
    return _conv_by_pytorch(x_BSD, w_KD, bias_D)


def selective_scan(
    u_BTD: Tensor,
    raw_BTD: Tensor,
    a_ND: Tensor,
    b_BTN: Tensor,
    c_BTN: Tensor,
    skip_D: Tensor,
    z_BTD: Tensor,
    h_BND: Tensor,
) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, D) and the last state, from the state `h` before the first step.

        h_t = exp(Δ_t a) ⊙ h_{t−1} + Δ_t u_t b_t,     y_t = (Σ_n c_t h_t + skip ⊙ u_t) ⊙ SiLU(z_t)

    with Δ = softplus(raw).
    """
    inputs = (u_BTD, raw_BTD, a_ND, b_BTN, c_BTN, skip_D, z_BTD, h_BND)
    if _has_kernels(u_BTD):
        y_BTD, h_BND = _Scan.apply(*(part.contiguous() for part in inputs))
        return y_BTD, h_BND
    return _scan_by_pytorch(*inputs)


def _has_kernels(x: Tensor) -> bool:
    types = (torch.float32, torch.float64)
    return x.device.type == "cpu" and x.dtype in types and _has_numba()


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def _kernels() -> Any:
    from models import _mamba_kernels
    from models._kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return _mamba_kernels


def _conv_by_pytorch(x_BSD: Tensor, w_KD: Tensor, bias_D: Tensor) -> Tensor:
    num_steps = x_BSD.shape[1] - len(w_KD) + 1
    taps = [x_BSD[:, k : k + num_steps] * w_D for k, w_D in enumerate(w_KD)]
    return F.silu(torch.stack(taps).sum(0) + bias_D)


def _scan_by_pytorch(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    u_BTD, raw_BTD, a_ND, b_BTN, c_BTN, skip_D, z_BTD, h_BND = inputs
    delta_BT1D = F.softplus(raw_BTD).unsqueeze(2)
    factor_BTND = torch.exp(delta_BT1D * a_ND)
    added_BTND = delta_BT1D * u_BTD.unsqueeze(2) * b_BTN.unsqueeze(3)
    states = linear_scan(factor_BTND.flatten(2), added_BTND.flatten(2), h_BND.flatten(1))
    h_BTND = states.unflatten(2, a_ND.shape)
    y_BTD = (h_BTND * c_BTN.unsqueeze(3)).sum(2) + skip_D * u_BTD
    return y_BTD * F.silu(z_BTD), h_BTND[:, -1]


def _again(
    function: Callable[..., Any], inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients that have gradients themselves, by PyTorch."""
    outputs = function(*inputs)
    wanted = [part for part in inputs if part.requires_grad]
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=True))
    return tuple(next(found) if part.requires_grad else None for part in inputs)


def _arrays(*tensors: Tensor) -> list[Any]:
    """NumPy's views of these tensors."""
    return [tensor.detach().numpy() for tensor in tensors]


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BSD: Tensor, w_KD: Tensor, bias_D: Tensor) -> Tensor:
        batch_size, num_steps, num_units = x_BSD.shape
        y_BTD = x_BSD.new_empty(batch_size, num_steps - len(w_KD) + 1, num_units)
        _kernels().conv_forward(*_arrays(x_BSD, w_KD, bias_D, y_BTD))
        ctx.save_for_backward(x_BSD, w_KD, bias_D)
        return y_BTD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled():
            return _again(_conv_by_pytorch, ctx.saved_tensors, grads)
        found = [torch.zeros_like(part) for part in ctx.saved_tensors]
        dy_BTD = grads[0].contiguous()
        _kernels().conv_backward(*_arrays(dy_BTD, *ctx.saved_tensors, *found))
        return tuple(found)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        u_BTD, *_, h_BND = inputs
        kernels, last_BND, y_BTD = _kernels(), h_BND.clone(), torch.empty_like(u_BTD)
        kept_BCS = u_BTD.new_empty(kernels.kept_shape(*u_BTD.shape, h_BND.shape[1]))
        kernels.scan_forward(*_arrays(*inputs[:-1], last_BND, kept_BCS, y_BTD))
        ctx.save_for_backward(*inputs, kept_BCS)
        return y_BTD, last_BND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, kept_BCS = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _again(_scan_by_pytorch, tuple(inputs), grads)
        found = [torch.zeros_like(part) for part in inputs[:-1]]
        dy_BTD, dh_BND = (
            grads[0].contiguous(),
            grads[1].clone(memory_format=torch.contiguous_format),
        )
        parts = _arrays(dy_BTD, *inputs[:-1], kept_BCS, *found, dh_BND)
        _kernels().scan_backward(*parts)
        return (*found, dh_BND)
