"""LSTM: a memory cell with input, forget and output gates.

    c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t
    h_t = o_t ⊙ tanh(c_t)              i, f, o = σ(W x_t + U h_{t−1} + b), g with tanh

Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. PyTorch's layer and
initialisation, uniform on ±1/√H, except for the forget gate's bias.

The receptive field is unlimited. The state of a layer is 2·H numbers; a layer has 4·H·(I + H + 2)
parameters, since PyTorch has two biases per gate.

The forget gate's bias starts at 1, so that the untrained network keeps its memories (Gers et al.
2000; Jozefowicz, Zaremba & Sutskever 2015).

Variants: another `forget_bias`, or PyTorch's, which is near 0; `chrono` initialises the gates so
that memories last from 1 step to the task's reach, b_f = log U[1, reach − 1] and b_i = −b_f (Tallec
& Ollivier 2018, arXiv:1804.11188).
"""

import math
from dataclasses import dataclass

from torch import nn

from models._recurrent import Recurrent, chrono_bias, set_bias

INPUT_GATE, FORGET_GATE = 0, 1
"""PyTorch's order of the gates is i, f, g, o."""


@dataclass(frozen=True, kw_only=True)
class Lstm(Recurrent):
    version = 2  # the default of forget_bias was None in version 1
    unchanged_since = 1
    num_gates = 4

    forget_bias: float | None = 1.0
    """Initial bias of the forget gate. None (`"none"` in TOML): PyTorch's, which is near 0."""
    chrono: bool = False
    """Initialise the biases of the forget and input gates from the task's reach. This overrides
    `forget_bias`, which is then left at its default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bias = self.forget_bias
        if bias is not None and not math.isfinite(bias):
            raise ValueError(f"forget_bias {bias} of lstm; valid: a number, or none for PyTorch's")
        if self.chrono and bias not in (1.0, None):  # version 1 recorded None
            raise ValueError(f"forget_bias {bias} of lstm; leave it out with `chrono`")

    def layer(self, num_inputs: int, width: int) -> nn.RNNBase:
        return nn.LSTM(num_inputs, width, batch_first=True)

    def initialise(self, layer: nn.RNNBase, reach: int) -> None:
        super().initialise(layer, reach)
        if self.forget_bias is not None and not self.chrono:
            set_bias(layer, FORGET_GATE, self.forget_bias)
        if self.chrono:
            bias_H = chrono_bias(layer.hidden_size, reach)
            set_bias(layer, FORGET_GATE, bias_H)
            set_bias(layer, INPUT_GATE, -bias_H)
