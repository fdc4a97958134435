"""Kernels of the recurrent networks, the TCN and WaveNet: packed weights and states.

The cores pass themselves or their layers in. They are typed `Any`, since their files import this
one. The functions that compute the steps are in `_compiled` and
`_compiled_gated`.

Shape letters: B streams, S stored numbers, P phases, K taps, C channels, O outputs, J inputs.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import _compiled as compiled
from models._affine import PANEL_BYTES
from models._compiled_gated import wavenet_run
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


class Layout:
    """One array with everything that a compiled function reads and writes.

    Parts begin at multiples of 64 bytes. Outputs are padded with zeros to whole vectors.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self._parts: list[tuple[int, np.ndarray]] = []
        self._size = 0

    def reserve(self, size: int) -> int:
        """The position of a new part of zeros."""
        at, unit = self._size, 64 // self.dtype.itemsize
        self._size += -(-size // unit) * unit
        return at

    def add(self, values: np.ndarray) -> int:
        """The position of a copy of these numbers."""
        at = self.reserve(values.size)
        self._parts.append((at, values.reshape(-1)))
        return at

    def padded(self, size: int) -> int:
        """This number of outputs in whole vectors."""
        lanes = 32 // self.dtype.itemsize
        return -(-size // lanes) * lanes

    def affine(self, weight: Tensor, bias: Tensor, parts: int = 1) -> tuple[int, int]:
        """Positions of weights (O, J) and of a bias, as `_affine` reads them.

        The outputs are split into equal parts (the gates), each of which is padded.
        """
        biases_O = self._padded_outputs(bias, parts)
        return self.add(self._panels(weight, parts)), self.add(biases_O)

    def affine_in_one(self, weight: Tensor, bias: Tensor) -> int:
        """The position of a bias that its weights follow."""
        biases_O = self._padded_outputs(bias, 1)
        return self.add(np.concatenate([biases_O, self._panels(weight, 1)]))

    def conv(self, conv: Any, parts: int) -> tuple[int, int]:
        """As `affine`, of weights (O, I, K): windows have the oldest step first."""
        return self.affine(conv.weight.transpose(1, 2).flatten(1), conv.bias, parts)

    def numbers(self) -> np.ndarray:
        unit = 64 // self.dtype.itemsize
        room = np.zeros(self._size + unit, self.dtype)
        skipped = -room.ctypes.data % 64 // self.dtype.itemsize
        numbers = room[skipped : skipped + self._size]
        for at, values in self._parts:
            numbers[at : at + len(values)] = values
        return numbers

    def _padded_outputs(self, values: Tensor, parts: int) -> np.ndarray:
        """Values (O, …) with each part of the outputs padded."""
        split = values.detach().numpy().reshape(parts, -1, *values.shape[1:])
        padding = [(0, 0)] * split.ndim
        padding[1] = (0, self.padded(split.shape[1]) - split.shape[1])
        return np.pad(split, padding).reshape(-1, *values.shape[1:])

    def _panels(self, weight: Tensor, parts: int) -> np.ndarray:
        """Panels of columns, one after the other."""
        columns_JO = self._padded_outputs(weight, parts).T
        wide = PANEL_BYTES // self.dtype.itemsize
        starts = range(0, columns_JO.shape[1], wide)
        return np.concatenate([columns_JO[:, at : at + wide].reshape(-1) for at in starts])


class PackedKernel(Kernel):
    """A kernel whose function reads `numbers` and `table`. The state of each stream is one row."""

    def __init__(
        self,
        function: Callable[..., bool],
        layout: Layout,
        sizes: tuple[int, int, int, int],
        positions: Sequence[int],
    ) -> None:
        """`sizes`: streams, inputs with conditions, outputs, and numbers of a stream's state."""
        batch_size, num_inputs, num_outputs, state_size = sizes
        self._function, self._num_inputs = function, num_inputs
        at_input, at_state = layout.reserve(num_inputs), layout.reserve(batch_size * state_size)
        at_scratch = layout.reserve(num_outputs)
        table = np.zeros(compiled.REST + len(positions) + batch_size, np.int64)
        table[compiled.BATCH], table[compiled.NUM_Y] = batch_size, num_outputs
        table[compiled.STATE], table[compiled.STATE_SIZE] = at_state, state_size
        table[compiled.INPUT], table[compiled.SCRATCH] = at_input, at_scratch
        table[compiled.CLOCKS] = len(table) - batch_size
        table[compiled.REST : len(table) - batch_size] = positions
        self._table, self._numbers = table, layout.numbers()
        self._clock_B = table[len(table) - batch_size :]
        states = self._numbers[at_state : at_state + batch_size * state_size]
        self._state_BS = states.reshape(batch_size, state_size)
        self.state_bytes = self._state_BS[0].nbytes

    def reads(self, *, tokens: bool, num_conditions: int, held: bool) -> None:
        self._table[compiled.TOKENS], self._table[compiled.HELD] = tokens, held
        self._table[compiled.NUM_X] = self._num_inputs - num_conditions
        self._table[compiled.NUM_C] = num_conditions

    def run(self, x: int, condition: int, y: int, num_steps: int) -> bool:
        return self._function(self._numbers, self._table, x, condition, y, num_steps)

    def reset(self, mask_B: np.ndarray | None = None) -> None:
        chosen = slice(None) if mask_B is None else mask_B
        self._state_BS[chosen] = 0
        self._clock_B[chosen] = 0


class RecurrentKernel(PackedKernel):
    """Steps of lstm, gru and rnn, whose state is each layer's h and, for an LSTM, c."""

    def __init__(self, layers: nn.ModuleList, head: nn.Linear, batch_size: int) -> None:
        layout = Layout(head.weight.detach().numpy().dtype)
        rows: list[list[int]] = []
        gates, relu, at, widest = 1, False, 0, 0
        self._places: list[list[tuple[int, int]]] = []
        layer: Any
        for layer in layers:
            width = layer.hidden_size
            gates, relu = len(layer.bias_ih_l0) // width, layer.mode == "RNN_RELU"
            size, bias = layout.padded(width), layer.bias_ih_l0
            if gates != 3:  # only a GRU needs the two products apart
                bias = bias + layer.bias_hh_l0
            at_x = layout.affine(layer.weight_ih_l0, bias, gates)
            at_h = layout.affine(layer.weight_hh_l0, layer.bias_hh_l0, gates)
            rows.append([layer.input_size, width, size, *at_x, *at_h, at, at + size])
            parts = 2 if gates == 4 else 1
            self._places.append([(at + part * size, width) for part in range(parts)])
            at += parts * size
            widest = max(widest, size)
        at_head = layout.affine(head.weight, head.bias)
        y_size = layout.padded(head.out_features)
        u, v, y = (layout.reserve(n) for n in (gates * widest, gates * widest, y_size))
        positions = [gates, relu, len(rows), u, v, *at_head, y, y_size, *chain(*rows)]
        sizes = batch_size, rows[0][0], head.out_features, at
        super().__init__(compiled.recurrent_run, layout, sizes, positions)
        numbers = sum(width for places in self._places for _, width in places)
        self.state_bytes = numbers * layout.dtype.itemsize

    def load(self, state: Any) -> None:
        for places, layer_state in zip(self._places, state, strict=True):
            parts = layer_state if len(places) > 1 else (layer_state,)
            for (at, width), part_1BH in zip(places, parts, strict=True):
                self._state_BS[:, at : at + width] = part_1BH[0].detach().numpy()

    def state(self) -> Any:
        states = []
        for places in self._places:
            parts = [
                torch.from_numpy(self._state_BS[None, :, at : at + width].copy())
                for at, width in places
            ]
            states.append(tuple(parts) if len(parts) > 1 else parts[0])
        return tuple(states)


class RingKernel(PackedKernel):
    """A kernel whose state is the last inputs of convolutions, in ring buffers.

    Zeros are what the convolutions read before the start of a sequence.
    """

    _k: int
    _num_dilations: int

    def _resume(self) -> None:
        self._clock_B[:] = self._k << self._num_dilations  # longer than any convolution's memory

    def _ring(self, start: int, shift: int, channels: int) -> np.ndarray:
        """A view (B, 2^shift phases, 2·K slots, C) of the ring that begins at `start`."""
        part_BS = self._state_BS[:, start : start + 2 * self._k * channels * 2**shift]
        return part_BS.reshape(len(part_BS), 2**shift, 2 * self._k, channels)

    def _fill(self, ring_BPKC: np.ndarray, past_BSC: Tensor) -> None:
        """Store the inputs before step t. They may be fewer than the ring holds."""
        num_phases, k, t = ring_BPKC.shape[1], self._k, self._clock_B[0]
        times = np.arange(t - past_BSC.shape[1], t)
        phases, slots = times % num_phases, times // num_phases % k
        for copy in (0, k):
            ring_BPKC[:, phases, slots + copy] = past_BSC.detach().numpy()

    def _read(self, ring_BPKC: np.ndarray) -> Tensor:
        """The inputs before step t that a convolution remembers; zeros before the first step."""
        num_streams, num_phases, k = len(ring_BPKC), ring_BPKC.shape[1], self._k
        times_BS = self._clock_B[:, None] + np.arange(-(k - 1) * num_phases, 0)
        phases_BS, slots_BS = times_BS % num_phases, times_BS // num_phases % k
        streams_B1 = np.arange(num_streams)[:, None]
        return torch.from_numpy(ring_BPKC[streams_B1, phases_BS, slots_BS])


class TcnKernel(RingKernel):
    """Steps of a `TcnCore`, which has one ring per convolution."""

    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        self._k, self._num_dilations = core.kernel_size, len(core.blocks)
        layout, halves = Layout(head.weight.detach().numpy().dtype), 2 if core.gated else 1
        rows: list[list[int]] = []
        ring = widest = 0
        for n, block in enumerate(core.blocks):
            conv1, conv2, skip = block.conv1.conv, block.conv2.conv, block.skip
            inputs, inner, width = conv1.in_channels, conv2.in_channels, block.width
            ring2 = ring + 2 * self._k * inputs * 2**n
            at1, at2 = layout.conv(conv1, halves), layout.conv(conv2, halves)
            has_skip = isinstance(skip, nn.Linear)
            at_skip = layout.affine_in_one(skip.weight, skip.bias) if has_skip else -1
            inner_size, size = layout.padded(inner), layout.padded(width)
            sizes = [inputs, inner, width, inner_size, size]
            rows.append([*sizes, ring, ring2, *at1, *at2, at_skip])
            ring = ring2 + 2 * self._k * inner * 2**n
            widest = max(widest, inner_size, size)
        at_head, y_size = layout.affine(head.weight, head.bias), layout.padded(head.out_features)
        h, a, z, y = (layout.reserve(n) for n in (*[halves * widest] * 3, y_size))
        positions = [self._k, core.gated, core.residual, len(rows), h, a, z, *at_head, y, y_size]
        sizes = batch_size, rows[0][0], head.out_features, ring
        super().__init__(compiled.tcn_run, layout, sizes, [*positions, *chain(*rows)])
        self._blocks = rows

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
            for n, (inputs, inner, _, _, _, ring1, ring2, *_) in enumerate(self._blocks)
        ]


class WaveNetKernel(RingKernel):
    """Steps of a `WaveNetCore`, which has a ring for the inputs and one per layer."""

    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        self._k, self._num_dilations = core.kernel_size, core.cycle
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
        ends = [*at_input, *at_output, *packed.add(head.weight, head.bias), self._width]
        layout, places = packed_layout(packed, (self._width, self._width, 2 * widest, 2 * widest))
        num_inputs = self._num_x + core.num_conditions
        sizes = batch_size, num_inputs, head.out_features, ring
        positions = [k, len(rows), *places, *ends, *chain(*rows)]
        super().__init__(wavenet_run, layout, sizes, positions)
        self._layers = rows

    def load(self, state: Any) -> None:
        self._resume()
        for ring_BPKC, past_BSC in zip(self._rings(), state, strict=True):
            self._fill(ring_BPKC, past_BSC)

    def state(self) -> Any:
        return tuple(map(self._read, self._rings()))

    def _rings(self) -> list[np.ndarray]:
        return [self._ring(0, 0, self._num_x)] + [
            self._ring(ring, shift, self._width) for shift, ring, *_ in self._layers
        ]


def packed_layout(packed: PackedWeights, scratch: Sequence[int]) -> tuple[Layout, list[int]]:
    """A layout with weights, biases and scratch, and the boundaries between these parts."""
    weights, biases = packed.arrays()
    layout = Layout(weights.dtype)
    places = [layout.add(weights), layout.add(biases), *map(layout.reserve, scratch)]
    return layout, [*places, layout.reserve(0)]
