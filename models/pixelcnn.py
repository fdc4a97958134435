"""Gated PixelCNN: predicts each pixel from the rows above and the pixels to its left.

    v v v v v    the vertical stack sees the rows above, on both sides;
    v v v v v    the horizontal stack sees the pixels to the left in its own row and, at each
    h h ● · ·    layer, the vertical stack's output: together they leave no blind spot

Source: van den Oord et al. 2016 (arXiv:1606.05328, section 2, figure 2): masked convolutions of
n × n in the vertical and 1 × n in the horizontal stack; gated units tanh(a) ⊙ σ(b) in both (eq. 2);
a 1×1 convolution from the vertical to the horizontal stack; a residual connection in the
horizontal stack only; V c of the condition in every gated unit (eq. 4). At the end follow ReLU,
1×1, ReLU and the network's head.

Steps are pixels, row by row, and the input x_t is the pixel before y_t. The image is therefore x
without its first step, the start token, which no output depends on. Instead of masks, the
convolutions have smaller kernels: mask A, in the first layer, leaves out y_t and all later pixels;
mask B, in the other layers, leaves out only the later ones.

Departures: convolutions keep PyTorch's initialisation. The vertical stack reads the condition of
the first step of a row for the whole row, since it computes the row before the other steps are
known; classes are the same at every step. By default there are as many layers as the last pixel
needs to see the first, at most the paper's 20. The horizontal stack may have a few more gated units
than `width`, to meet a parameter budget. The last layer's vertical stack has no gated unit, since
no layer would read it.

The receptive field is L·m rows above and L·m pixels to either side, for L layers and m = (n − 1)/2.
The state is the inputs of those rows, from which `forward` computes all layers again. The compiled
stepper caches the rows of every layer instead, and computes the vertical stack once per row.

Shape letters: B sequences, T steps, I inputs, C conditions, H channels, R rows, W pixels of a row.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._contract import Core, Kernel, Model, Signature

MOST_LAYERS = 20
"""The number of layers of the paper's largest network; more can be chosen."""


class GatedUnit(nn.Module):
    """tanh(a) ⊙ σ(b). If there is a condition, a 1×1 convolution of it is added first."""

    def __init__(self, num_conditions: int, num_gated: int) -> None:
        super().__init__()
        self.condition = (
            nn.Conv2d(num_conditions, 2 * num_gated, 1, bias=False) if num_conditions else None
        )

    def forward(self, u_BHRW: Tensor, c_BCRW: Tensor) -> Tensor:
        if self.condition is not None:
            u_BHRW = u_BHRW + self.condition(c_BCRW)
        signal_BHRW, gate_BHRW = u_BHRW.chunk(2, 1)
        return torch.tanh(signal_BHRW) * torch.sigmoid(gate_BHRW)


class Layer(nn.Module):
    """One layer of both stacks, which reads this number of channels."""

    def __init__(
        self,
        channels: int,
        width: int,
        num_gated: int,
        num_conditions: int,
        kernel_size: int,
        is_first: bool,
        is_last: bool,
    ) -> None:
        super().__init__()
        self.margin = kernel_size // 2
        self.is_first = is_first
        # Mask A leaves out the pixel itself, so the first layer has one tap less than mask B.
        num_taps = self.margin if is_first else self.margin + 1
        self.vertical = nn.Conv2d(channels, 2 * width, (num_taps, kernel_size))
        self.horizontal = nn.Conv2d(channels, 2 * num_gated, (1, num_taps), bias=False)
        self.to_horizontal = nn.Conv2d(2 * width, 2 * num_gated, 1)
        self.residual = nn.Conv2d(num_gated, width, 1)
        self.gate = GatedUnit(num_conditions, num_gated)
        self.vertical_gate = None if is_last else GatedUnit(num_conditions, width)

    def forward(self, v_BHRW: Tensor, h_BHRW: Tensor, c_BCRW: Tensor) -> tuple[Tensor, Tensor]:
        """Both stacks' outputs. `h` may have fewer rows than `v`, namely the last ones."""
        m, last = self.margin, -1 if self.is_first else 0
        above_BHRW = self.vertical(F.pad(v_BHRW, (m, m, m, last)))
        num_rows = h_BHRW.shape[2]
        left_BHRW = self.horizontal(F.pad(h_BHRW, (m, last, 0, 0)))
        left_BHRW = left_BHRW + self.to_horizontal(above_BHRW[:, :, -num_rows:])
        new_BHRW = self.residual(self.gate(left_BHRW, c_BCRW[:, :, -num_rows:]))
        if not self.is_first:
            new_BHRW = h_BHRW + new_BHRW
        if self.vertical_gate is not None:
            above_BHRW = self.vertical_gate(above_BHRW, c_BCRW[..., :1])
        return above_BHRW, new_BHRW


class PixelCnnCore(Core):
    """Layers on rows of `row_width` pixels. There may be any number of rows."""

    def __init__(
        self, signature: Signature, row_width: int, width: int, gated: list[int], kernel_size: int
    ) -> None:
        super().__init__()
        self.num_conditions = signature.num_conditions
        num_inputs = signature.num_inputs - self.num_conditions
        self.layers = nn.ModuleList(
            Layer(
                width if i else num_inputs,
                width,
                num_gated,
                self.num_conditions,
                kernel_size,
                is_first=i == 0,
                is_last=i == len(gated) - 1,
            )
            for i, num_gated in enumerate(gated)
        )
        self.output = nn.Conv2d(width, width, 1)
        self.kernel_size, self.row_width = kernel_size, row_width
        self.num_rows = len(gated) * (kernel_size // 2)
        self.num_features = width
        self.receptive_field = receptive_field(kernel_size, len(gated), row_width)
        self.period = row_width

    def forward(
        self, x_BTI: Tensor, state: Tensor | None = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        num_past = 0
        if state is not None:
            num_past = state.shape[1]
            x_BTI = torch.cat([state, x_BTI], 1)
        if last_only:
            num_past = x_BTI.shape[1] - 1
        unseen = self.unseen(num_past)
        y_BTH = self._features(x_BTI[:, unseen:], num_past - unseen)
        return y_BTH, None if last_only else x_BTI[:, self.unseen(x_BTI.shape[1]) :]

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel:
        from models._kernels_pixelcnn import PixelCnnKernel  # Numba is imported when it is used

        return PixelCnnKernel(self, head, batch_size)

    def unseen(self, num_past: int) -> int:
        """How many of the first `num_past` inputs the next step does not need: whole rows."""
        return max(num_past // self.row_width - self.num_rows, 0) * self.row_width

    def _features(self, x_BTI: Tensor, num_past: int) -> Tensor:
        """Features of the steps after the first `num_past`. The inputs begin with a row."""
        num_steps, row_width = x_BTI.shape[1], self.row_width
        x_BTI, c_BTC = x_BTI.tensor_split([x_BTI.shape[2] - self.num_conditions], 2)
        num_rows = -(-num_steps // row_width)
        first_row = num_past // row_width

        def rows(x_BTI: Tensor) -> Tensor:
            x_BTI = F.pad(x_BTI, (0, 0, 0, num_rows * row_width - x_BTI.shape[1]))
            return x_BTI.unflatten(1, (num_rows, row_width)).permute(0, 3, 1, 2)

        v_BHRW = rows(x_BTI[:, 1:])
        h_BHRW, c_BCRW = v_BHRW[:, :, first_row:], rows(c_BTC)
        for layer in self.layers:
            v_BHRW, h_BHRW = layer(v_BHRW, h_BHRW, c_BCRW)
        h_BHRW = F.relu(self.output(F.relu(h_BHRW)))
        h_BTH = h_BHRW.permute(0, 2, 3, 1).flatten(1, 2)
        return h_BTH[:, num_past - first_row * row_width : num_steps - first_row * row_width]


def receptive_field(kernel_size: int, num_layers: int, row_width: int) -> int:
    """In steps: L·m rows up and as many pixels to the left, for m = (n − 1)/2."""
    reached = num_layers * (kernel_size // 2)
    return reached * row_width + min(reached, row_width - 1)


@dataclass(frozen=True, kw_only=True)
class PixelCnn(Model):
    version = 1
    family = "convolutional"

    kernel_size: int = 5
    """Height and width of a convolution, an odd number."""
    num_layers: int | None = None
    """Number of layers; by default as many as the last pixel needs to see the first, at most
    20."""

    def __post_init__(self) -> None:
        if self.kernel_size < 3 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} of pixelcnn; valid: 3, 5, 7, …")
        if self.num_layers is not None and self.num_layers < 1:
            raise ValueError(f"num_layers {self.num_layers} of pixelcnn; valid: 1 or more")

    def supports(self, signature: Signature) -> str | None:
        return None if signature.grid else "its steps are not the pixels of an image"

    def depth(self, signature: Signature) -> int:
        """Number of layers for images of this size."""
        if self.num_layers is not None:
            return self.num_layers
        assert signature.grid is not None
        needed = -(-(max(signature.grid) - 1) // (self.kernel_size // 2))
        return min(max(needed, 1), MOST_LAYERS)

    def num_extra(self, signature: Signature) -> int:
        # Parameters, divided by width, that a unit of width and a gated unit add to a layer.
        num_taps = self.kernel_size // 2 + 1
        step = 2 * (2 * num_taps * self.kernel_size + 2 * num_taps + 5)
        gated_unit = 2 * num_taps + 5
        return self.depth(signature) * (step // gated_unit)

    def gated_widths(self, signature: Signature, width: int, extra_width: int) -> list[int]:
        """Number of gated units of each layer's horizontal stack."""
        depth = self.depth(signature)
        each, rest = divmod(extra_width, depth)
        return [width + each + (i < rest) for i in range(depth)]

    def core_size(self, signature: Signature, width: int, extra_width: int) -> tuple[int, int]:
        num_conditions = signature.num_conditions
        channels, num_taps = signature.num_inputs - num_conditions, self.kernel_size // 2
        gated = self.gated_widths(signature, width, extra_width)
        size = 2 * width * num_conditions * (len(gated) - 1) + width * (width + 1)
        for units in gated:
            size += 2 * width * (channels * num_taps * self.kernel_size + 1)  # vertical
            size += 2 * units * (channels * num_taps + 2 * width + 1 + num_conditions)
            size += width * (units + 1)  # residual
            channels, num_taps = width, self.kernel_size // 2 + 1
        return size, width

    def build_core(self, signature: Signature, width: int, extra_width: int) -> PixelCnnCore:
        assert signature.grid is not None
        gated = self.gated_widths(signature, width, extra_width)
        return PixelCnnCore(signature, signature.grid[1], width, gated, self.kernel_size)
