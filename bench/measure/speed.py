"""What a network costs: times after warm-up, operations, memory. One spec → one `Speed`.

Shape letters: B sequences, T steps.
"""

import gc
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from bench.core.backend import Backend, forget_peak_memory, peak_memory_bytes, synchronize
from bench.core.records import Sampling, Speed, Streaming, Times, Work
from bench.core.spec import SpeedSpec, Training
from bench.measure.update import Updater, of_steps, outputs
from bench.plan.grid import model_of, network_of, task_of
from bench.plan.labels import label
from models import Network, generate, num_parameters
from tasks import Batch, Task

LEAST_SAMPLES = 5
WARM_STEPS = 8
"""Of a sequence, drawn before one is timed."""
MOST_SAMPLES = 1000
MIN_SECONDS = 0.1
"""Spent on each time that is taken, at least; more on those that figures are drawn of."""
MORE_SECONDS = 0.3
PEAK_SIZE = 1024
"""Rows and columns of the matrices whose product shows the machine's peak."""


def times(call: Callable[[], object], device: str, *, min_seconds: float = MIN_SECONDS) -> Times:
    """Seconds of a call: wall time on a CPU, between events on a GPU.

    Samples of calls too short for the clock are means over a block of them.
    """
    threads = torch.get_num_threads()  # Timer would set one
    timer = Timer("call()", globals={"call": call}, num_threads=threads)
    first = timer.timeit(1).median  # warms up by itself
    if device != "cpu":
        number = max(LEAST_SAMPLES, min(MOST_SAMPLES, int(min_seconds / first)))
        return Times(samples=_rounded(_between_events(call, number)))
    samples: list[float] = []
    while len(samples) < LEAST_SAMPLES:
        taken = timer.blocked_autorange(min_run_time=max(min_seconds, LEAST_SAMPLES * first))
        samples += taken.times
    return Times(samples=_rounded(samples))


def each(call: Callable[[], object], device: str, *, min_seconds: float = MIN_SECONDS) -> Times:
    """Seconds of single calls, waited for one by one, as who streams meets them.

    Many short calls are thinned to every so-many-th: a sample stays one call, and all of them
    still span `min_seconds`, so that a burst of something else can't be most of what is seen.
    """
    samples: list[float] = []
    for _ in range(LEAST_SAMPLES):
        call()
    begin = time.perf_counter()
    while len(samples) < LEAST_SAMPLES or time.perf_counter() - begin < min_seconds:
        start = time.perf_counter()
        call()
        synchronize(device)
        samples.append(time.perf_counter() - start)
    return Times(samples=_rounded(samples[:: -(-len(samples) // MOST_SAMPLES)]))


def measure(spec: SpeedSpec, backend: Backend, device: str) -> Speed:
    """Whatever the spec asks for. Memory on a CPU is right in a fresh process alone."""
    task, network, batch, updater = _subject(spec, backend, device)
    last_only = task.signature.per == "sequence"
    whole = replace(batch, lengths=None)

    # Memory first: the most a process has held never falls again.
    def read() -> Tensor:
        with torch.inference_mode():
            return outputs(network, task, whole)

    memory: dict[str, int | None] = {"forward": None, "train": None}
    if {"forward", "train"} & set(spec.measures):
        for steps in (slice(2), slice(-2, None)):  # what any size needs: code, buffers
            condition = of_steps(batch.condition, steps)
            two = replace(whole, x=batch.x[:, steps], condition=condition).part(0, 1)
            outputs(network, task, two).sum().backward()
        torch.optim.Adam(network.parameters(), lr=0.0).step()
        network.zero_grad()
        calls = {"forward": read, "train": updater}
        for name in ("forward", "train"):
            if name in spec.measures:
                memory[name] = _memory_of(calls[name], device)

    speed = Speed(
        label=label(model_of(spec), spec.model.name),
        task_label=label(task, spec.task.name),
        num_parameters=num_parameters(network),
        receptive_field=_field(network),
        num_steps=task.signature.num_steps,
        peak_flops=_peak_flops(device),
    )
    if "train" in spec.measures:
        work = Work(
            times=times(updater, device, min_seconds=MORE_SECONDS),
            flops=spec.batch_size * _flops(spec, last_only=last_only, backward=True),
            memory_bytes=memory["train"],
        )
        speed = speed.model_copy(update={"train": work})
    network.eval()
    if "forward" in spec.measures:
        work = Work(
            times=times(read, device, min_seconds=MORE_SECONDS),
            flops=spec.batch_size * _flops(spec, last_only=last_only),
            memory_bytes=memory["forward"],
        )
        speed = speed.model_copy(update={"forward": work})
    if "step" in spec.measures:
        flops = spec.batch_size * _step_flops(spec)
        speed = speed.model_copy(update={"streaming": _streaming(network, batch, device, flops)})
    if "sample" in spec.measures:
        speed = speed.model_copy(update={"sampling": _sampling(network, task, batch, device)})
    return speed


def _subject(
    spec: SpeedSpec, backend: Backend, device: str
) -> tuple[Task, Network, Batch, Updater]:
    """The task, its network, a batch and the training step."""
    task = task_of(spec)
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        torch.manual_seed(0)
        network = network_of(spec).to(device)
    training = Training(learning_rate=1e-3, batch_size=spec.batch_size, max_steps=2**31)
    generator = task.generator("train", 0, device)
    batch = task.sample(spec.batch_size, generator, "train")
    return task, network, batch, Updater(network, task, training, generator, backend.capture)


@torch.inference_mode()
def _streaming(network: Network, batch: Batch, device: str, flops: int) -> Streaming:
    """Steps of every sequence of the batch, which take `flops` operations in all."""
    condition, last = batch.condition, of_steps(batch.condition, slice(-1, None))
    features = condition if condition is not None and condition.ndim == 3 else None
    stepper = network.stepper(len(batch), condition=condition if features is None else None)
    _, state = network(batch.x, condition=condition)
    chunk = batch.x[:, -1:]
    x_t = chunk[:, 0].contiguous()
    step = partial(stepper, x_t)
    if features is not None:
        step = partial(stepper, x_t, features[:, -1])

    def prefill() -> None:
        _, read = network(batch.x, condition=condition)
        stepper.load(read)
        step()

    step()  # compiles
    window = window_last = None
    field = _field(network)
    if field is not None:
        repeats = -(-field // batch.x.shape[1])
        inputs = torch.cat([batch.x] * repeats, 1)[:, -field:]
        beside = condition
        if features is not None:
            beside = torch.cat([features] * repeats, 1)[:, -field:]
        window = times(lambda: network(inputs, condition=beside), device)
        window_last = times(lambda: network(inputs, last_only=True, condition=beside), device)
    return Streaming(
        step=Work(times=each(step, device, min_seconds=MORE_SECONDS), flops=flops),
        stepper=type(stepper).__name__,
        state_bytes=stepper.state_bytes,
        plain_step=each(lambda: network(chunk, state, condition=last), device),
        prefill=times(prefill, device),
        window=window,
        window_last=window_last,
    )


def _sampling(network: Network, task: Task, batch: Batch, device: str) -> Sampling:
    """As many sequences as the batch has, of its conditions, with the same noise both ways."""
    num_steps = task.signature.num_steps

    def draw(cached: bool, steps: int = num_steps) -> None:
        generate(
            network,
            steps,
            batch_size=len(batch),
            condition=of_steps(batch.condition, slice(steps)),
            generator=torch.Generator(device).manual_seed(0),
            cached=cached,
        )

    def timed(cached: bool) -> Times:
        draw(cached, min(num_steps, WARM_STEPS))
        samples: list[float] = []
        while not samples or (sum(samples) < MORE_SECONDS and len(samples) < LEAST_SAMPLES):
            start = time.perf_counter()
            draw(cached)
            synchronize(device)
            samples.append(time.perf_counter() - start)
        return Times(samples=_rounded(samples))

    return Sampling(num_steps=num_steps, cached=timed(True), naive=timed(False))


def _field(network: Network) -> int | None:
    return None if math.isinf(network.receptive_field) else int(network.receptive_field)


def _between_events(call: Callable[[], object], number: int) -> list[float]:
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


def _rounded(seconds: list[float]) -> tuple[float, ...]:
    """To four digits: more would be noise on disk."""
    return tuple(float(f"{sample:.4g}") for sample in seconds)


def _memory_of(call: Callable[[], object], device: str) -> int:
    """The most that a call takes beyond what is held before it."""
    gc.collect()
    before = _most_held() if device == "cpu" else torch.cuda.memory_allocated(device)
    forget_peak_memory(device)
    call()
    synchronize(device)
    return max((peak_memory_bytes(device) or _most_held()) - before, 0)


def _most_held() -> int:
    """The most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _peak_flops(device: str) -> float:
    """What one large product of matrices reaches, in operations a second."""
    a, b = torch.randn(2, PEAK_SIZE, PEAK_SIZE, device=device)
    return 2 * PEAK_SIZE**3 / min(times(lambda: a @ b, device).samples)


def _flops(spec: SpeedSpec, *, last_only: bool, backward: bool = False) -> int:
    """Operations on one whole sequence.

    Counted on the `meta` device, where no layer hides its work in a library. A network without
    end is counted on short sequences: its work grows by the same amount with every step.
    """
    num_steps = task_of(spec).signature.num_steps
    short = 16
    with torch.device("meta"):
        network = network_of(spec)
    if _field(network) is not None or num_steps <= 2 * short:
        return _counted(spec, network, num_steps, last_only, backward)
    once = _counted(spec, network, short, last_only, backward)
    twice = _counted(spec, network, 2 * short, last_only, backward)
    return once + (twice - once) * (num_steps - short) // short


def _counted(
    spec: SpeedSpec, network: Network, num_steps: int, last_only: bool, backward: bool
) -> int:
    x, condition = _meta_input(spec, num_steps)
    with FlopCounterMode(display=False) as counter:
        y = network(x, last_only=last_only, condition=condition)[0]
        if backward:
            y.sum().backward()
    return counter.get_total_flops()


def _step_flops(spec: SpeedSpec) -> int:
    """Operations of one further step of one stream, its state being full."""
    with torch.device("meta"):
        network = network_of(spec)
    x, condition = _meta_input(spec, _field(network) or 1)
    _, state = network(x, condition=condition)
    x_t, condition = _meta_input(spec, 1)
    with FlopCounterMode(display=False) as counter:
        network(x_t, state, condition=condition)
    return counter.get_total_flops()


def _meta_input(spec: SpeedSpec, num_steps: int) -> tuple[Tensor, Tensor | None]:
    """A sequence and its condition, as features, which take the operations that classes take."""
    signature = task_of(spec).signature
    condition = None
    if signature.num_conditions:
        condition = torch.zeros(1, num_steps, signature.num_conditions, device="meta")
    if signature.input == "token":
        return torch.zeros(1, num_steps, dtype=torch.long, device="meta"), condition
    return torch.zeros(1, num_steps, signature.num_inputs, device="meta"), condition
