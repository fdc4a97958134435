"""Residual stacks of gated scans computed by the compiled kernels of `_stack_kernels`.

Equal to PyTorch's operations but for rounding. PyTorch itself computes what the kernels do not:
other devices and precisions, states, and gradients of gradients.

Shape letters: B sequences, T steps, I inputs, H channels, N numbers, P steps with outputs.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models._scan import linear_scan


@cache
def _kernels() -> Any:
    """The compiled kernels, imported by the first network that needs them."""
    from models import _stack_kernels
    from models._kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return _stack_kernels


@cache
def _products() -> Any:
    """The products of the kernels."""
    from models import _stack_products

    return _stack_products


class Layout:
    """Where each number of a stack lies, for one length of sequences."""

    def __init__(self, core: Any, num_steps: int, last_only: bool, kept: bool) -> None:
        kernels = _kernels()
        lanes = _products().LANES
        blocks = core.blocks
        self.width, self.last_only, self.kept = core.norm.weight.numel(), last_only, kept
        self.num_inputs, self.gates = core.input.in_features, len(blocks[0].mixer.projections())
        self.direct = self.num_inputs + 1 <= self.width
        """Whether the first projection reads the inputs instead of the channels."""
        inputs, self.num_lanes = self.num_inputs + 1, 0
        room = num_steps if kept else kernels.CHUNK
        weight_at, acts_at = self.width * inputs, room * inputs * lanes
        matrices, rows, self._biases = [(0, self.width, inputs)], [], []
        self.sizes = [weight_at]
        """Numbers of weights of each part of the flat vector."""
        for n, block in enumerate(blocks):
            units = block.out.in_features
            outputs = self.gates * units
            num_in = inputs if n == 0 and self.direct else self.width
            out_at = weight_at + outputs * (num_in + 1)
            matrices += [(weight_at, outputs, num_in), (out_at, self.width, units)]
            p_at, s_at = acts_at, acts_at + room * outputs * lanes
            u_at = s_at + (room + 1) * units * lanes
            r_at = u_at + room * num_in * lanes
            acts_at = r_at + room * lanes
            rows.append([units, num_in, weight_at, out_at, self.num_lanes, p_at, s_at, u_at, r_at])
            self._bias(out_at - outputs, outputs, lanes)
            self._bias(out_at + self.width * units, self.width, lanes)
            weight_at = out_at + self.width * (units + 1)
            self.sizes += [outputs * num_in, outputs, self.width * units, self.width]
        self.sizes.append(self.width)
        gain_lanes_at = self.num_lanes
        self._bias(weight_at, self.width, lanes)
        n_at, last = acts_at, 1 if last_only else room
        r_at = n_at + last * self.width * lanes
        self.num_acts = r_at + last * lanes
        self.num_parameters = weight_at + self.width
        sizes = [self.num_inputs, self.width, self.gates, last_only, kept, self.direct]
        self.stack = tuple(map(int, [*sizes, n_at, r_at, gain_lanes_at]))
        self.matrices, self.blocks = np.array(matrices), np.array(rows)

    def _bias(self, at: int, size: int, lanes: int) -> None:
        self._biases.append((at, size, self.num_lanes))
        self.num_lanes += size * lanes

    def bias_lanes(self, flat_N: np.ndarray) -> np.ndarray:
        """The biases, repeated for each lane."""
        parts = [flat_N[at : at + size] for at, size, _ in self._biases]
        return np.repeat(np.concatenate(parts), _products().LANES)

    def write_totals(self, totals: np.ndarray, gradient: np.ndarray) -> None:
        """Sum the gradients of the biases over the lanes."""
        lanes = _products().LANES
        for at, size, lanes_at in self._biases:
            part = totals[lanes_at : lanes_at + size * lanes]
            gradient[at : at + size] = part.reshape(size, lanes).sum(1)


_FREE: list[np.ndarray] = []
"""The activations of the last update. Room that is used again saves the time for new pages."""


def _take_acts(layout: Layout, batch_size: int, dtype: np.dtype) -> np.ndarray:
    """Room for the activations (groups, N) of a batch, or of one chunk if nothing is kept."""
    num_groups = -(-batch_size // _products().LANES) if layout.kept else 1
    size = num_groups * layout.num_acts
    found = _FREE.pop() if _FREE else None
    if found is None or found.dtype != dtype or len(found) < size:
        found = np.empty(size, dtype)
    return found[:size].reshape(num_groups, layout.num_acts)


def _return_acts(acts_GN: np.ndarray) -> None:
    _FREE[:] = [acts_GN.base if acts_GN.base is not None else acts_GN.reshape(-1)]


def weights(core: Any, direct: bool) -> Tensor:
    """All weights as one vector, (N,), each norm's gain multiplied into the projection behind it.

    With `direct` the first projection is multiplied with the input layer.
    """
    input_HI = torch.cat([core.input.weight, core.input.bias.unsqueeze(1)], 1)
    parts = [input_HI]
    for n, block in enumerate(core.blocks):
        layers = block.mixer.projections()
        weight = torch.cat([layer.weight for layer in layers]) * block.norm.weight
        parts.append(weight @ input_HI if n == 0 and direct else weight)
        parts += [*(layer.bias for layer in layers), block.out.weight, block.out.bias]
    parts.append(core.norm.weight)
    return torch.cat([part.reshape(-1) for part in parts])


def stack(layout: Layout, core: Any, x_BTI: Tensor) -> Tensor:
    """Outputs (B, P, H) of a `StackCore` whose mixers are gated scans."""
    outputs: Tensor = _Stack.apply(layout, core, x_BTI.contiguous(), weights(core, layout.direct))
    return outputs


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, core: Any, x_BTI: Tensor, flat_N: Tensor) -> Tensor:
        flat = flat_N.detach().numpy()
        packed, packed_back = np.empty((2, len(flat)), flat.dtype)
        _products().pack(layout.matrices, flat, packed, packed_back)
        y_BPH, acts_GN = _forward(layout, x_BTI, flat, packed)
        if layout.kept:
            ctx.layout, ctx.core, ctx.acts_GN = layout, core, acts_GN
            ctx.flat, ctx.packed, ctx.packed_back = flat, packed, packed_back
            ctx.save_for_backward(x_BTI, flat_N)
        else:
            _return_acts(acts_GN)
        return y_BPH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_BTI, flat_N = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, *_by_pytorch(ctx, x_BTI, flat_N, grads[0])
        layout, flat = ctx.layout, ctx.flat
        acts_GN, ctx.acts_GN = ctx.acts_GN, None
        if acts_GN is None:  # an earlier call on the same graph has given them away
            _, acts_GN = _forward(layout, x_BTI, flat, ctx.packed)
        wanted = ctx.needs_input_grad[2]
        dx_BTI = x_BTI.new_empty(x_BTI.shape if wanted else (0, *x_BTI.shape[1:]))
        sums = np.zeros(len(flat) * _products().PARTS, flat.dtype)
        totals = np.zeros(layout.num_lanes, flat.dtype)
        _kernels().backward_stack(
            layout.stack,
            layout.blocks,
            ctx.packed,
            ctx.packed_back,
            layout.bias_lanes(flat),
            acts_GN,
            grads[0].contiguous().numpy(),
            sums,
            totals,
            dx_BTI.numpy(),
        )
        _return_acts(acts_GN)
        gradient = torch.empty_like(flat_N)
        _products().unpack(layout.matrices, sums, gradient.numpy())
        layout.write_totals(totals, gradient.numpy())
        return None, None, dx_BTI if wanted else None, gradient


def _forward(
    layout: Layout, x_BTI: Tensor, flat: np.ndarray, packed: np.ndarray
) -> tuple[Tensor, np.ndarray]:
    acts_GN = _take_acts(layout, len(x_BTI), flat.dtype)
    num_steps = 1 if layout.last_only else x_BTI.shape[1]
    y_BPH = x_BTI.new_empty(len(x_BTI), num_steps, layout.width)
    _kernels().forward_stack(
        layout.stack,
        layout.blocks,
        packed,
        layout.bias_lanes(flat),
        flat.dtype.type(np.finfo(flat.dtype).eps),
        x_BTI.detach().numpy(),
        acts_GN,
        y_BPH.numpy(),
    )
    return y_BPH, acts_GN


def _by_pytorch(ctx: Any, x_BTI: Tensor, flat_N: Tensor, grad: Tensor) -> Any:
    """Gradients that have gradients themselves: by PyTorch's operations on the same inputs."""
    layout, mixers = ctx.layout, [block.mixer for block in ctx.core.blocks]
    parts = iter(flat_N.split(layout.sizes))
    input_HI = next(parts).view(layout.width, -1)
    ones_BT1 = x_BTI.new_ones(*x_BTI.shape[:2], 1)
    x_BTK = torch.cat([x_BTI, ones_BT1], 2)
    h_BTH = F.linear(x_BTK, input_HI)
    for n, mixer in enumerate(mixers):
        weight, bias_P, out, bias_H = (next(parts) for _ in range(4))
        r_BT1 = _inverse_rms(h_BTH)
        u_BTK = (x_BTK if n == 0 and layout.direct else h_BTH) * r_BT1
        p_BTP = F.linear(u_BTK, weight.view(len(bias_P), -1), bias_P)
        factors = mixer.factors(*p_BTP.chunk(layout.gates, -1))
        h_BTH = h_BTH + F.linear(linear_scan(*factors), out.view(layout.width, -1), bias_H)
    if layout.last_only:
        h_BTH = h_BTH[:, -1:]
    y_BPH = h_BTH * _inverse_rms(h_BTH) * next(parts)
    wanted = [tensor for tensor in (x_BTI, flat_N) if tensor.requires_grad]
    found = iter(torch.autograd.grad(y_BPH, wanted, grad, create_graph=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in (x_BTI, flat_N))


def _inverse_rms(h_BTH: Tensor) -> Tensor:
    return torch.rsqrt(h_BTH.square().mean(-1, keepdim=True) + torch.finfo(h_BTH.dtype).eps)
