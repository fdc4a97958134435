"""Recurrent layers of PyTorch computed by the compiled scans of `_recurrent_kernels`.

Equal to PyTorch's layers but for rounding, with the same parameters and states. PyTorch itself
computes what the scans do not: other devices and precisions, and gradients of gradients.

Shape letters: B sequences, T steps, I inputs, H hidden units, G rows of the weights,
K = I + 1 + H, P parts of the weights (see `_recurrent_products`).
"""

import importlib.util
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

LEAST_SEQUENCES = 7
"""From this number of sequences on, sixteen are computed together; fewer, one after the other."""
_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
"""W (G, I), U (G, H) and both biases (G,)."""


def can_scan(layer: nn.RNNBase, x_BTI: Tensor) -> bool:
    """Whether the compiled scans compute this layer for these inputs."""
    return (
        type(layer) in (nn.RNN, nn.GRU, nn.LSTM)
        and x_BTI.device.type == "cpu"
        and x_BTI.dtype in (torch.float32, torch.float64)
        and x_BTI.dtype == layer.get_parameter("weight_hh_l0").dtype
        and x_BTI.numel() > 0
        and _has_numba()
    )


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def _kernels() -> Any:
    """The compiled scans, imported by the first layer that needs them."""
    from models import _recurrent_kernels
    from models._kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return _recurrent_kernels


def scan(layer: nn.RNNBase, x_BTI: Tensor, state: Any) -> tuple[Tensor, Any]:
    """What `layer(x_BTI, state)` gives: states (B, T, H) and the last one as the layer gives it."""
    weights = [layer.get_parameter(name) for name in _NAMES]
    is_lstm = isinstance(layer, nn.LSTM)
    if state is None:
        h0_BH = c0_BH = x_BTI.new_zeros(len(x_BTI), layer.hidden_size)
    else:
        h0_BH, c0_BH = (state[0][0], state[1][0]) if is_lstm else (state[0], state[0])
    if not is_lstm:
        c0_BH = x_BTI.new_empty(len(x_BTI), 0)
    h_BTH, c_BH = _Scan.apply(layer, x_BTI.contiguous(), h0_BH, c0_BH, *weights)
    last_1BH = h_BTH[:, -1].unsqueeze(0)
    return h_BTH, (last_1BH, c_BH.unsqueeze(0)) if is_lstm else last_1BH


def _arrays(*tensors: Tensor) -> list[Any]:
    """NumPy's views of these tensors."""
    return [tensor.detach().numpy() for tensor in tensors]


def _kind(layer: nn.RNNBase) -> int:
    kernels = _kernels()
    if isinstance(layer, nn.RNN):
        return kernels.RECTIFIED if layer.nonlinearity == "relu" else kernels.TANH
    return kernels.GRU if isinstance(layer, nn.GRU) else kernels.LSTM


class _Sizes:
    """Sizes of one layer for one batch, and which weights read what (see `_recurrent_products`)."""

    def __init__(self, layer: nn.RNNBase, x_BTI: Tensor) -> None:
        (batch_size, self.num_steps, num_inputs), num_units = x_BTI.shape, layer.hidden_size
        self.num_units = num_units
        self.lanes = _kernels().LANES if batch_size >= LEAST_SEQUENCES else 1
        self.num_groups = -(-batch_size // self.lanes)
        self.num_rows = 4 * num_units if isinstance(layer, (nn.GRU, nn.LSTM)) else num_units
        self.kind = _kind(layer)
        num_columns = num_inputs + 1 + num_units
        # One more for pairs of columns, and an odd number, so that the columns of successive
        # steps lie in different sets of the cache.
        self.width = (num_columns + 1) | 1
        if isinstance(layer, nn.GRU):  # n reads [x; 1], r and z read all, m reads [1; h]
            gates, last = 3 * num_units, self.num_rows
            parts = [
                (0, num_units, 0, num_inputs + 1),
                (num_units, gates, 0, num_columns),
                (gates, last, num_inputs, num_columns),
            ]
            back = [(0, num_inputs, 0, gates), (num_inputs + 1, num_columns, num_units, last)]
        else:
            parts = [(0, self.num_rows, 0, num_columns)]
            back = [
                (0, num_inputs, 0, self.num_rows),
                (num_inputs + 1, num_columns, 0, self.num_rows),
            ]
        self.parts_P4, self._back_P4 = np.array(parts), np.array(back)

    def back(self, dx_wanted: bool) -> Any:
        """As `parts_P4`, for the transposed weights."""
        return self._back_P4 if dx_wanted else self._back_P4[1:]

    def packed(self, w_GK: Tensor, parts_P4: Any, transposed: bool) -> Any:
        from models import _recurrent_products as products

        size = sum((last - row + 8) * (end - begin) for row, last, begin, end in parts_P4)
        w = w_GK.detach().numpy()
        packed = np.zeros(size + products.NUM_ZEROS, w.dtype)
        products.pack(parts_P4, w, transposed, self.lanes, packed)
        return packed

    def kept(self, c0_BH: Tensor) -> tuple[int, int, int]:
        """Numbers of one sequence, for all steps, in columns, gates and cells."""
        steps = self.num_steps + 1
        return steps * self.width, self.num_steps * self.num_rows, steps * c0_BH.shape[1]


class _Memory:
    """Arrays between the way forward and the way back, which later calls use again.

    Fresh memory can cost more time than the scans themselves: the system clears each page when it
    is first written. The arrays are free again when the graph of the call is.
    """

    unused: ClassVar[dict[tuple[int, Any], list[Any]]] = {}
    """Free arrays by size and dtype."""
    most_sizes: ClassVar[int] = 8

    def __init__(self) -> None:
        self._arrays: list[Any] = []

    def array(self, num_groups: int, size: int, dtype: Any) -> Any:
        """An array (num_groups, size) with any values."""
        try:
            flat = self.unused[num_groups * size, dtype].pop()
        except (KeyError, IndexError):
            flat = np.empty(num_groups * size, dtype)
        self._arrays.append(flat)
        return flat.reshape(num_groups, size)

    def __del__(self) -> None:
        for flat in self._arrays:
            key = flat.size, flat.dtype
            if key not in self.unused and len(self.unused) >= self.most_sizes:
                self.unused.clear()
            self.unused.setdefault(key, []).append(flat)


class _Scan(torch.autograd.Function):
    """States h of every step (B, T, H) and the last cells (B, H), which only an LSTM has."""

    @staticmethod
    def forward(
        ctx: Any, layer: nn.RNNBase, x_BTI: Tensor, h0_BH: Tensor, c0_BH: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        kernels, sizes = _kernels(), _Sizes(layer, x_BTI)
        kept = any(ctx.needs_input_grad)
        num_groups = sizes.num_groups if kept else 1
        w_GK = _joined(layer, *weights)
        states = [part_BH.unsqueeze(1).contiguous() for part_BH in (h0_BH, c0_BH)]
        memory, dtype = _Memory(), states[0].numpy().dtype
        room = [
            memory.array(num_groups, size * sizes.lanes + 16, dtype) for size in sizes.kept(c0_BH)
        ]
        h_BTH, c_B1H = x_BTI.new_empty(*x_BTI.shape[:2], sizes.num_units), states[1].clone()
        kernels.forward(
            sizes.kind,
            *_arrays(x_BTI, *states),
            sizes.parts_P4,
            sizes.packed(w_GK, sizes.parts_P4, False),
            sizes.lanes,
            sizes.width,
            *room,
            *_arrays(h_BTH, c_B1H),
        )
        if kept:
            ctx.layer, ctx.sizes, ctx.memory, ctx.room = layer, sizes, memory, room
            ctx.save_for_backward(x_BTI, h0_BH, c0_BH, *weights, w_GK)
        return h_BTH, c_B1H.squeeze(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, w_GK = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx.layer, tuple(inputs), grads)
        x_BTI, sizes = inputs[0], ctx.sizes
        dx_wanted = ctx.needs_input_grad[1]
        back_P4 = sizes.back(dx_wanted)
        dy_BTH, dc_B1H = grads[0].contiguous(), grads[1].unsqueeze(1).contiguous()
        dx_BTI = torch.empty_like(x_BTI) if dx_wanted else x_BTI.new_empty(0, 0, 0)
        dw_GK, dc0_B1H = torch.empty_like(w_GK), torch.empty_like(dc_B1H)
        dh0_B1H = x_BTI.new_empty(len(x_BTI), 1, sizes.num_units)
        _kernels().backward(
            sizes.kind,
            *_arrays(dy_BTH, dc_B1H),
            sizes.parts_P4,
            back_P4,
            sizes.packed(w_GK, back_P4, True),
            sizes.lanes,
            sizes.width,
            *ctx.room,
            *_arrays(dw_GK, dx_BTI, dh0_B1H, dc0_B1H),
        )
        states = dh0_B1H.squeeze(1), dc0_B1H.squeeze(1)
        return None, dx_BTI if dx_wanted else None, *states, *_split(ctx.layer, dw_GK)


def _joined(
    layer: nn.RNNBase, w_GI: Tensor, u_GH: Tensor, bias_x_G: Tensor, bias_h_G: Tensor
) -> Tensor:
    """[W b U]. Of a GRU with the rows of n, r, z, and of m, with which r is multiplied.

    n = tanh(W x + b + r ⊙ m), m = U h + c. The rows of n and m have weights that no part reads.
    """
    if not isinstance(layer, nn.GRU):
        return torch.cat([w_GI, (bias_x_G + bias_h_G).unsqueeze(1), u_GH], 1)
    two = 2 * layer.hidden_size
    n = torch.cat([w_GI[two:], bias_x_G[two:].unsqueeze(1), u_GH[two:]], 1)
    r_and_z = torch.cat([w_GI[:two], (bias_x_G + bias_h_G)[:two].unsqueeze(1), u_GH[:two]], 1)
    m = torch.cat([w_GI[two:], bias_h_G[two:].unsqueeze(1), u_GH[two:]], 1)
    return torch.cat([n, r_and_z, m])


def _split(layer: nn.RNNBase, dw_GK: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of W, U and both biases, from that of [W b U]."""
    dw_GI, bias_G1, du_GH = dw_GK.split([layer.input_size, 1, layer.hidden_size], 1)
    bias_G = bias_G1.squeeze(1)
    if not isinstance(layer, nn.GRU):
        return dw_GI, du_GH, bias_G, bias_G
    one, three = layer.hidden_size, 3 * layer.hidden_size
    dw_GI, bias_x_G = dw_GI[:three].roll(-one, 0), bias_G[:three].roll(-one)
    return dw_GI, du_GH[one:], bias_x_G, bias_G[one:]


def _by_pytorch(layer: nn.RNNBase, inputs: tuple[Tensor, ...], grads: tuple[Any, ...]) -> Any:
    """Gradients that have gradients themselves: the layer of PyTorch on the same inputs."""
    x_BTI, h0_BH, c0_BH = inputs[:3]
    parameters: dict[str, Tensor] = dict(zip(_NAMES, inputs[3:], strict=True))
    is_lstm = isinstance(layer, nn.LSTM)
    state: Any = h0_BH.unsqueeze(0)
    if is_lstm:
        state = (state, c0_BH.unsqueeze(0))
    h_BTH, last = torch.func.functional_call(layer, parameters, (x_BTI, state))
    outputs = [h_BTH, last[1][0]] if is_lstm else [h_BTH]
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    given = grads[: len(outputs)]
    found = iter(torch.autograd.grad(outputs, wanted, given, create_graph=True, allow_unused=True))
    return None, *(next(found) if tensor.requires_grad else None for tensor in inputs)
