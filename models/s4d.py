"""S4D: each channel has a state space of its own, with diagonal matrices, linear in its state.

    h_t = Ā ⊙ h_{t−1} + u_t,     y_t = 2 Re Σ_n C_n B̄_n h_{t,n} + D u_t
    Ā = exp(Δ A),  B̄ = (Ā − 1) / A,     A_n = −½ + i π n at the start

Source: Gu et al. 2022 (arXiv:2206.11893), S4D-Lin: zero-order hold, B of ones, Δ log-uniform on
[0.001, 0.1], one state of each conjugate pair, −exp(·) for the real part of A. A GELU, a linear
layer and a gated linear unit follow, then the residual sum. A and Δ learn at a quarter of the
rate (`rate_scale`); the authors advise a smaller rate and tune it.

Whole sequences are read in chunks of 32 steps. Within a chunk the inputs are convolved with the
first 32 numbers of the kernel K_t = 2 Re Σ_n C_n B̄_n Ā_n^t, as one small matrix per channel, and
the shared scan carries the state from chunk to chunk. The authors convolve by FFT, whose rounding
errors depend on later inputs; this way is exactly causal.

Departures: RMS norms, and the GELU by tanh. B̄ is multiplied in at the output, so the state is that
of an input matrix of ones. No dropout.

The receptive field is unlimited. The state of a layer is N/2 complex numbers per channel.

Shape letters: B sequences, T steps, H channels, P pairs of states (N/2), F = H · P,
Q chunks of R steps, N = B · Q, C = 2 · P real and imaginary parts.
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

CHUNK = 32
"""Steps that are convolved directly."""
SLOW = 0.25
"""Factor of the learning rate of A and Δ."""


class S4dMixer(Mixer):
    """u (B, T, H) → y (B, T, H). The state is h (B, H, P), complex."""

    compiled_as = "s4d"

    def __init__(self, width: int, num_pairs: int) -> None:
        super().__init__()
        steps_H = torch.empty(width).uniform_(math.log(0.001), math.log(0.1))
        self.log_step = nn.Parameter(steps_H)
        self.log_decay = nn.Parameter(torch.full((width, num_pairs), math.log(0.5)))
        frequency_P = math.pi * torch.arange(num_pairs, dtype=torch.get_default_dtype())
        self.frequency = nn.Parameter(frequency_P.repeat(width, 1))
        self.readout = nn.Parameter(torch.randn(width, num_pairs, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(width))

    def discrete(self) -> tuple[Tensor, Tensor]:
        """log Ā and 2 C B̄, (H, P)."""
        dtype = torch.float32 if self.log_step.dtype.itemsize < 4 else self.log_step.dtype
        A_HP = torch.complex(-self.log_decay.to(dtype).exp(), self.frequency.to(dtype))
        log_a_HP = A_HP * self.log_step.to(dtype).exp().unsqueeze(1)
        C_HP = torch.complex(*self.readout.to(dtype).unbind(-1))
        return log_a_HP, 2 * C_HP * torch.expm1(log_a_HP) / A_HP

    def forward(self, x_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        log_a_HP, c_HP = self.discrete()
        (B, T, H), P = x_BTH.shape, log_a_HP.shape[1]
        R = min(CHUNK, T)
        Q = -(-T // R)
        u_HNR = F.pad(x_BTH.to(c_HP.real.dtype).movedim(2, 0), (0, Q * R - T)).reshape(H, B * Q, R)
        times_R1 = torch.arange(R + 1, device=x_BTH.device, dtype=u_HNR.dtype)
        powers_CR1 = _powers(log_a_HP, times_R1)
        into_HRC = powers_CR1[..., :R].flip(-1).transpose(1, 2)
        read_HPR1, hidden_HPR1 = _times(c_HP, powers_CR1)
        y_HNR = u_HNR @ _toeplitz(read_HPR1[..., :R].sum(1))

        before_BHP = state
        rest = T - (Q - 1) * R  # steps of the last chunk
        if state is not None or Q > 1:
            sums_HBQP = _complex(u_HNR @ into_HRC).view(H, B, Q, P)
            whole_F = _complex(powers_CR1[..., R]).reshape(-1)
            sums_BQF = sums_HBQP.permute(1, 2, 0, 3).reshape(B, Q, H * P)
            first_B1F = (
                sums_BQF.new_zeros(B, 1, H * P) if state is None else state.reshape(B, 1, H * P)
            )
            after_BQF = linear_scan(whole_F.expand(B, Q, -1), sums_BQF, first_B1F[:, 0])
            before_BQF = torch.cat([first_B1F, after_BQF[:, :-1]], 1)
            before_HNP = before_BQF.view(B, Q, H, P).permute(2, 0, 1, 3).reshape(H, B * Q, P)
            before_HNC = torch.cat([before_HNP.real, before_HNP.imag], 2)
            out_HCR = torch.cat([read_HPR1, -hidden_HPR1], 1)[..., 1:]
            y_HNR = y_HNR + before_HNC @ out_HCR
            before_BHP = before_BQF[:, -1].view(B, H, P)
        y_BTH = y_HNR.view(H, B, Q * R)[..., :T].movedim(0, 2).to(x_BTH.dtype)

        last_HBR = u_HNR.view(H, B, Q, R)[:, :, -1, :rest]
        last_BHP = _complex(last_HBR @ into_HRC[:, R - rest :]).transpose(0, 1)
        if before_BHP is not None:
            last_BHP = last_BHP + _complex(powers_CR1[..., rest]) * before_BHP
        return y_BTH + self.skip * x_BTH, last_BHP


def _powers(log_a_HP: Tensor, times_R1: Tensor) -> Tensor:
    """Real parts and then imaginary parts of Ā^t, (H, C, R + 1).

    Complex numbers are split, since PyTorch's complex exponentials and matrix products are slow.
    """
    size_HPR1 = (log_a_HP.real.unsqueeze(-1) * times_R1).exp()
    angle_HPR1 = log_a_HP.imag.unsqueeze(-1) * times_R1
    return torch.cat([size_HPR1 * angle_HPR1.cos(), size_HPR1 * angle_HPR1.sin()], 1)


def _times(c_HP: Tensor, powers_CR1: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of c Ā^t, (H, P, R + 1)."""
    real_HPR1, imag_HPR1 = powers_CR1.chunk(2, 1)
    a_HP1, b_HP1 = c_HP.real.unsqueeze(-1), c_HP.imag.unsqueeze(-1)
    return a_HP1 * real_HPR1 - b_HP1 * imag_HPR1, a_HP1 * imag_HPR1 + b_HP1 * real_HPR1


def _complex(parts: Tensor) -> Tensor:
    """(H, …, C), real parts and then imaginary parts → (H, …, P), complex."""
    return torch.complex(*parts.chunk(2, -1))


def _toeplitz(kernel_HR: Tensor) -> Tensor:
    """(H, R, R) whose row s and column t hold K_{t − s}, and zeros where t < s."""
    steps = torch.arange(kernel_HR.shape[1], device=kernel_HR.device)
    lag_RR = steps - steps.unsqueeze(1)
    return kernel_HR[:, lag_RR.clamp(min=0)] * (lag_RR >= 0)


@dataclass(frozen=True, kw_only=True)
class S4d(Stack):
    version = 2
    gated_output = True

    num_states: int = 64
    """N, the number of states of a channel, in conjugate pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_states < 2 or self.num_states % 2:
            raise ValueError(f"num_states {self.num_states} of s4d; valid: even, 2 or more")

    def rate_scale(self, parameter_name: str) -> float:
        slow = parameter_name.endswith(("log_step", "log_decay", "frequency"))
        return SLOW if slow else 1.0

    def num_extra(self, signature: Signature) -> int:
        return self.num_layers

    def num_units(self, width: int, extra_width: int) -> list[int]:
        """Pairs of states of a channel in each block; additional ones begin at the first block."""
        return [self.num_states // 2 + (layer < extra_width) for layer in range(self.num_layers)]

    def mixer(self, width: int, num_units: int, signature: Signature) -> Mixer:
        return S4dMixer(width, num_units)

    def mixer_size(self, width: int, num_units: int) -> int:
        return width * (4 * num_units + 2)
