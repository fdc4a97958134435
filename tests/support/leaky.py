"""A model as a user might add it: a family of its own, no kernel, no formula for its size."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models import Core, Model, Signature


class LeakyCore(Core):
    """Exponential averages of the input, each with its own rate."""

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.num_features, self.receptive_field = width, math.inf
        self.inputs = nn.Linear(num_inputs, width)
        self.mix = nn.Linear(width, width)
        self.rate = nn.Parameter(torch.linspace(0.0, 6.0, width))

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        keep_H, u_BTH = torch.sigmoid(self.rate), self.inputs(x_BTI)
        h_BH, steps = (torch.zeros_like(u_BTH[:, 0]) if state is None else state), []
        for u_BH in u_BTH.unbind(1):
            h_BH = keep_H * h_BH + (1 - keep_H) * u_BH
            steps.append(h_BH)
        y_BTH = torch.tanh(self.mix(torch.stack(steps, 1)))
        return (y_BTH[:, -1:], None) if last_only else (y_BTH, h_BH)


@dataclass(frozen=True, kw_only=True)
class Leaky(Model):
    version = 1
    family = "averaging"

    def build_core(self, signature: Signature, width: int, extra_width: int) -> LeakyCore:
        return LeakyCore(signature.num_inputs, width)


@dataclass(frozen=True, kw_only=True)
class SlowLeaky(Leaky):
    """The same network, whose averages learn at a tenth of the rate."""

    def rate_scale(self, parameter_name: str) -> float:
        return 0.1 if parameter_name == "rate" else 1.0
