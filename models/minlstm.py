"""minLSTM: an LSTM whose gates and candidate depend on the input alone, so that steps are linear.

    h_t = f'_t ⊙ h_{t−1} + i'_t ⊙ g(V x_t),     f' = f / (f + i),  i' = i / (f + i)

with f = σ(W_f x_t) and i = σ(W_i x_t). f' and i' sum to one, so the state keeps its scale over
time.

Source: Feng et al. 2024 (arXiv:2410.01201, section 3.2), with the g of `mingru`.

Departures: those of `mingru`.

The receptive field is unlimited. The state of a layer is N numbers, N being its number of units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models._block import GatedMixer, Mixer, Stack, positive
from models._contract import Signature


class MinLstmMixer(GatedMixer):
    """x (B, T, H) → h (B, T, N)."""

    compiled_as = "minlstm"

    def __init__(self, width: int, num_units: int) -> None:
        super().__init__()
        self.forget, self.input = nn.Linear(width, num_units), nn.Linear(width, num_units)
        self.candidate = nn.Linear(width, num_units)

    def projections(self) -> list[nn.Linear]:
        return [self.forget, self.input, self.candidate]

    def factors(self, *outputs_BTN: Tensor) -> tuple[Tensor, Tensor]:
        forget_BTN, input_BTN, candidate_BTN = outputs_BTN
        f_BTN, i_BTN = torch.sigmoid(forget_BTN), torch.sigmoid(input_BTN)
        kept_BTN = f_BTN / (f_BTN + i_BTN)
        return kept_BTN, (1 - kept_BTN) * positive(candidate_BTN)


@dataclass(frozen=True, kw_only=True)
class MinLstm(Stack):
    version = 1

    def mixer(self, width: int, num_units: int, signature: Signature) -> Mixer:
        return MinLstmMixer(width, num_units)

    def mixer_size(self, width: int, num_units: int) -> int:
        return 3 * num_units * (width + 1)
