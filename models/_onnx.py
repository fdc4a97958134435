"""One streaming step of a network as an ONNX model, written node by node.

Shape letters: B streams, I inputs, C conditions, O outputs, H hidden units, K taps, S kept inputs.

The inputs of the model are `x_t`, (B,) ids or (B, I) reals, `condition_t` (B, C) if the network has
conditions, and the tensors of the state, such as `h_1` and `c_2`. Its outputs are `y_t` (B, O) and
the state after the step, such as `next_h_1` and `next_c_2`. A stream begins with a state of zeros.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

if TYPE_CHECKING:
    from models._network import Network
    from models._recurrent import RecurrentCore
    from models.tcn import CausalConv, TcnCore

OPSET, IR_VERSION = 17, 8
"""Of 2022, so that older runtimes read the files as well."""
MOST_STEPS = 2**31 - 1
"""The end of a slice that has none."""


class Graph:
    """The nodes of a step while it is built. Values are known by their names."""

    def __init__(self, batch_size: int, dtype: np.dtype) -> None:
        self.batch_size = batch_size
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.next_states: dict[str, onnx.ValueInfoProto] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._type = helper.np_dtype_to_tensor_dtype(dtype)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the name of the output."""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, number: int) -> list[str]:
        """Equal parts of the last axis of (B, H)."""
        names = [f"part_{len(self.nodes)}_{n}" for n in range(number)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=1))
        return names

    def every(self, x_BTI: str, stride: int, *, first: int = 0) -> str:
        """Every stride-th step of (B, T, I) from the first."""
        ends = ([first], [MOST_STEPS], [1], [stride])
        return self.add("Slice", x_BTI, *map(self.constant, ends))

    def constant(self, value: Tensor | Sequence[int]) -> str:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.array(value)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def input(self, name: str, *shape: int, ids: bool = False) -> str:
        kind = onnx.TensorProto.INT64 if ids else self._type
        self._shapes[name] = (self.batch_size, *shape)
        self.inputs.append(helper.make_tensor_value_info(name, kind, self._shapes[name]))
        return name

    def state(self, kind: str, *shape: int) -> str:
        """A tensor (B, …) that the caller passes on from step to step; see `set_state`."""
        return self.input(f"{kind}_{len(self.inputs)}", *shape)

    def set_state(self, state: str, new: str) -> None:
        """What the state becomes after the step."""
        name = f"next_{state}"
        self.nodes.append(helper.make_node("Identity", [new], [name]))
        shape = self._shapes[state]
        self.next_states[state] = helper.make_tensor_value_info(name, self._type, shape)

    def linear(self, x: str, weight_OI: Tensor, bias_O: Tensor) -> str:
        return self.add("Gemm", x, self.constant(weight_OI), self.constant(bias_O), transB=1)

    def model(self, y_BO: str, num_outputs: int) -> onnx.ModelProto:
        """The finished model, checked by the `onnx` package."""
        self.nodes.append(helper.make_node("Identity", [y_BO], ["y_t"]))
        y_t = helper.make_tensor_value_info("y_t", self._type, (self.batch_size, num_outputs))
        states = [
            self.next_states[each.name] for each in self.inputs if each.name in self.next_states
        ]
        graph = helper.make_graph(self.nodes, "step", self.inputs, [y_t, *states], self.constants)
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        made.doc_string = "One streaming step. A stream begins with a state of zeros."
        onnx.checker.check_model(made, full_check=True)
        return made


def step(network: "Network", batch_size: int) -> bytes:
    """See `models.onnx_step`."""
    head = network.head
    graph = Graph(batch_size, head.weight.detach().cpu().numpy().dtype)
    if network.tokens:
        identity = head.weight.new_zeros(network.num_inputs, network.num_inputs).fill_diagonal_(1)
        ids = graph.input("x_t", ids=True)
        x_BI = graph.add("Gather", graph.constant(identity), ids, axis=0)
    else:
        x_BI = graph.input("x_t", network.num_inputs)
    if network.num_conditions:
        condition_BC = graph.input("condition_t", network.num_conditions)
        x_BI = graph.add("Concat", x_BI, condition_BC, axis=1)
    h_BH = network.core.onnx_step(graph, x_BI)
    y_BO = graph.linear(h_BH, head.weight, head.bias)
    return graph.model(y_BO, head.out_features).SerializeToString()


def recurrent_step(graph: Graph, core: "RecurrentCore", x_BI: str) -> str:
    """The state of a layer is h or, of an LSTM, h and c, each (B, H)."""
    cells = {"LSTM": _lstm, "GRU": _gru, "RNN_TANH": _plain, "RNN_RELU": _plain}
    for layer in core.layers:
        assert isinstance(layer, nn.RNNBase)
        h_BH = graph.state("h", layer.hidden_size)
        x_BI = cells[layer.mode](graph, layer, x_BI, h_BH)
        graph.set_state(h_BH, x_BI)
    return x_BI


def _sums(graph: Graph, layer: nn.RNNBase, x_BI: str, h_BH: str) -> str:
    """W x + U h + b of all gates, as one product."""
    W, U, b, c = _weights(layer)
    both = graph.add("Concat", x_BI, h_BH, axis=1)
    return graph.linear(both, torch.cat([W, U], 1), b + c)


def _weights(layer: nn.RNNBase) -> list[Tensor]:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [layer.get_parameter(name) for name in names]


def _plain(graph: Graph, layer: nn.RNNBase, x_BI: str, h_BH: str) -> str:
    op = "Relu" if layer.mode == "RNN_RELU" else "Tanh"
    return graph.add(op, _sums(graph, layer, x_BI, h_BH))


def _gru(graph: Graph, layer: nn.RNNBase, x_BI: str, h_BH: str) -> str:
    """n + z ⊙ (h − n), with n = tanh(W x + b + r ⊙ (U h + c))."""
    W, U, b, c = _weights(layer)
    r_x, z_x, n_x = graph.split(graph.linear(x_BI, W, b), 3)
    r_h, z_h, n_h = graph.split(graph.linear(h_BH, U, c), 3)
    r = graph.add("Sigmoid", graph.add("Add", r_x, r_h))
    z = graph.add("Sigmoid", graph.add("Add", z_x, z_h))
    n = graph.add("Tanh", graph.add("Add", n_x, graph.add("Mul", r, n_h)))
    return graph.add("Add", n, graph.add("Mul", z, graph.add("Sub", h_BH, n)))


def _lstm(graph: Graph, layer: nn.RNNBase, x_BI: str, h_BH: str) -> str:
    """o ⊙ tanh(c), with c = f ⊙ c + i ⊙ g."""
    c_BH = graph.state("c", layer.hidden_size)
    i, f, g, o = graph.split(_sums(graph, layer, x_BI, h_BH), 4)
    i, f, o = (graph.add("Sigmoid", gate) for gate in (i, f, o))
    kept, new = graph.add("Mul", f, c_BH), graph.add("Mul", i, graph.add("Tanh", g))
    c = graph.add("Add", kept, new)
    graph.set_state(c_BH, c)
    return graph.add("Mul", o, graph.add("Tanh", c))


def tcn_step(graph: Graph, core: "TcnCore", x_BI: str) -> str:
    """The state of a convolution is its last S = (K − 1)·d inputs, (B, S, I), oldest first."""
    for block in core.blocks:
        assert isinstance(block, nn.Module)
        x_BI = _block(graph, block, x_BI)
    return x_BI


def _block(graph: Graph, block: Any, x_BI: str) -> str:
    h_BO = _conv(graph, block.conv2, _conv(graph, block.conv1, x_BI))
    if not block.residual:
        return h_BO
    if isinstance(block.skip, nn.Linear):
        x_BI = graph.linear(x_BI, block.skip.weight, block.skip.bias)
    return graph.add("Relu", graph.add("Add", x_BI, h_BO))


def _conv(graph: Graph, layer: "CausalConv", x_BI: str) -> str:
    weight_OIK, bias_O = layer.conv.weight, layer.conv.bias
    assert isinstance(weight_OIK, Tensor)
    assert isinstance(bias_O, Tensor)
    num_inputs, num_taps = weight_OIK.shape[1:]
    taps = x_BI
    if layer.memory:
        x_B1I = graph.add("Unsqueeze", x_BI, graph.constant([1]))
        past_BSI = graph.state("past", layer.memory, num_inputs)
        window = graph.add("Concat", past_BSI, x_B1I, axis=1)
        graph.set_state(past_BSI, graph.every(window, 1, first=1))
        taps_BKI = graph.every(window, layer.dilation)
        size = [graph.batch_size, num_taps * num_inputs]
        taps = graph.add("Reshape", taps_BKI, graph.constant(size))
    z_BO = graph.linear(taps, weight_OIK.transpose(1, 2).flatten(1), bias_O)
    if not layer.gated:
        return graph.add("Relu", z_BO)
    signal, gate = graph.split(z_BO, 2)
    return graph.add("Mul", graph.add("Tanh", signal), graph.add("Sigmoid", gate))
