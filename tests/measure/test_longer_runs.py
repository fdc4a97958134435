"""A longer run continues from the state of a shorter one, with the same result as without it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.backend import Backend
from bench.core.records import Outcome
from bench.core.spec import Spec
from bench.core.store import Store
from bench.measure import checkpoint
from bench.measure import train as loop
from bench.measure.checkpoint import Place, is_kept, read_state, write_state
from bench.measure.evaluation import Evaluation
from bench.measure.train import train
from bench.plan.grid import network_of
from bench.run import archive
from bench.run.job import Setup, run_one
from tests.support.training import numbers_of, tiny

BACKEND = Backend(device="cpu")
SHORT: dict[str, Any] = {"max_steps": 30, "cooldown": 0.3}
LONG: dict[str, Any] = {"max_steps": 120, "cooldown": 0.3}


def place_of(spec: Spec, results: Path) -> Place:
    return Place(results=results, spec=spec, backend=BACKEND)


def trained(spec: Spec, results: Path) -> tuple[Outcome, list[int]]:
    """The outcome, and the steps of the validations that this process made."""
    steps: list[int] = []
    place = place_of(spec, results)
    found = train(spec, "cpu", lambda p: steps.append(p.step), place=place)
    checkpoint.remove(place)  # a slow machine may have written one
    return found, steps


def kept(results: Path) -> list[str]:
    return [path.name for path in (results / checkpoint.STATES).rglob("*") if path.is_file()]


def kept_at(spec: Spec, results: Path) -> int:
    place = place_of(spec, results)
    found = checkpoint.step_of(place.state_path.read_bytes())
    assert kept(results) == [f"{spec.constant_phase}.pt"]
    return found


@pytest.mark.parametrize(
    ("model", "optimizer"), [("tcn", "adam"), ("tcn", "rmsprop"), ("gru", "sgd"), ("lstm", "adam")]
)
def test_a_longer_run_continues_and_ends_as_one_that_does_not(
    model: str, optimizer: str, tmp_path: Path
) -> None:
    fields = {"dropout": 0.3, "num_blocks": 2} if model == "tcn" else {}
    settings: dict[str, Any] = {"model": model, "optimizer": optimizer, "fields": fields}
    short, long = tiny(**settings, **SHORT), tiny(**settings, **LONG)
    expected = train(long, "cpu")
    assert trained(short, tmp_path)[1] == [0, 10, 20, 30]
    assert kept_at(short, tmp_path) == 20
    torch.manual_seed(7)  # another process has another generator state
    found, steps = trained(long, tmp_path)
    assert steps == list(range(20, 121, 10))
    assert numbers_of(found) == numbers_of(expected)
    assert kept_at(long, tmp_path) == 80  # in place of the shorter run's state


@pytest.mark.parametrize(
    ("training", "step"),
    [
        ({"max_steps": 100, "cooldown": 0.1}, 90),
        ({"max_steps": 99, "cooldown": 0.1}, 80),
        ({"max_steps": 100, "cooldown": 0.0}, 100),
        ({"max_steps": 95, "cooldown": 0.0}, 90),
        ({"max_steps": 100, "cooldown": 1.0}, None),
        ({"max_steps": 9, "cooldown": 0.1}, None),
    ],
)
def test_a_state_is_kept_at_the_last_validation_before_the_rate_falls(
    training: dict[str, Any], step: int | None
) -> None:
    spec = tiny(**training)
    validated = [*range(0, spec.training.max_steps, 10), spec.training.max_steps]
    assert [each for each in validated if is_kept(spec, each)] == [step] * (step is not None)


def test_a_run_that_is_repeated_trains_every_update(tmp_path: Path) -> None:
    short, long = tiny(**SHORT), tiny(**LONG)
    for _ in range(2):
        assert trained(short, tmp_path)[1][0] == 0
    trained(long, tmp_path)
    assert kept_at(long, tmp_path) == 80
    for spec in (long, short):
        assert trained(spec, tmp_path)[1][0] == 0


@pytest.mark.parametrize("change", [{"learning_rate": 0.02}, {"seed": 1}, {"validate_every": 20}])
def test_a_run_with_another_setting_starts_at_the_beginning(
    change: dict[str, Any], tmp_path: Path
) -> None:
    trained(tiny(**SHORT), tmp_path)
    assert trained(tiny(**{**LONG, **change}), tmp_path)[1][0] == 0


def test_the_clock_counts_the_shorter_run(tmp_path: Path) -> None:
    short, long = tiny(**SHORT), tiny(**LONG)
    trained(short, tmp_path)
    place = place_of(long, tmp_path)
    state = read_state(place, network_of(long).state_dict())
    assert state is not None
    slower = replace(state.fit, train_seconds=500.0, earlier_seconds=1000.0)
    write_state(place, state.model_copy(update={"fit": slower}))
    found, _ = trained(long, tmp_path)
    assert 500 < found.train_seconds < 600
    assert 1000 < found.curve[3].seconds < found.total_seconds < 1100


def test_a_run_that_solves_its_task_or_diverges_leaves_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(*values: float | None) -> None:
        left = iter(values)

        def evaluated(*_: object) -> Evaluation:
            value = next(left)
            metrics = ("recall", "faultless", "cross_entropy")
            values: dict[str, float | None] = dict.fromkeys(metrics, value)
            return Evaluation(values=values, loss=value, num_sequences=1000)

        monkeypatch.setattr(loop, "evaluate", evaluated)

    for ending in ([0.5, 0.5, 0.5], [0.5, None, 0.5], [0.5, 1.0, 1.0]):  # the last is the test
        scores(0.1, 0.5, *ending)
        found, _ = trained(tiny(**SHORT), tmp_path)
        assert bool(kept(tmp_path)) == (found.stopped == "budget" and not found.solved)
    scores(0.1, 0.5, 0.5, 0.5, 0.5)
    trained(tiny(**SHORT), tmp_path)
    scores(0.5, 1.0, 1.0, 1.0)
    found, steps = trained(tiny(**LONG), tmp_path)
    assert (found.stopped, steps, kept(tmp_path)) == ("solved", [20, 30, 40], [])


def test_a_damaged_state_is_removed_and_the_run_starts_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tiny(**SHORT), tmp_path)
    path = place_of(tiny(**LONG), tmp_path).state_path
    path.write_bytes(path.read_bytes()[:-1])
    found, steps = trained(tiny(**LONG), tmp_path)
    assert steps[0] == 0
    assert numbers_of(found) == numbers_of(train(tiny(**LONG), "cpu"))
    assert "damaged; the run starts again" in capsys.readouterr().err


def test_states_are_no_records_and_are_in_no_archive(tmp_path: Path) -> None:
    spec = tiny(**SHORT)
    setup = Setup(results=tmp_path, backend=BACKEND, device="cpu")
    record = run_one(spec, setup, lambda event: None)
    assert kept(tmp_path) == [f"{spec.constant_phase}.pt"]
    assert Store(tmp_path).read_all() == ([record], [])
    assert archive.write(tmp_path, tmp_path / "slot.tar.gz") == (1, 0)
    half = place_of(spec, tmp_path).state_path.with_name(".half.1-a.tmp")
    half.write_bytes(b"half a ")
    checkpoint.remove_leftovers(tmp_path, [record])
    assert kept(tmp_path) == [f"{spec.constant_phase}.pt"]
