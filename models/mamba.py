"""Mamba: a linear recurrence whose rates, inputs and outputs depend on the input of the step.

    u ─ Linear ─┬─ short convolution ─ SiLU ─ selective scan ─ ⊙ ─ Linear
                └─ SiLU ───────────────────────────────────────┘

    h_t = exp(Δ_t A) ⊙ h_{t−1} + Δ_t u_t B_t,     y_t = C_t · h_t + D u_t

for every unit, whose state h has N numbers. Δ_t, B_t and C_t are computed from u_t: a step with a
large Δ overwrites the state, a step with a small one leaves it as it is. The factors exp(Δ A) lie
between 0 and 1, since A is negative.

Source: Gu & Dao 2023 (arXiv:2312.00752, section 3, figure 3 and released code): twice as many units
as channels, A_n = −(n + 1) at the start, Δ at the start log-uniform on [0.001, 0.1], a convolution
of four taps, a rank of one sixteenth of the channels for Δ.

Departures: a linear layer reads the inputs, and another one ends each block, both with a bias; the
stack ends with a norm (`_block`).

The receptive field is unlimited. The state of a layer is N numbers and the last three inputs of the
convolution for each unit.

Shape letters: B sequences, T steps, H channels, D units, N numbers of a unit's state, R rank of Δ,
K taps.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models._block import Block, Mixer, Stack, StackCore
from models._contract import Kernel, Signature
from models._mamba_training import selective_scan, short_conv

NUM_TAPS = 4
EXPANSION = 2
SHORTEST, LONGEST = 1e-3, 0.1
"""Range of Δ at the start."""


class MambaMixer(Mixer):
    """x (B, T, H) → y (B, T, D). The state: the last inputs of the convolution and h (B, N, D)."""

    def __init__(self, width: int, num_units: int, state_size: int) -> None:
        super().__init__()
        self.rank, self.state_size = rank(width), state_size
        self.expand = nn.Linear(width, 2 * num_units, bias=False)
        bound = NUM_TAPS**-0.5  # PyTorch's initialisation of a convolution
        self.taps = nn.Parameter(torch.empty(NUM_TAPS, num_units).uniform_(-bound, bound))
        self.taps_bias = nn.Parameter(torch.empty(num_units).uniform_(-bound, bound))
        self.select = nn.Linear(num_units, self.rank + 2 * state_size, bias=False)
        self.rate = nn.Linear(self.rank, num_units)
        numbers_N1 = torch.arange(1.0, state_size + 1).unsqueeze(1)
        self.log_a = nn.Parameter(numbers_N1.log().repeat(1, num_units))
        self.skip = nn.Parameter(torch.ones(num_units))
        delta_D = torch.empty(num_units).uniform_(math.log(SHORTEST), math.log(LONGEST)).exp()
        with torch.no_grad():
            self.rate.bias.copy_(delta_D + torch.log(-torch.expm1(-delta_D)))  # softplus⁻¹(Δ)

    def forward(self, x_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        u_BTD, z_BTD = self.expand(x_BTH).chunk(2, 2)
        (batch_size, _, num_units), num_before = u_BTD.shape, NUM_TAPS - 1
        if state is None:
            before_BKD = u_BTD.new_zeros(batch_size, num_before, num_units)
            h_BND = u_BTD.new_zeros(batch_size, self.state_size, num_units)
        else:
            before_BKD, h_BND = state
        read_BSD = torch.cat([before_BKD, u_BTD], 1)
        u_BTD = short_conv(read_BSD, self.taps, self.taps_bias)
        sizes = [self.rank, self.state_size, self.state_size]
        rate_BTR, b_BTN, c_BTN = self.select(u_BTD).split(sizes, 2)
        raw_BTD, a_ND = self.rate(rate_BTR), -self.log_a.exp()
        y_BTD, h_BND = selective_scan(u_BTD, raw_BTD, a_ND, b_BTN, c_BTN, self.skip, z_BTD, h_BND)
        return y_BTD, (read_BSD[:, -num_before:], h_BND)


class MambaCore(StackCore):
    """A residual stack of `MambaMixer`s."""

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel:
        from models._kernels_mamba import MambaKernel  # Numba is imported only when it is used

        return MambaKernel(self, head, batch_size)


def rank(width: int) -> int:
    """R, the number of values from which the rates of all units are computed."""
    return -(-width // 16)


@dataclass(frozen=True, kw_only=True)
class Mamba(Stack):
    version = 1

    state_size: int = 16
    """N, the number of values in the state of a unit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state_size < 1:
            raise ValueError(f"state_size {self.state_size} of mamba; valid: 1 or more")

    def num_extra(self, signature: Signature) -> int:
        # A channel more has about as many parameters as four units more in every layer.
        return 4 * self.num_layers

    def num_units(self, width: int, extra_width: int) -> list[int]:
        return super().num_units(EXPANSION * width, extra_width)

    def mixer(self, width: int, num_units: int, signature: Signature) -> Mixer:
        return MambaMixer(width, num_units, self.state_size)

    def build_core(self, signature: Signature, width: int, extra_width: int) -> StackCore:
        blocks = [
            Block(width, num_units, self.mixer(width, num_units, signature))
            for num_units in self.num_units(width, extra_width)
        ]
        return MambaCore(signature.num_inputs, width, blocks)

    def mixer_size(self, width: int, num_units: int) -> int:
        selected = rank(width) + 2 * self.state_size
        per_unit = 2 * width + NUM_TAPS + 1 + selected + rank(width) + 1 + self.state_size + 1
        return num_units * per_unit
