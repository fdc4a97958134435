"""minLSTM: an LSTM whose gates and candidate depend on the input alone, so that steps are linear.

    h_t = f'_t ⊙ h_{t−1} + i'_t ⊙ g(V x_t),     f' = f / (f + i),  i' = i / (f + i)

with f = σ(W_f x_t) and i = σ(W_i x_t). f' and i' sum to one, so the state keeps its scale over
time.

Source: Feng et al. 2024 (arXiv:2410.01201, section 3.2), with the g of `mingru`.

Departures: those of `mingru`.

The receptive field is unlimited. The state of a layer is N numbers, N being its number of units.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models._block import Mixer, Stack, positive
from models._contract import Signature
from models._scan import linear_scan


class MinLstmMixer(Mixer):
    """x (B, T, H) → h (B, T, N)."""

    def __init__(self, width: int, num_units: int) -> None:
        super().__init__()
        self.forget, self.input = nn.Linear(width, num_units), nn.Linear(width, num_units)
        self.candidate = nn.Linear(width, num_units)

    def forward(self, x_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        f_BTN, i_BTN = torch.sigmoid(self.forget(x_BTH)), torch.sigmoid(self.input(x_BTH))
        kept_BTN = f_BTN / (f_BTN + i_BTN)
        h_BTN = linear_scan(kept_BTN, (1 - kept_BTN) * positive(self.candidate(x_BTH)), state)
        return h_BTN, h_BTN[:, -1]


@dataclass(frozen=True, kw_only=True)
class MinLstm(Stack):
    version = 1

    def mixer(self, width: int, num_units: int, signature: Signature) -> Mixer:
        return MinLstmMixer(width, num_units)

    def mixer_size(self, width: int, num_units: int) -> int:
        return 3 * num_units * (width + 1)
