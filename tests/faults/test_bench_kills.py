"""A bench or a worker killed at random moments: the same command goes on and nothing is lost."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench.core import files
from bench.core.store import Store
from tests.support.harness import (
    Begin,
    Capture,
    Note,
    Stubs,
    by_id,
    files_below,
    finished,
    grow_old,
    not_drawn,
    processes,
    repeated,
    reported,
    run_here,
    tables,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    not_drawn(monkeypatch)


def kill(bench: subprocess.Popen[str]) -> None:
    """The whole process group, as a batch system or a closed terminal does."""
    os.killpg(bench.pid, signal.SIGKILL)
    bench.communicate()
    wait_until(lambda: not processes(bench.pid))


def num_records(results: Path) -> int:
    return len(list(results.rglob("runs/**/*.json")))


@repeated(few=1, many=50)
def test_a_bench_killed_at_any_moment_goes_on_and_loses_nothing(
    times: int, begin: Begin, tmp_path: Path, capfd: Capture, record_property: Note
) -> None:
    # The pause keeps a fast machine from making every run before the last kill.
    stubs = Stubs(folder=tmp_path / "stubs", num_seeds=1 + 2 * times, pause_s=0.2)
    results, undisturbed = tmp_path / "results", tmp_path / "undisturbed"
    moments, kept, half, early = random.Random(0), {}, 0, 0
    for i in range(times):
        bench = begin(*stubs.arguments(results, *reported(times)))
        if i % 5 == 4:  # at whatever it is doing
            time.sleep(moments.uniform(0, 6))
        else:
            wanted = num_records(results) + moments.randint(1, 3)
            wait_until(
                lambda bench=bench, wanted=wanted: (
                    bench.poll() is not None or num_records(results) >= wanted
                )
            )
            time.sleep(moments.uniform(0, 0.06))
        early += bench.poll() is None
        kill(bench)
        now = finished(results)
        assert {path: now.get(path) for path in kept} == kept, "lost, or made again"
        kept = now
        others = [p.name for p in files_below(results) if p not in kept and p.suffix != ".pt"]
        tables_or_half = [name for name in others if files._TEMPORARY.fullmatch(name)]
        half = max(half, len(tables_or_half))
        if early == i + 1:  # no report has been written yet
            assert others == tables_or_half
    assert early > 0.8 * times
    left = grow_old(results)
    run_here(capfd, *stubs.arguments(results, *reported(times)))
    made = by_id(results)
    assert len(made) == stubs.num_runs
    assert {path: path.read_bytes() for path in kept} == kept
    assert not [path for path in left if path.exists()]
    assert not list(results.rglob("checkpoints/*/*.pt"))

    run_here(capfd, *stubs.arguments(undisturbed, *reported(times)))
    assert made == by_id(undisturbed)
    assert tables(results) == tables(undisturbed)
    record_property(
        "figure",
        f"{times} kills of a bench ({early} before its end), {len(made)} records of "
        f"{stubs.num_runs}, {half} files at most left half written and all swept, none lost, none "
        "made twice, tables equal",
    )


@pytest.mark.faults
def test_killed_workers_fail_their_runs_and_touch_no_other(
    begin: Begin, tmp_path: Path, capfd: Capture, record_property: Note
) -> None:
    times = 50
    stubs = Stubs(folder=tmp_path / "stubs", num_seeds=1 + 2 * times, pause_s=0.05)
    results, moments = tmp_path / "results", random.Random(0)
    bench = begin(*stubs.arguments(results))
    kept, killed = {}, set()
    while len(killed) < times:
        wait_until(lambda: set(stubs.workers(bench.pid)) - killed)
        time.sleep(moments.uniform(0, 0.2))
        living = set(stubs.workers(bench.pid)) - killed
        if living:
            worker = moments.choice(sorted(living))
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        now = finished(results)
        assert {path: now.get(path) for path in kept} == kept, "a finished run was touched"
        kept = now
    _, said = bench.communicate(timeout=300)
    assert "Traceback" not in said
    wait_until(lambda: not processes(bench.pid), 10)
    found, damaged = Store(results).read_all()
    assert not damaged
    assert len(found) == stubs.num_runs
    failed = [record for record in found if record.status != "ok"]
    assert {r.error for r in failed} <= {"the worker process died: signal 9 (SIGKILL)"}
    assert len(failed) <= times
    assert bench.returncode == (1 if failed else 0)
    now = finished(results)
    assert {path: now.get(path) for path in kept} == kept

    run_here(capfd, *stubs.arguments(results))
    assert len(by_id(results)) == stubs.num_runs
    assert {path: path.read_bytes() for path in now} == now
    record_property(
        "figure",
        f"{times} workers killed, {len(failed)} runs failed with the reason, "
        f"{len(found) - len(failed)} others ok; the next bench made those that failed",
    )
