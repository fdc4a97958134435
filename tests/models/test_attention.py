"""Attention: equal to the textbook's sums, a position per stream, and a cache that grows."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from models import Network
from models._kernels_attention import FIRST_CAPACITY
from models._stepping import tensors
from models.attention import AttentionCore, SelfAttention
from tests.support.signatures import REALS, sequences


def network(width: int = 6, **fields: Any) -> Network:
    torch.manual_seed(0)
    return models.network("attention", REALS, width=width, **fields).double().eval()


def core_of(net: Network) -> AttentionCore:
    assert isinstance(net.core, AttentionCore)
    return net.core


def by_sums(attention: SelfAttention, x_TH: np.ndarray) -> np.ndarray:
    """Causal attention of one sequence, one head and step at a time. Pairs are complex numbers."""
    weight, bias = (part.detach().numpy() for part in (attention.qkv.weight, attention.qkv.bias))
    heads, inner = attention.num_heads, attention.inner
    size, pairs = inner // heads, inner // heads // 2
    qkv = x_TH @ weight.T + bias
    turns = np.exp(1j * np.arange(len(x_TH))[:, None] / 10_000 ** (np.arange(pairs) / pairs))
    out = np.zeros((len(x_TH), inner))
    for head in range(heads):
        q, k, v = (qkv[:, part * inner + head * size :][:, :size] for part in range(3))
        turned = [(a[:, :pairs] + 1j * a[:, pairs : 2 * pairs]) * turns for a in (q, k)]
        for t in range(len(x_TH)):
            scores = (turned[0][t] * turned[1][: t + 1].conj()).real.sum(1)
            scores += q[t, 2 * pairs :] @ k[: t + 1, 2 * pairs :].T
            weights = np.exp(scores / math.sqrt(size))
            mean = weights @ v[: t + 1] / weights.sum()
            out[t, head * size : (head + 1) * size] = mean
    return out @ attention.out.weight.detach().numpy().T + attention.out.bias.detach().numpy()


@pytest.mark.parametrize(("width", "num_heads"), [(8, 2), (6, 2), (5, 1), (7, 3)])
def test_a_layer_is_the_sum_over_all_steps_before(width: int, num_heads: int) -> None:
    core = core_of(network(width, num_heads=num_heads))
    x_BTH = torch.randn(1, 13, width, dtype=torch.float64)
    attention: Any = core.layers[0].attention
    found, _ = attention(x_BTH, None, core.turn(torch.zeros(1, dtype=torch.long), 13), None)
    torch.testing.assert_close(
        found[0].detach(), torch.from_numpy(by_sums(attention, x_BTH[0].numpy()))
    )


def part_of(cache: Tensor, stream: int, steps: int) -> Tensor:
    return cache[stream : stream + 1, :, cache.shape[2] - steps :]


def test_the_steps_of_a_constant_sequence_have_the_same_output() -> None:
    net = network()
    x = sequences(REALS, 1, 1).expand(1, 9, -1)
    y, _ = net(x)
    torch.testing.assert_close(y, y[:, :1].expand_as(y))
    changed = torch.cat([x[:, :4], x[:, 4:5] + 1, x[:, 5:]], 1)
    assert not torch.allclose(net(changed)[0][:, -1], y[:, -1])


def test_streams_of_different_lengths_share_a_state() -> None:
    """The cache of a stream is the last part of it; what lies before is not read."""
    net, x = network(), sequences(REALS, 2, 20)
    stepper = net.stepper(2)
    stepper.run(x[:, :9])
    stepper.reset(torch.tensor([False, True]))
    stepper.run(x[:, 9:12])
    steps_B, caches = stepper.state()
    assert steps_B.tolist() == [12, 3]
    for cache in tensors(caches):
        cache[1, :, :-3] = math.nan
    spoilt = steps_B, tuple(tuple(part.nan_to_num(1e3) for part in cache) for cache in caches)
    y, after = net(x[:, 12:], spoilt)
    torch.testing.assert_close(y[0], net(x[:1])[0][0, 12:])
    torch.testing.assert_close(y[1], net(x[1:, 9:])[0][0, 3:])
    assert after[0].tolist() == [20, 11]
    other = net.stepper(2)
    other.load(spoilt)
    torch.testing.assert_close(other.run(x[:, 12:]), y.detach())


@pytest.mark.parametrize("compiled", [True, False])
def test_the_state_grows_by_the_same_amount_with_every_step(compiled: bool) -> None:
    net, x = network(width=8), sequences(REALS, 3, 5)
    assert net.core.state_grows
    stepper = net.stepper(3, compiled=compiled)
    assert stepper.state_bytes == 2 * 2 * 8 * 8  # keys and values of two layers
    for num_steps in (1, 5):
        state = net(x[:, :num_steps])[1]
        held = sum(part.nbytes for part in tensors(state[1]))
        assert held == 3 * num_steps * stepper.state_bytes


def test_a_cache_that_is_full_grows_and_streams_go_on() -> None:
    net, steps = network(), 5 * FIRST_CAPACITY + 3
    x = sequences(REALS, 2, steps)
    expected = net(x)[0].detach()
    for cuts in ([steps], [FIRST_CAPACITY, 1, steps - FIRST_CAPACITY - 1], [1] * steps):
        stepper = net.stepper(2)
        for _ in range(2):  # after a reset the larger cache is used again
            ys = torch.cat([stepper.run(chunk) for chunk in x.split(cuts, 1)], 1)
            torch.testing.assert_close(ys, expected)
            stepper.reset()
    stepper = net.stepper(2)
    stepper.load(net(x[:, :-3])[1])
    torch.testing.assert_close(stepper.run(x[:, -3:]), expected[:, -3:])


def test_late_steps_keep_their_angles_in_single_precision() -> None:
    core = core_of(network(width=16))
    late_B = torch.tensor([1_000_000])
    exact = core.turn(late_B, 3)
    single = core.float().turn(late_B, 3)
    for part, other in zip(single, exact, strict=True):
        assert (part - other).abs().max() < 1e-6
