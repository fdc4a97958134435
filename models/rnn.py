"""Plain recurrent network with tanh or ReLU.

    h_t = tanh(W x_t + U h_{t−1} + b)

Source: Elman 1990. PyTorch's layer and initialisation, uniform on ±1/√H.

The receptive field is unlimited. The state of a layer is H numbers; a layer has H·(I + H + 2)
parameters, since PyTorch has two biases.

Variants: `recurrent_init="orthogonal"`; and the IRNN of Le, Jaitly & Hinton 2015
(arXiv:1504.00941, section 4) with `nonlinearity="relu"` and `recurrent_init="identity"`: U is the
identity, W is drawn from a normal distribution of standard deviation 0.001, the biases are zero.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from models._recurrent import Recurrent

NONLINEARITIES = ("tanh", "relu")
INPUT_STD = 0.001
"""Standard deviation of the IRNN's input weights."""


@dataclass(frozen=True, kw_only=True)
class Rnn(Recurrent):
    version = 1
    num_gates = 1

    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """The function that is applied to the state at each step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonlinearity not in NONLINEARITIES:
            raise ValueError(
                f"nonlinearity {self.nonlinearity!r} of rnn; valid: {', '.join(NONLINEARITIES)}"
            )

    def layer(self, num_inputs: int, width: int) -> nn.RNNBase:
        return nn.RNN(num_inputs, width, nonlinearity=self.nonlinearity, batch_first=True)

    def initialise(self, layer: nn.RNNBase, reach: int) -> None:
        super().initialise(layer, reach)
        if self.nonlinearity == "relu" and self.recurrent_init == "identity":
            nn.init.normal_(layer.get_parameter("weight_ih_l0"), std=INPUT_STD)
            nn.init.zeros_(layer.get_parameter("bias_ih_l0"))
            nn.init.zeros_(layer.get_parameter("bias_hh_l0"))
