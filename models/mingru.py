"""minGRU: a GRU whose gate and candidate depend on the input alone, so that steps are linear.

    h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ g(V x_t),     z_t = σ(W x_t)

Source: Feng et al. 2024 (arXiv:2410.01201, section 3.1), with g(x) = x + ½ for x ≥ 0 and σ(x) else,
as in its appendix. The factors 1 − z lie between 0 and 1, so a unit can keep or forget its state
but not flip its sign.

Departures: the layers stand in residual blocks with a norm before each mixer (`_block`), as in the
language model of the paper but without a convolution and without a second feed-forward part. The
scan multiplies the factors instead of adding their logarithms. The state before the first step is
zero.

The receptive field is unlimited. The state of a layer is N numbers, N being its number of units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models._block import GatedMixer, Mixer, Stack, positive
from models._contract import Signature


class MinGruMixer(GatedMixer):
    """x (B, T, H) → h (B, T, N)."""

    compiled_as = "mingru"

    def __init__(self, width: int, num_units: int) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(width, num_units), nn.Linear(width, num_units)

    def projections(self) -> list[nn.Linear]:
        return [self.gate, self.candidate]

    def factors(self, *outputs_BTN: Tensor) -> tuple[Tensor, Tensor]:
        gate_BTN, candidate_BTN = outputs_BTN
        z_BTN = torch.sigmoid(gate_BTN)
        return 1 - z_BTN, z_BTN * positive(candidate_BTN)


@dataclass(frozen=True, kw_only=True)
class MinGru(Stack):
    version = 1

    def mixer(self, width: int, num_units: int, signature: Signature) -> Mixer:
        return MinGruMixer(width, num_units)

    def mixer_size(self, width: int, num_units: int) -> int:
        return 2 * num_units * (width + 1)
