"""Networks whose outputs and receptive fields are known."""

from typing import Any

import torch
from torch import Tensor, nn

from models import Core, Network


class Echo(Core):
    """y_t = Σ_d weight_d · x_{t − d}, one number per step."""

    num_features = 1

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))
        self.receptive_field = len(weights)

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        assert state is None
        pad = torch.zeros(len(x_BTI), len(self.weights) - 1, x_BTI.shape[2])
        windows = torch.cat([pad, x_BTI], 1).unfold(1, len(self.weights), 1)
        y_BT1 = (windows * self.weights.flip(0)).sum((2, 3)).unsqueeze(-1)
        return y_BT1[:, -1:] if last_only else y_BT1, None


class Conditioned(Network):
    """Adds the sum of the condition to the input of each step, and requires a condition."""

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        last_only: bool = False,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        assert condition is not None
        if condition.ndim == 3:
            assert condition.shape[:2] == x.shape[:2]
            beside = condition.sum(-1, keepdim=True)
        else:
            assert condition.shape == x.shape[:1]
            beside = condition[:, None, None].float()
        return super().forward(self.encode(x) + beside, state, last_only=last_only)
