"""LSTM: a memory cell behind input, forget and output gates.

    c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t
    h_t = o_t ⊙ tanh(c_t)              i, f, o = σ(W x_t + U h_{t−1} + b), g with tanh

Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000; PyTorch's layer
and its initialisation, uniform on ±1/√H. Receptive field without end; a state is 2·H numbers a
layer. 4·H·(I + H + 2) parameters a layer: PyTorch has two biases.
"""

from dataclasses import dataclass

from torch import nn

from models._recurrent import Recurrent


@dataclass(frozen=True, kw_only=True)
class Lstm(Recurrent):
    version = 1

    @staticmethod
    def layer(num_inputs: int, width: int) -> nn.RNNBase:
        return nn.LSTM(num_inputs, width, batch_first=True)
