"""Ladders from the command line: only the runs that decide something are made."""

from pathlib import Path

import pytest

from bench.cli import main
from bench.core.backend import Backend
from bench.core.store import Store
from bench.plan.ladder import GO_ON, result_of, with_budget
from tests.support.commands import records, selectors

PROFILE = """
description = "a ladder that nobody climbs with three updates"
seeds = [0, 1, 2, 3, 4]
param_budget = 500
extend = 6

[training]
max_steps = 3
validate_every = 1
num_validation = 20
batch_size = 2
learning_rate = 0.01

[[grid]]
task = "copy_memory"
lengths = [1, 2, 4, 8]
ladder = true
models = ["rnn"]
"""


@pytest.mark.parametrize("workers", [[], ["--debug"]])
def test_a_climb_makes_the_runs_that_decide_then_longer_ones_and_ends(
    workers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, results = tmp_path / "ladder.toml", tmp_path / "results"
    profile.write_text(PROFILE)
    selected = selectors(str(profile), results)
    assert main(["plan", *selected]) == 0
    assert "20 runs at most, 0 recorded; the rest takes at most about" in capsys.readouterr().out

    # One shard of one is the whole plan, without timings and without a report.
    whole = ["run", *selected, "--shard", "1/1", *workers]
    assert main(whole) == 0
    made = records(results)
    first = {r.spec.id: r for r in made.values() if r.spec.training.max_steps == 3}
    assert {(r.spec.length, r.spec.seed) for r in first.values()} == {
        (length, seed) for length in (1, 2) for seed in (0, 1)
    }
    going_on = {
        with_budget(record.spec, 6).id
        for record in first.values()
        if result_of(record, 0.95).ending in GO_ON
    }
    assert going_on
    assert going_on == set(made) - set(first)
    capsys.readouterr()

    assert main(["plan", *selected, "--shard", "1/1"]) == 0
    said = capsys.readouterr().out
    assert (
        "rnn on copy_memory: T = 1 decided 0/2, T = 2 decided 0/2; "
        "T = 4 is not climbed: it failed T = 1 and T = 2"
    ) in said
    assert "20 runs at most, 4 recorded, 16 not needed; nothing to do" in said
    assert main(whole) == 0
    assert set(records(results)) == set(made)


def test_a_run_that_another_device_made_is_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, results = tmp_path / "ladder.toml", tmp_path / "results"
    profile.write_text(PROFILE)
    selected = ["run", *selectors(str(profile), results), "--shard", "1/1", "--debug"]
    assert main(selected) == 0
    before = records(results)
    (folder,) = (results / "runs").iterdir()
    elsewhere = Backend(device="cuda", capture=True)
    for record in before.values():
        Store(results).write(record.model_copy(update={"backend": elsewhere}))
        (results / record.path).unlink()
    assert not [*folder.rglob("*.json")]
    capsys.readouterr()

    assert main(selected) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert records(results).keys() == before.keys()
    assert not [*folder.rglob("*.json")]
