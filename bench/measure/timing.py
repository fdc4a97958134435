"""The timer of this package: warm up, synchronise, repeat until enough, keep every sample.

`throughput` times calls that follow one another without a pause, `latency` single calls that the
caller waits for, and `turns` compares several calls that alternate.
"""

import math
import time
from collections.abc import Callable, Mapping

import torch
from torch.utils.benchmark import Timer

from bench.core.backend import synchronize
from bench.core.timings import Times

Call = Callable[[], object]

LEAST_SAMPLES, MOST_SAMPLES = 5, 1000
BLOCK_SECONDS = 0.02
"""Shortest block of calls in `turns`, so that the resolution of the clock does not matter."""


def seconds_of(call: Call, number: int, device: str) -> float:
    """Total wall time of `number` calls, until the device has finished the last one."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(number):
        call()
    synchronize(device)
    return time.perf_counter() - start


def throughput(call: Call, device: str, *, min_seconds: float) -> Times:
    """Seconds per call in a series of calls: wall time on a CPU, time between events on a GPU.

    Where a call is too short for the clock, a sample is the mean over a block of calls.
    """
    threads = torch.get_num_threads()  # the timer would set it to one
    timer = Timer("call()", globals={"call": call}, num_threads=threads)
    first = timer.timeit(1).median  # the timer warms up by itself
    if device != "cpu":
        number = max(LEAST_SAMPLES, min(MOST_SAMPLES, int(min_seconds / first)))
        return _times(_between_events(call, number))
    samples: list[float] = []
    while len(samples) < LEAST_SAMPLES:
        taken = timer.blocked_autorange(min_run_time=max(min_seconds, LEAST_SAMPLES * first))
        samples += taken.times
    return _times(samples)


def latency(
    call: Call,
    device: str,
    *,
    min_seconds: float = 0.0,
    warm_up: int = LEAST_SAMPLES,
    least: int = LEAST_SAMPLES,
    most: int | None = None,
) -> Times:
    """Seconds of single calls, synchronised one by one, as a streaming caller sees them.

    Calls are repeated until there are `least` samples and `min_seconds` have passed, or until there
    are `most`. If there are more than `MOST_SAMPLES`, every n-th is kept. The kept samples span the
    whole time, so a short disturbance cannot dominate them.
    """
    for _ in range(warm_up):
        call()
    samples: list[float] = []
    begin = time.perf_counter()
    while len(samples) < least or (
        time.perf_counter() - begin < min_seconds and (most is None or len(samples) < most)
    ):
        samples.append(seconds_of(call, 1, device))
    return _times(samples[:: math.ceil(len(samples) / MOST_SAMPLES)])


def turns(
    calls: Mapping[str, Call],
    device: str,
    *,
    rounds: int,
    before: Mapping[str, Call] | None = None,
) -> dict[str, Times]:
    """Seconds of each call, one sample per round: the mean over a block of calls.

    `before` holds calls that are made before a block and are not timed.
    """
    prepare = before or {}
    sizes = {}
    for name, call in calls.items():
        call()
        sizes[name] = max(1, math.ceil(BLOCK_SECONDS / (seconds_of(call, 3, device) / 3)))

    def block(name: str) -> float:
        if name in prepare:
            prepare[name]()
        return seconds_of(calls[name], sizes[name], device) / sizes[name]

    return alternate({name: lambda name=name: block(name) for name in calls}, rounds)


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Times]:
    """One sample of each side per round: a disturbance of the machine affects all sides alike."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(side())
    return {name: Times(samples=tuple(taken)) for name, taken in samples.items()}


def _between_events(call: Call, number: int) -> list[float]:
    events = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(number)
    ]
    for start, end in events:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [1e-3 * start.elapsed_time(end) for start, end in events]


def _times(seconds: list[float]) -> Times:
    """Samples with four significant digits: more would be noise on disk."""
    return Times(samples=tuple(float(f"{sample:.4g}") for sample in seconds))
