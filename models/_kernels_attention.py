"""The kernel of the attention network: packed weights, and a cache that grows.

Shape letters: B streams, L layers, N heads, D features of a head, S steps, C steps of capacity.
"""

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models._compiled import STATE, STATE_SIZE
from models._compiled_attention import CAPACITY, SCORES, attention_run
from models._kernels import Layout, PackedKernel

FIRST_CAPACITY = 64


class AttentionKernel(PackedKernel):
    """Steps of an `AttentionCore`. The cache has room for `capacity` steps and doubles if full."""

    def __init__(self, core: Any, head: nn.Linear, batch_size: int, base: float) -> None:
        layout = Layout(head.weight.detach().numpy().dtype)
        width, num_heads, inner = core.num_features, core.num_heads, core.layers[0].attention.inner
        self._capacity, self._longest = FIRST_CAPACITY, 0
        self._shape = batch_size, len(core.layers), 2, num_heads, inner // num_heads
        rows, widest = [], 3 * layout.padded(inner)
        for layer in core.layers:
            qkv, out = layer.attention.qkv, layer.attention.out
            up, hidden_size = layer.up, layout.padded(layer.up.out_features)
            row = [*_norm(layout, layer.norm1), *layout.affine(qkv.weight, qkv.bias, 3)]
            row += [*layout.affine(out.weight, out.bias), *_norm(layout, layer.norm2)]
            row += [up.out_features, hidden_size, *layout.affine(up.weight, up.bias)]
            rows.append([*row, *layout.affine(layer.down.weight, layer.down.bias)])
            widest = max(widest, hidden_size)
        size, inner_size = layout.padded(width), layout.padded(inner)
        y_size, scores = layout.padded(head.out_features), layout.reserve(FIRST_CAPACITY)
        ends = [*layout.affine(core.input.weight, core.input.bias), *_norm(layout, core.norm)]
        ends += [*layout.affine(head.weight, head.bias), layout.reserve(y_size), y_size]
        wide = max(size, inner_size)
        places = [layout.reserve(n) for n in (wide, wide, widest, size, inner)]
        own = [int(base), len(rows), num_heads, inner, inner_size, width, size]
        positions = [FIRST_CAPACITY, scores, *own, *ends, *places, *chain(*rows)]
        per_step = 2 * len(rows) * inner
        sizes = batch_size, core.input.in_features, head.out_features, per_step * FIRST_CAPACITY
        super().__init__(attention_run, layout, sizes, positions)
        self._num_fixed = len(self._numbers)
        self.state_bytes = per_step * layout.dtype.itemsize

    def run(self, x: int, condition: int, y: int, num_steps: int) -> bool:
        self._make_room(self._longest + num_steps)
        done = super().run(x, condition, y, num_steps)
        self._longest += num_steps * done
        return done

    def reset(self, mask_B: np.ndarray | None = None) -> None:
        """What lies beyond a stream's clock is never read, so the cache is left as it is."""
        self._clock_B[slice(None) if mask_B is None else mask_B] = 0
        self._longest = int(self._clock_B.max())

    def load(self, state: Any) -> None:
        steps_B, caches = state
        self._clock_B[:] = steps_B.numpy()
        self._longest = int(self._clock_B.max())
        self._make_room(self._longest)
        for layer, cache in enumerate(caches):
            for part, given_BNSD in enumerate(cache):
                for stream, steps in enumerate(self._clock_B):
                    given_NDS = given_BNSD[stream].detach().numpy().swapaxes(1, 2)
                    start = given_NDS.shape[2] - steps
                    self._cache()[stream, layer, part, :, :, :steps] = given_NDS[:, :, start:]

    def state(self) -> Any:
        return torch.from_numpy(self._clock_B.copy()), tuple(
            (self._stored(layer, 0), self._stored(layer, 1)) for layer in range(self._shape[1])
        )

    def _stored(self, layer: int, part: int) -> Tensor:
        """Keys or values (B, N, S, D). The steps of a stream are the last ones."""
        num_streams, _, _, num_heads, size = self._shape
        shape = num_streams, num_heads, self._longest, size
        stored_BNSD = np.zeros(shape, self._numbers.dtype)
        for stream, steps in enumerate(self._clock_B):
            kept_NDS = self._cache()[stream, layer, part, :, :, :steps]
            stored_BNSD[stream, :, self._longest - steps :] = kept_NDS.swapaxes(1, 2)
        return torch.from_numpy(stored_BNSD)

    def _cache(self) -> np.ndarray:
        """A view (B, L, 2, N, D, C)."""
        return self._state_BS.reshape(*self._shape, self._capacity)

    def _make_room(self, num_steps: int) -> None:
        """Move the cache behind the other numbers, with room for this many steps."""
        if num_steps <= self._capacity:
            return
        before = self._cache()
        self._capacity = max(2 * self._capacity, num_steps)
        layout = Layout(self._numbers.dtype)
        layout.add(self._numbers[: self._num_fixed])
        state_size = int(np.prod(self._shape[1:])) * self._capacity
        at_scores, num_streams = layout.reserve(self._capacity), self._shape[0]
        at_state = layout.reserve(num_streams * state_size)
        self._numbers = layout.numbers()
        states = self._numbers[at_state : at_state + num_streams * state_size]
        self._state_BS = states.reshape(num_streams, state_size)
        self._cache()[..., : before.shape[-1]] = before
        self._table[CAPACITY], self._table[SCORES] = self._capacity, at_scores
        self._table[STATE], self._table[STATE_SIZE] = at_state, state_size


def _norm(layout: Layout, norm: Any) -> tuple[int, int]:
    """Positions of gain and bias."""
    gain, bias = (values.detach().numpy() for values in (norm.weight, norm.bias))
    return layout.add(gain), layout.add(bias)
