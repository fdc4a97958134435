"""A stopped bench leaves no worker behind; two benches at once do not disturb each other."""

import os
import signal
from pathlib import Path

import pytest

from bench.core.store import Store
from tests.support.harness import (
    Begin,
    Capture,
    Note,
    Stubs,
    by_id,
    finished,
    processes,
    run_here,
    wait_until,
)


@pytest.mark.parametrize("whom", ["everyone", pytest.param("the bench", marks=pytest.mark.faults)])
@pytest.mark.parametrize(
    "told", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.faults)]
)
def test_a_stopped_bench_leaves_no_worker(
    told: signal.Signals, whom: str, begin: Begin, tmp_path: Path
) -> None:
    """Ctrl-C on a terminal goes to the whole process group, `kill` to one process."""
    stubs = Stubs(folder=tmp_path / "stubs", num_seeds=30, pause_s=0.2)
    results = tmp_path / "results"
    bench = begin(*stubs.arguments(results))
    wait_until(lambda: len(finished(results)) >= 2)
    assert stubs.workers(bench.pid)
    before = finished(results)
    if whom == "everyone":
        os.killpg(bench.pid, told)
    else:
        os.kill(bench.pid, told)
    _, said = bench.communicate(timeout=30)
    wait_until(lambda: not processes(bench.pid), 10)
    assert "Traceback" not in said
    if told == signal.SIGINT:
        assert bench.returncode == 130
        assert said.splitlines()[-1] == "interrupted; the same command continues where it stopped"
    else:
        assert bench.returncode != 0
    found, damaged = Store(results).read_all()
    assert not damaged
    assert {record.status for record in found} == {"ok"}  # none is failed for having been stopped
    assert len(found) < stubs.num_runs
    after = finished(results)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.faults
@pytest.mark.usefixtures("plugins")
def test_two_benches_on_one_folder_both_end_well(
    begin: Begin,
    tmp_path: Path,
    capfd: Capture,
    record_property: Note,
) -> None:
    times = 4
    stubs = Stubs(folder=tmp_path / "stubs", num_seeds=4)
    run_here(capfd, *stubs.arguments(tmp_path / "alone"))
    alone = by_id(tmp_path / "alone")
    for i in range(times):
        results = tmp_path / f"together-{i}"
        benches = [begin(*stubs.arguments(results)) for _ in range(2)]
        for bench in benches:
            _, said = bench.communicate(timeout=300)
            assert "Traceback" not in said
            assert bench.returncode == 0, said
        assert by_id(results) == alone
        assert not list(results.rglob("*.tmp"))
        assert not list(results.rglob("checkpoints/*/*.pt"))
        assert not (results / "set-aside").exists()
    record_property("figure", f"{2 * times} benches, {times * len(alone)} records, none differs")
