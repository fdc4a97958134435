"""Plain recurrent network with tanh.

    h_t = tanh(W x_t + U h_{t−1} + b)

Source: Elman 1990; PyTorch's layer and its initialisation, uniform on ±1/√H. Receptive field
without end; a state is H numbers a layer. H·(I + H + 2) parameters a layer.
"""

from dataclasses import dataclass

from torch import nn

from models._recurrent import Recurrent


@dataclass(frozen=True, kw_only=True)
class Rnn(Recurrent):
    version = 1

    @staticmethod
    def layer(num_inputs: int, width: int) -> nn.RNNBase:
        return nn.RNN(num_inputs, width, batch_first=True)
