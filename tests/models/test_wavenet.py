"""WaveNet equals the paper's network in its usual form; its depth and its receptive field."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import models
from models import Network
from models.wavenet import WaveNet, receptive_field
from tests.support.signatures import REALS, Signature, sequences


def textbook(net: Network, x: Tensor, cycle: int, kernel_size: int, num_conditions: int) -> Tensor:
    """Pad both sides, convolve, cut off the end, and sum all skips."""
    core: Any = net.core

    def convolved(h: Tensor, conv: Any, dilation: int) -> Tensor:
        padding = (kernel_size - 1) * dilation
        out = F.conv1d(h, conv.weight, conv.bias, padding=padding, dilation=dilation)
        return out[..., : out.shape[-1] - padding]

    def pointwise(h: Tensor, layer: Any) -> Tensor:
        return layer(h.transpose(1, 2)).transpose(1, 2)

    h = x[..., : x.shape[2] - num_conditions].transpose(1, 2)
    c = x[..., x.shape[2] - num_conditions :].transpose(1, 2)
    h = convolved(h, core.input, 1)
    skips = torch.zeros_like(h)
    for n, layer in enumerate(core.layers):
        both = convolved(h, layer.conv, 2 ** (n % cycle))
        if num_conditions:
            both = both + pointwise(c, layer.condition)
        filters, gates = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
        z = filters.tanh() * gates.sigmoid()
        skips = skips + pointwise(z, layer.skip)
        if layer.residual is not None:
            h = h + pointwise(z, layer.residual)
    h = F.relu(pointwise(F.relu(skips), core.output))
    return pointwise(h, net.head).transpose(1, 2)


@given(
    kernel_size=st.integers(2, 4),
    cycle=st.integers(1, 4),
    num_cycles=st.integers(1, 3),
    steps=st.integers(1, 60),
    extra=st.integers(0, 5),
    num_conditions=st.sampled_from([0, 2]),
)
@settings(deadline=None, max_examples=25)
def test_the_wavenet_is_the_textbook_wavenet(
    kernel_size: int, cycle: int, num_cycles: int, steps: int, extra: int, num_conditions: int
) -> None:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"kernel_size": kernel_size, "dilation_cycle": cycle}
    signature = Signature(num_conditions=num_conditions)
    extra = min(extra, 2 * cycle * num_cycles - 1)
    net = models.network(
        "wavenet", signature, width=4, extra_width=extra, num_cycles=num_cycles, **fields
    ).double()
    x = sequences(REALS, 2, steps)
    c = torch.randn(2, steps, num_conditions, dtype=torch.double) if num_conditions else None
    expected = textbook(
        net, x if c is None else torch.cat([x, c], 2), cycle, kernel_size, num_conditions
    )
    last, _ = net(x, last_only=True, condition=c)
    torch.testing.assert_close(net(x, condition=c)[0], expected)
    torch.testing.assert_close(last, expected[:, -1:])
    parameters = list(net.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(last.sum(), parameters, materialize_grads=True, allow_unused=True),
        torch.autograd.grad(
            expected[:, -1].sum(), parameters, materialize_grads=True, allow_unused=True
        ),
    )


@pytest.mark.parametrize(
    ("kernel_size", "cycle", "num_cycles"), [(2, 1, 1), (2, 3, 1), (2, 3, 3), (3, 2, 2), (5, 3, 1)]
)
def test_the_receptive_field_is_exact(kernel_size: int, cycle: int, num_cycles: int) -> None:
    torch.manual_seed(0)
    fields = {"kernel_size": kernel_size, "dilation_cycle": cycle, "num_cycles": num_cycles}
    net = models.network("wavenet", REALS, width=8, **fields).double()
    field = int(net.receptive_field)
    assert field == receptive_field(kernel_size, cycle, num_cycles)
    x = sequences(REALS, 1, field + 3)
    for step, seen in ((2, False), (3, True), (4, True)):
        changed = x.clone()
        changed[:, step] = torch.nan  # even the smallest weight passes it on
        assert net(changed)[0][:, -1].isnan().all() == seen
        assert net(changed, last_only=True)[0].isnan().all() == seen


def test_depth_covers_twice_the_reach_with_at_most_the_papers_ten_dilations() -> None:
    model = WaveNet()
    assert model.depth(1) == (1, 1)
    assert model.depth(511) == (9 + 1, 1)
    assert model.depth(1000) == (10, 2)
    assert model.depth(4107) == (10, 9)
    assert WaveNet(num_cycles=3).depth(400) == (9, 3)
    assert WaveNet(num_cycles=1).depth(4107) == (10, 1)
    assert WaveNet(dilation_cycle=5).depth(100) == (5, 7)
    for reach in (1, 2, 20, 61, 784, 1011, 4107):
        net = models.network("wavenet", Signature(reach=reach), width=2)
        assert net.receptive_field >= 2 * reach
        assert net.receptive_field < 4 * reach + 2
