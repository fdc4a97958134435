"""The linear recurrence h_t = a_t ⊙ h_{t−1} + b_t over all steps of a sequence, with gradients.

On the CPU a compiled loop computes it (`_scan_kernels`). On other devices it takes ⌈log₂ T⌉ passes
over the sequence: after the pass with shift s, step t holds the effect of its last 2s inputs
(Hillis & Steele 1986). Both multiply the factors themselves. Sums of their logarithms would lose
three digits over 10,000 steps in single precision.

Shape letters: B sequences, T steps, H numbers of the state.
"""

import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor

COMPILED = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def linear_scan(a_BTH: Tensor, b_BTH: Tensor, h_BH: Tensor | None = None) -> Tensor:
    """States (B, T, H) of h_t = a_t ⊙ h_{t−1} + b_t, real or complex.

    `h_BH` is the state before the first step; None stands for zeros. The factors may be an expanded
    view, for example of one factor per unit, (H,).
    """
    if h_BH is not None:
        first_B1H = b_BTH[:, :1] + a_BTH[:, :1] * h_BH.unsqueeze(1)
        b_BTH = torch.cat([first_B1H, b_BTH[:, 1:]], 1)
    states: Tensor = _Scan.apply(a_BTH, b_BTH, False)
    return states


class _Scan(torch.autograd.Function):
    """The recurrence from a state of zeros, forward in time or, with `back`, from the last step."""

    @staticmethod
    def forward(ctx: Any, a_BTH: Tensor, b_BTH: Tensor, back: bool) -> Tensor:
        ctx.back = back
        if b_BTH.device.type == "cpu" and b_BTH.dtype in COMPILED and _has_numba():
            h_BTH = torch.empty_like(b_BTH, memory_format=torch.contiguous_format)
            parts = (a_BTH.detach().resolve_conj(), b_BTH.detach().resolve_conj(), h_BTH)
            _kernels().scan(*(part.numpy() for part in parts), back)
        else:
            h_BTH = _by_doubling(a_BTH, b_BTH, back)
        ctx.save_for_backward(a_BTH, h_BTH)
        return h_BTH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """dL/db_t = dL/dh_t + a_{t+1}* dL/db_{t+1}, and dL/da_t = h_{t−1}* dL/db_t.

        It is the same recurrence in the other direction, so it has gradients too.
        """
        a_BTH, h_BTH = ctx.saved_tensors
        next_a_BTH = _shifted(a_BTH.conj(), 1, not ctx.back)
        db_BTH = _Scan.apply(next_a_BTH, grads[0], not ctx.back)
        da_BTH = db_BTH * _shifted(h_BTH, 1, ctx.back).conj() if ctx.needs_input_grad[0] else None
        return da_BTH, db_BTH, None


def _shifted(x_BTH: Tensor, steps: int, back: bool, fill: float = 0.0) -> Tensor:
    """Each step's predecessor, `steps` before it: earlier or, with `back`, later in time."""
    kept = x_BTH.shape[1] - steps
    room = x_BTH.new_full((1, 1, 1), fill).expand(x_BTH.shape[0], steps, x_BTH.shape[2])
    if back:
        return torch.cat([x_BTH[:, -kept:] if kept else x_BTH[:, :0], room], 1)
    return torch.cat([room, x_BTH[:, :kept]], 1)


def _by_doubling(a_BTH: Tensor, b_BTH: Tensor, back: bool) -> Tensor:
    shift = 1
    while shift < b_BTH.shape[1]:
        b_BTH = b_BTH + a_BTH * _shifted(b_BTH, shift, back)
        a_BTH = a_BTH * _shifted(a_BTH, shift, back, fill=1.0)
        shift *= 2
    return b_BTH if shift > 1 else b_BTH.clone()


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def _kernels() -> Any:
    from models import _scan_kernels
    from models._kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return _scan_kernels
