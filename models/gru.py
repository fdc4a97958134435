"""GRU: a gated recurrent unit without a separate memory cell.

    h_t = (1 − z_t) ⊙ n_t + z_t ⊙ h_{t−1}      r, z = σ(W x_t + U h_{t−1} + b)
    n_t = tanh(W x_t + b + r_t ⊙ (U h_{t−1} + c))

Source: Cho et al. 2014 (arXiv:1406.1078), in PyTorch's form, where the reset gate acts after the
recurrent product; PyTorch's initialisation, uniform on ±1/√H. Receptive field without end; a
state is H numbers a layer. 3·H·(I + H + 2) parameters a layer.
"""

from dataclasses import dataclass

from torch import nn

from models._recurrent import Recurrent


@dataclass(frozen=True, kw_only=True)
class Gru(Recurrent):
    version = 1

    @staticmethod
    def layer(num_inputs: int, width: int) -> nn.RNNBase:
        return nn.GRU(num_inputs, width, batch_first=True)
