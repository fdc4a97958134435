"""The kernel of PixelCNN: packed weights, cached rows and the state.

Shape letters: B streams, S stored numbers, I inputs, O outputs.
"""

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import _compiled as compiled
from models._compiled_gated import pixelcnn_run
from models._kernels import PackedKernel, PackedWeights, packed_layout


class PixelCnnKernel(PackedKernel):
    """Steps of a `PixelCnnCore`.

    It caches the last rows of every layer, and keeps the last inputs, which are the state that
    `forward` takes.
    """

    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        self._unseen = core.unseen
        num_x, width = core.layers[0].horizontal.in_channels, core.num_features
        num_inputs = num_x + core.num_conditions
        packed = PackedWeights()
        rows, size = _layers_table(core, packed)
        at_output = packed.add(core.output.weight, core.output.bias)
        ends = [*at_output, *packed.add(head.weight, head.bias), width]
        widest = max(width, *(layer.residual.in_channels for layer in core.layers))
        scratch = (head.out_features, width, 2 * widest, width)
        layout, places = packed_layout(packed, scratch)
        self._kept = slice(size, size + (core.num_rows + 1) * core.row_width * num_inputs)
        num_kept = (core.num_rows + 1) * core.row_width
        positions = [core.kernel_size, core.row_width, len(rows), size, num_kept]
        positions += [*places, *ends, *chain(*rows)]
        sizes = batch_size, num_inputs, head.out_features, self._kept.stop
        super().__init__(pixelcnn_run, layout, sizes, positions)

    def load(self, state: Tensor) -> None:
        """Read the state's inputs again. They begin with a row and cover the receptive field."""
        table = self._table.copy()
        self.reads(tokens=False, num_conditions=int(table[compiled.NUM_C]), held=False)
        sizes = [int(table[compiled.NUM_X]), int(table[compiled.NUM_C])]
        x_BTI, c_BTC = state.detach().split(sizes, 2)
        x_BTI, c_BTC = x_BTI.contiguous(), c_BTC.contiguous()
        y_BTO = x_BTI.new_empty(*x_BTI.shape[:2], int(table[compiled.NUM_Y]))
        self.run(x_BTI.data_ptr(), c_BTC.data_ptr(), y_BTO.data_ptr(), x_BTI.shape[1])
        for place in (compiled.TOKENS, compiled.HELD):
            self._table[place] = table[place]

    def state(self) -> Tensor:
        """The last inputs; `ValueError` if the streams are at different pixels."""
        t = int(self._clock_B[0])
        if (self._clock_B != t).any():
            raise ValueError(
                "streams that were reset at different steps are at different pixels of their "
                "images; forward needs all at the same"
            )
        past_BSI = self._state_BS[:, self._kept].reshape(len(self._state_BS), -1, self._num_inputs)
        times = np.arange(self._unseen(t), t) % past_BSI.shape[1]
        return torch.from_numpy(past_BSI[:, times])


def _layers_table(core: Any, packed: PackedWeights) -> tuple[list[list[int]], int]:
    """One row per layer for `pixelcnn_run`, and the numbers that one stream's cache holds."""
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
    return rows, size
