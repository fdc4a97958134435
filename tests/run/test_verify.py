"""A recorded run is made again and compared bit for bit."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.core.backend import Backend
from bench.core.machine import fingerprint
from bench.core.records import Outcome, Record
from bench.core.store import Store
from bench.run.job import Setup, run_one
from bench.run.verify import candidates, difference
from tests.support.training import tiny

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("made")
    setup = Setup(results=folder, backend=Backend(device="cpu"), device="cpu")
    return run_one(tiny("adding", "lstm"), setup, lambda event: None)


def changed(record: Record, **update: Any) -> Record:
    assert record.outcome is not None
    outcome = Outcome.model_validate({**record.outcome.model_dump(), **update})
    return record.model_copy(update={"outcome": outcome})


def test_a_run_that_is_made_twice_has_the_same_numbers(
    made: Record, tmp_path: Path, capsys: Capture
) -> None:
    Store(tmp_path).write(changed(made, total_seconds=9.0, train_seconds=8.0))  # times may differ
    assert main(["verify", str(tmp_path), "--number", "1", "--seed", "3"]) == 0
    first, line, last = capsys.readouterr().out.splitlines()
    assert first == f"1 run of {tmp_path} can be compared here; drawn with --seed 3"
    assert line.startswith("same        lstm on adding, T=8, seed 0 (")
    assert last == "the same numbers: 1 of 1 run"


def test_runs_can_be_named_by_their_ids(made: Record, tmp_path: Path, capsys: Capture) -> None:
    other = made.model_copy(update={"spec": made.spec.model_copy(update={"seed": 77})})
    for record in (made, other):
        Store(tmp_path).write(record)
    assert main(["verify", str(tmp_path), "--id", made.spec.id[:8], "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 run of ")
    assert "seed 77" not in said
    assert main(["verify", str(tmp_path), "--id", "zzz"]) == 2
    assert "has an id that begins with zzz" in capsys.readouterr().err


def test_one_changed_bit_is_a_difference(made: Record, tmp_path: Path, capsys: Capture) -> None:
    assert made.outcome is not None
    curve = [point.model_dump() for point in made.outcome.curve]
    loss = curve[1]["train_loss"]
    curve[1]["train_loss"] = math.nextafter(loss, 1.0)
    Store(tmp_path).write(changed(made, curve=curve))
    assert main(["verify", str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("differs     lstm on adding")
    assert said[1].endswith(
        f"at update 10, train_loss: recorded {curve[1]['train_loss']!r}, now {loss!r}"
    )
    assert said[-1] == "the same numbers: 0 of 1 run"


def test_a_difference_of_a_record_without_the_instructions_says_so(
    made: Record, tmp_path: Path, capsys: Capture
) -> None:
    assert made.outcome is not None
    older = made.machine.model_copy(update={"instructions": None})
    record = changed(made, steps=made.outcome.steps + 1).model_copy(update={"machine": older})
    Store(tmp_path).write(record)
    assert main(["verify", str(tmp_path)]) == 1
    line = capsys.readouterr().out.splitlines()[1]
    assert line.endswith("its record does not name the vector instructions of its machine")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o: {"steps": o.steps + 1}, "steps: recorded 21, now 20"),
        (lambda o: {"test": {**o.test, "within_tolerance": 0.5}}, "test: recorded"),
        (lambda o: {"curve": o.curve[:-1], "steps": 10}, "steps: recorded 10, now 20"),
        (lambda o: {"latency": None, "label": "other"}, None),
    ],
)
def test_everything_but_times_and_labels_is_compared(
    made: Record, change: Callable[[Outcome], dict[str, Any]], said: str | None
) -> None:
    assert made.outcome is not None
    other = changed(made, **change(made.outcome)).outcome
    assert other is not None
    found = difference(other, made.outcome)
    assert found == said if said is None else (found or "").startswith(said)


def test_runs_of_other_machines_and_older_code_are_counted_and_not_drawn(
    made: Record, tmp_path: Path, capsys: Capture
) -> None:
    here = fingerprint()
    others = [
        made.model_copy(update={"machine": here.model_copy(update={"cpu": "Abacus"})}),
        made.model_copy(update={"machine": here.model_copy(update={"instructions": "AVX"})}),
        made.model_copy(update={"machine": here.model_copy(update={"torch": "1.0"})}),
        made.model_copy(update={"backend": Backend(device="cuda")}),
        made.model_copy(update={"spec": made.spec.model_copy(update={"protocol": 1})}),
        made.model_copy(update={"status": "failed", "outcome": None}),
    ]
    found = candidates([made, *others])
    assert list(found.records) == [made]
    assert sum(found.others.values()) == len(found.others) == len(others)
    Store(tmp_path).write(others[0])
    assert main(["verify", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert f"not compared: 1 run of Abacus ({here.instructions}), PyTorch" in said.out
    assert "was compared" in said.err


def test_a_run_that_does_not_fit_into_the_time_is_passed_over(
    made: Record, tmp_path: Path, capsys: Capture
) -> None:
    Store(tmp_path).write(changed(made, total_seconds=1e6))
    assert main(["verify", str(tmp_path), "--time-limit", "1"]) == 2
    assert "passed over: 1 run" in capsys.readouterr().out
