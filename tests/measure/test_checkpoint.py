"""A killed run continues to the same end, and leaves no files behind."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.backend import Backend
from bench.core.records import Record
from bench.core.spec import Spec
from bench.core.store import Store
from bench.measure import checkpoint
from bench.measure import train as loop
from bench.measure.checkpoint import Place, pack, read, remove_leftovers, unpack
from bench.measure.evaluation import Evaluation
from bench.measure.train import Progress, train
from bench.plan.grid import network_of
from bench.run.job import Event, Setup, run_one
from tests.support.records import record
from tests.support.training import numbers_of, tiny

BACKEND = Backend(device="cpu")


@pytest.fixture(autouse=True)
def at_every_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)


class Stopped(Exception):
    """Stands for a kill."""


def place_of(spec: Spec, results: Path) -> Place:
    return Place(results=results, spec=spec, backend=BACKEND)


def stop_at(step: int, spec: Spec, results: Path) -> list[int]:
    """Train until the validation at `step` and stop there; returns the steps of all validations."""
    steps = []

    def on_progress(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == step:
            raise Stopped

    with pytest.raises(Stopped):
        train(spec, "cpu", on_progress, place=place_of(spec, results))
    return steps


def left(spec: Spec, results: Path) -> checkpoint.Checkpoint:
    found = read(place_of(spec, results), like=network_of(spec).state_dict())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("model", "optimizer"), [("tcn", "adam"), ("tcn", "rmsprop"), ("gru", "sgd"), ("lstm", "adam")]
)
def test_a_run_stopped_at_each_validation_ends_as_one_that_was_not(
    model: str, optimizer: str, tmp_path: Path
) -> None:
    fields = {"dropout": 0.3, "num_blocks": 2} if model == "tcn" else {}
    spec = tiny(model=model, optimizer=optimizer, max_steps=25, cooldown=0.8, fields=fields)
    expected = train(spec, "cpu")
    assert stop_at(0, spec, tmp_path) == [0]
    assert stop_at(10, spec, tmp_path) == [0, 10]
    assert stop_at(20, spec, tmp_path) == [10, 20]
    assert stop_at(25, spec, tmp_path) == [20, 25]
    torch.manual_seed(7)  # another process has another generator state
    found = train(spec, "cpu", place=place_of(spec, tmp_path))
    assert numbers_of(found) == numbers_of(expected)
    assert found.curve[-1].train_loss is not None


def test_the_best_weights_from_before_a_stop_are_tested(tmp_path: Path) -> None:
    spec = tiny("adding", "lstm", learning_rate=0.5, max_steps=60, seed=4)
    expected = train(spec, "cpu")
    assert 0 < expected.best_step < 60, "choose a seed whose last weights are not the best"
    stop_at(60, spec, tmp_path)
    assert left(spec, tmp_path).fit.best_step == expected.best_step
    found = train(spec, "cpu", place=place_of(spec, tmp_path))
    assert numbers_of(found) == numbers_of(expected)


def test_solved_validations_from_before_a_stop_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perfect = Evaluation(
        values={"recall": 1.0, "faultless": 1.0, "cross_entropy": 0.0}, loss=0.0, num_sequences=1000
    )
    monkeypatch.setattr(loop, "evaluate", lambda *_: perfect)
    spec = tiny()
    stop_at(10, spec, tmp_path)
    found = train(spec, "cpu", place=place_of(spec, tmp_path))
    assert (found.stopped, found.steps) == ("solved", 10)


def test_the_clock_continues_after_a_stop(tmp_path: Path) -> None:
    spec, place = tiny(), place_of(tiny(), tmp_path)
    stop_at(10, spec, tmp_path)
    before = left(spec, tmp_path)
    assert before.fit.train_seconds > 0
    assert before.fit.earlier_seconds >= before.fit.curve[-1].seconds - 1e-4  # the curve is rounded
    slower = replace(before.fit, train_seconds=500.0, earlier_seconds=1000.0)
    checkpoint.write(place, before.model_copy(update={"fit": slower}))
    found = train(spec, "cpu", place=place)
    assert 500 < found.train_seconds < 600
    assert 1000 < found.curve[-2].seconds < found.curve[-1].seconds < found.total_seconds < 1100
    assert found.curve[0] == before.fit.curve[0]


def test_short_runs_write_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 60.0)
    train(tiny(), "cpu", place=place_of(tiny(), tmp_path))
    assert left_files(tmp_path) == []


def test_a_checkpoint_is_written_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(loop, "write", lambda place, run: written.append(run.fit.step))
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 60.0)
    skipped = 0.0
    clock = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + skipped)

    def on_progress(progress: Progress) -> None:
        nonlocal skipped
        skipped += 25

    spec = tiny(max_steps=80)
    train(spec, "cpu", on_progress, place=place_of(spec, tmp_path))
    assert written == [30, 60]


class Harmful:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("harm",)


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def edit(whole: bytes) -> bytes:
        content = unpack(whole)
        change(content)
        return pack(content)

    return edit


def flipped(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]


OTHER_WEIGHTS = network_of(tiny(width=9)).state_dict()
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "noise": lambda whole: os.urandom(10_000),
    "flipped": flipped,
    "pickle": lambda whole: pack({"checkpoint": Harmful()}),
    "spec": edited(lambda content: content["identity"].update(spec=tiny(seed=1).id)),
    "protocol": edited(lambda content: content["identity"].update(protocol=0)),
    "torch": edited(lambda content: content["identity"].update(torch="1.0")),
    "backend": edited(lambda content: content["identity"]["backend"].update(threads=2)),
    "format": edited(lambda content: content["identity"].update(format=0)),
    "network": edited(lambda content: content["checkpoint"].update(weights=OTHER_WEIGHTS)),
    "part": edited(lambda content: content["checkpoint"].pop("rng")),
    "nothing": edited(lambda content: content.clear()),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint of `tiny()` after ten updates."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)
        stop_at(10, tiny(), folder)
    return place_of(tiny(), folder).path.read_bytes()


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_or_foreign_checkpoint_is_removed(
    kind: str,
    whole: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    place, like = place_of(tiny(), tmp_path), network_of(tiny()).state_dict()
    place.path.parent.mkdir(parents=True)
    place.path.write_bytes(whole)
    assert read(place, like) is not None
    place.path.write_bytes(DAMAGES[kind](whole))
    assert read(place, like) is None
    assert "the run starts again" in capsys.readouterr().err
    assert not place.path.exists()
    assert not (tmp_path / "harm").exists()


def test_a_run_whose_checkpoint_cannot_be_read_starts_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, steps = place_of(tiny(), tmp_path), []
    place.path.mkdir(parents=True)  # a folder in the place of the file
    found = train(tiny(), "cpu", lambda progress: steps.append(progress.step), place=place)
    assert steps == [0, 10, 20]
    assert numbers_of(found) == numbers_of(train(tiny(), "cpu"))
    assert "the run starts again" in capsys.readouterr().err


def left_files(results: Path) -> list[str]:
    return [path.name for path in (results / checkpoint.FOLDER).rglob("*") if path.is_file()]


def run(spec: Spec, results: Path, on_event: Callable[[Event], None]) -> Record:
    return run_one(spec, Setup(results=results, backend=BACKEND, device="cpu"), on_event)


def test_no_checkpoint_is_left_once_the_record_is_written(tmp_path: Path) -> None:
    spec, seen = tiny(), []
    run(spec, tmp_path, lambda event: seen.append(left_files(tmp_path)))
    assert seen == [[f"{spec.id}.pt"]] * 3
    assert left_files(tmp_path) == []
    assert [found.status for found in Store(tmp_path).read_all()[0]] == ["ok"]


def test_a_worker_whose_parent_is_gone_leaves_its_checkpoint(tmp_path: Path) -> None:
    def gone(event: Event) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(tiny(), tmp_path, gone)
    assert left_files(tmp_path) == [f"{tiny().id}.pt"]


def test_a_full_disk_does_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    spec = tiny()
    found = train(spec, "cpu", place=place_of(spec, tmp_path))
    assert numbers_of(found) == numbers_of(train(spec, "cpu"))
    assert "no checkpoint of gru on copy_memory" in capsys.readouterr().err
    assert left_files(tmp_path) == []


def test_checkpoints_of_finished_runs_are_removed(tmp_path: Path) -> None:
    ended, failed, begun = tiny(seed=0), tiny(seed=1), tiny(seed=2)
    for spec in (ended, failed, begun):
        stop_at(10, spec, tmp_path)
    half = place_of(begun, tmp_path).path.with_name(".half.1-a.tmp")
    half.write_bytes(b"half a ")
    remove_leftovers(tmp_path, [record(ended), record(failed, status="failed")])
    assert set(left_files(tmp_path)) == {f"{failed.id}.pt", f"{begun.id}.pt"}
