"""The textbook's temporal convolutional network, which ours is compared with.

Every convolution pads both ends, runs over the whole padded sequence and cuts off the end, with
channels first, as in the code released with Bai, Kolter & Koltun 2018 (arXiv:1803.01271) and in
most courses. It computes the same function as `models.tcn`. Only the yardsticks use it.

Shape letters: B sequences, C channels, T steps.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models import Network


class TextbookBlock(nn.Module):
    """Two weight-normalised convolutions with the same dilation, and a residual sum."""

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        pad = (kernel_size - 1) * dilation
        self.conv1, self.conv2 = (
            weight_norm(nn.Conv1d(fed, num_outputs, kernel_size, padding=pad, dilation=dilation))
            for fed in (num_inputs, num_outputs)
        )
        self.skip = nn.Conv1d(num_inputs, num_outputs, 1) if num_inputs != num_outputs else None

    def forward(self, x_BCT: Tensor) -> Tensor:
        h_BCT = x_BCT
        for conv in (self.conv1, self.conv2):
            h_BCT = F.relu(conv(h_BCT)[:, :, : x_BCT.shape[2]].contiguous())
        return F.relu(h_BCT + (x_BCT if self.skip is None else self.skip(x_BCT)))


class TextbookTcn(nn.Module):
    """The same function as one of our networks, with a copy of its weights."""

    def __init__(self, ours: Network) -> None:
        super().__init__()
        blocks: Any = ours.core.blocks
        self.tokens, self.num_inputs = ours.tokens, ours.num_inputs
        self.blocks = nn.Sequential()
        for block in blocks:
            conv1, conv2 = block.conv1.conv, block.conv2.conv
            if conv1.out_channels != conv2.out_channels:
                raise ValueError("a textbook block is as wide inside as outside")
            if block.conv1.gated or not block.residual:
                raise ValueError("a textbook block has ReLUs and a residual sum")
            kernel_size, dilation = conv1.kernel_size[0], block.conv1.dilation
            theirs = TextbookBlock(conv1.in_channels, conv2.out_channels, kernel_size, dilation)
            theirs.conv1.load_state_dict(conv1.state_dict())
            theirs.conv2.load_state_dict(conv2.state_dict())
            if theirs.skip is not None:
                with torch.no_grad():
                    theirs.skip.weight.copy_(block.skip.weight.unsqueeze(2))
                    assert theirs.skip.bias is not None
                    theirs.skip.bias.copy_(block.skip.bias)
            self.blocks.append(theirs)
        self.head = nn.Linear(ours.head.in_features, ours.head.out_features)
        self.head.load_state_dict(ours.head.state_dict())
        self.to(ours.head.weight)

    def forward(
        self, x: Tensor, *, lengths: None = None, last_only: bool = False, condition: None = None
    ) -> tuple[Tensor, None]:
        """Outputs (B, T, O), or (B, 1, O) with `last_only`, for ids (B, T) or reals (B, T, I).

        All sequences have the same length and no condition.
        """
        x_BTC = F.one_hot(x, self.num_inputs).to(self.head.weight.dtype) if self.tokens else x
        h_BCT = self.blocks(x_BTC.transpose(1, 2))
        if last_only:
            h_BCT = h_BCT[:, :, -1:]
        return self.head(h_BCT.transpose(1, 2)), None
