"""The textbook's temporal convolutional network, which ours is compared with.

Every convolution pads both ends, runs over the whole padded sequence and cuts off the end, with
channels first, as in the code released with Bai, Kolter & Koltun 2018 (arXiv:1803.01271) and in
most courses. It computes the same function as `models.tcn`. Only timings use it.

Shape letters: B sequences, T steps, C channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models._contract import Core


class TextbookBlock(nn.Module):
    """Two weight-normalised convolutions with the same dilation, and a residual sum."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.dropout, self.gated, self.residual = block.dropout, block.conv1.gated, block.residual
        self.conv1, self.conv2 = map(_padded, (block.conv1, block.conv2))
        self.skip: nn.Conv1d | None = None
        if isinstance(block.skip, nn.Linear):
            self.skip = nn.Conv1d(block.skip.in_features, block.skip.out_features, 1)
            self.skip.to(block.skip.weight)
            with torch.no_grad():
                self.skip.weight.copy_(block.skip.weight.unsqueeze(2))
                assert self.skip.bias is not None
                self.skip.bias.copy_(block.skip.bias)

    def forward(self, x_BCT: Tensor) -> Tensor:
        h_BCT = x_BCT
        for conv in (self.conv1, self.conv2):
            h_BCT = conv(h_BCT)[:, :, : x_BCT.shape[2]].contiguous()
            h_BCT = self.dropout(self._nonlinearity(h_BCT))
        if not self.residual:
            return h_BCT
        return F.relu(h_BCT + (x_BCT if self.skip is None else self.skip(x_BCT)))

    def _nonlinearity(self, z_BCT: Tensor) -> Tensor:
        if not self.gated:
            return F.relu(z_BCT)
        signal_BCT, gate_BCT = z_BCT.chunk(2, 1)
        return torch.tanh(signal_BCT) * torch.sigmoid(gate_BCT)


def _padded(causal: Any) -> nn.Conv1d:
    """A convolution with the weights of ours that pads both ends."""
    ours, dilation = causal.conv, causal.dilation
    size = ours.kernel_size[0]
    conv = nn.Conv1d(
        ours.in_channels,
        ours.out_channels,
        size,
        padding=(size - 1) * dilation,
        dilation=dilation,
    )
    weight_norm(conv.to(ours.bias)).load_state_dict(ours.state_dict())
    return conv


class TextbookCore(Core):
    """The same function as one of our cores, with a copy of its weights.

    It reads whole sequences and has no state.
    """

    keeps_state = False

    def __init__(self, core: Any) -> None:
        super().__init__()
        self.num_features, self.receptive_field = core.num_features, core.receptive_field
        self.blocks = nn.Sequential(*map(TextbookBlock, core.blocks))

    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        if state is not None:
            raise ValueError("the textbook's TCN reads whole sequences: it has no state")
        h_BCT = self.blocks(x_BTI.transpose(1, 2))
        if last_only:
            h_BCT = h_BCT[:, :, -1:]
        return h_BCT.transpose(1, 2), None
