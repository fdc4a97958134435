"""Recurrent layers of PyTorch computed by the compiled scans of `_recurrent_kernels`.

Equal to PyTorch's layers but for rounding, with the same parameters and states. PyTorch itself
computes what the scans do not: other devices and precisions, and gradients of gradients.

Shape letters: B sequences, T steps, I inputs, H hidden units, G = gates × H, K = I + 1 + H.
"""

import importlib
import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

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
        and _has_libraries()
    )


@cache
def _has_libraries() -> bool:
    return all(importlib.util.find_spec(name) for name in ("numba", "scipy", "threadpoolctl"))


@cache
def _kernels() -> Any:
    """The compiled scans, imported by the first layer that needs them.

    Their products are too small for more than one thread: the threads of the BLAS library would
    wait for each other most of the time. They are therefore limited to one in this process.
    """
    from threadpoolctl import threadpool_limits

    from models import _recurrent_kernels
    from models._kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    importlib.import_module("scipy.linalg.cython_blas")  # the library that Numba calls

    threadpool_limits(1, user_api="blas")
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


def _columns(x_BTI: Tensor, h0_BH: Tensor) -> Tensor:
    """[x_t; 1; h_{t−1}] for t = 1 … T + 1, (T + 1, K, B): the ones and h0 are filled in."""
    (batch_size, num_steps, num_inputs), num_units = x_BTI.shape, h0_BH.shape[1]
    columns_TKB = x_BTI.new_empty(num_steps + 1, num_inputs + 1 + num_units, batch_size)
    columns_TKB[:, num_inputs] = 1
    columns_TKB[0, num_inputs + 1 :] = h0_BH.T
    return columns_TKB


def _no_inputs_wanted(ctx: Any, x_BTI: Tensor) -> Tensor:
    """Room for the gradient of the inputs; empty where nobody asks for it."""
    return torch.empty_like(x_BTI) if ctx.needs_input_grad[1] else x_BTI.new_empty(0, 0, 0)


def _from_the_end(u_KG: Tensor, batch_size: int) -> Tensor:
    """Gradient of [x; 1; h] after the last step: zeros, for h_T has its gradient among the y."""
    return u_KG.new_zeros(len(u_KG), batch_size)


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


class _Rnn(torch.autograd.Function):
    """h_t = tanh(W x_t + U h_{t−1} + b), or with ReLU."""

    @staticmethod
    def forward(ctx: Any, layer: nn.RNN, x_BTI: Tensor, h0_BH: Tensor, *weights: Tensor) -> Tensor:
        w_HI, u_HH, bias_x_H, bias_h_H = weights
        w_HK = torch.cat([w_HI, (bias_x_H + bias_h_H).unsqueeze(1), u_HH], 1)
        columns_TKB = _columns(x_BTI, h0_BH)
        h_BTH = x_BTI.new_empty(*x_BTI.shape[:2], len(u_HH))
        ctx.layer, ctx.rectified = layer, layer.nonlinearity == "relu"
        x, w, columns, s, y = _arrays(
            x_BTI, w_HK, columns_TKB, x_BTI.new_empty(h0_BH.T.shape), h_BTH
        )
        _kernels().rnn_forward(x, w, ctx.rectified, columns, s, y)
        ctx.save_for_backward(x_BTI, h0_BH, *weights, w_HK, columns_TKB)
        return h_BTH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, w_HK, columns_TKB = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx.layer, tuple(inputs), grads)
        x_BTI = inputs[0]
        num_inputs = x_BTI.shape[2]
        u_KH, dw_HK = w_HK.T.contiguous(), torch.zeros_like(w_HK)
        dh_KB, dx_BTI = _from_the_end(u_KH, len(x_BTI)), _no_inputs_wanted(ctx, x_BTI)
        dy, u = _arrays(grads[0].contiguous(), u_KH)
        _kernels().rnn_backward(dy, u, ctx.rectified, *_arrays(columns_TKB, dw_HK, dh_KB, dx_BTI))
        dw_HI, bias_H, du_HH = _parts(dw_HK, num_inputs)
        dx = dx_BTI if ctx.needs_input_grad[1] else None
        return None, dx, dh_KB[num_inputs + 1 :].T, dw_HI, du_HH, bias_H, bias_H


def _parts(dw_GK: Tensor, num_inputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of W, b and U."""
    return dw_GK[:, :num_inputs], dw_GK[:, num_inputs], dw_GK[:, num_inputs + 1 :]


class _Gru(torch.autograd.Function):
    """r, z = σ(W x + U h + b), n = tanh(W x + b + r ⊙ (U h + c)), h' = n + z ⊙ (h − n)."""

    @staticmethod
    def forward(ctx: Any, layer: nn.GRU, x_BTI: Tensor, h0_BH: Tensor, *weights: Tensor) -> Tensor:
        w_GI, u_GH, bias_x_G, bias_h_G = weights
        (batch_size, num_steps, _), num_units = x_BTI.shape, h0_BH.shape[1]
        # The rows of n have no W and the recurrent bias alone: r is multiplied with the rest.
        gates = slice(0, 2 * num_units)
        w_GK = torch.cat([w_GI, bias_h_G.unsqueeze(1), u_GH], 1)
        w_GK[2 * num_units :, : w_GI.shape[1]] = 0
        w_GK[gates, w_GI.shape[1]] += bias_x_G[gates]
        wn_HJ = torch.cat([w_GI, bias_x_G.unsqueeze(1)], 1)[2 * num_units :].contiguous()
        columns_TKB = _columns(x_BTI, h0_BH)
        gates_TGB = x_BTI.new_empty(num_steps, 4 * num_units, batch_size)
        h_BTH = x_BTI.new_empty(batch_size, num_steps, num_units)
        s_GB = x_BTI.new_empty(3 * num_units, batch_size)
        parts = (x_BTI, w_GK, wn_HJ, columns_TKB, gates_TGB, s_GB, s_GB.new_empty(h0_BH.T.shape))
        _kernels().gru_forward(*_arrays(*parts, h_BTH))
        ctx.layer = layer
        ctx.save_for_backward(x_BTI, h0_BH, *weights, w_GK, columns_TKB, gates_TGB)
        return h_BTH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, w_GK, columns_TKB, gates_TGB = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx.layer, tuple(inputs), grads)
        x_BTI, h0_BH, w_GI, *_ = inputs
        num_inputs, num_units = x_BTI.shape[2], h0_BH.shape[1]
        u_KG, wn_IH = w_GK.T.contiguous(), w_GI[2 * num_units :].T.contiguous()
        dw_GK, dwn_HJ = torch.zeros_like(w_GK), w_GK.new_zeros(num_units, num_inputs + 1)
        dh_KB, dx_BTI = _from_the_end(u_KG, len(x_BTI)), _no_inputs_wanted(ctx, x_BTI)
        parts = (grads[0].contiguous(), u_KG, wn_IH, columns_TKB, gates_TGB)
        _kernels().gru_backward(*_arrays(*parts, dw_GK, dwn_HJ, dh_KB, dx_BTI))
        dw_GI, bias_h_G, du_GH = _parts(dw_GK, num_inputs)
        dw_GI, bias_x_G = dw_GI.clone(), bias_h_G.clone()
        dw_GI[2 * num_units :], bias_x_G[2 * num_units :] = dwn_HJ[:, :-1], dwn_HJ[:, -1]
        dx = dx_BTI if ctx.needs_input_grad[1] else None
        return None, dx, dh_KB[num_inputs + 1 :].T, dw_GI, du_GH, bias_x_G, bias_h_G


class _Lstm(torch.autograd.Function):
    """c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c'); states h of every step, and the last c."""

    @staticmethod
    def forward(
        ctx: Any, layer: nn.LSTM, x_BTI: Tensor, h0_BH: Tensor, c0_BH: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        w_GI, u_GH, bias_x_G, bias_h_G = weights
        (batch_size, num_steps, _), num_units = x_BTI.shape, h0_BH.shape[1]
        w_GK = torch.cat([w_GI, (bias_x_G + bias_h_G).unsqueeze(1), u_GH], 1)
        columns_TKB = _columns(x_BTI, h0_BH)
        gates_TGB = x_BTI.new_empty(num_steps, 4 * num_units, batch_size)
        c_THB = x_BTI.new_empty(num_steps + 1, num_units, batch_size)
        c_THB[0] = c0_BH.T
        h_BTH = x_BTI.new_empty(batch_size, num_steps, num_units)
        s_GB = torch.empty_like(gates_TGB[0])
        _kernels().lstm_forward(*_arrays(x_BTI, w_GK, columns_TKB, gates_TGB, c_THB, s_GB, h_BTH))
        ctx.layer = layer
        ctx.save_for_backward(x_BTI, h0_BH, c0_BH, *weights, w_GK, columns_TKB, gates_TGB, c_THB)
        return h_BTH, c_THB[-1].T.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        *inputs, w_GK, columns_TKB, gates_TGB, c_THB = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx.layer, tuple(inputs), grads)
        x_BTI = inputs[0]
        num_inputs = x_BTI.shape[2]
        u_KG, dw_GK = w_GK.T.contiguous(), torch.zeros_like(w_GK)
        dh_KB, dx_BTI = _from_the_end(u_KG, len(x_BTI)), _no_inputs_wanted(ctx, x_BTI)
        dc_HB = grads[1].T.clone(memory_format=torch.contiguous_format)
        parts = (grads[0].contiguous(), u_KG, columns_TKB, gates_TGB, c_THB)
        _kernels().lstm_backward(*_arrays(*parts, dw_GK, dh_KB, dc_HB, dx_BTI))
        dw_GI, bias_G, du_GH = _parts(dw_GK, num_inputs)
        dx = dx_BTI if ctx.needs_input_grad[1] else None
        return None, dx, dh_KB[num_inputs + 1 :].T, dc_HB.T, dw_GI, du_GH, bias_G, bias_G


_SCANS: dict[type, type[torch.autograd.Function]] = {nn.RNN: _Rnn, nn.GRU: _Gru, nn.LSTM: _Lstm}
