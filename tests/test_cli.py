"""The command line, end to end, on runs of a second."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

import tasks
from bench.cli import main
from bench.core import files
from bench.core.spec import PROTOCOL
from bench.core.store import Store
from bench.plan.grid import Selection, make_plan
from bench.plan.profile import load as load_profile
from tests.support.commands import PROFILE, ROOT, records, selectors, without_times
from tests.support.harness import forget_plugins, not_drawn


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a report, and has tests of its own."""
    not_drawn(monkeypatch)


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "few.toml"
    path.write_text(PROFILE.format(steps=4))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("plan --profile quik", "did you mean 'quick'? valid: full, generation, paper"),
        ("plan --profile none.toml", "can't read none.toml: No such file"),
        ("plan --task copy_memry", "did you mean 'copy_memory'? valid: adding"),
        ("plan --model ltsm", "did you mean 'lstm'? valid: attention"),
        ("plan --length 0", "'--length': '0'; valid: whole numbers from 1"),
        ("plan --task adding --length 1", "length 1 of adding; valid: 2 or more"),
        ("plan --seed -1", "'--seed': '-1'; valid: whole numbers from 0"),
        ("plan --device cuda:9", "unknown or absent device 'cuda:9'"),
        ("plan --device tpu", "valid: auto, cpu"),
        ("plan --set max_stps=3", "did you mean 'max_steps'?"),
        ("plan --set max_steps", "not of the form key=value"),
        ("plan --set max_steps=soon", "max_steps = 'soon'"),
        ("plan --set param_budget=40", "param_budget 40 of"),
        ("plan --plugin none.py", "none.py: no such file"),
        ("plan --results pyproject.toml", "pyproject.toml is not a folder"),
        ("run --workers 0", "'--workers': '0'; valid: whole numbers from 1"),
        ("run --time-limit soon", "--time-limit"),
        ("show 0123", "no record in results has an id that begins with '0123'"),
        ("run --debug --ray auto", "it can't be combined with --ray"),
        ("run --again 0123", "0 records in results have an id that begins with '0123'"),
        ("dance", "No such command 'dance'"),
        ("", "Missing command"),
    ],
)
def test_an_invalid_request_ends_with_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    status = main(arguments.split())
    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


def test_listing_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    for name in ("adding", "copy_memory", "lstm", "tcn", "quick", "paper"):
        assert f"\n  {name} " in said


def test_a_listing_has_the_tasks_and_models_of_plug_ins(
    tmp_path: Path, plugins: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "fine_7.py"
    plugin.write_text('"""A task of the user."""\n' + TROUBLE.replace("ACTION", "pass"))
    assert main(["list", "--plugin", str(plugin)]) == 0
    tasks, _, models = capsys.readouterr().out.partition("models\n")
    assert re.search(r"^  fine_7 +A task of the user\.$", tasks, re.MULTILINE)
    assert "fine_7" not in models


def test_a_bench_runs_once_and_continues(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    selected = selectors(profile, results)
    assert main(["run", "--no-speed", *selected, "--length", "3"]) == 0
    first = {path: path.stat().st_mtime_ns for path in results.rglob("runs/**/*.json")}
    assert len(first) == 4
    assert main(["plan", *selected]) == 0
    assert "8 runs, 4 recorded" in capsys.readouterr().out

    assert main(["run", "--no-speed", *selected, "--workers", "1"]) == 0
    assert len(records(results)) == 8
    for path, written in first.items():
        assert path.stat().st_mtime_ns == written  # no run was repeated
    said = capsys.readouterr()
    assert "Claims: " in said.out
    assert f"Report: {results / 'report.html'}" in said.out
    assert (results / "report.html").exists()

    assert main(["run", "--no-speed", *selected]) == 0
    assert "8 runs, 8 recorded; nothing to do" in capsys.readouterr().err
    assert not any("NaN" in path.read_text() for path in first)


def test_deleted_and_damaged_records_come_back_with_the_same_numbers(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    selected = [*selectors(profile, results), "--length", "3"]
    assert main(["run", "--no-speed", *selected, "--workers", "2"]) == 0
    before = {key: without_times(record) for key, record in records(results).items()}
    deleted, damaged, *_ = results.rglob("runs/**/*.json")
    deleted.unlink()
    damaged.write_text('{"half": ')
    assert main(["report", *selected]) == 0
    assert f"warning: {damaged} is not a valid record" in capsys.readouterr().err
    assert damaged.read_text() == '{"half": '
    assert main(["run", "--no-speed", *selected, "--workers", "1"]) == 0
    assert "the run is repeated" in capsys.readouterr().err
    assert {key: without_times(record) for key, record in records(results).items()} == before
    (aside,) = (results / "set-aside").iterdir()
    assert aside.read_text() == '{"half": '


def test_no_time_starts_no_run(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selected = selectors(profile, tmp_path / "results")
    assert main(["run", "--no-speed", *selected, "--time-limit", "0"]) == 0
    assert "8 left, the same command continues" in capsys.readouterr().err
    assert not records(tmp_path / "results")


TROUBLE = '''
"""A task whose training raises an error."""
import os
from dataclasses import dataclass
from typing import ClassVar
from tasks.copy_memory import CopyMemory

@dataclass(frozen=True, kw_only=True)
class Trouble(CopyMemory):
    version = 1
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (3,)

    def sample(self, n, generator, split="train"):
        if split == "train":
            ACTION
        return super().sample(n, generator, split)
'''


def test_runs_without_data_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasks import _mnist

    def nowhere() -> None:
        raise tasks.DataUnavailable([("a mirror", "no answer")], "set MNIST_DIR")

    monkeypatch.setattr(_mnist, "mnist_files", nowhere)
    results = tmp_path / "results"
    arguments = ["run", "--no-speed", *selectors("smoke", results), "--model", "rnn"]
    assert main([*arguments, "--set", "max_steps=2"]) == 0
    statuses = {r.spec.task.name: r.status for r in records(results).values()}
    assert statuses == {name: "skipped" if "mnist" in name else "ok" for name in tasks.names()}
    said = " ".join(capsys.readouterr().out.split())
    assert "a mirror: no answer" in said
    assert "set MNIST_DIR" in said


def test_smoke_runs_every_task_and_model(real_mnist: None, tmp_path: Path) -> None:
    # One update for each pair of a task and a model.
    setting = "max_steps=1"
    assert main(["run", "--no-speed", *selectors("smoke", tmp_path), "--set", setting]) == 0
    found = records(tmp_path).values()
    planned = make_plan(load_profile("smoke", [setting]), Selection()).specs
    assert {record.spec.id for record in found} == {spec.id for spec in planned}
    assert {record.spec.task.name for record in found} == set(tasks.names())
    assert {record.status for record in found} == {"ok"}
    page = (tmp_path / "report.html").read_text()
    for name in ("copy_memory", "adding", "pixel_mnist side=7", "audio levels=16 (synthetic)"):
        assert name in page


def test_fetch_reports_what_is_ready_and_what_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasks import _mnist

    attempts = []

    def nowhere() -> None:
        attempts.append(1)
        raise tasks.DataUnavailable([("a mirror", "no answer")], "set MNIST_DIR")

    monkeypatch.setattr(_mnist, "mnist_files", nowhere)
    assert main(["fetch"]) == 1
    said = capsys.readouterr()
    assert "adding: ready" in said.out
    assert "mnist_generation, permuted_mnist, pixel_mnist: " in said.err
    assert "a mirror: no answer" in said.err
    assert len(attempts) == 1  # shared files are looked for once
    monkeypatch.setattr(_mnist, "mnist_files", dict)
    assert main(["fetch"]) == 0


def test_timings_continue_where_they_stopped(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(profile, "a") as file:
        file.write('\n[[speed]]\ntask = "copy_memory"\nlengths = [3]\nbatch_sizes = [2]\n')
    results = tmp_path / "results"
    selected = [*selectors(profile, results), "--model", "rnn", "--length", "3"]
    assert main(["speed", *selected]) == 0
    said = capsys.readouterr()
    assert "timing: 4 networks, 0 recorded; each is timed in 1 fresh process" in said.err
    assert "rnn on copy_memory, T=3, batch 2: " in said.err
    assert not list(results.rglob("runs/**/*.json"))
    assert (results / "tables" / "training_speed.csv").read_text().count("\n") == 4
    found, damaged = Store(results).read_speed()
    assert (len(found), damaged) == (4, [])
    assert main(["speed", *selected]) == 0
    assert "timing: 4 networks, 4 recorded" in capsys.readouterr().err
    some_id = found[0].spec.id
    assert main(["show", some_id[:8], "--json", "--results", str(results)]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["batch_size"] == found[0].spec.batch_size
    again = ["--again", some_id, "--results", str(results), "--device", "cpu"]
    assert main(["run", *again]) == 2
    assert "is a timing; repeat it with speed" in capsys.readouterr().err


def test_a_failed_run_is_explained_on_one_screen_and_repeated_by_its_command(
    profile: str, tmp_path: Path, plugins: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, results = tmp_path / "trouble_5.py", tmp_path / "results"
    shape = "super().sample(n, generator, split).x.reshape(7, -1, 11)"
    plugin.write_text(TROUBLE.replace("ACTION", shape))
    chosen = ["--model", "rnn", "--task", "trouble_5", "--seed", "0", "--plugin", str(plugin)]
    command = ["run", *selectors(profile, results), *chosen]
    assert main([*command, "--no-speed"]) == 1
    (record,) = records(results).values()
    # The error is raised inside PyTorch, but the named line is the user's.
    assert (record.error or "").endswith("(trouble_5.py:16)")
    assert "Traceback (most recent call last)" in (record.traceback or "")
    assert (record.error or "?") in " ".join(capsys.readouterr().out.split())

    assert main(["show", record.spec.id[:6], "--results", str(results)]) == 0
    text = capsys.readouterr().out
    again = ["--again", record.spec.id, "--results", str(results), "--device", "cpu"]
    for part in (f"{'status':20} failed", "trouble_5.py", "Traceback", " ".join(again)):
        assert part in text

    for repeated in (command, ["run", *again, "--plugin", str(plugin)]):
        forget_plugins()
        with pytest.raises(RuntimeError, match="shape"):
            main([*repeated, "--debug"])


def test_show_plots_the_learning_curve_and_debug_trains_in_this_process(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [*selectors(profile, tmp_path), "--model", "rnn", "--length", "3", "--seed", "0"]
    assert main(["run", "--debug", *chosen]) == 0
    (record,) = records(tmp_path).values()
    capsys.readouterr()
    assert main(["show", record.spec.id, "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "rnn on copy_memory, T=3, seed 0" in text
    assert "validation recall" in text
    assert "█" in text
    assert "chance 0.125, threshold" in text
    again = ["--again", record.spec.id, "--results", str(tmp_path)]
    assert main(["speed", *again]) == 2
    assert "is a run; repeat it with the command run" in capsys.readouterr().err
    assert main(["run", *again]) == 0
    assert without_times(record) == without_times(records(tmp_path)[record.spec.id])


def test_a_run_of_an_older_protocol_is_reported_until_it_is_repeated(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [*selectors(profile, tmp_path), "--model", "rnn", "--length", "3", "--seed", "0"]
    assert main(["run", "--no-speed", *chosen]) == 0
    (new,) = records(tmp_path).values()
    (tmp_path / new.path).unlink()
    spec = new.spec.model_copy(update={"protocol": PROTOCOL - 1})
    Store(tmp_path).write(new.model_copy(update={"spec": spec}))
    assert main(["report", *chosen]) == 0
    page = (tmp_path / "report.md").read_text()
    assert f"Protocol {PROTOCOL - 1}: 1 run of the report" in page.splitlines()[0]
    assert "1 run was planned: 1 ok." in page

    capsys.readouterr()
    assert main(["run", "--again", spec.id, "--results", str(tmp_path)]) == 2
    assert f"was made with protocol {PROTOCOL - 1}" in capsys.readouterr().err
    assert main(["run", "--no-speed", *chosen]) == 0
    assert len(records(tmp_path)) == 2
    assert "the report leaves out 1 run of an older protocol" in capsys.readouterr().err
    assert "Protocol" not in (tmp_path / "report.md").read_text().splitlines()[0]


def test_a_report_covers_every_record_in_the_folder(
    profile: str, tmp_path: Path, plugins: None, capsys: pytest.CaptureFixture[str]
) -> None:
    results, plugin = tmp_path / "results", tmp_path / "fine_6.py"
    plugin.write_text(TROUBLE.replace("ACTION", "pass"))
    assert main(["run", "--no-speed", *selectors(profile, results)]) == 0
    chosen = ["--task", "fine_6", "--model", "rnn", "--plugin", str(plugin)]
    assert main(["run", "--no-speed", *selectors(profile, results), *chosen]) == 0
    runs = (results / "tables" / "runs.csv").read_text()
    assert runs.count("\n") == 1 + 8 + 2

    forget_plugins()
    capsys.readouterr()
    assert main(["report", *selectors(profile, results)]) == 0
    warning = "warning: the report leaves out 2 runs of fine_6, which is not loaded"
    assert warning in capsys.readouterr().err
    runs = (results / "tables" / "runs.csv").read_text()
    assert runs.count("\n") == 1 + 8


def test_a_packed_folder_is_read_like_any_other(profile: str, tmp_path: Path) -> None:
    chosen = [*selectors(profile, tmp_path), "--model", "rnn", "--length", "3"]
    assert main(["run", "--no-speed", *chosen]) == 0
    before = records(tmp_path)
    for command in ("pack", "unpack"):
        assert main([command, str(tmp_path)]) == 0
        assert records(tmp_path) == before


@pytest.mark.parametrize(
    ("reason", "advice"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
def test_advice_depends_on_why_a_file_can_not_be_written(
    reason: int,
    advice: str,
    profile: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: object, mode: str = "r", **options: object) -> None:
        raise OSError(reason, os.strerror(reason), str(path))

    monkeypatch.setattr(files, "open", refuse, raising=False)
    assert main(["speed", *selectors(profile, tmp_path)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: can't write ")
    assert advice in error
    assert ("free some space" in error) == (reason == errno.ENOSPC)
