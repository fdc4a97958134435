"""A slot of limited time: it ends in time, goes on, repeats nothing and needs few packages."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import CheckRecord
from bench.measure import checkpoint
from bench.plan.grid import Selection
from bench.run import archive, execute, slot
from bench.run.job import Job
from bench.run.request import Request, make_request
from tests.support.commands import PROFILE, ROOT, records, wait_for_records
from tests.support.harness import files_below, processes, wait_until

NEEDED = {"torch", "numpy", "tqdm", "pydantic"}
MISSING = """
import sys
from importlib.machinery import PathFinder


class Missing(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in {NAMES}:
            return None
        return PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Missing if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""A `sitecustomize.py`, after which these packages are not installed for any process."""

LONG = '''
"""Copy memory whose longer sequences need a very long training; it writes every checkpoint."""
import time
from dataclasses import dataclass
from typing import ClassVar
import bench.measure.checkpoint
from tasks.copy_memory import CopyMemory

bench.measure.checkpoint.INTERVAL_S = 0.0

@dataclass(frozen=True, kw_only=True)
class Long(CopyMemory):
    version = 1
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (3, 4)
    num_evaluation: ClassVar = 8

    def sample(self, n, generator, split="train"):
        if split == "train":
            time.sleep(0.05)
        return super().sample(n, generator, split)
'''
LONG_PROFILE = """
description = "two short runs and one that no slot of a test can finish"
seeds = [0]
time_every_network = false
param_budget = 2_000

[training]
max_steps = 2
validate_every = 1
num_validation = 8
batch_size = 2
learning_rate = 0.01

[[grid]]
task = "long"
lengths = [3]
models = ["rnn", "gru"]

[[grid]]
task = "long"
lengths = [4]
models = ["rnn"]
training = { max_steps = 100_000 }
"""


@pytest.fixture
def few_packages(tmp_path: Path) -> dict[str, str]:
    """An environment without the project's other dependencies, and without tools for tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[<>=]", each)[0].replace("-", "_") for group in listed for each in group}
    names = {{"markdown_it_py": "markdown_it"}.get(name, name) for name in names} - NEEDED
    assert {"click", "pandas", "numba", "pytest"} < names
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(MISSING.replace("{NAMES}", repr(names)))
    return {**os.environ, "PYTHONPATH": str(folder)}


def call(environment: dict[str, str], module: str, *arguments: object) -> str:
    words = [sys.executable, "-m", module, *map(str, arguments)]
    ended = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def test_slots_go_on_until_all_is_recorded_and_need_few_packages(
    tmp_path: Path, few_packages: dict[str, str]
) -> None:
    profile = tmp_path / "few.toml"
    profile.write_text(PROFILE.format(steps=4))
    results, minutes = tmp_path / "results", 1.0
    selected = ["--minutes", minutes, "--device", "cpu", "--profile", profile]
    before: dict[Path, bytes] = {}
    said = "to go on"
    for _ in range(4):
        begin = time.monotonic()
        said = call(few_packages, "bench.run.slot", *selected, "--results", results)
        assert time.monotonic() - begin < 60 * minutes
        now = {path: text for path, text in files_below(results).items() if path.suffix == ".json"}
        assert {path: now.get(path) for path in before} == before  # nothing was made again
        before = now
        if "to go on" not in said:
            break
    assert "8 of 8 runs recorded, 0 runs and 0 timings left" in said
    assert {record.status for record in records(results).values()} == {"ok"}

    home = tmp_path / "home"
    command = re.search(r"to merge it on another machine: python -m (.*)", said)
    assert command is not None
    module, file, folder = command[1].split()
    assert folder == str(results)
    call(few_packages, module, file, home)
    here = {path.relative_to(results): text for path, text in before.items()}
    assert {path.relative_to(home): text for path, text in files_below(home).items()} == here


@pytest.mark.usefixtures("plugins")
@pytest.mark.faults
def test_an_interrupted_slot_writes_its_archive_and_the_next_goes_on_from_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "long.py").write_text(LONG)
    (tmp_path / "long.toml").write_text(LONG_PROFILE)
    selected = ["--device", "cpu", "--plugin", str(tmp_path / "long.py")]
    selected += ["--profile", str(tmp_path / "long.toml"), "--minutes"]
    first, second = tmp_path / "first", tmp_path / "second"
    words = [sys.executable, "-m", "bench.run.slot", *selected, "9", "--results", str(first)]
    with subprocess.Popen(
        words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        try:
            wait_for_records(first, 2, limit_s=100)
            wait_until(lambda: list(first.rglob("checkpoints/*/*.pt")))
            started.send_signal(signal.SIGTERM)
            _, said = started.communicate(timeout=30)
        finally:
            started.kill()
    assert started.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert "2 of 3 runs recorded" in said
    wait_until(lambda: not processes(started.pid), 10)  # the server of workers ends by itself
    (cut,) = first.rglob("checkpoints/*/*.pt")
    step = checkpoint.step_of(cut.read_bytes())

    second.mkdir()
    (first / "slot.tar.gz").rename(second / "slot.tar.gz")
    assert slot.main([*selected, "0.4", "--results", str(second)]) == 0
    assert records(second) == records(first)
    (further,) = second.rglob("checkpoints/*/*.pt")
    assert checkpoint.step_of(further.read_bytes()) > step
    third = tmp_path / "third"
    assert archive.merge(second / "slot.tar.gz", third)[1] == 1
    assert records(third) == records(first)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.fixture
def request_on_cpu(tmp_path: Path) -> Request:
    profile = tmp_path / "few.toml"
    profile.write_text(PROFILE.format(steps=4))
    return make_request(
        results=tmp_path / "results",
        selection=Selection(),
        device="cpu",
        profile_name=str(profile),
    )


def test_the_cheapest_runs_start_first(
    request_on_cpu: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Job] = []
    monkeypatch.setattr(
        execute, "_run_all", lambda request, queue, *rest: started.extend(iter(queue.take, None))
    )
    specs = request_on_cpu.plan.specs
    manner = execute.Manner(timed=False, reported=False, cheapest_first=True)
    execute.execute(request_on_cpu, specs, manner)
    estimates = [job.estimate_s for job in started]
    assert len(estimates) == len(specs)
    assert estimates == sorted(estimates)
    assert estimates[0] < estimates[-1]


def test_short_sequences_are_timed_first_and_only_while_there_is_time(
    request_on_cpu: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = slot.waiting_groups(request_on_cpu)
    assert [{spec.length for spec in group} for group in groups] == [{3}, {4}]
    assert sum(map(len, groups)) == len(request_on_cpu.speed_specs)

    timed: list[Any] = []
    monkeypatch.setattr(execute, "time_networks", lambda request: timed.append(request) or True)
    for seconds in (1.0, 600.0):
        left = slot.Slot(seconds=seconds, begin=time.monotonic(), archive=Path("none"))
        assert slot._time(request_on_cpu, groups[0], left)
    assert [request.speed_specs for request in timed] == [tuple(groups[0])]


@pytest.mark.parametrize("passes", [True, False])
def test_gpu_tests_are_recorded_and_not_repeated_once_they_have_passed(
    passes: bool,
    request_on_cpu: Request,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    test, log = tmp_path / "test_it.py", tmp_path / "log"
    test.write_text(
        f"def test_it():\n    open({str(log)!r}, 'a').write('.')\n    assert {passes}\n"
    )
    monkeypatch.setattr(slot, "GPU_TESTS", (str(test),))
    request = replace(request_on_cpu, devices=("cuda:0",))
    assert slot.check(request, 60.0) == passes
    (found,) = request.store.read_below("checks", CheckRecord)[0]
    assert found.passed == passes
    assert ("1 passed" if passes else "1 failed") in (found.output or "")
    assert slot.check(request, 60.0) == passes
    assert log.read_text() == ("." if passes else "..")
    assert ("they have passed" in capsys.readouterr().err) == passes


def test_gpu_tests_without_pytest_are_skipped_with_a_line(
    request_on_cpu: Request, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slot.importlib.util, "find_spec", lambda name: None)
    assert slot.check(replace(request_on_cpu, devices=("cuda:0",)), 60.0)
    assert "skipped, since pytest is not installed" in capsys.readouterr().err


def test_gpu_tests_take_no_more_than_their_share(
    request_on_cpu: Request,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "test_it.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(slot, "GPU_TESTS", (str(tmp_path / "test_it.py"),))
    begin = time.monotonic()
    assert slot.check(replace(request_on_cpu, devices=("cuda:0",)), 0.5)
    assert time.monotonic() - begin < 30
    assert "ended after" in capsys.readouterr().err
    assert not request_on_cpu.store.read_below("checks", CheckRecord)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--minutes 0", "'0'; valid: numbers above 0"),
        ("--minutes soon", "'soon'; valid: numbers above 0"),
        ("--minutes 1 --per-gpu 0", "'0'; valid: whole numbers from 1"),
        ("--minutes 1 --device tpu", "unknown or absent device 'tpu'"),
        ("--minutes 1 --device cpu --profile quik", "did you mean 'quick'?"),
        ("--minutes 1 --device cpu --profile generation", "keeps the weights of runs"),
        ("", "required: --minutes"),
    ],
)
def test_an_invalid_request_ends_with_status_2_and_writes_nothing(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    try:
        status = slot.main([*arguments.split(), "--results", str(results)])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert said in capsys.readouterr().err
    assert not results.exists()


def test_a_damaged_archive_is_never_replaced(
    request_on_cpu: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "slot.tar.gz"
    file.write_bytes(b"half")
    few = ["--profile", str(tmp_path / "few.toml"), "--results", str(tmp_path / "results")]
    assert slot.main(["--minutes", "1", "--device", "cpu", *few, "--output", str(file)]) == 2
    assert "nothing was merged" in capsys.readouterr().err
    assert file.read_bytes() == b"half"
