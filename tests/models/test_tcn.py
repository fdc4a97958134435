"""The TCN equals the paper's network in its usual form; its depth and its receptive field."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import models
from models import Network
from models.tcn import causal_conv
from tests.support.signatures import REALS, Signature, sequences


def network(*, width: int = 6, **fields: Any) -> Network:
    torch.manual_seed(0)
    return models.network("tcn", REALS, width=width, **fields).double().eval()


def test_a_gated_unit_is_tanh_times_sigmoid() -> None:
    conv = network(gated=True, num_blocks=1).core.blocks[0].conv1  # pyright: ignore
    x = sequences(REALS, 2, 12)
    weight, bias = conv.conv.weight, conv.conv.bias
    a, b = causal_conv(x, weight, bias).chunk(2, -1)
    torch.testing.assert_close(conv(x, None)[0], a.tanh() * b.sigmoid())


def test_without_a_residual_sum_a_block_is_its_convolutions() -> None:
    block: Any = network(residual=False, num_blocks=1).core.blocks[0]  # pyright: ignore
    x = sequences(REALS, 2, 12)
    inner, _ = block.conv1(x, None)
    assert torch.equal(block(x, None)[0], block.conv2(inner, None)[0])
    assert isinstance(block.skip, nn.Identity)


def textbook_conv(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """z_t = b + Σ_i x_{t − i·d} w_i, where the tap i = 0 is the last one of `weight`."""
    num_steps, num_taps = x.shape[1], weight.shape[2]
    delayed = [F.pad(x, (0, 0, i * dilation, 0))[:, :num_steps] for i in range(num_taps)]
    return bias + sum(x_i @ weight[:, :, -1 - i].T for i, x_i in enumerate(delayed))


@pytest.mark.parametrize(
    ("steps", "kernel_size", "dilation"), [(1, 3, 1), (7, 1, 4), (9, 3, 2), (5, 4, 8), (12, 2, 5)]
)
def test_the_convolution_is_the_textbook_formula(
    steps: int, kernel_size: int, dilation: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, steps, 3, dtype=torch.double)
    weight, bias = torch.randn(4, 3, kernel_size, dtype=torch.double), torch.randn(4).double()
    expected = textbook_conv(x, weight, bias, dilation)
    torch.testing.assert_close(causal_conv(x, weight, bias, dilation=dilation), expected)
    for past in range(steps):
        part = causal_conv(x, weight, bias, dilation=dilation, num_past=past)
        torch.testing.assert_close(part, expected[:, past:])
        strided = causal_conv(x, weight, bias, dilation=dilation, num_past=past, stride=3)
        torch.testing.assert_close(strided, expected[:, past:].flip(1)[:, ::3].flip(1))


def textbook_tcn(net: Network, x: Tensor, kernel_size: int) -> Tensor:
    """Bai et al.'s network in its usual form: pad both sides, convolve, cut off the end."""
    core: Any = net.core
    h = x.transpose(1, 2)
    for i, block in enumerate(core.blocks):
        padding = (kernel_size - 1) * 2**i
        z = h
        for conv in (block.conv1.conv, block.conv2.conv):
            z = F.conv1d(z, conv.weight, conv.bias, padding=padding, dilation=2**i)
            z = F.relu(z[..., : x.shape[1]])
        h = F.relu(block.skip(h.transpose(1, 2)).transpose(1, 2) + z)
    return net.head(h.transpose(1, 2))


@given(
    kernel_size=st.integers(1, 5),
    num_blocks=st.integers(1, 5),
    steps=st.integers(1, 70),
    extra=st.integers(0, 5),
)
@settings(deadline=None, max_examples=25)
def test_the_tcn_is_the_textbook_tcn(
    kernel_size: int, num_blocks: int, steps: int, extra: int
) -> None:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"kernel_size": kernel_size, "num_blocks": num_blocks}
    net = models.network("tcn", REALS, width=4, extra_width=extra, **fields).double()
    x = sequences(REALS, 2, steps)
    expected = textbook_tcn(net, x, kernel_size)
    torch.testing.assert_close(net(x)[0], expected)
    torch.testing.assert_close(net(x, last_only=True)[0], expected[:, -1:])
    parameters = list(net.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(net(x, last_only=True)[0].sum(), parameters, materialize_grads=True),
        torch.autograd.grad(expected[:, -1].sum(), parameters, materialize_grads=True),
    )


def test_depth_covers_twice_the_reach_unless_given() -> None:
    for reach in (1, 12, 61, 1011, 4107):
        signature = Signature(reach=reach)
        field = models.network("tcn", signature, width=2).receptive_field
        assert field >= 2 * reach
        assert field < 4 * reach + 20
    assert models.network("tcn", REALS, width=2, num_blocks=2).receptive_field == 43


def test_dropout_follows_both_convolutions_of_a_block() -> None:
    core: Any = network(num_blocks=1, dropout=1 - 1e-9).core.train()
    (block,) = core.blocks
    inner: list[Tensor] = []
    block.conv2.register_forward_hook(lambda module, inputs, outputs: inner.append(inputs[0]))
    x = sequences(REALS, 2, 20)
    y, _ = block(x, None)
    assert not inner[0].any()
    assert torch.equal(y, F.relu(block.skip(x)))
