"""The kernel of Mamba: packed weights and states.

Shape letters: B streams, D units, P units with padding, N numbers of a unit's state, K taps, S
stored numbers.
"""

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models._compiled_mamba import mamba_run
from models._kernels import Layout, PackedKernel


class MambaKernel(PackedKernel):
    """Steps of a stack of `MambaMixer`s: the last inputs of a convolution and h in every block."""

    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        layout = Layout(head.weight.detach().numpy().dtype)
        width, first = core.num_features, core.blocks[0].mixer
        count, rank, num_taps = first.state_size, first.rank, len(first.taps)
        rows, past, widest = [], 0, 0
        for block in core.blocks:
            mixer, units = block.mixer, len(block.mixer.skip)
            size = layout.padded(units)
            no_bias = torch.zeros(max(2 * units, rank + 2 * count), dtype=head.weight.dtype)
            rows.append(
                [
                    *(units, size, past, layout.add(block.norm.weight.detach().numpy())),
                    *layout.affine(mixer.expand.weight, no_bias[: 2 * units], 2),
                    layout.add(_rows(layout, mixer.taps)),
                    layout.add(_rows(layout, mixer.taps_bias[None])),
                    *layout.affine(mixer.select.weight, no_bias[: rank + 2 * count]),
                    *layout.affine(mixer.rate.weight, mixer.rate.bias),
                    layout.add(_rows(layout, torch.cat([-mixer.log_a.exp(), mixer.skip[None]]))),
                    *layout.affine(block.out.weight, block.out.bias),
                ]
            )
            past += (num_taps - 1 + count) * size
            widest = max(widest, size)
        size, y_size = layout.padded(width), layout.padded(head.out_features)
        ends = [*layout.affine(core.input.weight, core.input.bias)]
        ends += [layout.add(core.norm.weight.detach().numpy())]
        ends += [*layout.affine(head.weight, head.bias), layout.reserve(y_size), y_size]
        selected = layout.padded(rank + 2 * count)
        scratch = size, size, 2 * widest, selected, widest, 2 * (1 + count) * widest
        places = [layout.reserve(number) for number in scratch]
        own = [len(rows), num_taps, count, rank, selected, width, size]
        sizes = batch_size, core.input.in_features, head.out_features, past
        super().__init__(mamba_run, layout, sizes, [*own, *ends, *places, *chain(*rows)])
        self._blocks = [(past, units, size) for units, size, past, *_ in rows]
        self._num_before, self._count = num_taps - 1, count
        numbers = sum(units for _, units, _ in self._blocks) * (self._num_before + count)
        self.state_bytes = numbers * layout.dtype.itemsize

    def load(self, state: Any) -> None:
        for views, parts in zip(self._views(), state, strict=True):
            for view, part in zip(views, parts, strict=True):
                view[:] = part.detach().numpy()

    def state(self) -> Any:
        return tuple(
            tuple(torch.from_numpy(view.copy()) for view in views) for views in self._views()
        )

    def _views(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each block's last inputs of the convolution (B, K − 1, D), and h (B, N, D)."""
        views = []
        for at, units, size in self._blocks:
            rows = self._num_before + self._count
            block_BSP = self._state_BS[:, at : at + rows * size].reshape(-1, rows, size)
            views.append(
                (block_BSP[:, : self._num_before, :units], block_BSP[:, self._num_before :, :units])
            )
        return views


def _rows(layout: Layout, values_ND: Tensor) -> np.ndarray:
    """Values with every row padded with zeros."""
    num_units = values_ND.shape[1]
    return np.pad(values_ND.detach().numpy(), ((0, 0), (0, layout.padded(num_units) - num_units)))
