"""What a network costs: times after warm-up, operations, memory. One spec gives one `Speed`.

PyTorch counts operations on the `meta` device. It computes nothing there, and no layer hides its
work in a library.
"""

import gc
import math
import resource
import sys
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.core.backend import Backend, forget_peak_memory, peak_memory_bytes, synchronize
from bench.core.spec import SpeedSpec, Subject, Training
from bench.core.timings import SPEED_SECONDS, Sampling, Speed, Streaming, Times, Work
from bench.measure.timing import LEAST_SAMPLES, Call, latency, throughput
from bench.measure.update import Updater, of_steps, outputs
from bench.plan.grid import model_of, network_of, task_of
from bench.plan.labels import label
from models import Network, generate, num_parameters
from tasks import Batch, Task

SHARE = 1 / 3
"""Share of the time that is spent on a measurement that no figure shows."""
WARM_STEPS = 8
"""Steps that are sampled before a whole sequence is timed."""
RUN_STEPS = 512
"""Steps that a stepper reads in one timed call. What the call costs is less than 1% of them."""
PEAK_SIZE = 1024
"""Rows and columns of the matrices whose product shows the machine's peak."""
SHORT = 4
"""Steps of the sequences on which the operations of a recurrent network are counted."""


def measure(
    spec: SpeedSpec, backend: Backend, device: str, seconds: float = SPEED_SECONDS
) -> Speed:
    """Measure what the spec asks for, for at least `seconds` each.

    On a CPU the memory is right only in a fresh process: the peak of a process never falls.
    """
    task, network, batch, updater = _subject(spec, backend, device)
    whole = replace(batch, lengths=None)
    forward = torch.inference_mode()(partial(outputs, network, task, whole))
    calls: dict[str, Call] = {"forward": forward, "train": updater}
    calls = {name: call for name, call in calls.items() if name in spec.measures}
    if calls:
        _touch(network, task, whole)
    # Replaying a graph takes no memory: what its step needs was taken when it was captured.
    takers = calls | ({"train": updater.step_eagerly} if updater.captured else {})
    memory = {name: _memory_of(takers[name], device) for name in calls}
    peak_flops = _peak_flops(device, SHARE * seconds)
    works: dict[str, Work] = {}
    for name in ("train", "forward"):
        network.train(name == "train")
        if name in calls:
            last_only = task.signature.per == "sequence"
            flops = sequence_flops(spec, last_only=last_only, backward=name == "train")
            works[name] = Work(
                times=throughput(calls[name], device, min_seconds=seconds),
                flops=spec.batch_size * flops,
                memory_bytes=memory[name],
            )
    streaming = sampling = None
    if "step" in spec.measures:
        flops = spec.batch_size * step_flops(spec)
        streaming = _streaming(network, batch, device, flops, seconds)
    if "sample" in spec.measures:
        sampling = _sampling(network, task, batch, device, seconds)
    return Speed(
        label=label(model_of(spec), spec.model.name),
        task_label=label(task, spec.task.name),
        num_parameters=num_parameters(network),
        receptive_field=_field(network),
        num_steps=task.signature.num_steps,
        peak_flops=peak_flops,
        train=works.get("train"),
        forward=works.get("forward"),
        streaming=streaming,
        sampling=sampling,
    )


def _subject(
    spec: SpeedSpec, backend: Backend, device: str
) -> tuple[Task, Network, Batch, Updater]:
    """The task, its network, a batch and the training step."""
    task = task_of(spec)
    with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
        torch.manual_seed(0)
        network = network_of(spec).to(device)
    if spec.implementation == "stock":
        network = network.stock()
    training = Training(learning_rate=1e-3, batch_size=spec.batch_size, max_steps=2**31)
    generator = task.generator("train", 0, device)
    batch = task.sample(spec.batch_size, generator, "train")
    return task, network, batch, Updater(network, task, training, generator, backend.capture)


def _touch(network: Network, task: Task, whole: Batch) -> None:
    """Load the code and buffers that every size needs, so that they are not counted as memory."""
    for steps in (slice(2), slice(-2, None)):
        condition = of_steps(whole.condition, steps)
        two = replace(whole, x=whole.x[:, steps], condition=condition).part(0, 1)
        outputs(network, task, two).sum().backward()
    torch.optim.Adam(network.parameters(), lr=0.0).step()
    network.zero_grad()


@torch.inference_mode()
def _streaming(
    network: Network, batch: Batch, device: str, flops: int, seconds: float
) -> Streaming:
    """Steps of every sequence of the batch, which take `flops` operations in all."""
    condition, last = batch.condition, of_steps(batch.condition, slice(-1, None))
    features = condition if condition is not None and condition.ndim == 3 else None
    stepper = network.stepper(len(batch), condition=condition if features is None else None)
    _, state = network(batch.x, condition=condition)
    chunk = batch.x[:, -1:]
    step = partial(stepper, chunk[:, 0].contiguous())
    if features is not None:
        step = partial(step, features[:, -1])
    grows, call = network.core.state_grows, step
    run, num_steps = _long_run(stepper, batch.x, features, device)
    state_bytes = stepper.state_bytes
    if grows:
        call = _restarting(stepper, step, batch.x.shape[1])
        run, num_steps = _whole_runs(stepper, batch.x, features, device)
        state_bytes *= batch.x.shape[1]

    def prefill() -> None:
        _, read = network(batch.x, condition=condition)
        stepper.load(read)
        step()

    timed = partial(throughput, device=device, min_seconds=SHARE * seconds)
    window = window_last = None
    field = _field(network)
    if field is not None:
        repeats = -(-field // batch.x.shape[1])
        inputs = torch.cat([batch.x] * repeats, 1)[:, -field:]
        beside = condition
        if features is not None:
            beside = torch.cat([features] * repeats, 1)[:, -field:]
        window = timed(lambda: network(inputs, condition=beside))
        window_last = timed(lambda: network(inputs, last_only=True, condition=beside))
    stock = network.stock()
    by_forward = stock if stock.core.keeps_state else network
    plain_step = partial(by_forward, chunk, state, condition=last)
    prefill()  # from here on the state is full
    in_run = latency(run, device, min_seconds=seconds)
    return Streaming(
        step=Work(times=Times(samples=tuple(s / num_steps for s in in_run.samples)), flops=flops),
        call=latency(call, device, min_seconds=seconds),
        stepper=type(stepper).__name__,
        state_bytes=state_bytes,
        plain_step=latency(plain_step, device, min_seconds=SHARE * seconds),
        prefill=timed(prefill),
        window=window,
        window_last=window_last,
    )


def _long_run(stepper: Any, x: Tensor, features: Tensor | None, device: str) -> tuple[Call, int]:
    """A run of many steps, so long that what a call costs by itself is not noticed, and its length.

    The inputs are repeated. They can be, since the time of a step does not depend on them.
    """
    num_steps = RUN_STEPS if device == "cpu" else x.shape[1]
    repeats = -(-num_steps // x.shape[1])

    def long(part: Tensor) -> Tensor:
        return torch.cat([part] * repeats, 1)[:, :num_steps].contiguous()

    call = partial(stepper.run, long(x), None if features is None else long(features))
    call()  # compiles
    return call, num_steps


def _whole_runs(stepper: Any, x: Tensor, features: Tensor | None, device: str) -> tuple[Call, int]:
    """Runs over the sequence from its start, for a state that grows, and their number of steps."""
    repeats = -(-RUN_STEPS // x.shape[1]) if device == "cpu" else 1

    def call() -> None:
        for _ in range(repeats):
            stepper.reset()
            stepper.run(x, features)

    call()  # compiles
    return call, repeats * x.shape[1]


def _restarting(stepper: Any, step: Call, num_steps: int) -> Call:
    """The step, for a state that grows: the sequence starts again after so many steps."""
    steps = cycle(range(num_steps))

    def call() -> None:
        if next(steps) == 0:
            stepper.reset()
        step()

    return call


def _sampling(network: Network, task: Task, batch: Batch, device: str, seconds: float) -> Sampling:
    """Sample as many sequences as the batch has, with its conditions and equal noise both ways."""
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
        call, most = partial(draw, cached), LEAST_SAMPLES
        return latency(call, device, min_seconds=seconds, warm_up=0, least=1, most=most)

    return Sampling(num_steps=num_steps, cached=timed(True), naive=timed(False))


def _field(network: Network) -> int | None:
    return None if math.isinf(network.receptive_field) else int(network.receptive_field)


def _memory_of(call: Call, device: str) -> int:
    """The most that a call takes beyond what is held before it, in bytes."""
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


def _peak_flops(device: str, seconds: float) -> float:
    """Operations per second of one large product of matrices."""
    a, b = torch.randn(2, PEAK_SIZE, PEAK_SIZE, device=device)
    times = throughput(lambda: a @ b, device, min_seconds=seconds)
    return 2 * PEAK_SIZE**3 / min(times.samples)


def sequence_flops(spec: Subject, *, last_only: bool, backward: bool = False) -> int:
    """Operations on one whole sequence.

    A network without a finite receptive field is counted on two short sequences, since its work
    grows by the same amount with every step. If its state grows, it is counted on the whole one.
    """
    num_steps = task_of(spec).signature.num_steps
    network = _meta_network(spec)

    def counted(steps: int) -> int:
        x, condition = _meta_input(spec, steps)
        with FlopCounterMode(display=False) as counter:
            y = network(x, last_only=last_only, condition=condition)[0]
            if backward:
                y.sum().backward()
        return counter.get_total_flops()

    if _field(network) is not None or network.core.state_grows or num_steps <= 2 * SHORT:
        return counted(num_steps)
    once, twice = counted(SHORT), counted(2 * SHORT)
    return once + (twice - once) * (num_steps - SHORT) // SHORT


def step_flops(spec: Subject) -> int:
    """Operations of one further step of one stream whose state is full.

    If the state grows, they are those of the step in the middle of a sequence.
    """
    network = _meta_network(spec)
    before = _field(network) or 1
    if network.core.state_grows:
        before = -(-task_of(spec).signature.num_steps // 2)
    x, condition = _meta_input(spec, before)
    state: Any = network(x, condition=condition)[1]
    x_t, condition = _meta_input(spec, 1)
    with FlopCounterMode(display=False) as counter:
        network(x_t, state, condition=condition)
    return counter.get_total_flops()


def _meta_network(spec: Subject) -> Network:
    with torch.device("meta"):
        return network_of(spec)


def _meta_input(spec: Subject, num_steps: int) -> tuple[Tensor, Tensor | None]:
    """A sequence and its condition as features, which cost as much as a condition of classes."""
    signature = task_of(spec).signature
    x = torch.zeros(1, num_steps, signature.num_inputs, device="meta")
    if signature.input == "token":
        x = torch.zeros(1, num_steps, dtype=torch.long, device="meta")
    condition = torch.zeros(1, num_steps, signature.num_conditions, device="meta")
    return x, condition if signature.num_conditions else None
