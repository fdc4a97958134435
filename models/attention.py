"""Attention: a causal Transformer, in which every step looks at all steps before it.

    x ─ Linear ─┬─ norm ─ attention ─ + ─┬─ norm ─ GELU layer ─ + ─ … ─ norm ─ features
                └──────────────────────┘ └──────────────────────┘

Each head computes softmax(q·k / √D) over the keys k of all steps so far and averages their values v
with these weights. Queries and keys are turned by angles that grow with the step, so that q·k
depends on the distance between two steps (rotary positions).

Sources: Vaswani et al. 2017 (arXiv:1706.03762), with the norm before each part (Xiong et al. 2020,
arXiv:2002.04745) and rotary positions (Su et al. 2021, arXiv:2104.09864, section 3.2).

Departures: rotated pairs are features i and i + D/2 of a head instead of neighbours; of an odd D,
the last feature is not rotated. No dropout. Weights begin with variance 1 / inputs, vectors of
tokens with variance 1, biases at zero. PyTorch's weights are smaller, and it begins with biases
that all tokens share: with them the recall of four pairs was not learned within 3,000 updates.

There is no start token. The average of equal values is the same for any number of steps, so the
steps of a constant sequence all have the same output.

The receptive field is unlimited. The state is a cache of the keys and values of all steps so far,
and the number of these steps in each stream. It takes 2·N·D numbers per layer and step, so it grows
with the sequence, and so does the time of a step.

Shape letters: B sequences, T steps, I inputs, H features, N heads, D features of a head, R rotated
pairs of a head, S steps in the cache.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._contract import Core, Kernel, Model, Signature

ROTARY_BASE = 10_000.0


class SelfAttention(nn.Module):
    """Every step averages the values of the steps before it and of its own."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.inner = num_heads, num_heads * head_width(width, num_heads)
        self.qkv, self.out = nn.Linear(width, 3 * self.inner), nn.Linear(self.inner, width)

    def forward(
        self, x_BTH: Tensor, past: Any, turn: tuple[Tensor, Tensor], seen: Tensor | None
    ) -> tuple[Tensor, Any]:
        """Outputs and the cache. `seen` is the mask (B, 1, T, S + T); None: only x, causally."""
        qkv_BMTD = self.qkv(x_BTH).unflatten(2, (3 * self.num_heads, -1)).transpose(1, 2)
        qk_BMTD, v_BNSD = qkv_BMTD.split([2 * self.num_heads, self.num_heads], 1)
        q_BNTD, k_BNSD = rotated(qk_BMTD, *turn).chunk(2, 1)
        if past is not None:
            k_BNSD, v_BNSD = torch.cat([past[0], k_BNSD], 2), torch.cat([past[1], v_BNSD], 2)
        return self.out(attend(q_BNTD, k_BNSD, v_BNSD, seen)), (k_BNSD, v_BNSD)


class Layer(nn.Module):
    """Attention and a layer that works on each step alone, each added to its input."""

    def __init__(self, width: int, num_heads: int, num_hidden: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, num_hidden), nn.Linear(num_hidden, width)

    def forward(
        self, x_BTH: Tensor, past: Any, turn: tuple[Tensor, Tensor], seen: Tensor | None
    ) -> tuple[Tensor, Any]:
        y_BTH, past = self.attention(self.norm1(x_BTH), past, turn, seen)
        x_BTH = x_BTH + y_BTH
        return x_BTH + self.down(F.gelu(self.up(self.norm2(x_BTH)), approximate="tanh")), past


class AttentionCore(Core):
    """Layers in sequence. The state is the number of steps read (B,) and each layer's cache.

    A cache holds keys and values (B, N, S, D). The steps of a stream are the last ones in it.
    """

    state_grows = True

    def __init__(self, signature: Signature, width: int, num_heads: int, hidden: list[int]) -> None:
        super().__init__()
        self.input = nn.Linear(signature.num_inputs, width)
        self.layers = nn.ModuleList(Layer(width, num_heads, number) for number in hidden)
        self.norm = nn.LayerNorm(width)
        self.num_features, self.num_heads, self.receptive_field = width, num_heads, math.inf
        self.layers.apply(initialise)
        if signature.input == "token":
            nn.init.normal_(self.input.weight)
            nn.init.zeros_(self.input.bias)

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        (batch_size, num_steps), h_BTH = x_BTI.shape[:2], self.input(x_BTI)
        if state is None:
            before_B, pasts = x_BTI.new_zeros(batch_size, dtype=torch.long), None
            turn, seen = self.turn(before_B[:1], num_steps), None
        else:
            before_B, pasts = state
            turn = self.turn(before_B, num_steps)
            seen = seen_steps(before_B, pasts[0][0].shape[2], num_steps)
        caches = []
        for layer, past in zip(self.layers, pasts or [None] * len(self.layers), strict=True):
            h_BTH, cache = layer(h_BTH, past, turn, seen)
            caches.append(cache)
        if last_only:
            return self.norm(h_BTH[:, -1:]), None
        return self.norm(h_BTH), (before_B + num_steps, tuple(caches))

    def turn(self, before_B: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine (B, 1, T, R) of the angles of the next steps, from double precision."""
        exact: Any = {"dtype": torch.float64, "device": before_B.device}
        num_pairs = head_width(self.num_features, self.num_heads) // 2
        frequency_R = ROTARY_BASE ** -(torch.arange(num_pairs, **exact) / max(num_pairs, 1))
        step_BT = before_B[:, None] + torch.arange(num_steps, **exact)
        angle_B1TR = step_BT[:, None, :, None] * frequency_R
        weight = self.input.weight
        return angle_B1TR.cos().to(weight.dtype), angle_B1TR.sin().to(weight.dtype)

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel:
        from models._kernels_attention import AttentionKernel  # Numba is imported only when used

        return AttentionKernel(self, head, batch_size, ROTARY_BASE)


def initialise(module: nn.Module) -> None:
    """Normal weights that keep the variance of their inputs, and biases of zero."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)


def head_width(width: int, num_heads: int) -> int:
    """D, so that all heads together have at least as many features as the layer."""
    return -(-width // num_heads)


def attend(q_BNTD: Tensor, k_BNSD: Tensor, v_BNSD: Tensor, seen: Tensor | None) -> Tensor:
    """Averages of the values, with all heads side by side (B, T, N·D)."""
    size, scale = q_BNTD.shape[3], q_BNTD.shape[3] ** -0.5
    # PyTorch takes twice as long on a CPU if the size of a head is not a multiple of four.
    q, k, v = (F.pad(part, (0, -size % 4)) for part in (q_BNTD, k_BNSD, v_BNSD))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None, scale=scale)
    return y[..., :size].transpose(1, 2).flatten(2)


def rotated(x_BNTD: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Queries or keys with each pair of features turned; cosine and sine are (B, 1, T, R)."""
    size, pairs = x_BNTD.shape[3], cosine.shape[3]
    a, b, rest = x_BNTD.split([pairs, pairs, size - 2 * pairs], 3)
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine, rest], 3)


def seen_steps(before_B: Tensor, num_cached: int, num_steps: int) -> Tensor:
    """Mask (B, 1, T, S + T) of the cached and new steps that each new step looks at."""
    step_S = torch.arange(num_cached + num_steps, device=before_B.device)
    read_BS = step_S >= num_cached - before_B[:, None]
    return (read_BS[:, None] & (step_S <= step_S[num_cached:, None]))[:, None]


@dataclass(frozen=True, kw_only=True)
class Attention(Model):
    version = 1
    family = "attention"
    state_grows = True

    num_layers: int = 2
    """Number of layers."""
    num_heads: int = 2
    """Number of heads of each layer."""
    expansion: int = 4
    """Number of hidden units of a GELU layer for each feature."""

    def __post_init__(self) -> None:
        for name, value in self.fields.items():
            if value < 1:
                raise ValueError(f"{name} {value} of attention; valid: 1 or more")

    def num_extra(self, signature: Signature) -> int:
        # As many hidden units in all as have the parameters of one more feature.
        return self.num_layers * (4 + 2 * self.expansion)

    def num_hidden(self, width: int, extra_width: int) -> list[int]:
        """Number of hidden units of the GELU layer of each layer."""
        each, rest = divmod(extra_width, self.num_layers)
        return [self.expansion * width + each + (n < rest) for n in range(self.num_layers)]

    def core_size(self, signature: Signature, width: int, extra_width: int) -> tuple[int, int]:
        inner = self.num_heads * head_width(width, self.num_heads)
        size = width * (signature.num_inputs + 3)
        for hidden in self.num_hidden(width, extra_width):
            size += 4 * width + 3 * inner * (width + 1) + width * (inner + 1)
            size += hidden * (width + 1) + width * (hidden + 1)
        return size, width

    def build_core(self, signature: Signature, width: int, extra_width: int) -> AttentionCore:
        return AttentionCore(signature, width, self.num_heads, self.num_hidden(width, extra_width))
