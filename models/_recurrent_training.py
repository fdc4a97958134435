"""Recurrent layers of PyTorch computed by the compiled scans of `_recurrent_kernels`.

Equal to PyTorch's layers but for rounding, with the same parameters and states. PyTorch itself
computes what the scans do not: other devices and precisions, and gradients of gradients.

Shape letters: B sequences, T steps, I inputs, H hidden units, G = gates × H, K = I + 1 + H.
"""

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAST_SEQUENCES = 5
"""From this number of sequences on, sixteen are computed together; fewer, one after the other."""
_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
"""W (G, I), U (G, H) and both biases (G,)."""


def can_scan(layer: nn.RNNBase, x_BTI: Tensor) -> bool:
    """Whether the compiled scans compute this layer for these inputs."""
    return (
        type(layer) in _SCANS
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
    if state is None:
        zeros_BH = x_BTI.new_zeros(len(x_BTI), layer.hidden_size)
        before = [zeros_BH, zeros_BH]
    else:
        before = [part[0] for part in (state if isinstance(state, tuple) else (state,))]
    x_BTI = x_BTI.contiguous()
    if isinstance(layer, nn.LSTM):
        h_BTH, c_BH = _Lstm.apply(layer, x_BTI, *before, *weights)
        return h_BTH, (h_BTH[:, -1].unsqueeze(0), c_BH.unsqueeze(0))
    h_BTH = _SCANS[type(layer)].apply(layer, x_BTI, before[0], *weights)
    return h_BTH, h_BTH[:, -1].unsqueeze(0)


def _arrays(*tensors: Tensor) -> list[Any]:
    """NumPy's views of these tensors."""
    return [tensor.detach().numpy() for tensor in tensors]


class _Sizes:
    """Sizes of one layer for one batch, and which weights read what (see `_recurrent_products`)."""

    def __init__(self, layer: nn.RNNBase, x_BTI: Tensor) -> None:
        (batch_size, self.num_steps, num_inputs), num_units = x_BTI.shape, layer.hidden_size
        self.num_inputs, self.num_units = num_inputs, num_units
        self.lanes = 16 if batch_size >= LEAST_SEQUENCES else 1
        self.num_groups = -(-batch_size // self.lanes)
        self.num_rows = 4 * num_units if isinstance(layer, (nn.GRU, nn.LSTM)) else num_units
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

    def flat(self, num_steps: int, num_rows: int, like: Tensor) -> Tensor:
        """Room for that many steps of each group of sequences, and for one more vector."""
        return like.new_empty(self.num_groups, (num_steps * num_rows + 1) * self.lanes + 16)


def _by_pytorch(layer: nn.RNNBase, inputs: tuple[Tensor, ...], grads: tuple[Any, ...]) -> Any:
    """Gradients that have gradients themselves: the layer of PyTorch on the same inputs."""
    x_BTI, *before = inputs[:-4]
    parameters: dict[str, Tensor] = dict(zip(_NAMES, inputs[-4:], strict=True))
    state = tuple(part.unsqueeze(0) for part in before)
    given = (x_BTI, state if len(state) == 2 else state[0])
    h_BTH, last = torch.func.functional_call(layer, parameters, given)
    outputs = [h_BTH]
    if len(state) == 2:
        outputs.append(last[1][0])
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True))
    return None, *(next(found) if tensor.requires_grad else None for tensor in inputs)


def _gradients(ctx: Any, sizes: _Sizes, x_BTI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the gradients of the weights, the inputs (empty if not wanted) and a state."""
    num_columns = sizes.num_inputs + 1 + sizes.num_units
    dx_BTI = torch.empty_like(x_BTI) if ctx.needs_input_grad[1] else x_BTI.new_empty(0, 0, 0)
    dw_GK = x_BTI.new_empty(sizes.num_rows, num_columns)
    return dw_GK, dx_BTI, x_BTI.new_empty(len(x_BTI), 1, sizes.num_units)


def _parts(dw_GK: Tensor, num_inputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of W, b and U."""
    return dw_GK[:, :num_inputs], dw_GK[:, num_inputs], dw_GK[:, num_inputs + 1 :]


def _one_step(state_BH: Tensor) -> Tensor:
    return state_BH.unsqueeze(1).contiguous()


class _Rnn(torch.autograd.Function):
    """h_t = tanh(W x_t + U h_{t−1} + b), or with ReLU."""

    @staticmethod
    def forward(ctx: Any, layer: nn.RNN, x_BTI: Tensor, h0_BH: Tensor, *weights: Tensor) -> Tensor:
        w_HI, u_HH, bias_x_H, bias_h_H = weights
        sizes = _Sizes(layer, x_BTI)
        w_HK = torch.cat([w_HI, (bias_x_H + bias_h_H).unsqueeze(1), u_HH], 1)
        packed = sizes.packed(w_HK, sizes.parts_P4, False)
        columns_NX = sizes.flat(sizes.num_steps + 1, sizes.width, x_BTI)
        h_BTH = x_BTI.new_empty(*x_BTI.shape[:2], sizes.num_units)
        ctx.layer, ctx.sizes, ctx.rectified = layer, sizes, layer.nonlinearity == "relu"
        x, h0, columns, y = _arrays(x_BTI, _one_step(h0_BH), columns_NX, h_BTH)
        _kernels().rnn_forward(
            x, h0, sizes.parts_P4, packed, ctx.rectified, sizes.lanes, sizes.width, columns, y
        )
        ctx.save_for_backward(x_BTI, h0_BH, *weights, w_HK, columns_NX)
        return h_BTH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, w_HK, columns_NX = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx.layer, tuple(inputs), grads)
        sizes, dx_wanted = ctx.sizes, ctx.needs_input_grad[1]
        back_P4 = sizes.back(dx_wanted)
        packed = sizes.packed(w_HK, back_P4, True)
        dw_HK, dx_BTI, dh_B1H = _gradients(ctx, sizes, inputs[0])
        dy, *arrays = _arrays(grads[0].contiguous(), columns_NX, dw_HK, dx_BTI, dh_B1H)
        _kernels().rnn_backward(
            dy, sizes.parts_P4, back_P4, packed, ctx.rectified, sizes.lanes, sizes.width, *arrays
        )
        dw_HI, bias_H, du_HH = _parts(dw_HK, sizes.num_inputs)
        dx = dx_BTI if dx_wanted else None
        return None, dx, dh_B1H.squeeze(1), dw_HI, du_HH, bias_H, bias_H


class _Gru(torch.autograd.Function):
    """r, z = σ(W x + U h + b), n = tanh(W x + b + r ⊙ (U h + c)), h' = n + z ⊙ (h − n)."""

    @staticmethod
    def forward(ctx: Any, layer: nn.GRU, x_BTI: Tensor, h0_BH: Tensor, *weights: Tensor) -> Tensor:
        w_GI, u_GH, bias_x_G, bias_h_G = weights
        sizes = _Sizes(layer, x_BTI)
        num_units, num_inputs = sizes.num_units, sizes.num_inputs
        # The rows of n, r, z, and of what r is multiplied with. Not all of their weights are read.
        w_GK = x_BTI.new_zeros(sizes.num_rows, num_inputs + 1 + num_units)
        gates = slice(num_units, 3 * num_units)
        w_GK[:num_units, :num_inputs] = w_GI[2 * num_units :]
        w_GK[:num_units, num_inputs] = bias_x_G[2 * num_units :]
        w_GK[gates, :num_inputs] = w_GI[: 2 * num_units]
        w_GK[gates, num_inputs] = (bias_x_G + bias_h_G)[: 2 * num_units]
        w_GK[num_units:, num_inputs + 1 :] = u_GH
        w_GK[3 * num_units :, num_inputs] = bias_h_G[2 * num_units :]
        packed = sizes.packed(w_GK, sizes.parts_P4, False)
        columns_NX = sizes.flat(sizes.num_steps + 1, sizes.width, x_BTI)
        gates_NX = sizes.flat(sizes.num_steps, sizes.num_rows, x_BTI)
        h_BTH = x_BTI.new_empty(*x_BTI.shape[:2], num_units)
        x, h0, *arrays = _arrays(x_BTI, _one_step(h0_BH), columns_NX, gates_NX, h_BTH)
        _kernels().gru_forward(x, h0, sizes.parts_P4, packed, sizes.lanes, sizes.width, *arrays)
        ctx.layer, ctx.sizes = layer, sizes
        ctx.save_for_backward(x_BTI, h0_BH, *weights, w_GK, columns_NX, gates_NX)
        return h_BTH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, w_GK, columns_NX, gates_NX = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx.layer, tuple(inputs), grads)
        sizes, dx_wanted = ctx.sizes, ctx.needs_input_grad[1]
        num_units, num_inputs = sizes.num_units, sizes.num_inputs
        back_P4 = sizes.back(dx_wanted)
        packed = sizes.packed(w_GK, back_P4, True)
        dw_GK, dx_BTI, dh_B1H = _gradients(ctx, sizes, inputs[0])
        dy, *arrays = _arrays(grads[0].contiguous(), columns_NX, gates_NX, dw_GK, dx_BTI, dh_B1H)
        _kernels().gru_backward(
            dy, sizes.parts_P4, back_P4, packed, sizes.lanes, sizes.width, *arrays
        )
        dw_GI, bias_G, du_GH = _parts(dw_GK, num_inputs)
        n, r_and_z, m = bias_G.split([num_units, 2 * num_units, num_units])
        dx = dx_BTI if dx_wanted else None
        dw_GI = torch.cat([dw_GI[num_units : 3 * num_units], dw_GI[:num_units]])
        bias_x_G, bias_h_G = torch.cat([r_and_z, n]), torch.cat([r_and_z, m])
        return None, dx, dh_B1H.squeeze(1), dw_GI, du_GH[num_units:], bias_x_G, bias_h_G


class _Lstm(torch.autograd.Function):
    """c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c'); states h of every step, and the last c."""

    @staticmethod
    def forward(
        ctx: Any, layer: nn.LSTM, x_BTI: Tensor, h0_BH: Tensor, c0_BH: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        w_GI, u_GH, bias_x_G, bias_h_G = weights
        sizes = _Sizes(layer, x_BTI)
        w_GK = torch.cat([w_GI, (bias_x_G + bias_h_G).unsqueeze(1), u_GH], 1)
        packed = sizes.packed(w_GK, sizes.parts_P4, False)
        columns_NX = sizes.flat(sizes.num_steps + 1, sizes.width, x_BTI)
        gates_NX = sizes.flat(sizes.num_steps, sizes.num_rows, x_BTI)
        cells_NX = sizes.flat(sizes.num_steps + 1, sizes.num_units, x_BTI)
        h_BTH = x_BTI.new_empty(*x_BTI.shape[:2], sizes.num_units)
        c_B1H = x_BTI.new_empty(len(x_BTI), 1, sizes.num_units)
        states = _arrays(x_BTI, _one_step(h0_BH), _one_step(c0_BH))
        arrays = _arrays(columns_NX, gates_NX, cells_NX, h_BTH, c_B1H)
        _kernels().lstm_forward(*states, sizes.parts_P4, packed, sizes.lanes, sizes.width, *arrays)
        ctx.layer, ctx.sizes = layer, sizes
        ctx.save_for_backward(x_BTI, h0_BH, c0_BH, *weights, w_GK, columns_NX, gates_NX, cells_NX)
        return h_BTH, c_B1H.squeeze(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, w_GK, columns_NX, gates_NX, cells_NX = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx.layer, tuple(inputs), grads)
        sizes, dx_wanted = ctx.sizes, ctx.needs_input_grad[1]
        back_P4 = sizes.back(dx_wanted)
        packed = sizes.packed(w_GK, back_P4, True)
        dw_GK, dx_BTI, dh_B1H = _gradients(ctx, sizes, inputs[0])
        dc_B1H = torch.empty_like(dh_B1H)
        given = _arrays(grads[0].contiguous(), _one_step(grads[1]))
        arrays = _arrays(columns_NX, gates_NX, cells_NX, dw_GK, dx_BTI, dh_B1H, dc_B1H)
        _kernels().lstm_backward(
            *given, sizes.parts_P4, back_P4, packed, sizes.lanes, sizes.width, *arrays
        )
        dw_GI, bias_G, du_GH = _parts(dw_GK, sizes.num_inputs)
        dx = dx_BTI if dx_wanted else None
        states = dh_B1H.squeeze(1), dc_B1H.squeeze(1)
        return None, dx, *states, dw_GI, du_GH, bias_G, bias_G


_SCANS: dict[type, type[torch.autograd.Function]] = {nn.RNN: _Rnn, nn.GRU: _Gru, nn.LSTM: _Lstm}
