"""A disk that fills up, or was never to be written to: one clear line, nothing half written."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.cli import main
from bench.core.store import Store
from tests.support.commands import ROOT
from tests.support.full_disk import install, operations
from tests.support.harness import Capture, Note, files_below, forget_plugins, not_drawn

STUB = '''
"""Copy memory on eight sequences; in a worker the disk may be full."""
import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from tasks.copy_memory import CopyMemory

if multiprocessing.parent_process() is not None:
    sys.path.insert(0, "ROOT")
    from tests.support.full_disk import install
    at, code = map(int, Path("FOLDER/full").read_text().split())
    install(Path("FOLDER/results"), Path("FOLDER/counter"), at, code)

@dataclass(frozen=True, kw_only=True)
class Stub(CopyMemory):
    version = 1
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (3,)
    num_evaluation: ClassVar = 8

    def sample(self, n, generator, split="train"):
        Path("FOLDER/ran").touch()
        return super().sample(n, generator, split)
'''
PROFILE = """
description = "two runs"
seeds = [0, 1]
param_budget = 500
speed_rounds = 1
speed_seconds = 0.01

[training]
max_steps = 2
validate_every = 2
num_validation = 8
batch_size = 2
learning_rate = 0.01

[[grid]]
task = "stub_7"
models = ["rnn"]
"""
NEVER = 10**9
pytestmark = pytest.mark.usefixtures("plugins")


class Disk:
    """A results folder on a disk that fills up, and the benches that write to it."""

    def __init__(self, folder: Path, capture: Capture) -> None:
        self.folder = folder
        self.capture = capture
        folder.mkdir(exist_ok=True)
        text = STUB.replace("FOLDER", str(folder)).replace("ROOT", str(ROOT))
        (folder / "stub_7.py").write_text(text)
        (folder / "two.toml").write_text(PROFILE)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def bench(self, verb: str, at: int = NEVER, code: int = errno.ENOSPC) -> tuple[int, str]:
        """Exit status and stderr of a command that meets a full disk at its `at`-th operation."""
        (self.folder / "full").write_text(f"{at} {code}")
        (self.folder / "counter").unlink(missing_ok=True)
        forget_plugins()
        chosen = ["--profile", str(self.folder / "two.toml"), "--results", str(self.results)]
        command = [verb, "--device", "cpu", *chosen, "--plugin", str(self.folder / "stub_7.py")]
        self.capture.readouterr()
        undo = install(self.results, self.folder / "counter", at, code)
        try:
            status = main([*command, *(["--no-speed", "--workers", "1"] if verb == "run" else [])])
        finally:
            undo()
        return status, self.capture.readouterr().err

    def counted(self) -> list[str]:
        return operations(self.folder / "counter")

    def nothing_half_written(self) -> None:
        assert not list(self.results.rglob("*.tmp"))
        _, damaged = Store(self.results).read_all()
        assert not damaged


@contextmanager
def refused(disk: Disk, said: str, reason: str = "No space left on device") -> Iterator[None]:
    yield
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("error: "), said
    assert "can't " in last
    assert reason in last
    disk.nothing_half_written()


def chosen(number: int, few: bool) -> list[int]:
    """Operations from the first to the last; some of them in the fast half."""
    return sorted({1, number // 2, number}) if few else list(range(1, number + 1))


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their files are at stake, not what is in them."""
    not_drawn(monkeypatch)


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.faults)])
def test_a_disk_that_fills_up_at_any_write_of_a_run(
    few: bool, tmp_path: Path, capfd: Capture, record_property: Note
) -> None:
    disk = Disk(tmp_path / "whole", capfd)
    status, said = disk.bench("run")
    assert (status, "Traceback" in said) == (0, False)
    counted = disk.counted()
    in_the_report = next(i for i, did in enumerate(counted) if " tables" in did)
    assert in_the_report >= 20
    for at in chosen(in_the_report, few):
        disk = Disk(tmp_path / f"full-{at}", capfd)
        status, said = disk.bench("run", at)
        with refused(disk, said):
            assert status == (2 if at == 1 else 1)
        before = files_below(disk.results)
        assert disk.bench("run")[0] == 0
        records = Store(disk.results).read_all()[0]
        assert [record.status for record in records] == ["ok", "ok"]
        for path, content in before.items():
            assert path.read_bytes() == content  # no finished run was made again
        shutil.rmtree(disk.folder)
    record_property(
        "figure",
        f"full at each of {len(chosen(in_the_report, few))} writes of a run: one line each",
    )


@pytest.mark.parametrize(
    "part", [None, *(pytest.param(i, marks=pytest.mark.faults) for i in (0, 1))]
)
def test_a_disk_that_fills_up_at_any_write_of_a_report(
    part: int | None, tmp_path: Path, capfd: Capture, record_property: Note
) -> None:
    disk = Disk(tmp_path / "disk", capfd)
    assert disk.bench("run")[0] == 0
    assert disk.bench("report")[0] == 0
    whole = files_below(disk.results)
    for folder in ("tables", "figures"):
        shutil.rmtree(disk.results / folder)
    assert disk.bench("report")[0] == 0
    assert files_below(disk.results) == whole
    number = len(disk.counted())
    assert number > 150
    tried = chosen(number, few=True) if part is None else chosen(number, few=False)[part::2]
    for at in tried:
        for path in whole:
            if path.parent == disk.results or path.parent.name in ("tables", "figures"):
                path.unlink(missing_ok=True)
        for folder in ("tables", "figures"):
            (disk.results / folder).rmdir()
        status, said = disk.bench("report", at)
        with refused(disk, said):
            assert status == 1
        for path, content in files_below(disk.results).items():
            assert whole[path] == content
        if part is None or at % 10 == 0:
            assert disk.bench("report")[0] == 0
            assert files_below(disk.results) == whole
        else:
            for folder in ("tables", "figures"):
                (disk.results / folder).mkdir(exist_ok=True)
    record_property("figure", f"full at each of {len(tried)} of {number} writes of a report")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_reported_before_any_run(
    code: int, tmp_path: Path, capfd: Capture
) -> None:
    disk = Disk(tmp_path / "disk", capfd)
    disk.results.mkdir()
    status, said = disk.bench("run", 1, code)
    with refused(disk, said, os.strerror(code)):
        assert status == 1
    assert not (disk.folder / "ran").exists()
    assert not files_below(disk.results)


@pytest.mark.parametrize("name", ["", "runs", "tables", "figures"])
def test_a_file_where_a_folder_belongs_is_reported(
    name: str, tmp_path: Path, capfd: Capture
) -> None:
    disk = Disk(tmp_path / "disk", capfd)
    path = disk.results / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    status, said = disk.bench("run")
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    if name:
        assert status == 1
        assert last.startswith("error: can't write ")
    else:
        assert status == 2
        assert "is not a folder" in last
    assert path.read_text() == "mine"
