"""Helpers of the fault tests: repetitions, benches with very short runs, and their files."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import models
import tasks
from bench.cli import main
from bench.core.records import Record
from bench.core.store import Store
from bench.plan import plugins
from bench.report import page
from tests.support.commands import without_times

STUB = '''
"""Copy memory on eight sequences; says in LOG which process trains."""
import os
import time
from dataclasses import dataclass
from typing import ClassVar
import bench.measure.checkpoint
from tasks.copy_memory import CopyMemory

bench.measure.checkpoint.INTERVAL_S = 0.0

@dataclass(frozen=True, kw_only=True)
class Stub(CopyMemory):
    version = 1
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (3, 4)
    num_evaluation: ClassVar = 8

    def sample(self, n, generator, split="train"):
        if split == "train":
            open(f"LOG/{os.getpid()}", "a").close()
            time.sleep(PAUSE_S)
        return super().sample(n, generator, split)
'''

PROFILE = """
description = "runs of milliseconds"
seeds = SEEDS
param_budget = 500
speed_rounds = 1
speed_seconds = 0.01

[training]
max_steps = 2
validate_every = 1
num_validation = 8
batch_size = 2
learning_rate = 0.01

[[grid]]
task = "stub_0"
lengths = [3, 4]
models = ["rnn"]
"""

TIMES = {
    *("step_ms", "total_s", "latency_ms", "latency_us", "hours"),
    *("update_ms", "run_s", "answer_ms", "plain_step_us"),
}
"""Columns of tables that differ from run to run."""


Note = Callable[[str, object], None]
"""pytest's `record_property`: a value noted as `figure` is printed at the end."""
Begin = Callable[..., subprocess.Popen[str]]
Capture = pytest.CaptureFixture[str]


def repeated(few: int, many: int) -> pytest.MarkDecorator:
    """Parametrise `times`: few repetitions in usual test runs, many in `make test-faults`."""
    return pytest.mark.parametrize("times", [few, pytest.param(many, marks=pytest.mark.faults)])


def reported(times: int) -> tuple[str, ...]:
    """Arguments of a bench: the slow report is made only in `make test-faults`."""
    return () if times > 1 else ("--shard", "1/1")


@dataclass(frozen=True, kw_only=True)
class Stubs:
    """A bench whose runs take milliseconds, with two lengths and `num_seeds` seeds."""

    folder: Path
    num_seeds: int
    pause_s: float = 0.0
    """Pause in each training step."""

    def __post_init__(self) -> None:
        self.log.mkdir(parents=True)
        text = STUB.replace("LOG", str(self.log)).replace("PAUSE_S", str(self.pause_s))
        (self.folder / "stub_0.py").write_text(text)
        seeds = str(list(range(self.num_seeds)))
        (self.folder / "stubs.toml").write_text(PROFILE.replace("SEEDS", seeds))

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def num_runs(self) -> int:
        return 2 * self.num_seeds

    def arguments(self, results: Path, *more: str) -> list[str]:
        """Arguments of the command that makes the runs and the report, on two workers."""
        chosen = ["--profile", str(self.folder / "stubs.toml"), "--results", str(results)]
        plugin = ["--plugin", str(self.folder / "stub_0.py")]
        return ["run", "--no-speed", "--device", "cpu", "--workers", "2", *chosen, *plugin, *more]

    def workers(self, session: int) -> list[int]:
        """Living processes of a session that have trained."""
        logged = {int(path.name) for path in self.log.iterdir()}
        return sorted(logged & set(processes(session)))


def processes(session: int) -> list[int]:
    """The living processes of a session: the bench that leads it, and its workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # the process has just ended
        if int(of) == session and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def wait_until(what: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace every figure by a few bytes, for tests of the other parts of a report."""

    def drawn(
        drawings: Iterable[tuple[str, object, bool]], num_cores: int
    ) -> Iterator[tuple[str, dict[str, bytes]]]:
        names = [name for name, _, _ in drawings]
        return ((name, {"svg": b"a figure" * 1000}) for name in names)

    monkeypatch.setattr(page, "draw", drawn)


def forget_plugins() -> None:
    """Unload all plug-ins, so that a file of the same name can be loaded again."""
    for name in plugins.names():
        sys.modules.pop(name, None)
    for registry in (tasks._plugins, models._plugins, plugins._files):
        registry.clear()


def run_here(capture: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """Run a whole bench in this process and return its stderr.

    `capture` is pytest's `capfd`, which also captures the output of workers.
    """
    forget_plugins()
    capture.readouterr()
    ended = main(arguments)
    said = capture.readouterr().err
    assert "Traceback" not in said, said
    assert ended == status, said
    return said


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def finished(results: Path) -> dict[Path, bytes]:
    """Path → bytes of each finished record; no file may be damaged."""
    store = Store(results)
    found, damaged = store.read_all()
    assert not damaged, damaged
    paths = [store.root / record.path for record in found if record.finished]
    return {path: path.read_bytes() for path in paths}


def by_id(results: Path) -> dict[str, dict]:
    """Spec id → record without its times; all must be `ok`."""
    found, damaged = Store(results).read_all()
    assert not damaged, damaged
    assert {record.status for record in found} == {"ok"}
    return {record.spec.id: without_times(record) for record in found}


def by_name(results: Path) -> dict[str, list[Record]]:
    """Name of a task or a model → the records of its runs."""
    found, damaged = Store(results).read_all()
    assert not damaged, damaged
    grouped: dict[str, list[Record]] = {}
    for record in found:
        for name in {record.spec.task.name, record.spec.model.name}:
            grouped.setdefault(name, []).append(record)
    return grouped


def tables(results: Path) -> dict[str, str]:
    """Every table of a report as CSV, without the columns that hold times."""
    found = {}
    for path in sorted((results / "tables").glob("*.csv")):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        kept = [i for i, name in enumerate(rows[0]) if name not in TIMES] if rows else []
        found[path.name] = "\n".join(",".join(row[i] for i in kept) for row in rows)
    return found


def grow_old(folder: Path) -> list[Path]:
    """The temporary files of killed writers, after their age was set to two hours."""
    left = list(folder.rglob(".*.tmp"))
    for path in left:
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    return left
