"""Temporal convolutional network: residual blocks of dilated causal convolutions.

    y_t  ●        n blocks of two convolutions with k taps; block i has dilation d = 2^i, so that
         │╲       the receptive field is 1 + 2·(k − 1)·(2^n − 1) steps
         ●  ●
         │╲ │╲
    x_t  ●●●●●

Source: Bai, Kolter & Koltun 2018 (arXiv:1803.01271, section 3). A block applies a
weight-normalised dilated causal convolution, a ReLU and dropout, twice. It then adds its input,
through a 1×1 convolution where the width changes, and applies a ReLU to the sum.

Departures: convolutions keep PyTorch's initialisation (the released code sets N(0, 0.01), but
weight normalisation then recomputes the weight). Without `num_blocks`, the receptive field covers
twice the task's reach, as it does in the paper's own settings. The inner width, between the two
convolutions of a block, may be a few units larger, to meet a parameter budget.

Variants: `gated` replaces the ReLU after each convolution by WaveNet's gated unit, tanh(a) ⊙ σ(b)
of a convolution with twice the channels (van den Oord et al. 2016, arXiv:1609.03499, eq. 2).
Without `residual`, a block is only its two convolutions.

The state is the last (k − 1)·d inputs of each convolution.

Shape letters: B sequences, T steps, I input channels, O output channels, K taps.
"""

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models._contract import Core, Kernel, Model, Signature
from models._conv_training import Blocks, LateState, Layout, can_compile

if TYPE_CHECKING:
    from models._onnx import Graph

MOST_STEPS_OF_ONE = 256
"""Up to this length the compiled kernels are faster than PyTorch for a single sequence."""


def causal_conv(
    x_BTI: Tensor,
    weight_OIK: Tensor,
    bias_O: Tensor,
    *,
    dilation: int = 1,
    stride: int = 1,
    num_past: int = 0,
) -> Tensor:
    """z_t = b + Σ_i Σ_j x_{t − i·d, j} w_{i, j}, with zeros before the first step.

    The first `num_past` steps are context, for which no outputs are computed. With a stride, the
    outputs are every stride-th one, counted back from the last: (B, ⌈(T − num_past) / stride⌉, O).

    In memory, steps come before channels. A two-dimensional convolution accepts this layout
    (`channels_last`); a one-dimensional one would copy the data.
    """
    num_steps = x_BTI.shape[1]
    # Taps that reach before the first step would read only zeros, so they are left out.
    live_taps = min(weight_OIK.shape[2], -(-num_steps // dilation))
    context = (live_taps - 1) * dilation
    first = num_past + (num_steps - num_past - 1) % stride  # the first step with an output
    start = first - context
    x_BTI = F.pad(x_BTI, (0, 0, -start, 0)) if start < 0 else x_BTI[:, start:]
    z_BO1T = F.conv2d(
        x_BTI.transpose(1, 2).unsqueeze(2),
        weight_OIK[:, :, -live_taps:].unsqueeze(2),
        bias_O,
        dilation=(1, dilation),
        stride=(1, stride),
    )
    return z_BO1T.squeeze(2).transpose(1, 2)


class CausalConv(nn.Module):
    """A weight-normalised causal convolution and its nonlinearity, with its last inputs as state.

    The nonlinearity is a ReLU or, with `gated`, tanh(a) ⊙ σ(b) of two halves of the channels.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, kernel_size: int, dilation: int, gated: bool
    ) -> None:
        super().__init__()
        channels = 2 * num_outputs if gated else num_outputs
        self.conv = weight_norm(nn.Conv1d(num_inputs, channels, kernel_size))
        self.gated = gated
        self.dilation = dilation
        self.memory = (kernel_size - 1) * dilation

    def forward(self, x_BTI: Tensor, past_BSI: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs (B, T, O) and the last inputs, at most `memory`; earlier ones count as zeros."""
        num_past = 0
        if past_BSI is not None:
            num_past = past_BSI.shape[1]
            x_BTI = torch.cat([past_BSI, x_BTI], 1)
        y_BTO = self.conv_of(x_BTI, dilation=self.dilation, num_past=num_past)
        return y_BTO, x_BTI[:, max(x_BTI.shape[1] - self.memory, 0) :]

    def conv_of(
        self, x_BTI: Tensor, *, dilation: int = 1, stride: int = 1, num_past: int = 0
    ) -> Tensor:
        """`causal_conv` with these weights at any dilation, then the nonlinearity."""
        weight, bias = self.conv.weight, self.conv.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        z_BTO = causal_conv(
            x_BTI, weight, bias, dilation=dilation, stride=stride, num_past=num_past
        )
        if not self.gated:
            return F.relu(z_BTO)
        signal_BTO, gate_BTO = z_BTO.chunk(2, -1)
        return torch.tanh(signal_BTO) * torch.sigmoid(gate_BTO)


class Block(nn.Module):
    """Two convolutions of the same dilation and, with `residual`, the sum with the input."""

    def __init__(
        self, num_inputs: int, inner: int, width: int, dilation: int, config: "Tcn"
    ) -> None:
        super().__init__()
        kernel_size, gated = config.kernel_size, config.gated
        self.conv1 = CausalConv(num_inputs, inner, kernel_size, dilation, gated)
        self.conv2 = CausalConv(inner, width, kernel_size, dilation, gated)
        self.dropout = nn.Dropout(config.dropout)
        self.residual = config.residual
        self.width = width
        widens = config.residual and num_inputs != width
        self.skip = nn.Linear(num_inputs, width) if widens else nn.Identity()

    def forward(self, x_BTI: Tensor, state: Any) -> tuple[Tensor, Any]:
        past1, past2 = (None, None) if state is None else state
        h_BTI, past1 = self.conv1(x_BTI, past1)
        h_BTO, past2 = self.conv2(self.dropout(h_BTI), past2)
        return self.joined(x_BTI, h_BTO), (past1, past2)

    def joined(self, x_BTI: Tensor, h_BTO: Tensor) -> Tensor:
        """Dropout and the residual sum."""
        h_BTO = self.dropout(h_BTO)
        return F.relu(self.skip(x_BTI) + h_BTO) if self.residual else h_BTO

    def on_grid(self, x_BTI: Tensor, *, stride: int) -> Tensor:
        """The block on every dilation-th step, where its convolutions are dense.

        Returns every stride-th output, counted back from the last.
        """
        h_BTI = self.dropout(self.conv1.conv_of(x_BTI))
        h_BTO = self.conv2.conv_of(h_BTI, stride=stride)
        first = (x_BTI.shape[1] - 1) % stride
        return self.joined(x_BTI[:, first::stride], h_BTO)


class TcnCore(Core):
    """Blocks of dilation 1, 2, 4, …, with one inner width per block."""

    def __init__(self, num_inputs: int, inner_widths: list[int], width: int, config: "Tcn") -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(num_inputs if i == 0 else width, inner, width, 2**i, config)
            for i, inner in enumerate(inner_widths)
        )
        self.kernel_size = config.kernel_size
        self.gated, self.residual = config.gated, config.residual
        self.num_features = width
        self.receptive_field = receptive_field(config.kernel_size, len(inner_widths))
        self.dropout = config.dropout
        self._layouts: dict[tuple[int, bool], Layout] = {}

    def stock(self) -> Core:
        from models._textbook import TextbookCore

        return TextbookCore(self)

    def forward(
        self,
        x_BTI: Tensor,
        state: Any = None,
        *,
        last_only: bool = False,
        compiled: bool = True,
    ) -> tuple[Tensor, Any]:
        """Compiled kernels compute it on the CPU, where there are enough sequences for them."""
        if compiled and state is None and self._can_compile(x_BTI, last_only):
            return self._compiled(x_BTI, last_only)
        if last_only and state is None:
            return self._last(x_BTI), None
        states = [None] * len(self.blocks) if state is None else state
        h_BTO, new_states = x_BTI, []
        for block, block_state in zip(self.blocks, states, strict=True):
            h_BTO, block_state = block(h_BTO, block_state)
            new_states.append(block_state)
        return (h_BTO[:, -1:], None) if last_only else (h_BTO, tuple(new_states))

    def _can_compile(self, x_BTI: Tensor, last_only: bool) -> bool:
        """Whether the compiled kernels compute this network for these inputs."""
        bias: Any = self.blocks[0].conv1.conv.bias  # pyright: ignore[reportAttributeAccessIssue]
        least = 1 if last_only or x_BTI.shape[1] <= MOST_STEPS_OF_ONE else 2
        varies = self.training and self.dropout > 0
        return not self.gated and not varies and can_compile(x_BTI, bias, least)

    def _compiled(self, x_BTI: Tensor, last_only: bool) -> tuple[Tensor, Any]:
        num_steps = x_BTI.shape[1]
        if (num_steps, last_only) not in self._layouts:
            self._layouts[num_steps, last_only] = Layout(self, num_steps, last_only)
        layout = self._layouts[num_steps, last_only]
        y_BTO = Blocks.apply(layout, self, x_BTI.contiguous(), *layout.weights())
        state = None if last_only else LateState(lambda: self(x_BTI, compiled=False)[1])
        return y_BTO, state

    def onnx_step(self, graph: "Graph", x_BI: str) -> str:
        from models._onnx import tcn_step  # onnx is an optional package

        return tcn_step(graph, self, x_BI)

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel:
        from models._kernels import TcnKernel  # Numba is imported only when it is used

        return TcnKernel(self, head, batch_size)

    def _last(self, x_BTI: Tensor) -> Tensor:
        """The last step's features, computed only from the steps that they depend on.

        A block of dilation d reads only steps at multiples of d before the last. The convolutions
        then compute about 3·T positions in all, instead of 2·n·T.
        """
        *lower, top = self.blocks
        h_BTO = x_BTI
        for block in lower:
            h_BTO = block.on_grid(h_BTO, stride=2)  # pyright: ignore[reportCallIssue]
        h_BTO = h_BTO[:, -(2 * self.kernel_size - 1) :]
        return top.on_grid(h_BTO, stride=h_BTO.shape[1])  # pyright: ignore[reportCallIssue]


def receptive_field(kernel_size: int, num_blocks: int) -> int:
    """1 + 2·(k − 1)·(2^n − 1) steps: block i has two convolutions of dilation 2^i."""
    return 1 + 2 * (kernel_size - 1) * (2**num_blocks - 1)


@dataclass(frozen=True, kw_only=True)
class Tcn(Model):
    version = 1
    family = "convolutional"
    has_stock = True
    has_onnx_step = True

    kernel_size: int = 8
    """Number of taps of a convolution."""
    num_blocks: int | None = None
    """Number of blocks; by default, enough for a receptive field of twice the task's reach."""
    dropout: float = 0.0
    """Probability that an activation is set to zero in training."""
    gated: bool = False
    """Use a gated unit after each convolution instead of a ReLU."""
    residual: bool = True
    """Add each block's input to its output."""

    def __post_init__(self) -> None:
        if self.kernel_size < 1:
            raise ValueError(f"kernel_size {self.kernel_size} of tcn; valid: 1 or more")
        if self.num_blocks is None and self.kernel_size == 1:
            raise ValueError("kernel_size 1 of tcn; valid without num_blocks: 2 or more")
        if self.num_blocks is not None and not 1 <= self.num_blocks <= 24:
            raise ValueError(f"num_blocks {self.num_blocks} of tcn; valid: 1 to 24")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} of tcn; valid: 0 up to but not including 1")

    def depth(self, reach: int) -> int:
        """Number of blocks for a task of this reach."""
        if self.num_blocks is not None:
            return self.num_blocks
        # A field equal to the reach would have a single path to the oldest input.
        return next(n for n in count(1) if receptive_field(self.kernel_size, n) >= 2 * reach)

    def num_extra(self, signature: Signature) -> int:
        # An inner unit adds about half the parameters of a unit of width: hence two per block.
        return 2 * self.depth(signature.reach)

    def inner_widths(self, signature: Signature, width: int, extra_width: int) -> list[int]:
        """Number of units between the two convolutions of each block."""
        depth = self.depth(signature.reach)
        each, rest = divmod(extra_width, depth)
        return [width + each + (i < rest) for i in range(depth)]

    def core_size(self, signature: Signature, width: int, extra_width: int) -> tuple[int, int]:
        # Each output of a convolution has its weights, their norm and a bias.
        halves = 2 if self.gated else 1
        size, num_inputs = 0, signature.num_inputs
        for inner in self.inner_widths(signature, width, extra_width):
            size += halves * inner * (num_inputs * self.kernel_size + 2)
            size += halves * width * (inner * self.kernel_size + 2)
            if self.residual and num_inputs != width:
                size += width * (num_inputs + 1)
            num_inputs = width
        return size, width

    def build_core(self, signature: Signature, width: int, extra_width: int) -> TcnCore:
        inner_widths = self.inner_widths(signature, width, extra_width)
        return TcnCore(signature.num_inputs, inner_widths, width, self)
