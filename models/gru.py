"""GRU: a gated recurrent unit without a separate memory cell.

    h_t = (1 − z_t) ⊙ n_t + z_t ⊙ h_{t−1}      r, z = σ(W x_t + U h_{t−1} + b)
    n_t = tanh(W x_t + b + r_t ⊙ (U h_{t−1} + c))

Source: Cho et al. 2014 (arXiv:1406.1078), in PyTorch's form, where the reset gate r acts after the
recurrent product. PyTorch's layer and initialisation, uniform on ±1/√H.

The receptive field is unlimited. The state of a layer is H numbers; a layer has 3·H·(I + H + 2)
parameters, since PyTorch has two biases per gate.

Variant: `chrono` initialises the update gate so that memories last from 1 step to the task's
reach, b_z = log U[1, reach − 1] (Tallec & Ollivier 2018, arXiv:1804.11188).
"""

from dataclasses import dataclass

from torch import nn

from models._recurrent import Recurrent, chrono_bias, set_bias

UPDATE_GATE = 1
"""PyTorch's order of the gates is r, z, n. A z near 1 keeps the state."""


@dataclass(frozen=True, kw_only=True)
class Gru(Recurrent):
    version = 1
    num_gates = 3

    chrono: bool = False
    """Initialise the update gate's bias from the task's reach."""

    def layer(self, num_inputs: int, width: int) -> nn.RNNBase:
        return nn.GRU(num_inputs, width, batch_first=True)

    def initialise(self, layer: nn.RNNBase, reach: int) -> None:
        super().initialise(layer, reach)
        if self.chrono:
            set_bias(layer, UPDATE_GATE, chrono_bias(layer.hidden_size, reach))
