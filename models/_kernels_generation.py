"""What drives the compiled steps of wavenet and pixelcnn: weights in a row, caches, states.

Shape letters: B streams, S numbers or steps that are kept, I inputs, P phases, K taps, C channels.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from models._kernels import Row, fill_ring, pixelcnn_step, read_ring, ring_of, wavenet_step
from models._stepper import Kernel

if TYPE_CHECKING:
    from models.pixelcnn import PixelCnnCore
    from models.wavenet import WaveNetCore


class WaveNetKernel(Kernel):
    """A ring for the inputs and one for each layer, as long as its dilation asks for."""

    def __init__(self, core: "WaveNetCore", head: nn.Linear, batch_size: int) -> None:
        self._k, self._num_x = core.kernel_size, core.input.in_channels
        self._cycle, self._width = core.cycle, core.num_features
        row = Row()
        at_input = row.place_columns(core.input.weight, core.input.bias)
        rows: list[list[int]] = []
        ring, widest = 2 * self._k * self._num_x, self._width
        layers: Any = core.layers  # nn.ModuleList does not tell what it holds
        for n, layer in enumerate(layers):
            shift, gated = n % core.cycle, layer.skip.in_features
            # (O, I, K) → (O, K, I): the window has its steps oldest first, channels innermost.
            at_conv = row.place(layer.conv.weight.transpose(1, 2).contiguous(), layer.conv.bias)
            at_condition = _place_condition(row, layer.condition)
            outs = [layer.skip] if layer.residual is None else [layer.skip, layer.residual]
            at_out = row.place(
                torch.cat([out.weight for out in outs]), torch.cat([out.bias for out in outs])
            )
            rows.append([shift, ring, gated, *at_conv, at_condition, *at_out])
            ring += 2 * self._k * self._width * 2**shift
            widest = max(widest, gated)
        at_output = row.place(core.output.weight, core.output.get_parameter("bias"))
        at_head = row.place(head.weight, head.bias)
        self._ends = np.array([*at_input, *at_output, *at_head, self._width])
        self._layers = np.array(rows)
        self._weights, self._biases = row.weights(), row.biases()
        dtype = self._weights.dtype
        self._rings_BS = np.zeros((batch_size, ring), dtype)
        sizes = (self._width, self._width, 2 * widest, 2 * widest)
        self._scratch = [np.zeros(size, dtype) for size in sizes]
        self._t = 0
        self.state_bytes = self._rings_BS[0].nbytes

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        wavenet_step(
            self._t,
            self._k,
            self._num_x,
            x_BI,
            y_BO,
            self._rings_BS,
            self._ends,
            self._layers,
            self._weights,
            self._biases,
            *self._scratch,
        )
        self._t += 1

    def reset(self) -> None:
        self._rings_BS[:] = 0
        self._t = 0

    def load(self, state: Any) -> None:
        self._t = self._k << self._cycle  # later than any memory reaches back
        for past_BSC, ring_BPKC in zip(state, self._rings(), strict=True):
            fill_ring(ring_BPKC, self._t, past_BSC)

    def state(self) -> Any:
        return tuple(read_ring(ring_BPKC, self._t) for ring_BPKC in self._rings())

    def _rings(self) -> list[np.ndarray]:
        return [ring_of(self._rings_BS, 0, 0, self._k, self._num_x)] + [
            ring_of(self._rings_BS, ring, shift, self._k, self._width)
            for shift, ring in self._layers[:, :2]
        ]


class PixelCnnKernel(Kernel):
    """The last rows of every layer; and the last inputs, which are the state that forward takes."""

    def __init__(self, core: "PixelCnnCore", head: nn.Linear, batch_size: int) -> None:
        self._k, self._row, self._unseen = core.kernel_size, core.row_width, core.unseen
        width, m = core.num_features, core.kernel_size // 2
        layers: Any = core.layers  # nn.ModuleList does not tell what it holds
        self._num_x = layers[0].horizontal.in_channels
        row = Row()
        rows: list[list[int]] = []
        size, widest = 0, width

        def kept(numbers: int) -> int:
            """Where the next part of the cache begins."""
            nonlocal size
            size += numbers
            return size - numbers

        ring = kept((m + 1) * (self._row + 2 * m) * self._num_x)
        for n, layer in enumerate(layers):
            inputs, gated = layer.horizontal.in_channels, layer.residual.in_channels
            taps = layer.vertical.kernel_size[0]
            is_last = n == len(layers) - 1
            next_ring = 0 if is_last else kept((m + 1) * (self._row + 2 * m) * width)
            left = kept((m + self._row) * width) if n else 0
            above = kept(self._row * 2 * gated)
            gate, vertical_gate = layer.gate, layer.vertical_gate
            to_horizontal = layer.to_horizontal
            at_vertical = row.place_columns(layer.vertical.weight, layer.vertical.bias)
            at_vertical_condition = 0 if is_last else _place_condition(row, vertical_gate.condition)
            at_to_horizontal = row.place(to_horizontal.weight, to_horizontal.bias)
            at_horizontal, _ = row.place_columns(layer.horizontal.weight)
            at_condition = _place_condition(row, gate.condition)
            at_residual = row.place(layer.residual.weight, layer.residual.bias)
            rows.append(
                [
                    *(inputs, gated, taps, ring, next_ring, left, above),
                    *at_vertical,
                    at_vertical_condition,
                    *at_to_horizontal,
                    at_horizontal,
                    at_condition,
                    *at_residual,
                ]
            )
            ring, widest = next_ring, max(widest, gated)
        at_output = row.place(core.output.weight, core.output.get_parameter("bias"))
        at_head = row.place(head.weight, head.bias)
        self._ends = np.array([*at_output, *at_head, width])
        self._layers = np.array(rows)
        self._weights, self._biases = row.weights(), row.biases()
        dtype = self._weights.dtype
        self._cache_BS = np.zeros((batch_size, size), dtype)
        self._scratch = [np.zeros(each, dtype) for each in (width, 2 * widest, width)]
        num_inputs = self._num_x + core.num_conditions
        self._past_BSI = np.zeros((batch_size, (core.num_rows + 1) * self._row, num_inputs), dtype)
        self._num_outputs = head.out_features
        self._num_past = self._t = 0
        self.state_bytes = self._cache_BS[0].nbytes + self._past_BSI[0].nbytes

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        if self._num_past == self._past_BSI.shape[1]:
            self._past_BSI[:, : -self._row] = self._past_BSI[:, self._row :]
            self._num_past -= self._row
        self._past_BSI[:, self._num_past] = x_BI
        self._num_past += 1
        pixelcnn_step(
            self._t,
            self._k,
            self._row,
            self._num_x,
            x_BI,
            y_BO,
            self._cache_BS,
            self._ends,
            self._layers,
            self._weights,
            self._biases,
            *self._scratch,
        )
        self._t += 1

    def reset(self) -> None:
        self._cache_BS[:] = 0
        self._num_past = self._t = 0

    def load(self, state: Tensor) -> None:
        """Reads the state's inputs again: they begin with a row and are all that counts."""
        y_BO = np.zeros((len(state), self._num_outputs), self._cache_BS.dtype)
        for x_BI in state.detach().numpy().swapaxes(0, 1):
            self.step(np.ascontiguousarray(x_BI), y_BO)

    def state(self) -> Tensor:
        seen_BSI = self._past_BSI[:, self._unseen(self._num_past) : self._num_past]
        return torch.from_numpy(seen_BSI.copy())


def _place_condition(row: Row, layer: nn.Module | None) -> int:
    """Where the 1×1 convolution of the condition begins; 0 where there are no conditions."""
    return 0 if layer is None else row.place_columns(layer.get_parameter("weight"))[0]
