"""Our networks beside other implementations: the sides alternate in one process.

`yardsticks.toml` lists what is compared and with which aim. Each kind of comparison is a function
here.
"""

import math
import tomllib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import models
import tasks
from bench.core.backend import Backend, prepare
from bench.core.machine import fingerprint
from bench.core.records import YardstickRecord, now
from bench.core.spec import Part, Spec, Training, Yardstick
from bench.core.store import Store
from bench.core.timings import Times
from bench.measure.textbook import TextbookTcn
from bench.measure.timing import alternate, seconds_of, turns
from bench.measure.train import train
from bench.measure.update import Updater, update

LIST = Path(__file__).parent / "yardsticks.toml"
ROUNDS = 25
BATCH_SIZE = 32
LEARNING_RATE = 1e-3
SAMPLED_ROUNDS = 5
"""Rounds of sampling, whose slow side takes seconds."""
EARLY, LATE = 100, 1_000_000
"""Steps of a stream that are compared."""
TRAINED_STEPS = 100
"""Updates of the training loop in one round."""


class Absent(Exception):
    """Something that a comparison needs is not on this machine."""


def load(path: Path = LIST) -> list[Yardstick]:
    return [Yardstick.model_validate(each) for each in tomllib.loads(path.read_text())["yardstick"]]


def run(results: Path, backend: Backend, device: str) -> Iterator[YardstickRecord]:
    """Measure each yardstick and write its record."""
    prepare(backend)
    for yardstick in load():
        content: dict[str, Any] = {"status": "ok"}
        try:
            with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
                torch.manual_seed(0)
                content["times"] = KINDS[yardstick.kind](yardstick, backend, device)
        except (Absent, tasks.DataUnavailable) as error:
            content = {"status": "skipped", "error": str(error)}
        record = YardstickRecord(
            yardstick=yardstick, backend=backend, machine=fingerprint(), created=now(), **content
        )
        Store(results).write(record)
        yield record


def line(record: YardstickRecord) -> str:
    """One line for the terminal: what was compared, how many times faster ours is, the aim."""
    yardstick = record.yardstick
    if record.status != "ok":
        return f"{yardstick.name}: {record.status}: {record.error}"
    _, theirs, *others = record.times
    more = "".join(f"; {name} {record.over_ours(name):.3g} ×" for name in others)
    aim = f"≥ {yardstick.at_least:g}" if yardstick.at_least else f"≤ {yardstick.at_most:g}"
    verdict = "met" if yardstick.met(record.ratio) else "NOT met"
    return f"{yardstick.name}: {theirs} {record.ratio:.3g} × ours, aim {aim}: {verdict}{more}"


def _network(yardstick: Yardstick, device: str) -> tuple[tasks.Task, models.Network]:
    task = tasks.load(yardstick.task.name, **yardstick.task.fields)
    model = yardstick.model
    network = models.network(model.name, task.signature, width=model.width, **model.fields)
    return task, network.to(device)


def _x_t(task: tasks.Task, device: str) -> torch.Tensor:
    """One step of one sequence."""
    return task.sample(1, task.generator("train", 0, device), "train").x[:, 0].contiguous()


def _training_step(network: nn.Module, task: tasks.Task, device: str, *, capture: bool) -> Updater:
    training = Training(learning_rate=LEARNING_RATE, batch_size=BATCH_SIZE, max_steps=2**31)
    network.train()
    return Updater(network, task, training, task.generator("train", 0, device), capture)


@torch.inference_mode()
def _cell(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step against `torch.nn.LSTMCell` and against a rival of ours, of as many parameters."""
    with torch.inference_mode(False):
        task, network = _network(yardstick, device)
        size, num_inputs = models.num_parameters(network), task.signature.num_inputs
        assert yardstick.rival is not None
        rival = models.network(yardstick.rival, task.signature, param_budget=size).to(device)
        # 4 gates of H units: 4·H·(I + H) weights and 8·H biases.
        width = round(-(num_inputs + 2) / 2 + math.sqrt((num_inputs + 2) ** 2 / 4 + size / 4))
        cell = nn.LSTMCell(num_inputs, width).to(device)
    x_t, x_1I = _x_t(task, device), torch.randn(1, num_inputs, device=device)
    state = torch.zeros(1, width, device=device), torch.zeros(1, width, device=device)

    def theirs() -> None:
        nonlocal state
        state = cell(x_1I, state)

    sides = {
        "our stepper": partial(network.stepper(), x_t),
        f"LSTMCell({width})": theirs,
        f"our {yardstick.rival} stepper": partial(rival.stepper(), x_t),
    }
    return turns(sides, device, rounds=ROUNDS)


def _window(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step against reading the whole receptive field again, for all outputs or the last one."""
    task, network = _network(yardstick, device)
    network.eval()
    field, x_t = int(network.receptive_field), _x_t(task, device)
    x = x_t[:, None].expand(1, field, *x_t.shape[1:]).contiguous()
    sides = {
        "our stepper": partial(network.stepper(), x_t),
        f"forward over {field} steps": partial(network, x),
        "the same, last step alone": partial(network, x, last_only=True),
    }
    with torch.inference_mode():
        return turns(sides, device, rounds=ROUNDS)


def _library(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step against the streaming mode of the library pytorch-tcn."""
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
    x_BCT = torch.randn(1, signature.num_inputs, 1, device=device)
    sides = {
        "our stepper": partial(network.stepper(), _x_t(task, device)),
        "pytorch-tcn": partial(library, x_BCT, inference=True),
    }
    with torch.inference_mode():
        return turns(sides, device, rounds=ROUNDS)


def _flat(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A step early in a stream against one after a million."""
    task, network = _network(yardstick, device)
    early, late, x_t = network.stepper(), network.stepper(), _x_t(task, device)
    for _ in range(LATE):
        late(x_t)

    def restart() -> None:
        early.reset()
        for _ in range(EARLY):
            early(x_t)

    ours = f"from step {EARLY:,}"
    sides = {ours: partial(early, x_t), f"from step {LATE:,}": partial(late, x_t)}
    return turns(sides, device, rounds=ROUNDS, before={ours: restart})


def _sampling(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """Sampling a sequence by the stepper against reading the past again for every step."""
    task, network = _network(yardstick, device)

    def draw(cached: bool) -> torch.Tensor:
        generator = torch.Generator(device).manual_seed(0)
        return models.generate(
            network, task.signature.num_steps, generator=generator, cached=cached
        )

    sides = {"cached": partial(draw, True), "naive": partial(draw, False)}
    return turns(sides, device, rounds=SAMPLED_ROUNDS)


def _textbook(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A training step against the same step of the textbook's network, from the same weights."""
    task, network = _network(yardstick, device)
    sides = {
        name: _training_step(trained, task, device, capture=backend.capture)
        for name, trained in (("our network", network), ("textbook", TextbookTcn(network)))
    }
    return turns(sides, device, rounds=ROUNDS)


def _overhead(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """The training loop against a bare one, without the time of validation and test."""
    task, network = _network(yardstick, device)
    model = models.load(yardstick.model.name, **yardstick.model.fields)
    training = Training(
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        max_steps=TRAINED_STEPS,
        num_validation=1,
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
    initial = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()

    def ours() -> float:
        return train(spec, device).train_seconds / TRAINED_STEPS

    def bare() -> float:
        network.load_state_dict(initial)  # as far from solved as ours
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)

        def step() -> None:
            batch = task.sample(BATCH_SIZE, generator, "train")
            update(network, optimizer, task, batch, training.clip_norm)

        return seconds_of(step, TRAINED_STEPS, device) / TRAINED_STEPS

    return alternate({"our loop": ours, "bare loop": bare}, ROUNDS // 2)


def _capture(yardstick: Yardstick, backend: Backend, device: str) -> dict[str, Times]:
    """A training step as a CUDA graph against the same step launched kernel by kernel."""
    if device == "cpu":
        raise Absent("there is no GPU here")
    sides = {}
    for name, capture in (("captured", True), ("eager", False)):
        task, network = _network(yardstick, device)
        sides[name] = _training_step(network, task, device, capture=capture)
    if not sides["captured"].captured:
        raise Absent(f"the step cannot be captured: {sides['captured'].eager_because}")
    return turns(sides, device, rounds=ROUNDS)


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
