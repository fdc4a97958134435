"""Our networks beside what others do: two sides, timed turn by turn in one process.

What is compared, and the aim, stands in `yardsticks.toml`; how, here, a function a kind.
"""

import math
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import models
import tasks
from bench.core.backend import Backend, prepare, synchronize
from bench.core.machine import fingerprint
from bench.core.records import Times, YardstickRecord, now
from bench.core.spec import Part, Spec, Training, Yardstick
from bench.core.store import Store
from bench.measure.textbook import TextbookTcn
from bench.measure.train import train
from bench.measure.update import Updater, update

LIST = Path(__file__).parent / "yardsticks.toml"
ROUNDS = 25
MIN_SECONDS = 0.02
"""Of a block of calls, at least: what makes a clock's step small beside it."""
BATCH_SIZE = 32
SAMPLED_ROUNDS = 5
"""Turns of sampling, whose slow side takes seconds."""
EARLY, LATE = 100, 1_000_000
"""Steps of a stream that are compared."""
TRAINED_STEPS = 100
"""Updates of one turn of the training loop."""


class Absent(Exception):
    """What a comparison needs and is not there."""


def load(path: Path = LIST) -> list[Yardstick]:
    return [Yardstick.model_validate(each) for each in tomllib.loads(path.read_text())["yardstick"]]


def run(results: Path, backend: Backend, device: str) -> Iterator[YardstickRecord]:
    """Measure each yardstick and write its record."""
    prepare(backend)
    for yardstick in load():
        what: dict[str, Any] = {"status": "ok"}
        try:
            with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
                torch.manual_seed(0)
                what["times"] = KINDS[yardstick.kind](yardstick, backend, device)
        except (Absent, tasks.DataUnavailable) as error:
            what = {"status": "skipped", "error": str(error)}
        record = YardstickRecord(
            yardstick=yardstick, backend=backend, machine=fingerprint(), created=now(), **what
        )
        Store(results).write(record)
        yield record


def line(record: YardstickRecord) -> str:
    """For the terminal: what, how many times faster, the aim."""
    yardstick = record.yardstick
    if record.status != "ok":
        return f"{yardstick.name}: {record.status}: {record.error}"
    more = "".join(f"; {name} {record.over_ours(name):.3g} ×" for name in list(record.times)[2:])
    aim = f"≥ {yardstick.at_least:g}" if yardstick.at_least else f"≤ {yardstick.at_most:g}"
    verdict = "met" if yardstick.met(record.ratio) else "NOT met"
    theirs = list(record.times)[1]
    return f"{yardstick.name}: {theirs} {record.ratio:.3g} × ours, aim {aim}: {verdict}{more}"


def turns(
    calls: Mapping[str, Callable[[], object]],
    device: str,
    *,
    rounds: int = ROUNDS,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, Times]:
    """Seconds of a call of each side, a sample a turn: the mean over a block of calls.

    Turn by turn, so that what else the machine does falls on all sides alike. `before` is called
    ahead of a side's block and not timed.
    """
    numbers = {}
    for name, call in calls.items():
        call()
        seconds = _block(call, 3, device)
        numbers[name] = max(1, math.ceil(MIN_SECONDS / seconds))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if before and name in before:
                before[name]()
            samples[name].append(_block(call, numbers[name], device))
    return {name: Times(samples=tuple(taken)) for name, taken in samples.items()}


def _block(call: Callable[[], object], number: int, device: str) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(number):
        call()
    synchronize(device)
    return (time.perf_counter() - start) / number


def _network(yardstick: Yardstick, device: str) -> tuple[tasks.Task, models.Network]:
    task = tasks.load(yardstick.task.name, **yardstick.task.fields)
    model = yardstick.model
    network = models.network(model.name, task.signature, width=model.width, **model.fields)
    return task, network.to(device)


def _x_t(task: tasks.Task, device: str) -> torch.Tensor:
    """One step of one sequence."""
    return task.sample(1, task.generator("train", 0, device), "train").x[:, 0].contiguous()


@torch.inference_mode()
def _cell(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step beside `torch.nn.LSTMCell`, and beside our stepper of a rival, sizes alike."""
    with torch.inference_mode(False):
        task, network = _network(yardstick, device)
        size, num_inputs = models.num_parameters(network), task.signature.num_inputs
        assert yardstick.rival is not None
        rival = models.network(yardstick.rival, task.signature, param_budget=size).to(device)
        # 4 gates of H units: 4·H·(I + H) weights and 8·H biases.
        width = round(-(num_inputs + 2) / 2 + math.sqrt((num_inputs + 2) ** 2 / 4 + size / 4))
        cell = nn.LSTMCell(num_inputs, width).to(device)
    ours, own_rival = network.stepper(), rival.stepper()
    x_t = _x_t(task, device)
    x_1I = torch.randn(1, num_inputs, device=device)
    state = torch.zeros(1, width, device=device), torch.zeros(1, width, device=device)

    def theirs() -> None:
        nonlocal state
        state = cell(x_1I, state)

    return turns(
        {
            "our stepper": lambda: ours(x_t),
            f"LSTMCell({width})": theirs,
            f"our {yardstick.rival} stepper": lambda: own_rival(x_t),
        },
        device,
    )


def _window(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step beside reading the whole receptive field again, all of it or the last step alone."""
    task, network = _network(yardstick, device)
    network.eval()
    ours, x_t = network.stepper(), _x_t(task, device)
    field = int(network.receptive_field)
    x = x_t[:, None].expand(1, field, *x_t.shape[1:]).contiguous()
    with torch.inference_mode():
        return turns(
            {
                "our stepper": lambda: ours(x_t),
                f"forward over {field} steps": lambda: network(x),
                "the same, last step alone": lambda: network(x, last_only=True),
            },
            device,
        )


def _library(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step beside the streaming mode of the library pytorch-tcn."""
    try:
        from pytorch_tcn import TCN  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Absent("pytorch-tcn is not installed: pip install pytorch-tcn==1.2.3") from None
    task, network = _network(yardstick, device)
    signature, model = task.signature, yardstick.model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = TCN(
            signature.num_inputs,
            [model.width] * model.fields["num_blocks"],
            kernel_size=model.fields["kernel_size"],
            dropout=0.0,
            output_projection=signature.num_outputs,
        )
    library = library.to(device).eval()
    ours, x_t = network.stepper(), _x_t(task, device)
    x_BCT = torch.randn(1, signature.num_inputs, 1, device=device)
    with torch.inference_mode():
        return turns(
            {
                "our stepper": lambda: ours(x_t),
                "pytorch-tcn": lambda: library(x_BCT, inference=True),
            },
            device,
        )


def _flat(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step early in a stream beside one after a million."""
    task, network = _network(yardstick, device)
    early, late, x_t = network.stepper(), network.stepper(), _x_t(task, device)
    for _ in range(LATE):
        late(x_t)

    def restart() -> None:
        early.reset()
        for _ in range(EARLY):
            early(x_t)

    return turns(
        {f"from step {EARLY:,}": lambda: early(x_t), f"from step {LATE:,}": lambda: late(x_t)},
        device,
        before={f"from step {EARLY:,}": restart},
    )


def _sampling(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """One sequence sampled by the stepper beside reading its past again for every step."""
    task, network = _network(yardstick, device)

    def draw(cached: bool) -> torch.Tensor:
        generator = torch.Generator(device).manual_seed(0)
        return models.generate(
            network, task.signature.num_steps, generator=generator, cached=cached
        )

    sides = {"cached": lambda: draw(True), "naive": lambda: draw(False)}
    return turns(sides, device, rounds=SAMPLED_ROUNDS)


def _textbook(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A training step beside the textbook's network, from the same weights."""
    task, network = _network(yardstick, device)
    training = Training(learning_rate=1e-3, batch_size=BATCH_SIZE, max_steps=2**31)
    sides = {}
    for name, trained in (("our network", network), ("textbook", TextbookTcn(network))):
        generator = task.generator("train", 0, device)
        trained.train()
        sides[name] = Updater(trained, task, training, generator, backend.capture)
    return turns(sides, device)


def _overhead(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """The training loop beside a bare one. What is not training (validation, test) is not timed."""
    task, network = _network(yardstick, device)
    model = models.load(yardstick.model.name, **yardstick.model.fields)
    training = Training(
        learning_rate=1e-3, batch_size=BATCH_SIZE, max_steps=TRAINED_STEPS, num_validation=1
    )
    spec = Spec(
        task=Part(name=yardstick.task.name, fields=task.fields, version=task.version),
        model=Part(name=yardstick.model.name, fields=model.fields, version=model.version),
        param_budget=None,
        width=yardstick.model.width,
        extra_width=0,
        training=training,
        seed=0,
    )
    generator = task.generator("train", 0, device)
    begin = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS // 2):
        ours.append(train(spec, device).train_seconds / TRAINED_STEPS)
        network.load_state_dict(begin)  # as far from solved as ours
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        start = time.perf_counter()
        for _ in range(TRAINED_STEPS):
            batch = task.sample(BATCH_SIZE, generator, "train")
            update(network, optimizer, task, batch, training.clip_norm)
        synchronize(device)
        bare.append((time.perf_counter() - start) / TRAINED_STEPS)
    return {
        "our loop": Times(samples=tuple(ours)),
        "bare loop": Times(samples=tuple(bare)),
    }


def _capture(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A training step as a CUDA graph beside the same step by step."""
    if device == "cpu":
        raise Absent("there is no GPU here")
    sides = {}
    training = Training(learning_rate=1e-3, batch_size=BATCH_SIZE, max_steps=2**31)
    for name, capture in (("captured", True), ("eager", False)):
        task, network = _network(yardstick, device)
        generator = task.generator("train", 0, device)
        network.train()
        sides[name] = Updater(network, task, training, generator, capture)
        if capture and not sides[name].captured:
            raise Absent(f"the step can't be captured: {sides[name].eager_because}")
    return turns(sides, device)


KINDS: dict[str, Callable[[Yardstick, Backend, str], dict[str, Times]]] = {
    "cell": _cell,
    "window": _window,
    "library": _library,
    "flat": _flat,
    "sampling": _sampling,
    "textbook": _textbook,
    "overhead": _overhead,
    "capture": _capture,
}
