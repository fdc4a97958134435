"""Latency of a trained network, one sequence at a time."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from bench.backend import synchronize
from bench.store import Latency

NUM_SEQUENCES = 5
NUM_STEPS = 30


@torch.inference_mode()
def latency(network: nn.Module, x: Tensor, *, last_only: bool, device: str) -> Latency:
    """Medians, after warm-up, for the first sequence of `x`, (B, T) ids or (B, T, I) reals.

    A step is `network(x_t, state)`, the state being that of the whole sequence.
    """
    network.eval()
    one = x[:1].to(device)
    x_t = one[:, -1:]
    _, state = network(one)
    return Latency(
        sequence_ms=1e3
        * _median_s(lambda: network(one, last_only=last_only), NUM_SEQUENCES, device),
        step_us=1e6 * _median_s(lambda: network(x_t, state), NUM_STEPS, device),
    )


def _median_s(call: Callable[[], object], repeats: int, device: str) -> float:
    samples = []
    for i in range(repeats + 2):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        if i >= 2:  # the first two warm up
            samples.append(time.perf_counter() - start)
    return median(samples)
