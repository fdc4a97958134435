"""Our networks beside other implementations: the sides alternate in one process.

`yardsticks.toml` lists what is compared and with which aim. Each kind of comparison is a function
here.
"""

import copy
import math
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import models
import tasks
from bench.core.backend import Backend, prepare
from bench.core.machine import fingerprint
from bench.core.records import YardstickRecord, now
from bench.core.spec import Part, Spec, Training, Yardstick
from bench.core.store import Store
from bench.core.timings import Times
from bench.measure.timing import Call, alternate, seconds_of, turns
from bench.measure.train import train
from bench.measure.update import Updater, update

LIST = Path(__file__).parent / "yardsticks.toml"
ROUNDS = 25
LEARNING_RATE = 1e-3
SAMPLED_ROUNDS = 5
"""Rounds of sampling, whose slow side takes seconds."""
EARLY, LATE = 100, 1_000_000
"""Steps of a stream that are compared."""
RUN_STEPS = 512
"""Steps that a stepper reads in one call, so that what the call costs by itself does not count."""
TRAINED_STEPS = 100
"""Updates of the training loop in one round."""


class Absent(Exception):
    """Something that a comparison needs is not on this machine."""


@dataclass(frozen=True)
class _Case:
    """A yardstick with its task and our network on a device."""

    yardstick: Yardstick
    task: tasks.Task
    network: models.Network
    device: str
    capture: bool

    @property
    def x_t(self) -> Tensor:
        """One step of one sequence."""
        generator = self.task.generator("train", 0, self.device)
        return self.task.sample(1, generator).x[:, 0].contiguous()

    def training_step(self, network: nn.Module, *, capture: bool) -> Updater:
        size = self.yardstick.batch_size
        training = Training(learning_rate=LEARNING_RATE, batch_size=size, max_steps=2**31)
        generator = self.task.generator("train", 0, self.device)
        return Updater(network.train(), self.task, training, generator, capture)

    @torch.inference_mode()
    def turns(self, sides: dict[str, Call]) -> dict[str, Times]:
        return turns(sides, self.device, rounds=ROUNDS)


def _times_of_steps(case: _Case, sides: dict[str, Call], runs: set[str]) -> dict[str, Times]:
    """Times of sides in turn. Where a call is a run of steps, the time of one of them."""
    return {
        name: Times(samples=tuple(each / RUN_STEPS for each in times.samples))
        if name in runs
        else times
        for name, times in case.turns(sides).items()
    }


def _run_of(stepper: Any, x_t: Tensor) -> Call:
    """Reads the same step many times in one call."""
    return partial(stepper.run, torch.stack([x_t] * RUN_STEPS, 1))


def load(path: Path = LIST) -> list[Yardstick]:
    return [Yardstick.model_validate(each) for each in tomllib.loads(path.read_text())["yardstick"]]


def run(results: Path, backend: Backend, device: str) -> Iterator[YardstickRecord]:
    """Measure each yardstick and write its record."""
    prepare(backend)
    for yardstick in load():
        model = yardstick.model
        content: dict[str, Any] = {"status": "ok"}
        try:
            with torch.random.fork_rng(devices=[device] if device != "cpu" else []):
                torch.manual_seed(0)
                task = tasks.load(yardstick.task.name, **yardstick.task.fields)
                network = models.network(
                    model.name, task.signature, width=model.width, **model.fields
                )
                case = _Case(yardstick, task, network.to(device), device, backend.capture)
                content["times"] = KINDS[yardstick.kind](case)
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


def _cell(case: _Case) -> dict[str, Times]:
    """A step against `torch.nn.LSTMCell` and against another model of ours of the same size."""
    size, num_inputs = models.num_parameters(case.network), case.task.signature.num_inputs
    name = case.yardstick.rival
    assert name is not None
    rival = models.network(name, case.task.signature, param_budget=size).to(case.device)
    # 4 gates of H units: 4·H·(I + H) weights and 8·H biases.
    width = round(-(num_inputs + 2) / 2 + math.sqrt((num_inputs + 2) ** 2 / 4 + size / 4))
    cell = nn.LSTMCell(num_inputs, width).to(case.device)
    x_1I = torch.randn(1, num_inputs, device=case.device)
    state = torch.zeros(1, width, device=case.device), torch.zeros(1, width, device=case.device)

    def theirs() -> None:
        nonlocal state
        state = cell(x_1I, state)

    ours, theirs_in_run = "our step in a run", f"our {name}, step in a run"
    sides = {
        ours: _run_of(case.network.stepper(), case.x_t),
        f"LSTMCell({width})": theirs,
        theirs_in_run: _run_of(rival.stepper(), case.x_t),
        "our single call": partial(case.network.stepper(), case.x_t),
        f"our {name}, single call": partial(rival.stepper(), case.x_t),
    }
    return _times_of_steps(case, sides, {ours, theirs_in_run})


def _window(case: _Case) -> dict[str, Times]:
    """A step against reading the whole receptive field again, for all outputs or the last one."""
    network, x_t = case.network.eval(), case.x_t
    field = int(network.receptive_field)
    x = x_t[:, None].expand(1, field, *x_t.shape[1:]).contiguous()
    ours = "our step in a run"
    sides = {
        ours: _run_of(network.stepper(), x_t),
        f"forward over {field} steps": partial(network, x),
        "the same, last step alone": partial(network, x, last_only=True),
        "our single call": partial(network.stepper(), x_t),
    }
    return _times_of_steps(case, sides, {ours})


def _library(case: _Case) -> dict[str, Times]:
    """A step against the streaming mode of the library pytorch-tcn."""
    try:
        from pytorch_tcn import TCN  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Absent("pytorch-tcn is not installed: pip install pytorch-tcn==1.2.3") from None
    signature, model = case.task.signature, case.yardstick.model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = TCN(
            signature.num_inputs,
            [model.width] * model.fields["num_blocks"],
            kernel_size=model.fields["kernel_size"],
            dropout=0.0,
            output_projection=signature.num_outputs,
        )
    library = library.to(case.device).eval()
    x_BCT = torch.randn(1, signature.num_inputs, 1, device=case.device)
    ours = "our step in a run"
    sides = {
        ours: _run_of(case.network.stepper(), case.x_t),
        "pytorch-tcn": partial(library, x_BCT, inference=True),
        "our single call": partial(case.network.stepper(), case.x_t),
    }
    return _times_of_steps(case, sides, {ours})


def _flat(case: _Case) -> dict[str, Times]:
    """A step early in a stream against one after a million."""
    early, late, x_t = case.network.stepper(), case.network.stepper(), case.x_t
    for _ in range(LATE):
        late(x_t)

    def restart() -> None:
        early.reset()
        for _ in range(EARLY):
            early(x_t)

    ours = f"from step {EARLY:,}"
    sides = {ours: partial(early, x_t), f"from step {LATE:,}": partial(late, x_t)}
    return turns(sides, case.device, rounds=ROUNDS, before={ours: restart})


def _sampling(case: _Case) -> dict[str, Times]:
    """Sampling a sequence by the stepper against reading the past again for every step."""

    def draw(cached: bool) -> Tensor:
        generator = torch.Generator(case.device).manual_seed(0)
        num_steps = case.task.signature.num_steps
        return models.generate(case.network, num_steps, generator=generator, cached=cached)

    sides: dict[str, Call] = {"cached": partial(draw, True), "naive": partial(draw, False)}
    return turns(sides, case.device, rounds=SAMPLED_ROUNDS)


def _stock(case: _Case) -> dict[str, Times]:
    """A training step against that of the stock implementation, from the same weights."""
    networks = {"our network": case.network, "stock": case.network.stock()}
    sides = {
        name: case.training_step(each, capture=case.capture) for name, each in networks.items()
    }
    return turns(sides, case.device, rounds=ROUNDS)


def _overhead(case: _Case) -> dict[str, Times]:
    """The training loop against a bare one, without the time of validation and test."""
    task, network, device = case.task, case.network, case.device
    model = models.load(case.yardstick.model.name, **case.yardstick.model.fields)
    training = Training(
        learning_rate=LEARNING_RATE,
        batch_size=case.yardstick.batch_size,
        max_steps=TRAINED_STEPS,
        num_validation=1,
    )
    spec = Spec(
        task=Part(name=case.yardstick.task.name, fields=task.fields, version=task.version),
        model=Part(name=case.yardstick.model.name, fields=model.fields, version=model.version),
        param_budget=None,
        width=case.yardstick.model.width,
        extra_width=0,
        training=training,
        seed=0,
    )
    generator = task.generator("train", 0, device)
    initial = copy.deepcopy(network.train().state_dict())

    def ours() -> float:
        return train(spec, device).train_seconds / TRAINED_STEPS

    def bare() -> float:
        network.load_state_dict(initial)  # as far from solved as ours
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)

        def step() -> None:
            batch = task.sample(training.batch_size, generator, "train")
            update(network, optimizer, task, batch, training.clip_norm)

        return seconds_of(step, TRAINED_STEPS, device) / TRAINED_STEPS

    return alternate({"our loop": ours, "bare loop": bare}, ROUNDS // 2)


def _capture(case: _Case) -> dict[str, Times]:
    """A training step as a CUDA graph against the same step launched kernel by kernel."""
    if case.device == "cpu":
        raise Absent("there is no GPU here")
    captured = case.training_step(copy.deepcopy(case.network), capture=True)
    if not captured.captured:
        raise Absent(f"the step cannot be captured: {captured.eager_because}")
    eager = case.training_step(case.network, capture=False)
    return turns({"captured": captured, "eager": eager}, case.device, rounds=ROUNDS)


KINDS: dict[str, Callable[[_Case], dict[str, Times]]] = {
    "cell": _cell,
    "window": _window,
    "library": _library,
    "flat": _flat,
    "sampling": _sampling,
    "stock": _stock,
    "overhead": _overhead,
    "capture": _capture,
}
