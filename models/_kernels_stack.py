"""Kernels of residual stacks of linear recurrences: packed weights and states. See `_kernels`.

Shape letters: B streams, S stored numbers, H channels, N units, P pairs of states.
"""

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import _compiled_stack as compiled
from models._kernels import Layout, PackedKernel

KINDS = {
    "mingru": compiled.MINGRU,
    "minlstm": compiled.MINLSTM,
    "s4d": compiled.S4D,
    "lru": compiled.LRU,
}


class StackKernel(PackedKernel):
    """Steps of a `StackCore`. A state is real, or has its real parts before its imaginary ones."""

    @torch.no_grad()
    def __init__(self, core: Any, head: nn.Linear, batch_size: int) -> None:
        layout = Layout(head.weight.detach().numpy().dtype)
        kind = KINDS[core.blocks[0].mixer.compiled_as]
        width, size = core.num_features, layout.padded(core.num_features)
        at_in = layout.affine(core.input.weight, core.input.bias)
        self._blocks, rows, at = [], [], 0
        for block in core.blocks:
            pack = {compiled.S4D: _pack_s4d, compiled.LRU: _pack_lru}.get(kind, _pack_gated)
            row, numbers, units = pack(layout, block, size)
            at_out = layout.affine(block.out.weight, block.out.bias, 2 if block.gated else 1)
            unit_size = layout.padded(units)
            rows.append([units, *row, *at_out, at, unit_size])
            self._blocks.append((at, units, unit_size))
            at += numbers
        gates = 3 if kind == compiled.MINLSTM else 2
        widest = gates * max(max(row[-1] for row in rows), size, layout.padded(head.out_features))
        at_head = layout.affine(head.weight * core.norm.weight, head.bias)
        at_eps = layout.add(np.full(1, np.finfo(layout.dtype).eps, layout.dtype))
        h, u, p, y, zeros = (layout.reserve(n) for n in (size, size, widest, size, widest))
        y_size, inputs = layout.padded(head.out_features), core.input.in_features
        ends = [kind, len(rows), *at_in, inputs, at_eps, *at_head, y_size]
        scratch = [gates, width, size, h, u, p, y, zeros]
        sizes = batch_size, inputs, head.out_features, at
        super().__init__(compiled.stack_run, layout, sizes, [*ends, *scratch, *chain(*rows)])
        self._kind, self._width, self._size = kind, width, size
        per_unit = {compiled.S4D: 2 * width, compiled.LRU: 2}.get(kind, 1)
        self.state_bytes = sum(row[0] for row in rows) * per_unit * layout.dtype.itemsize

    def load(self, state: Any) -> None:
        for parts, given in zip(self._parts(), state, strict=True):
            given = given.detach()
            numbers = _real_parts(given) if given.is_complex() else (given,)
            for part, values in zip(parts, numbers, strict=True):
                if self._kind == compiled.S4D:
                    values = _in_vectors(values, part.shape[1], part.shape[2])
                part[...] = values.numpy()

    def state(self) -> Any:
        states = []
        for parts in self._parts():
            tensors = [torch.from_numpy(part.copy()) for part in parts]
            if self._kind == compiled.S4D:
                tensors = [part.flatten(1, 2)[:, : self._width] for part in tensors]
            states.append(torch.complex(*tensors) if len(tensors) > 1 else tensors[0])
        return tuple(states)

    def _parts(self) -> list[list[np.ndarray]]:
        """Views of each block's state: the numbers, or the real and the imaginary parts.

        A part of s4d is (B, vectors of channels, channels of a vector, P), else it is (B, N).
        """
        found = []
        for at, units, unit_size in self._blocks:
            if self._kind == compiled.S4D:
                states_BS = self._state_BS[:, at : at + 2 * units * self._size]
                lanes = 32 // self._state_BS.itemsize
                shape = len(states_BS), self._size // lanes, units, 2, lanes
                vectors = states_BS.reshape(shape)
                found.append([vectors[:, :, :, part].swapaxes(2, 3) for part in (0, 1)])
            else:
                starts = (at, at + unit_size) if self._kind == compiled.LRU else (at,)
                found.append([self._state_BS[:, start : start + units] for start in starts])
        return found


def _pack_gated(layout: Layout, block: Any, size: int) -> tuple[list[int], int, int]:
    """Places w, b, a, c, d of a block, how many numbers a state takes, and the units."""
    layers = block.mixer.projections()
    weight = torch.cat([layer.weight for layer in layers]) * block.norm.weight
    bias, units = torch.cat([layer.bias for layer in layers]), layers[0].out_features
    return [*layout.affine(weight, bias, len(layers)), 0, 0, 0], layout.padded(units), units


def _pack_s4d(layout: Layout, block: Any, size: int) -> tuple[list[int], int, int]:
    log_a_HP, c_HP = block.mixer.discrete()
    lanes, num_pairs = 32 // layout.dtype.itemsize, log_a_HP.shape[1]
    parts = [*_real_parts(log_a_HP.exp()), *_real_parts(c_HP)]
    vectors = [_in_vectors(part.unsqueeze(0), size // lanes, lanes)[0] for part in parts]
    constants = torch.stack(vectors).permute(1, 3, 0, 2)  # vectors of channels, P, 4, channels
    gain, skip = (layout.add(_padded(part, size)) for part in (block.norm.weight, block.mixer.skip))
    at = layout.add(constants.contiguous().numpy())
    return [0, gain, at, 0, skip], 2 * num_pairs * size, num_pairs


def _pack_lru(layout: Layout, block: Any, size: int) -> tuple[list[int], int, int]:
    mixer, gain = block.mixer, block.norm.weight
    into = (mixer.scaled_into() * gain).flatten(0, 1)
    w, _ = layout.affine(into, into.new_zeros(len(into)), 2)
    factor_N = mixer.factor()
    units = len(factor_N)
    unit_size = layout.padded(units)
    a = layout.add(np.concatenate([_padded(part, unit_size) for part in _real_parts(factor_N)]))
    real, imaginary = (nn.functional.pad(part, (0, unit_size - units)) for part in mixer.readout)
    c, _ = layout.affine(torch.cat([real, -imaginary], 1), gain.new_zeros(len(gain)))
    skip = layout.add(_padded(mixer.skip * gain, size))
    return [w, 0, a, c, skip], 2 * unit_size, units


def _real_parts(z: Tensor) -> tuple[Tensor, Tensor]:
    return z.real.resolve_neg(), z.imag.resolve_neg()


def _padded(values: Tensor, size: int) -> np.ndarray:
    """Values (N,) followed by zeros."""
    return np.pad(values.detach().numpy(), (0, size - len(values)))


def _in_vectors(values_BHP: Tensor, num_vectors: int, lanes: int) -> Tensor:
    """(B, vectors, lanes, P), with zeros behind the channels."""
    missing = num_vectors * lanes - values_BHP.shape[1]
    padded = nn.functional.pad(values_BHP, (0, 0, 0, missing))
    return padded.unflatten(1, (num_vectors, lanes))
