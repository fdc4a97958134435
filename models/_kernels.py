"""Kernels of the recurrent networks, the TCN and WaveNet: packed weights and states.

The cores pass themselves or their layers in. They are typed `Any`, since their files import this
one. The functions that compute the steps are in `_compiled`.

Shape letters: B streams, S stored numbers, P phases, K taps, C channels, L layers, H hidden units.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models._compiled import recurrent_step, tcn_step, wavenet_step
from models._contract import Kernel


class PackedWeights:
    """Weights and biases of several layers, each in one array."""

    def __init__(self) -> None:
        self._weights: list[np.ndarray] = []
        self._biases: list[np.ndarray] = []

    def add(self, weight: Tensor, bias: Tensor) -> tuple[int, int]:
        """Append a layer. Returns the positions of its first weight and its first bias."""
        at = sum(map(len, self._weights)), sum(map(len, self._biases))
        self._weights.append(weight.detach().numpy().reshape(-1))
        self._biases.append(bias.detach().numpy().reshape(-1))
        return at

    def add_conv(self, conv: Any) -> tuple[int, int]:
        """Append weights (O, I, K) as (O, K, I): windows have the oldest step first."""
        return self.add(conv.weight.transpose(1, 2).contiguous(), conv.bias)

    def add_columns(self, weight: Tensor, bias: Tensor | None = None) -> tuple[int, int]:
        """Append weights (O, I, …) as (…, I, O), the layout for `_add_columns`."""
        columns = weight.movedim(1, -1).flatten(1).T.contiguous()
        return self.add(columns, weight.new_zeros(0) if bias is None else bias)

    def add_condition(self, layer: nn.Module | None) -> int:
        """Append the 1×1 convolution of a condition; 0 if there are no conditions."""
        return 0 if layer is None else self.add_columns(layer.get_parameter("weight"))[0]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All weights and all biases."""
        return np.concatenate(self._weights), np.concatenate(self._biases)


class RecurrentKernel(Kernel):
    """Steps of lstm, gru and rnn, whose state is each layer's h and, for an LSTM, c."""

    def __init__(self, layers: nn.ModuleList, head: nn.Linear, batch_size: int) -> None:
        packed = PackedWeights()
        rows: list[list[int]] = []
        gates, relu = 1, False
        layer: Any
        for layer in layers:
            gates = len(layer.bias_ih_l0) // layer.hidden_size
            relu = layer.mode == "RNN_RELU"
            at_input = packed.add(layer.weight_ih_l0, layer.bias_ih_l0)
            at_hidden = packed.add(layer.weight_hh_l0, layer.bias_hh_l0)
            rows.append([layer.input_size, layer.hidden_size, *at_input, *at_hidden])
        at_head = np.array(packed.add(head.weight, head.bias))
        layers_table = np.array(rows)
        weights, biases = packed.arrays()
        dtype, widest = weights.dtype, int(layers_table[:, :2].max())
        shape = (batch_size, len(rows), widest)
        self._widths = layers_table[:, 1]
        self._has_cell = gates == 4
        self._h_BLH, self._c_BLH = np.zeros(shape, dtype), np.zeros(shape, dtype)
        scratch = [np.zeros(size * widest, dtype) for size in (1, gates, gates)]
        states = self._h_BLH, self._c_BLH
        self._fixed = (gates, relu, *states, layers_table, weights, biases, at_head, *scratch)
        numbers = int(self._widths.sum()) * (2 if self._has_cell else 1)
        self.state_bytes = numbers * dtype.itemsize

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        recurrent_step(x_BI, y_BO, *self._fixed)

    def reset(self) -> None:
        self._h_BLH[:] = 0
        self._c_BLH[:] = 0

    def load(self, state: Any) -> None:
        for n, layer_state in enumerate(state):
            parts = layer_state if self._has_cell else (layer_state,)
            for part_1BH, all_BLH in zip(parts, (self._h_BLH, self._c_BLH), strict=False):
                all_BLH[:, n, : part_1BH.shape[2]] = part_1BH[0].detach().numpy()

    def state(self) -> Any:
        states = []
        for n, width in enumerate(self._widths):
            h, c = (
                torch.from_numpy(part[None, :, n, :width].copy())
                for part in (self._h_BLH, self._c_BLH)
            )
            states.append((h, c) if self._has_cell else h)
        return tuple(states)


class RingKernel(Kernel):
    """A kernel whose state is the last inputs of convolutions, in ring buffers."""

    def __init__(self, kernel_size: int, num_dilations: int, rings_BS: np.ndarray) -> None:
        self._k, self._num_dilations, self._rings_BS = kernel_size, num_dilations, rings_BS
        self._t = 0
        self.state_bytes = self._rings_BS[0].nbytes

    def reset(self) -> None:
        self._rings_BS[:] = 0
        self._t = 0

    def _resume(self) -> None:
        self._t = self._k << self._num_dilations  # longer than any convolution's memory

    def _ring(self, start: int, shift: int, channels: int) -> np.ndarray:
        """A view (B, 2^shift phases, 2·K slots, C) of the ring that begins at `start`."""
        part_BS = self._rings_BS[:, start : start + 2 * self._k * channels * 2**shift]
        return part_BS.reshape(len(part_BS), 2**shift, 2 * self._k, channels)

    def _fill(self, ring_BPKC: np.ndarray, past_BSC: Tensor) -> None:
        """Store the inputs before step t. They may be fewer than the ring holds."""
        num_phases, k = ring_BPKC.shape[1], self._k
        times = np.arange(self._t - past_BSC.shape[1], self._t)
        phases, slots = times % num_phases, times // num_phases % k
        for copy in (0, k):
            ring_BPKC[:, phases, slots + copy] = past_BSC.detach().numpy()

    def _read(self, ring_BPKC: np.ndarray) -> Tensor:
        """The inputs before step t that a convolution remembers; zeros before the first step."""
        num_phases, k = ring_BPKC.shape[1], self._k
        times = np.arange(self._t - (k - 1) * num_phases, self._t)
        return torch.from_numpy(ring_BPKC[:, times % num_phases, times // num_phases % k])


class TcnKernel(RingKernel):
    """Steps of a `TcnCore`, which has one ring per convolution."""

    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        k, packed = core.kernel_size, PackedWeights()
        rows: list[list[int]] = []
        ring = widest = 0
        for n, block in enumerate(core.blocks):
            conv1, conv2, skip = block.conv1.conv, block.conv2.conv, block.skip
            inputs, inner, width = conv1.in_channels, conv2.in_channels, block.width
            ring2 = ring + 2 * k * inputs * 2**n
            at1, at2 = packed.add_conv(conv1), packed.add_conv(conv2)
            has_skip = isinstance(skip, nn.Linear)
            at_skip = packed.add(skip.weight, skip.bias) if has_skip else (-1, -1)
            rows.append([inputs, inner, width, ring, ring2, *at1, *at2, *at_skip])
            ring = ring2 + 2 * k * inner * 2**n
            widest = max(widest, inputs, conv1.out_channels, conv2.out_channels)
        at_head = np.array([head.in_features, *packed.add(head.weight, head.bias)])
        weights, biases = packed.arrays()
        self._blocks = np.array(rows)
        super().__init__(k, len(rows), np.zeros((batch_size, ring), weights.dtype))
        scratch = [np.zeros(widest, weights.dtype) for _ in range(3)]
        arrays = self._rings_BS, self._blocks, weights, biases, at_head
        self._fixed = (k, core.gated, core.residual, *arrays, *scratch)

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        tcn_step(self._t, x_BI, y_BO, *self._fixed)
        self._t += 1

    def load(self, state: Any) -> None:
        self._resume()
        for rings, pasts in zip(self._rings(), state, strict=True):
            for ring_BPKC, past_BSC in zip(rings, pasts, strict=True):
                self._fill(ring_BPKC, past_BSC)

    def state(self) -> Any:
        return tuple(tuple(map(self._read, rings)) for rings in self._rings())

    def _rings(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The two rings of each block."""
        return [
            (self._ring(ring1, n, inputs), self._ring(ring2, n, inner))
            for n, (inputs, inner, _, ring1, ring2) in enumerate(self._blocks[:, :5])
        ]


class WaveNetKernel(RingKernel):
    """Steps of a `WaveNetCore`, which has a ring for the inputs and one per layer."""

    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        k, packed = core.kernel_size, PackedWeights()
        self._num_x, self._width = core.input.in_channels, core.num_features
        at_input = packed.add_columns(core.input.weight, core.input.bias)
        rows: list[list[int]] = []
        ring, widest = 2 * k * self._num_x, self._width
        for n, layer in enumerate(core.layers):
            shift, gated = n % core.cycle, layer.skip.in_features
            at_conv = packed.add_conv(layer.conv)
            at_condition = packed.add_condition(layer.condition)
            outs = [layer.skip] if layer.residual is None else [layer.skip, layer.residual]
            at_out = packed.add(
                torch.cat([out.weight for out in outs]), torch.cat([out.bias for out in outs])
            )
            rows.append([shift, ring, gated, *at_conv, at_condition, *at_out])
            ring += 2 * k * self._width * 2**shift
            widest = max(widest, gated)
        at_output = packed.add(core.output.weight, core.output.bias)
        at_head = packed.add(head.weight, head.bias)
        ends = np.array([*at_input, *at_output, *at_head, self._width])
        weights, biases = packed.arrays()
        self._layers = np.array(rows)
        super().__init__(k, core.cycle, np.zeros((batch_size, ring), weights.dtype))
        sizes = (self._width, self._width, 2 * widest, 2 * widest)
        scratch = [np.zeros(size, weights.dtype) for size in sizes]
        arrays = self._rings_BS, ends, self._layers, weights, biases
        self._fixed = (k, self._num_x, *arrays, *scratch)

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        wavenet_step(self._t, x_BI, y_BO, *self._fixed)
        self._t += 1

    def load(self, state: Any) -> None:
        self._resume()
        for ring_BPKC, past_BSC in zip(self._rings(), state, strict=True):
            self._fill(ring_BPKC, past_BSC)

    def state(self) -> Any:
        return tuple(map(self._read, self._rings()))

    def _rings(self) -> list[np.ndarray]:
        return [self._ring(0, 0, self._num_x)] + [
            self._ring(ring, shift, self._width) for shift, ring in self._layers[:, :2]
        ]
