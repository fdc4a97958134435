"""Whatever a plug-in does, its own runs fail or diverge with the reason, and no others."""

from pathlib import Path

import pytest

from bench.core.records import Record
from bench.core.store import Store
from tests.support.harness import Capture, Note, by_name, not_drawn, run_here

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    not_drawn(monkeypatch)


TASK = '''
"""Copy memory that brings the trouble its field says."""
import ctypes
import os
import resource
import sys
import time
from dataclasses import dataclass, replace
from typing import ClassVar
import torch
from tasks.copy_memory import CopyMemory


class Unsayable(Exception):
    def __str__(self):
        raise ValueError("nothing can be said")


def out_of_address_space():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, before[1]))
    try:
        return torch.ones(2**30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def raises(error):
    raise error


TROUBLE = {
    "raises": lambda: raises(RuntimeError("no luck")),
    "raises in several lines": lambda: raises(RuntimeError("a\\n  b\\x1b[31m\\ud800")),
    "raises a very long message": lambda: raises(RuntimeError("x" * 10**6)),
    "raises an error whose message fails": lambda: raises(Unsayable()),
    "fails an assertion": lambda: raises(AssertionError()),
    "exits": lambda: sys.exit(3),
    "exits with a message": lambda: sys.exit("good bye"),
    "exits without cleanup": lambda: os._exit(3),
    "asks torch for too much memory": lambda: torch.ones(2**60),
    "exceeds its address space": out_of_address_space,
    "asks Python for too much memory": lambda: bytearray(2**62),
    "runs out of GPU memory": lambda: raises(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    ),
    "recurses without end": lambda: (lambda f: f(f))(lambda f: f(f)),
    "reads a null pointer": lambda: ctypes.string_at(0),
    "kills its process": lambda: os.kill(os.getpid(), 9),
    "loops forever": lambda: all(True for _ in iter(int, 1)),
    "sleeps for hours": lambda: time.sleep(10_000),
    "imports a missing module": lambda: __import__("nothing_so_named"),
    "has a syntax error": lambda: compile("def", "no_python", "exec"),
    "returns no batch": lambda: None,
}

@dataclass(frozen=True, kw_only=True)
class Trouble(CopyMemory):
    version = 1
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (3,)
    num_evaluation: ClassVar = 8
    how: str = ""

    def sample(self, n, generator, split="train"):
        if split == "train" and self.how in TROUBLE:
            TROUBLE[self.how]()
            if self.how == "returns no batch":
                return None
        return super().sample(n, generator, split)

    @property
    def objective(self):
        whole = super().objective
        if self.how != "is not a number":
            return whole
        return replace(whole, loss=lambda output, batch: whole.loss(output, batch) * float("nan"))
'''

MODEL = '''
"""A recurrent network that brings trouble where its field says, and only in a worker."""
import multiprocessing
from dataclasses import dataclass
import torch
from models.rnn import Rnn

IN_A_WORKER = multiprocessing.parent_process() is not None

@dataclass(frozen=True, kw_only=True)
class Trouble(Rnn):
    version = 1
    where: str = ""

    def __post_init__(self):
        if self.where == "post_init" and IN_A_WORKER:
            raise RuntimeError("no luck in __post_init__")

    def build_core(self, signature, width, extra_width):
        if self.where == "build_core" and IN_A_WORKER:
            raise RuntimeError("no luck in build_core")
        core = super().build_core(signature, width, extra_width)
        if self.where == "forward":
            core.forward = None
        if self.where == "gradient":
            core.register_forward_hook(lambda core, args, output: (output[0] / 0, output[1]))
        return core
'''

PROFILE = """
description = "trouble"
seeds = [0]
param_budget = 500
speed_rounds = 1
speed_seconds = 0.01
models = ["rnn"]

[training]
max_steps = 2
validate_every = 1
num_validation = 8
batch_size = 2
learning_rate = 0.01

[[grid]]
task = "copy_memory"
lengths = [3]
seeds = [0, 1, 2]
"""

TASKS: dict[str, tuple[str, str]] = {
    "raises": ("failed", "RuntimeError: no luck (trouble_4.py:"),
    "raises in several lines": ("failed", "RuntimeError: a\n  b\x1b[31m\\ud800 ("),
    "raises a very long message": ("failed", "RuntimeError: xxxxxxxx"),
    "raises an error whose message fails": ("failed", "Unsayable: (its message raises ValueError)"),
    "fails an assertion": ("failed", "AssertionError:  (trouble_4.py:"),
    "exits": ("failed", "SystemExit: 3"),
    "exits with a message": ("failed", "SystemExit: good bye"),
    "exits without cleanup": ("failed", "the worker process died: exit status 3"),
    "asks torch for too much memory": ("failed", "RuntimeError: "),
    "exceeds its address space": ("failed", "can't allocate memory"),
    "asks Python for too much memory": ("failed", "MemoryError: "),
    "runs out of GPU memory": ("failed", "OutOfMemoryError: CUDA out of memory"),
    "recurses without end": ("failed", "RecursionError: "),
    "reads a null pointer": ("failed", "the worker process died: signal 11 (SIGSEGV)"),
    "kills its process": ("failed", "the worker process died: signal 9 (SIGKILL)"),
    "loops forever": ("failed", "took longer than the run timeout of 0.25 min"),
    "sleeps for hours": ("failed", "took longer than the run timeout of 0.25 min"),
    "imports a missing module": ("failed", "ModuleNotFoundError: No module named 'nothing_so_na"),
    "has a syntax error": ("failed", "SyntaxError: invalid syntax"),
    "returns no batch": ("failed", "AttributeError: 'NoneType'"),
    "is not a number": ("diverged", "loss not finite after"),
}
MODELS: dict[str, tuple[str, str]] = {
    "post_init": ("failed", "RuntimeError: no luck in __post_init__ (trouble_5.py:"),
    "build_core": ("failed", "RuntimeError: no luck in build_core (trouble_5.py:"),
    "forward": ("failed", "TypeError: 'NoneType' object is not callable"),
    "gradient": ("diverged", "loss not finite after"),
}


def arguments(folder: Path, plugins: dict[str, str], profile: str, *more: str) -> list[str]:
    """Of a bench with these plug-ins, by name, and this profile."""
    (folder / "trouble.toml").write_text(profile)
    paths = []
    for name, code in plugins.items():
        (folder / f"{name}.py").write_text(code)
        paths += ["--plugin", str(folder / f"{name}.py")]
    chosen = ["--profile", str(folder / "trouble.toml"), "--results", str(folder / "results")]
    return ["run", "--no-speed", "--device", "cpu", "--workers", "2", *chosen, *paths, *more]


def healthy(records: list[Record]) -> None:
    """The runs of copy memory beside the trouble: all there, all well."""
    assert [record.status for record in records] == ["ok"] * 3


def problems(folder: Path) -> str:
    return (folder / "results" / "tables" / "problems.csv").read_text()


FAST = (
    "raises",
    "exits without cleanup",
    "runs out of GPU memory",
    "reads a null pointer",
    "is not a number",
)


@pytest.mark.parametrize("chosen", [FAST, pytest.param(tuple(TASKS), marks=pytest.mark.faults)])
def test_a_task_that_brings_trouble_fails_its_own_runs_alone(
    chosen: tuple[str, ...], tmp_path: Path, capfd: Capture, record_property: Note
) -> None:
    grids = [
        f'\n[[grid]]\ntask = "trouble_4"\nlengths = [3]\ntask_fields = {{ how = "{how}" }}\n'
        for how in chosen
    ]
    command = arguments(tmp_path, {"trouble_4": TASK}, PROFILE + "".join(grids))
    run_here(capfd, *command, "--run-timeout", "0.25", status=1)
    found = by_name(tmp_path / "results")
    healthy(found["copy_memory"])
    made = {record.spec.task.fields["how"]: record for record in found["trouble_4"]}
    assert made.keys() == set(chosen)
    for how, record in made.items():
        status, reason = TASKS[how]
        assert record.status == status, (how, record.error)
        assert reason in (record.error or ""), how
        assert len(record.error or "") <= 4000
    said = problems(tmp_path)
    assert said.count("trouble_4") >= len(chosen)
    record_property("figure", f"{len(chosen)} kinds of trouble in a task, 3 other runs untouched")


def test_a_model_that_brings_trouble_fails_its_own_runs_alone(
    tmp_path: Path, capfd: Capture, record_property: Note
) -> None:
    grids = [
        '\n[[grid]]\ntask = "copy_memory"\nlengths = [4]\n'
        f'models = [{{ name = "trouble_5", fields = {{ where = "{where}" }} }}]\n'
        for where in MODELS
    ]
    run_here(capfd, *arguments(tmp_path, {"trouble_5": MODEL}, PROFILE + "".join(grids)), status=1)
    found = by_name(tmp_path / "results")
    healthy(found["rnn"])
    for record in found["trouble_5"]:
        status, reason = MODELS[record.spec.model.fields["where"]]
        assert record.status == status, record.error
        assert reason in (record.error or "")
    assert len(found["trouble_5"]) == len(MODELS)
    record_property("figure", f"{len(MODELS)} kinds of trouble in a model, 3 other runs untouched")


def test_runs_that_diverge_are_no_failure_of_the_bench(tmp_path: Path, capfd: Capture) -> None:
    fields = 'task_fields = { how = "is not a number" }'
    grid = f'\n[[grid]]\ntask = "trouble_4"\nlengths = [3]\n{fields}\n'
    run_here(capfd, *arguments(tmp_path, {"trouble_4": TASK}, PROFILE + grid), status=0)
    found = by_name(tmp_path / "results")
    healthy(found["copy_memory"])
    assert [record.status for record in found["trouble_4"]] == ["diverged"]


def test_a_plugin_whose_data_can_not_be_prepared_fails_its_own_runs_alone(
    tmp_path: Path, capfd: Capture
) -> None:
    code = TASK + "\n    def prepare(self):\n        raise OSError(5, 'Input/output error')\n"
    grid = '\n[[grid]]\ntask = "trouble_4"\nlengths = [3]\n'
    run_here(capfd, *arguments(tmp_path, {"trouble_4": code}, PROFILE + grid), status=1)
    found = by_name(tmp_path / "results")
    healthy(found["copy_memory"])
    (record,) = found["trouble_4"]
    assert record.status == "failed"
    assert (record.error or "").startswith("OSError: [Errno 5] Input/output error (trouble_4.py:")


def test_a_report_is_written_without_a_plugin_that_records_need(
    tmp_path: Path, capfd: Capture
) -> None:
    grid = '\n[[grid]]\ntask = "trouble_4"\nlengths = [3]\n'
    run_here(capfd, *arguments(tmp_path, {"trouble_4": TASK}, PROFILE + grid))
    run_here(capfd, *arguments(tmp_path, {}, PROFILE, "--length", "5"))
    found = by_name(tmp_path / "results")
    assert {record.status for records in found.values() for record in records} == {"ok"}
    assert len(found["trouble_4"]) == 1
    assert len(found["copy_memory"]) == 6


DYING = (
    TASK
    + """
import bench.measure.checkpoint
import multiprocessing
if multiprocessing.parent_process() is not None:
    bench.measure.checkpoint.remove = lambda place: os.kill(os.getpid(), 9)
"""
)


def test_a_worker_that_dies_after_its_run_has_ended_leaves_the_record(
    tmp_path: Path, capfd: Capture
) -> None:
    run_here(capfd, *arguments(tmp_path, {"trouble_4": DYING}, PROFILE))
    found, damaged = Store(tmp_path / "results").read_all()
    assert not damaged
    healthy([record for record in found if record.spec.task.name == "copy_memory"])
