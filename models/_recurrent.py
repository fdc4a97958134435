"""Stacked recurrent layers over PyTorch's own: what lstm, gru and rnn share.

Shape letters: B sequences, T steps, I inputs, H hidden units.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models._contract import Core, Model, Signature
from models._stepper import Kernel


class RecurrentCore(Core):
    """Layers in sequence. The state is a tuple of each layer's own, (1, B, H) tensors."""

    def __init__(
        self, layer: Callable[[int, int], nn.RNNBase], num_inputs: int, widths: list[int]
    ) -> None:
        super().__init__()
        inputs = [num_inputs, *widths[:-1]]
        self.layers = nn.ModuleList(map(layer, inputs, widths))
        self.num_features = widths[-1]
        self.receptive_field = math.inf

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        states = [None] * len(self.layers) if state is None else state
        h_BTH, new_states = x_BTI, []
        for layer, layer_state in zip(self.layers, states, strict=True):
            h_BTH, layer_state = layer(h_BTH, layer_state)
            new_states.append(layer_state)
        return (h_BTH[:, -1:], None) if last_only else (h_BTH, tuple(new_states))

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel:
        from models._kernels import RecurrentKernel  # Numba is loaded where it is used

        return RecurrentKernel(self, head, batch_size)


@dataclass(frozen=True, kw_only=True)
class Recurrent(Model):
    """A stack of one kind of recurrent layer."""

    num_layers: int = 1
    """Layers one above the other."""

    def __post_init__(self) -> None:
        if self.num_layers < 1:
            raise ValueError(
                f"num_layers {self.num_layers} of {self.model_name()}; valid: 1 or more"
            )

    @staticmethod
    @abstractmethod
    def layer(num_inputs: int, width: int) -> nn.RNNBase:
        """One layer that takes and returns batches first."""

    def num_extra(self, signature: Signature) -> int:
        return self.num_layers

    def build_core(self, signature: Signature, width: int, extra_width: int) -> RecurrentCore:
        widths = [width + (layer < extra_width) for layer in range(self.num_layers)]
        return RecurrentCore(self.layer, signature.num_inputs, widths)
