"""WaveNet: gated dilated causal convolutions with skip connections to the output.

    y_t    ●          a layer of dilation d:   z_t = tanh(a_t) ⊙ σ(b_t)
           │╲                                  a, b = W_0 h_t + W_1 h_{t−d} + V c_t
    d = 4  ●   ●                               h_t ← h_t + W_r z_t,   s_t ← s_t + W_s z_t
           │╲  │╲
    d = 2  ●●  ●●     dilations 1, 2, 4, …, 512, then again from 1
           │╲╲╲│╲╲╲
    d = 1  ●●●●●●●●   before them a causal convolution; after them ReLU, 1×1, ReLU on the sum s

Source: van den Oord et al. 2016 (arXiv:1609.03499, sections 2.1 to 2.5): a causal convolution, then
gated units (eq. 2) with residual and skip connections through 1×1 convolutions. The sum of the
skips goes through two further 1×1 convolutions, each after a ReLU; the second one is the network's
head. A condition is a class (global) or the features of each step (local). It enters every gated
unit through a 1×1 convolution of its own (section 2.5).

Departures: convolutions have biases and PyTorch's initialisation. By default the number of
dilations, up to the paper's 1 to 512, and then the number of cycles are the smallest that cover
twice the task's reach. `width` is the number of residual channels and of skip channels; there may
be a few more gated units, to meet a parameter budget. The last layer has no residual connection,
since no layer would read it.

The receptive field of c cycles of n dilations is 1 + (k − 1)·(1 + c·(2^n − 1)). The state is the
last (k − 1)·d inputs of each convolution of dilation d.

Shape letters: B sequences, T steps, I input channels, C conditions, H channels, G gated units.
"""

from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._contract import Core, Kernel, Model, Signature
from models.tcn import causal_conv

LONGEST_CYCLE = 10
"""The paper's ten dilations 1, 2, 4, …, 512."""


class Layer(nn.Module):
    """A dilated convolution and a condition into a gated unit, with residual and skip weights."""

    def __init__(
        self,
        width: int,
        num_gated: int,
        num_conditions: int,
        kernel_size: int,
        dilation: int,
        is_last: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 2 * num_gated, kernel_size)
        self.condition = (
            nn.Linear(num_conditions, 2 * num_gated, bias=False) if num_conditions else None
        )
        self.residual = None if is_last else nn.Linear(num_gated, width)
        self.skip = nn.Linear(num_gated, width)
        self.dilation = dilation

    def forward(
        self, h_BTH: Tensor, c_BTC: Tensor, *, dilation: int, stride: int = 1, num_past: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The next layer's input and the gated units, at every stride-th step back from the last.

        The first `num_past` steps of `h` are context, without outputs and without conditions.
        """
        weight, bias = self.conv.weight, self.conv.get_parameter("bias")
        u_BTG = causal_conv(
            h_BTH, weight, bias, dilation=dilation, stride=stride, num_past=num_past
        )
        if self.condition is not None:
            u_BTG = u_BTG + self.condition(strided(c_BTC, stride))
        signal_BTG, gate_BTG = u_BTG.chunk(2, -1)
        z_BTG = torch.tanh(signal_BTG) * torch.sigmoid(gate_BTG)
        h_BTH = strided(h_BTH[:, num_past:], stride)
        return (h_BTH if self.residual is None else h_BTH + self.residual(z_BTG)), z_BTG


class WaveNetCore(Core):
    """A causal convolution, then cycles of layers of dilation 1, 2, 4, …"""

    def __init__(
        self, signature: Signature, width: int, gated: list[int], cycle: int, kernel_size: int
    ) -> None:
        super().__init__()
        self.num_conditions = signature.num_conditions
        self.input = nn.Conv1d(signature.num_inputs - self.num_conditions, width, kernel_size)
        self.layers = nn.ModuleList(
            Layer(
                width,
                num_gated,
                self.num_conditions,
                kernel_size,
                dilation=2 ** (i % cycle),
                is_last=i == len(gated) - 1,
            )
            for i, num_gated in enumerate(gated)
        )
        self.output = nn.Linear(width, width)
        self.cycle, self.kernel_size = cycle, kernel_size
        self.num_features = width
        self.receptive_field = receptive_field(kernel_size, cycle, len(gated) // cycle)

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        x_BTI, c_BTC = x_BTI.tensor_split([x_BTI.shape[2] - self.num_conditions], 2)
        if last_only and state is None:
            return self._last(x_BTI, c_BTC), None
        input_past, *pasts = [None] * (1 + len(self.layers)) if state is None else state
        x_BTI, num_past, input_past = self._with_past(x_BTI, input_past, 1)
        weight, bias = self.input.weight, self.input.get_parameter("bias")
        h_BTH = causal_conv(x_BTI, weight, bias, num_past=num_past)
        skips_BTH = torch.zeros_like(h_BTH)
        new_pasts = [input_past]
        layers: Any = self.layers  # nn.ModuleList has no type for its elements
        for layer, past in zip(layers, pasts, strict=True):
            h_BTH, num_past, past = self._with_past(h_BTH, past, layer.dilation)
            h_BTH, z_BTG = layer(h_BTH, c_BTC, dilation=layer.dilation, num_past=num_past)
            skips_BTH = skips_BTH + layer.skip(z_BTG)
            new_pasts.append(past)
        y_BTH = self._read(skips_BTH)
        return (y_BTH[:, -1:], None) if last_only else (y_BTH, tuple(new_pasts))

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel:
        from models._kernels import WaveNetKernel  # Numba is imported only when it is used

        return WaveNetKernel(self, head, batch_size)

    def _with_past(
        self, h_BTH: Tensor, past_BSH: Tensor | None, dilation: int
    ) -> tuple[Tensor, int, Tensor]:
        """The steps after their S past ones, the number S, and the past for the next chunk."""
        num_past = 0
        if past_BSH is not None:
            num_past = past_BSH.shape[1]
            h_BTH = torch.cat([past_BSH, h_BTH], 1)
        memory = (self.kernel_size - 1) * dilation
        return h_BTH, num_past, h_BTH[:, max(h_BTH.shape[1] - memory, 0) :]

    def _read(self, skips_BTH: Tensor) -> Tensor:
        """ReLU, 1×1, ReLU on the sum of the skips."""
        return F.relu(self.output(F.relu(skips_BTH)))

    def _last(self, x_BTI: Tensor, c_BTC: Tensor) -> Tensor:
        """The last step's features. The last cycle computes only the steps they depend on."""
        layers: Any = self.layers
        h_BTH = causal_conv(x_BTI, self.input.weight, self.input.get_parameter("bias"))
        skips_B1H = torch.zeros_like(h_BTH[:, -1:])
        for layer in layers[: -self.cycle]:
            h_BTH, z_BTG = layer(h_BTH, c_BTC, dilation=layer.dilation)
            skips_B1H = skips_B1H + layer.skip(z_BTG[:, -1:])
        for layer in layers[-self.cycle : -1]:
            # On every dilation-th step a layer is dense. The next layer reads every second one.
            h_BTH, z_BTG = layer(h_BTH, c_BTC, dilation=1, stride=2)
            c_BTC = strided(c_BTC, 2)
            skips_B1H = skips_B1H + layer.skip(z_BTG[:, -1:])
        h_BTH, c_BTC = h_BTH[:, -self.kernel_size :], c_BTC[:, -self.kernel_size :]
        _, z_BTG = layers[-1](h_BTH, c_BTC, dilation=1, stride=h_BTH.shape[1])
        return self._read(skips_B1H + layers[-1].skip(z_BTG))


def strided(x_BTI: Tensor, stride: int) -> Tensor:
    """Every stride-th step, counted back from the last."""
    return x_BTI[:, (x_BTI.shape[1] - 1) % stride :: stride]


def receptive_field(kernel_size: int, cycle: int, num_cycles: int) -> int:
    """1 + (k − 1)·(1 + c·(2^n − 1)) steps: a convolution, then c cycles of n dilations."""
    return 1 + (kernel_size - 1) * (1 + num_cycles * (2**cycle - 1))


@dataclass(frozen=True, kw_only=True)
class WaveNet(Model):
    version = 1
    family = "convolutional"

    kernel_size: int = 2
    """Number of taps of a convolution."""
    dilation_cycle: int | None = None
    """Layers per cycle, of dilation 1, 2, 4, …; by default as many as one cycle (or `num_cycles`)
    needs to cover twice the task's reach, at most 10."""
    num_cycles: int | None = None
    """Number of cycles; by default, enough to cover twice the task's reach."""

    def __post_init__(self) -> None:
        if self.kernel_size < 2:
            raise ValueError(f"kernel_size {self.kernel_size} of wavenet; valid: 2 or more")
        if self.dilation_cycle is not None and not 1 <= self.dilation_cycle <= 24:
            raise ValueError(f"dilation_cycle {self.dilation_cycle} of wavenet; valid: 1 to 24")
        if self.num_cycles is not None and self.num_cycles < 1:
            raise ValueError(f"num_cycles {self.num_cycles} of wavenet; valid: 1 or more")

    def depth(self, reach: int) -> tuple[int, int]:
        """Number of layers per cycle and of cycles for a task of this reach."""

        def covers(cycle: int, num_cycles: int) -> bool:
            return receptive_field(self.kernel_size, cycle, num_cycles) >= 2 * reach

        cycle, num_cycles = self.dilation_cycle, self.num_cycles
        if cycle is None:
            cycle = next(
                (n for n in range(1, LONGEST_CYCLE) if covers(n, num_cycles or 1)), LONGEST_CYCLE
            )
        if num_cycles is None:
            num_cycles = next(n for n in count(1) if covers(cycle, n))
        return cycle, num_cycles

    def num_extra(self, signature: Signature) -> int:
        # A gated unit adds about half the parameters of a unit of width: hence two per layer.
        cycle, num_cycles = self.depth(signature.reach)
        return 2 * cycle * num_cycles

    def gated_widths(self, signature: Signature, width: int, extra_width: int) -> list[int]:
        """Number of gated units of each layer."""
        cycle, num_cycles = self.depth(signature.reach)
        each, rest = divmod(extra_width, cycle * num_cycles)
        return [width + each + (i < rest) for i in range(cycle * num_cycles)]

    def core_size(self, signature: Signature, width: int, extra_width: int) -> tuple[int, int]:
        num_conditions = signature.num_conditions
        gated = self.gated_widths(signature, width, extra_width)
        size = width * ((signature.num_inputs - num_conditions) * self.kernel_size + 1)
        size += sum(2 * units * (width * self.kernel_size + 1 + num_conditions) for units in gated)
        size += sum(width * (units + 1) for units in (*gated, *gated[:-1]))  # skip and residual
        return size + width * (width + 1), width

    def build_core(self, signature: Signature, width: int, extra_width: int) -> WaveNetCore:
        cycle, _ = self.depth(signature.reach)
        gated = self.gated_widths(signature, width, extra_width)
        return WaveNetCore(signature, width, gated, cycle, self.kernel_size)
