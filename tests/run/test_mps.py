"""The service through which runs share a GPU, with a program that only writes down its calls."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.core.backend import Backend
from bench.core.records import Record
from bench.plan.plugins import Plugin
from bench.run import execute, mps, workers
from bench.run.execute import Manner
from bench.run.job import Event, Job, Setup
from bench.run.queue import Queue
from bench.run.workers import Limits
from tests.support.training import tiny


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file to which the program writes its arguments, its input and its folder of pipes."""
    written, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    program = folder / mps.CONTROL
    program.write_text(f'#!/bin/sh\necho "$* $(cat) ${mps.PIPES}" >> {written}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv(mps.PIPES, raising=False)
    return written


def test_the_service_starts_and_ends_with_the_block(calls: Path) -> None:
    with mps.service() as folder:
        assert folder is not None
        assert folder.is_dir()
        assert calls.read_text().split() == ["-d", str(folder)]
    assert calls.read_text().split()[2:] == ["quit", str(folder)]
    assert not folder.exists()
    assert mps.PIPES not in os.environ  # only the workers join


def test_the_service_ends_after_an_error(calls: Path) -> None:
    with pytest.raises(KeyboardInterrupt), mps.service():
        raise KeyboardInterrupt
    assert "quit" in calls.read_text()


def test_a_service_that_the_user_has_started_is_used(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mps.PIPES, "/somewhere")
    with mps.service() as folder:
        assert folder is None
    assert not calls.exists()


def test_a_service_that_does_not_start_is_not_used(calls: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / mps.CONTROL).write_text("#!/bin/sh\nexit 1\n")
    with mps.service() as folder:
        assert folder is None


def test_without_the_program_runs_share_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert not mps.available()
    with mps.service() as folder:
        assert folder is None


@pytest.mark.parametrize(
    ("installed", "asked", "expected"),
    [(True, None, 16), (False, None, 2), (True, 3, 6), (False, 3, 6)],
)
def test_the_number_of_runs_on_each_gpu(
    installed: bool, asked: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mps, "available", lambda: installed)
    monkeypatch.setattr(execute, "num_cores", lambda: 16)
    request = SimpleNamespace(device="cuda:0", devices=("cuda:0", "cuda:1"))
    assert Manner(per_gpu=asked).num_at_once(request) == expected  # pyright: ignore


def test_workers_join_the_service(tmp_path: Path) -> None:
    told, file = tmp_path / "told", tmp_path / "tells.py"
    file.write_text(
        "import os, pathlib\n"
        "from tasks.copy_memory import CopyMemory\n"
        "class Tells(CopyMemory): pass\n"
        f"pathlib.Path({str(told)!r}).write_text(os.environ[{mps.PIPES!r}])\n"
    )
    setup = Setup(
        results=tmp_path / "results",
        backend=Backend(device="cpu"),
        device="cpu",
        plugins=(Plugin(path=file),),
        mps=tmp_path / "pipes",
    )
    records: list[Record] = []

    def on_event(event: Event) -> None:
        records.extend([event.record] if event.record else [])

    workers.execute(Queue([Job(spec=tiny(), estimate_s=1.0)]), setup, Limits(), on_event)
    assert records[0].status == "ok"
    assert told.read_text() == str(tmp_path / "pipes")
