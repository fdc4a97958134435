"""Stacks of PyTorch's recurrent layers: the part that lstm, gru and rnn share.

Shape letters: B sequences, T steps, I inputs, H hidden units, G gates.
"""

import copy
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from models._contract import Core, Kernel, Model, Signature
from models._recurrent_training import can_scan, scan

if TYPE_CHECKING:
    from models._onnx import Graph

RecurrentInit = Literal["uniform", "orthogonal", "identity"]
RECURRENT_INITS = ("uniform", "orthogonal", "identity")


class RecurrentCore(Core):
    """Layers in sequence. The state is a tuple with each layer's state, tensors (1, B, H)."""

    def __init__(self, layers: list[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.num_features = layers[-1].hidden_size
        self.receptive_field = math.inf
        self._scans = True
        """Whether compiled scans compute the layers where they can."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "RecurrentCore":
        """A copy whose layers keep their weights in one piece of memory each.

        On a GPU, cuDNN needs them so. A plain copy would gather them again at every call.
        """
        memo[id(self)] = twin = type(self).__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__dict__, memo))
        layers: Any = twin.layers  # nn.ModuleList does not know the type of its modules
        for layer in layers:
            layer.flatten_parameters()
        return twin

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        states = [None] * len(self.layers) if state is None else state
        h_BTH, new_states = x_BTI, []
        layers: Any = self.layers  # nn.ModuleList does not know the type of its modules
        for layer, layer_state in zip(layers, states, strict=True):
            compute = scan if self._scans and can_scan(layer, h_BTH) else _by_the_layer
            h_BTH, layer_state = compute(layer, h_BTH, layer_state)
            new_states.append(layer_state)
        return (h_BTH[:, -1:], None) if last_only else (h_BTH, tuple(new_states))

    def stock(self) -> Core:
        twin = RecurrentCore(list(self.layers))  # pyright: ignore[reportArgumentType]
        twin._scans = False
        return twin

    def onnx_step(self, graph: "Graph", x_BI: str) -> str:
        from models._onnx import recurrent_step  # onnx is an optional package

        return recurrent_step(graph, self, x_BI)

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel:
        from models._kernels import RecurrentKernel  # Numba is imported only when it is used

        return RecurrentKernel(self.layers, head, batch_size)


def _by_the_layer(layer: nn.RNNBase, x_BTI: Tensor, state: Any) -> tuple[Tensor, Any]:
    """PyTorch's own computation, with the signature of `scan`."""
    return layer(x_BTI, state)


@dataclass(frozen=True, kw_only=True)
class Recurrent(Model):
    """A stack of one kind of recurrent layer."""

    family = "recurrent"
    has_stock = True
    has_onnx_step = True
    num_gates: ClassVar[int]
    """Number of state-to-state matrices in a layer, one per gate."""

    num_layers: int = 1
    """Number of stacked layers."""
    recurrent_init: RecurrentInit = "uniform"
    """Initial state-to-state matrices: PyTorch's, uniform on ±1/√H, or one orthogonal matrix
    (Saxe, McClelland & Ganguli 2014, arXiv:1312.6120) or identity matrix per gate."""

    def __post_init__(self) -> None:
        if self.num_layers < 1:
            raise ValueError(
                f"num_layers {self.num_layers} of {self.model_name()}; valid: 1 or more"
            )
        if self.recurrent_init not in RECURRENT_INITS:
            raise ValueError(
                f"recurrent_init {self.recurrent_init!r} of {self.model_name()}; "
                f"valid: {', '.join(RECURRENT_INITS)}"
            )

    @abstractmethod
    def layer(self, num_inputs: int, width: int) -> nn.RNNBase:
        """One layer, with the batch as first dimension."""

    def initialise(self, layer: nn.RNNBase, reach: int) -> None:
        """Change PyTorch's initialisation in place, for a task of this reach."""
        if self.recurrent_init == "uniform":
            return
        for weight_HH in layer.get_parameter("weight_hh_l0").chunk(self.num_gates):
            if self.recurrent_init == "orthogonal":
                nn.init.orthogonal_(weight_HH)
            else:
                nn.init.eye_(weight_HH)

    def num_extra(self, signature: Signature) -> int:
        return self.num_layers

    def core_size(self, signature: Signature, width: int, extra_width: int) -> tuple[int, int]:
        inputs, widths = self._sizes(signature, width, extra_width)
        # Each gate has W, U and PyTorch's two biases.
        layers = zip(inputs, widths, strict=True)
        size = sum(self.num_gates * units * (fed + units + 2) for fed, units in layers)
        return size, widths[-1]

    def build_core(self, signature: Signature, width: int, extra_width: int) -> RecurrentCore:
        layers = list(map(self.layer, *self._sizes(signature, width, extra_width)))
        for layer in layers:
            self.initialise(layer, signature.reach)
        return RecurrentCore(layers)

    def _sizes(
        self, signature: Signature, width: int, extra_width: int
    ) -> tuple[list[int], list[int]]:
        """Number of inputs and of hidden units of each layer."""
        widths = [width + (layer < extra_width) for layer in range(self.num_layers)]
        return [signature.num_inputs, *widths[:-1]], widths


@torch.no_grad()
def set_bias(layer: nn.RNNBase, gate: int, bias_H: Tensor | float) -> None:
    """Set a gate's initial bias. PyTorch adds two biases; the second becomes zero."""
    rows = slice(gate * layer.hidden_size, (gate + 1) * layer.hidden_size)
    layer.get_parameter("bias_ih_l0")[rows] = bias_H
    layer.get_parameter("bias_hh_l0")[rows] = 0.0


def chrono_bias(width: int, reach: int) -> Tensor:
    """Initial biases log U[1, reach − 1], (H,), for units that forget within 1 to `reach` steps.

    Source: Tallec & Ollivier 2018 (arXiv:1804.11188, section 3), where T_max is the reach.
    """
    return torch.empty(width).uniform_(1.0, max(reach - 1.0, 1.0)).log()
