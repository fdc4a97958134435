"""The kernel of PixelCNN: packed weights, cached rows and the state.

Shape letters: B streams, S stored numbers, I inputs, O outputs.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models._compiled import pixelcnn_step
from models._contract import Kernel
from models._kernels import PackedWeights


class PixelCnnKernel(Kernel):
    """Steps of a `PixelCnnCore`.

    It caches the last rows of every layer, and keeps the last inputs, which are the state that
    `forward` takes.
    """

    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        self._row, self._unseen = core.row_width, core.unseen
        num_x, width = core.layers[0].horizontal.in_channels, core.num_features
        packed = PackedWeights()
        layers, size = _layers_table(core, packed)
        at_output = packed.add(core.output.weight, core.output.bias)
        at_head = packed.add(head.weight, head.bias)
        ends = np.array([*at_output, *at_head, width])
        weights, biases = packed.arrays()
        dtype = weights.dtype
        self._cache_BS = np.zeros((batch_size, size), dtype)
        widest = max(width, *(layer.residual.in_channels for layer in core.layers))
        scratch = [np.zeros(each, dtype) for each in (width, 2 * widest, width)]
        arrays = self._cache_BS, ends, layers, weights, biases
        self._fixed = (core.kernel_size, self._row, num_x, *arrays, *scratch)
        num_kept = (core.num_rows + 1) * self._row
        self._past_BSI = np.zeros((batch_size, num_kept, num_x + core.num_conditions), dtype)
        self._num_outputs = head.out_features
        self._num_past = self._t = 0
        self.state_bytes = self._cache_BS[0].nbytes + self._past_BSI[0].nbytes

    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        if self._num_past == self._past_BSI.shape[1]:
            self._past_BSI[:, : -self._row] = self._past_BSI[:, self._row :]
            self._num_past -= self._row
        self._past_BSI[:, self._num_past] = x_BI
        self._num_past += 1
        pixelcnn_step(self._t, x_BI, y_BO, *self._fixed)
        self._t += 1

    def reset(self) -> None:
        self._cache_BS[:] = 0
        self._num_past = self._t = 0

    def load(self, state: Tensor) -> None:
        """Read the state's inputs again. They begin with a row and cover the receptive field."""
        y_BO = np.zeros((len(state), self._num_outputs), self._cache_BS.dtype)
        for x_BI in state.detach().numpy().swapaxes(0, 1):
            self.step(np.ascontiguousarray(x_BI), y_BO)

    def state(self) -> Tensor:
        seen_BSI = self._past_BSI[:, self._unseen(self._num_past) : self._num_past]
        return torch.from_numpy(seen_BSI.copy())


def _layers_table(core: Any, packed: PackedWeights) -> tuple[np.ndarray, int]:
    """One row per layer for `pixelcnn_step`, and the numbers that one stream's cache holds."""
    row, width, m = core.row_width, core.num_features, core.kernel_size // 2
    size = 0

    def reserve(numbers: int) -> int:
        """The position in the cache of a new part of this size."""
        nonlocal size
        size += numbers
        return size - numbers

    rows: list[list[int]] = []
    ring = reserve((m + 1) * (row + 2 * m) * core.layers[0].horizontal.in_channels)
    for n, layer in enumerate(core.layers):
        inputs, gated = layer.horizontal.in_channels, layer.residual.in_channels
        taps, is_last = layer.vertical.kernel_size[0], layer.vertical_gate is None
        next_ring = 0 if is_last else reserve((m + 1) * (row + 2 * m) * width)
        left = reserve((m + row) * width) if n else 0
        above = reserve(row * 2 * gated)
        rows.append(
            [
                *(inputs, gated, taps, ring, next_ring, left, above),
                *packed.add_columns(layer.vertical.weight, layer.vertical.bias),
                0 if is_last else packed.add_condition(layer.vertical_gate.condition),
                *packed.add(layer.to_horizontal.weight, layer.to_horizontal.bias),
                packed.add_columns(layer.horizontal.weight)[0],
                packed.add_condition(layer.gate.condition),
                *packed.add(layer.residual.weight, layer.residual.bias),
            ]
        )
        ring = next_ring
    return np.array(rows), size
