"""Speed records: what is measured, how operations are counted, where a record is stored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import models
import tasks
from bench.core.backend import Backend
from bench.core.machine import fingerprint
from bench.core.records import SpeedRecord
from bench.core.spec import Measure, SpeedSpec
from bench.core.store import Damaged, Store
from bench.measure import speed, timing
from bench.measure.speed import sequence_flops, step_flops
from bench.plan import plugins, profile
from bench.plan.coverage import speed_of_one_machine
from bench.plan.grid import Selection, make_plan, make_speed_plan
from bench.run import inventory, job
from bench.run.execute import time_networks
from bench.run.job import Setup, measure
from bench.run.request import Request, make_request
from tests.support.records import BACKEND, MACHINE, speed_record
from tests.support.signatures import skip_unless_supported
from tests.support.timing import ALL, T, spec_of

NUM_INPUTS, NUM_OUTPUTS, NUM_STEPS = 10, 10, T + 20  # of copy memory


def recurrent_flops(gates: int, widths: list[int]) -> int:
    """Operations of a step: a product and a sum for each weight of inputs, states and head."""
    inputs = [NUM_INPUTS, *widths[:-1]]
    layers = sum(2 * gates * h * (i + h) for i, h in zip(inputs, widths, strict=True))
    return layers + 2 * widths[-1] * NUM_OUTPUTS


def convolutional_flops(width: int, kernel_size: int, num_blocks: int, num_steps: int) -> int:
    """Operations on a sequence; taps before its beginning are not computed."""
    total = 2 * num_steps * NUM_INPUTS * width  # the first block's skip
    for block in range(num_blocks):
        live = min(kernel_size, -(-num_steps // 2**block))
        num_inputs = NUM_INPUTS if block == 0 else width
        total += 2 * num_steps * live * width * (num_inputs + width)
    return total + 2 * num_steps * width * NUM_OUTPUTS


@pytest.mark.parametrize(
    ("model", "gates", "num_layers"), [("lstm", 4, 1), ("gru", 3, 2), ("rnn", 1, 1)]
)
def test_operations_of_recurrent_networks(model: str, gates: int, num_layers: int) -> None:
    spec = spec_of(model, num_layers=num_layers)
    expected = recurrent_flops(gates, [12] * num_layers)
    assert sequence_flops(spec, last_only=False) == pytest.approx(NUM_STEPS * expected, rel=0.01)
    assert step_flops(spec) == pytest.approx(expected, rel=0.01)
    both = sequence_flops(spec, last_only=False, backward=True)
    assert 2.5 < both / (NUM_STEPS * expected) <= 3  # the inputs need no gradient


def test_operations_of_a_convolutional_network() -> None:
    spec = spec_of("tcn", kernel_size=8, num_blocks=5)
    expected = convolutional_flops(12, 8, 5, NUM_STEPS)
    assert sequence_flops(spec, last_only=False) == pytest.approx(expected, rel=0.01)
    whole_field = 2 * 8 * 12 * (NUM_INPUTS + 12 + 4 * 2 * 12)
    step = whole_field + 2 * NUM_INPUTS * 12 + 2 * 12 * NUM_OUTPUTS
    assert step_flops(spec) == pytest.approx(step, rel=0.01)
    both = sequence_flops(spec, last_only=False, backward=True)
    assert 2.5 < both / expected <= 3


def test_operations_of_a_wavenet() -> None:
    spec = spec_of("wavenet", kernel_size=2, dilation_cycle=4, num_cycles=2)
    layer = 2 * 12 * 24 + 12 * 12 + 12 * 12  # the gated unit's two taps, skip, residual
    step = 2 * NUM_INPUTS * 12 + 8 * layer - 12 * 12 + 12 * 12 + 12 * NUM_OUTPUTS
    assert sequence_flops(spec, last_only=False) == pytest.approx(2 * NUM_STEPS * step, rel=0.01)
    assert step_flops(spec) == pytest.approx(2 * step, rel=0.01)


def test_operations_of_attention_grow_with_the_length() -> None:
    spec = spec_of("attention", num_heads=3, expansion=4)
    weights = NUM_INPUTS * 12 + 2 * (4 * 12 * 12 + 2 * 4 * 12 * 12) + 12 * NUM_OUTPUTS
    pair = 2 * 2 * 12  # q·k and the product with v, in both layers
    whole = 2 * NUM_STEPS * (weights + NUM_STEPS * pair)
    assert sequence_flops(spec, last_only=False) == pytest.approx(whole, rel=0.01)
    middle = -(-NUM_STEPS // 2) + 1
    assert step_flops(spec) == pytest.approx(2 * (weights + middle * pair), rel=0.01)


@pytest.mark.usefixtures("hasty")
def test_the_state_of_attention_grows_with_the_length() -> None:
    """The steps are those of whole sequences, however often they are timed."""
    for length in (5, 50):
        spec = spec_of("attention", length=length, measures=("step",))
        found = speed.measure(spec, BACKEND, "cpu").streaming
        assert found is not None
        assert found.state_bytes == (length + 20) * 2 * 2 * 12 * 4


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("tcn", {"kernel_size": 7, "num_blocks": 8}),
        ("wavenet", {"dilation_cycle": 9, "num_cycles": 1}),
    ],
)
def test_the_last_output_alone_takes_a_fraction_of_the_work(
    model: str, fields: dict[str, Any]
) -> None:
    spec = spec_of(model, "adding", length=600, **fields)
    assert sequence_flops(spec, last_only=True) < sequence_flops(spec, last_only=False) / 4


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LEAST_SAMPLES", 1)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("model", "task"),
    [*((model, "copy_memory") for model in models.names()), ("tcn", "adding"), ("lstm", "adding")],
)
def test_every_measure_that_a_spec_names_is_taken(model: str, task: str) -> None:
    signature = tasks.load(task, length=5).signature
    skip_unless_supported(model, signature)
    found = speed.measure(spec_of(model, task, length=5, batch_size=3), BACKEND, "cpu", 1e-3)
    assert found.train is not None
    assert found.forward is not None
    assert found.streaming is not None
    # A backward pass costs about two forward passes. It leaves out the last state of s4d, on which
    # no loss depends.
    assert found.train.flops > 1.7 * found.forward.flops > 0
    assert found.train.memory_bytes is not None
    assert found.streaming.step.flops > 0
    assert found.streaming.state_bytes > 0
    network = models.network(model, signature, width=12)
    # A model without a compiled kernel is timed as well.
    assert found.streaming.stepper == type(network.stepper()).__name__
    assert (found.streaming.window is None) == (found.receptive_field is None)
    assert found.peak_flops > 1e8
    assert found.num_parameters == models.num_parameters(network)


@pytest.mark.usefixtures("hasty")
def test_no_other_measure_is_taken() -> None:
    for wanted in ("step", "forward"):
        found = speed.measure(spec_of("rnn", length=5, measures=(wanted,)), BACKEND, "cpu", 1e-3)
        assert (found.train, found.sampling) == (None, None)
        assert (found.forward is None) == (wanted == "step")
        assert (found.streaming is None) == (wanted == "forward")


TROUBLE = '''
"""A model that fails on request."""
import os
from dataclasses import dataclass
from models.rnn import Rnn

@dataclass(frozen=True, kw_only=True)
class Trouble(Rnn):
    how: str = ""
    version = 1

    def build_core(self, *arguments):
        if self.how == "raises":
            raise RuntimeError("no luck")
        if self.how == "dies":
            os._exit(3)
        return super().build_core(*arguments)
'''


@pytest.mark.usefixtures("plugins")
def test_each_network_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    plugin, results = tmp_path / "trouble_1.py", tmp_path / "results"
    plugin.write_text(TROUBLE)
    trouble = plugins.load(plugin)
    whole: tuple[Measure, ...] = ("train",)
    specs = [
        spec_of("trouble_1", how="raises"),
        spec_of("trouble_1", how="dies"),
        spec_of("tcn", batch_size=16, num_blocks=3, measures=whole),
        spec_of("tcn", batch_size=16, num_blocks=3, length=1000, measures=whole),
    ]
    setup = Setup(results=results, backend=BACKEND, device="cpu", plugins=(trouble,))
    by_id = {record.spec.id: record for record in measure(specs, setup)}
    made = [by_id[spec.id] for spec in specs]
    assert [record.status for record in made] == ["failed", "failed", "ok", "ok"]
    assert "RuntimeError: no luck" in (made[0].error or "")
    assert made[1].error == "the worker process died: exit status 3"
    found, damaged = Store(results).read_speed()
    assert not damaged
    assert {record.spec.id: record for record in found} == {r.spec.id: r for r in made}

    # For each of 16 · 950 further steps, six convolutions keep 12 inputs and 12 outputs.
    short, long = (record.speed and record.speed.train for record in made[2:])
    assert short
    assert long
    least = 16 * 950 * 6 * 2 * 12 * 4
    assert least < (long.memory_bytes or 0) - (short.memory_bytes or 0) < 5 * least


def timed_in(monkeypatch: pytest.MonkeyPatch, *, fails_at: int | None = None) -> list[str]:
    """Replaces the processes that take times; returns the ids of the specs in their order.

    The process at `fails_at` fails.
    """
    order: list[str] = []

    def instead(spec: SpeedSpec, setup: Setup) -> SpeedRecord:
        order.append(spec.id)
        changes: dict[str, Any] = {"spec": spec, "machine": fingerprint()}
        if fails_at == len(order):
            changes |= {"status": "failed", "error": "no luck", "speed": None}
        return speed_record(train_ms=float(len(order))).model_copy(update=changes)

    monkeypatch.setattr(job, "in_fresh_process", instead)
    return order


def processes(results: Path) -> dict[str, tuple[float, ...]]:
    """Spec id → milliseconds of a training step in each process."""
    found, _ = Store(results).read_speed()
    return {
        record.spec.id: tuple(round(1e3 * each) for each in record.speed.train.times.processes)
        for record in found
        if record.speed is not None and record.speed.train is not None
    }


def test_rounds_over_all_networks_are_merged_and_each_has_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, specs = timed_in(monkeypatch), [spec_of("tcn", width=width) for width in range(2, 10)]
    setup = Setup(results=tmp_path, backend=BACKEND, device="cpu")
    made = list(measure(specs, setup, num_processes=3))
    rounds = [order[:8], order[8:16], order[16:]]
    assert [sorted(each) for each in rounds] == [sorted(spec.id for spec in specs)] * 3
    assert len({tuple(each) for each in rounds}) == 3
    numbers = [record.speed.num_processes for record in made if record.speed is not None]
    assert numbers == [1] * 8 + [2] * 8 + [3] * 8
    assert processes(tmp_path) == {
        spec.id: tuple(i for i, timed in enumerate(order, 1) if timed == spec.id) for spec in specs
    }
    first, order[:] = list(order), []
    list(measure(specs, setup, num_processes=3))
    assert order == first  # the order can be repeated


def test_an_interrupted_timing_keeps_its_processes_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tmp_path, settings=["speed_rounds=3"])
    order, planned = timed_in(monkeypatch), asked.speed_specs
    stopped = measure(planned, asked.setup, num_processes=3)
    for _ in range(len(planned) + 2):  # two networks have two processes, the others have one
        next(stopped)
    del stopped
    before = processes(tmp_path)
    assert sorted(map(len, before.values())) == [1] * (len(planned) - 2) + [2, 2]
    assert waiting(asked) == list(planned)
    assert time_networks(asked)
    after = processes(tmp_path)
    assert {len(each) for each in after.values()} == {3}
    assert all(after[key][: len(each)] == each for key, each in before.items())
    assert len(order) == 3 * len(planned)
    assert waiting(asked) == []
    # What is asked for anew is not continued, and has no fewer processes than before.
    order.clear()
    one = replace(request(tmp_path), speed_specs=planned[:1])
    assert waiting(one) == []
    assert time_networks(one, again=True)
    assert order == [planned[0].id] * 3
    assert processes(tmp_path)[planned[0].id] == (1, 2, 3)


def test_a_record_is_not_continued_by_another_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tmp_path, settings=["speed_rounds=2"])
    order = timed_in(monkeypatch)
    (spec, *_) = asked.speed_specs
    other = fingerprint().model_copy(update={"commit": "ba9876543210"})
    old = speed_record(train_ms=50.0).model_copy(update={"spec": spec, "machine": other})
    Store(tmp_path).write(old)
    assert time_networks(replace(asked, speed_specs=(spec,)))
    assert (len(order), processes(tmp_path)[spec.id]) == (2, (1, 2))


def test_a_process_that_fails_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [spec_of("tcn"), spec_of("rnn")]
    order = timed_in(monkeypatch, fails_at=3)
    setup = Setup(results=tmp_path, backend=BACKEND, device="cpu")
    made = list(measure(specs, setup, num_processes=4))
    failed = order[2]
    assert [record.status for record in made].count("failed") == 1
    assert order.count(failed) == 2  # it is not tried again by this command
    assert {key: len(each) for key, each in processes(tmp_path).items()} == {
        spec.id: 1 if spec.id == failed else 4 for spec in specs
    }


def test_a_speed_record_lies_in_the_folder_of_its_machine(tmp_path: Path) -> None:
    store, record = Store(tmp_path), speed_record(step_ms=0.01)
    path = store.write(record)
    folder = tmp_path / "speed" / BACKEND.name / MACHINE.slug / "copy_memory"
    assert path == folder / f"tcn-T10-b1-{record.spec.id}.json"
    assert store.read(path, SpeedRecord) == record
    assert store.read_speed() == ([record], [])
    assert store.read_all() == ([], [])
    elsewhere = tmp_path / "speed" / BACKEND.name / "abacus" / path.name
    elsewhere.parent.mkdir()
    path.rename(elsewhere)
    assert isinstance(store.read(elsewhere, SpeedRecord), Damaged)


@pytest.mark.parametrize("field", ["cpu", "cores", "gpu", "python", "torch", "numpy", "system"])
def test_another_machine_has_another_folder(field: str) -> None:
    other = MACHINE.model_copy(update={field: 4 if field == "cores" else "another"})
    assert other.slug != MACHINE.slug
    same = MACHINE.model_copy(update={"commit": "ba9876543210", "memory_bytes": 2**33})
    assert same.slug == MACHINE.slug


def test_every_field_of_a_speed_spec_enters_its_id() -> None:
    first = spec_of("tcn")
    assert spec_of("tcn").id == first.id
    others = [
        spec_of("rnn"),
        spec_of("tcn", "adding"),
        spec_of("tcn", length=T + 1),
        spec_of("tcn", width=13),
        spec_of("tcn", extra_width=1),
        spec_of("tcn", batch_size=2),
        spec_of("tcn", measures=("step",)),
        spec_of("tcn", kernel_size=3),
        first.model_copy(update={"protocol": 0}),
    ]
    assert len({spec.id for spec in [first, *others]}) == 1 + len(others)
    assert len({spec.network for spec in [first, *others[5:7]]}) == 1  # the same network


def request(results: Path, **changes: Any) -> Request:
    selection = Selection(tasks=("copy_memory",), models=("rnn", "tcn"), seeds=(0,))
    return make_request(
        results=results,
        device="cpu",
        profile_name="smoke",
        **{"selection": selection, **changes},
    )


def waiting(of: Request) -> list[SpeedSpec]:
    return inventory.waiting_timings(of, inventory.read(of))


def reported_machines(of: Request) -> set[str]:
    timed = speed_of_one_machine(inventory.read(of).speed, of.backend.name)
    return {record.machine.slug for record in timed}


def test_the_plan_times_every_network_and_the_sweeps() -> None:
    smoke = profile.load("smoke", ["time_every_network=true"])
    selection = Selection(models=("rnn", "tcn"))
    specs = make_plan(smoke, selection).specs
    planned = make_speed_plan(smoke, selection, specs)
    fewer = make_speed_plan(profile.load("smoke"), selection, specs)
    single = (("step",), ("train",))
    assert [spec.id for spec in fewer] == [s.id for s in planned if s.measures not in single]
    steps, updates = ([spec for spec in planned if spec.measures == each] for each in single)
    assert {spec.network for spec in steps} == {spec.network for spec in specs}
    assert {spec.batch_size for spec in steps} == {1}
    assert {(spec.network, spec.batch_size) for spec in updates} == {
        (spec.network, spec.training.batch_size) for spec in specs
    }
    swept = [spec for spec in planned if spec.measures == ALL]
    assert {(s.task.name, s.model.name) for s in swept} == {
        ("copy_memory", "rnn"),
        ("copy_memory", "tcn"),
    }
    of_adding = make_speed_plan(smoke, Selection(tasks=("adding",)), ())
    assert of_adding == ()
    longer = make_speed_plan(smoke, Selection(lengths=(33,), models=("rnn",)), ())
    assert {spec.length for spec in longer} == {33}


def test_times_of_another_machine_do_not_replace_those_of_this_one(tmp_path: Path) -> None:
    planned, here = request(tmp_path).speed_specs, fingerprint().slug
    assert len(planned) > 2

    def timed(spec: SpeedSpec, **changes: Any) -> SpeedRecord:
        content = {"spec": spec, "machine": fingerprint(), **changes}
        return speed_record(step_ms=0.01).model_copy(update=content)

    store = Store(tmp_path)
    for spec in planned[:2]:
        store.write(timed(spec, machine=MACHINE))
    assert waiting(request(tmp_path)) == list(planned)
    assert reported_machines(request(tmp_path)) == {MACHINE.slug}
    store.write(timed(planned[0]))
    store.write(timed(planned[1], status="failed", error="no luck"))
    assert waiting(request(tmp_path)) == list(planned[1:])
    # Two records a machine: this one's come first; never both in one table.
    assert reported_machines(request(tmp_path)) == {here}
    assert waiting(request(tmp_path, threads=2)) == list(planned)  # another backend


def test_the_name_of_a_backend_has_its_threads_or_its_capture() -> None:
    assert Backend(device="cpu", threads=2).name == "cpu-float32-2thread"
    assert Backend(device="cuda", capture=True).name == "cuda-float32-graph"
    assert Backend(device="cuda").name == "cuda-float32-eager"
