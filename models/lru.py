"""LRU: a linear recurrence with a diagonal complex matrix inside the unit circle.

    h_t = λ ⊙ h_{t−1} + γ ⊙ (B u_t),     y_t = Re(C h_t) + D ⊙ u_t
    λ = exp(−e^ν + i e^θ)

Source: Orvieto et al. 2023 (arXiv:2303.06349): |λ|² uniform on [r_min², r_max²], phases uniform on
[0, max_phase], γ = √(1 − |λ|²) at the start and trained as a logarithm, B and C complex normal
(Glorot), D normal. A GELU, a linear layer and a gated linear unit follow, then the residual sum.
λ and γ learn at a quarter of the rate (`rate_scale`); the paper tunes this factor.

Departures: RMS norms in place of batch or layer norms, and the GELU by tanh. The ring is close to
the unit circle by default, [0.9, 0.999], for tasks with long memories; the paper tunes it per task,
and its listing has [0, 1]. No dropout.

The receptive field is unlimited. The state of a layer is N complex numbers, N being its number of
units.

Shape letters: B sequences, T steps, H channels, N units.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._block import Mixer, Stack
from models._contract import Signature
from models._scan import linear_scan

SLOW = 0.25
"""Factor of the learning rate of λ and γ."""


class LruMixer(Mixer):
    """u (B, T, H) → y (B, T, H). The state is h (B, N), complex."""

    compiled_as = "lru"

    def __init__(self, width: int, num_units: int, config: "Lru") -> None:
        super().__init__()
        radius_N = torch.empty(num_units).uniform_(config.r_min**2, config.r_max**2).sqrt()
        # A phase of zero would have no logarithm.
        phase_N = config.max_phase * (1 - torch.rand(num_units))
        self.log_decay = nn.Parameter((-radius_N.log()).log())
        self.log_phase = nn.Parameter(phase_N.log())
        self.log_scale = nn.Parameter(0.5 * torch.log1p(-radius_N.square()))
        self.into = nn.Parameter(torch.randn(2, num_units, width) * (2 * width) ** -0.5)
        self.readout = nn.Parameter(torch.randn(2, width, num_units) * num_units**-0.5)
        self.skip = nn.Parameter(torch.randn(width))

    def factor(self) -> Tensor:
        """λ (N,)."""
        dtype = torch.float32 if self.log_decay.dtype.itemsize < 4 else self.log_decay.dtype
        decay_N, phase_N = self.log_decay.to(dtype).exp(), self.log_phase.to(dtype).exp()
        return torch.polar((-decay_N).exp(), phase_N)

    def scaled_into(self) -> Tensor:
        """γ B as real and imaginary parts, (2, N, H)."""
        return self.into * self.log_scale.exp().unsqueeze(1)

    def forward(self, x_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        factor_N = self.factor()
        parts = F.linear(x_BTH, self.scaled_into().flatten(0, 1)).to(factor_N.real.dtype)
        b_BTN = torch.complex(*parts.chunk(2, -1))
        h_BTN = linear_scan(factor_N.expand(b_BTN.shape), b_BTN, state)
        parts = torch.cat([h_BTN.real, h_BTN.imag], -1).to(x_BTH.dtype)
        real_HN, imaginary_HN = self.readout
        y_BTH = F.linear(parts, torch.cat([real_HN, -imaginary_HN], 1))
        return y_BTH + self.skip * x_BTH, h_BTN[:, -1]


@dataclass(frozen=True, kw_only=True)
class Lru(Stack):
    version = 1
    gated_output = True

    r_min: float = 0.9
    """Smallest initial |λ|."""
    r_max: float = 0.999
    """Largest initial |λ|."""
    max_phase: float = 2 * math.pi
    """Largest initial phase of λ, in radians."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.r_min < self.r_max < 1:
            raise ValueError(
                f"r_min {self.r_min} and r_max {self.r_max} of lru; valid: 0 ≤ r_min < r_max < 1"
            )
        if not 0 < self.max_phase <= 2 * math.pi:
            raise ValueError(f"max_phase {self.max_phase} of lru; valid: above 0, up to 2π")

    def rate_scale(self, parameter_name: str) -> float:
        slow = parameter_name.endswith(("log_decay", "log_phase", "log_scale"))
        return SLOW if slow else 1.0

    def mixer(self, width: int, num_units: int, signature: Signature) -> Mixer:
        return LruMixer(width, num_units, self)

    def mixer_size(self, width: int, num_units: int) -> int:
        return 4 * num_units * width + 3 * num_units + width
