"""A task and a model in one new file each: the two that docs/extending.md shows, as they stand."""

import re
from pathlib import Path

import pytest

import models
import tasks
from bench.cli import main
from bench.core.store import Store
from bench.plan import plugins, profile
from bench.plan.grid import Selection, make_plan
from bench.plan.plugins import Plugin
from tests.support.commands import selectors

DOCS = Path(__file__).parent.parent.parent / "docs" / "extending.md"

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The files of the page, by name."""
    found = {}
    for name, code in re.findall(r"`(\w+\.py)`:.*?```python\n(.*?)```", DOCS.read_text(), re.S):
        found[name] = tmp_path / name
        found[name].write_text(code)
    return found


def run(tmp_path: Path, *arguments: str) -> list:
    settings = ["--set", "max_steps=60", "--set", "seeds=[0]", "--set", "num_validation=50"]
    results = tmp_path / "results"
    assert (
        main(
            [
                "run",
                "--no-speed",
                *selectors("quick", results),
                *settings,
                *arguments,
            ]
        )
        == 0
    )
    return Store(results).read_all()[0]


def test_a_task_of_ones_own(files: dict[str, Path], tmp_path: Path) -> None:
    plugin = files["first_token.py"]
    assert len([line for line in plugin.read_text().splitlines() if line]) <= 30
    made = run(
        tmp_path,
        "--plugin",
        str(plugin),
        "--task",
        "first_token",
        "--length",
        "4",
        "--model",
        "gru",
    )
    (record,) = made
    assert record.status == "ok", record.error
    assert record.spec.task.name == "first_token"
    assert record.spec.task.fields == {"length": 4}
    assert record.outcome.test_score > 0.5  # it learns: chance is a quarter
    assert "first_token" in (tmp_path / "results" / "report.html").read_text()


def test_a_model_of_ones_own(files: dict[str, Path], tmp_path: Path) -> None:
    plugin = str(files["leaky.py"])
    arguments = ["--plugin", plugin, "--task", "adding", "--length", "8"]
    made = run(tmp_path, *arguments, "--model", "leaky", "--model", "rnn")
    assert {(r.spec.model.name, r.status) for r in made} == {("leaky", "ok"), ("rnn", "ok")}
    assert "leaky" in (tmp_path / "results" / "report.html").read_text()


def test_a_profile_with_a_star_finds_them_by_itself(files: dict[str, Path], tmp_path: Path) -> None:
    paths = [part for path in files.values() for part in ("--plugin", str(path))]
    results = tmp_path / "results"
    selected = ["--model", "leaky", "--task", "first_token", "--task", "copy_memory"]
    assert (
        main(
            [
                "run",
                "--no-speed",
                *selectors("smoke", results),
                *paths,
                *selected,
            ]
        )
        == 0
    )
    found = Store(results).read_all()[0]
    assert {(r.spec.task.name, r.spec.model.name, r.status) for r in found} == {
        ("first_token", "leaky", "ok"),
        ("copy_memory", "leaky", "ok"),
    }


def test_a_task_that_is_brought_along_is_run(files: dict[str, Path]) -> None:
    plugins.load(Plugin(path=files["first_token.py"]))
    selection = Selection(models=("gru",), seeds=(0,))
    named = {spec.task.name for spec in make_plan(profile.load("quick"), selection).specs}
    assert "first_token" in named
    assert named > {"adding", "copy_memory"}
    assert "markov_source" not in named


def test_the_models_of_the_page_keep_the_contract(files: dict[str, Path]) -> None:
    import torch

    from tests.support.signatures import REALS

    plugins.load(Plugin(path=files["leaky.py"]))
    net = models.network("leaky", REALS, width=5).double()
    x = torch.randn(2, 9, 3, dtype=torch.double)
    y, state = net(x[:, :4])
    assert torch.allclose(torch.cat([y, net(x[:, 4:], state)[0]], 1), net(x)[0])


def test_another_source_is_another_question(files: dict[str, Path], tmp_path: Path) -> None:
    plugin = files["leaky.py"]
    arguments = ["--plugin", str(plugin), "--task", "adding", "--length", "8", "--model", "leaky"]
    first = run(tmp_path, *arguments)
    plugin.write_text(plugin.read_text().replace("6.0", "5.0"))
    models._plugins.clear()
    plugins._files.clear()
    import sys

    del sys.modules["leaky"]
    both = run(tmp_path, *arguments)
    assert len(both) == 2
    assert first[0].spec.id in {record.spec.id for record in both}


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("empty_file.py", "", "defines neither a Task nor a Model"),
        ("lstm.py", "", "the name 'lstm' is taken"),
        ("json.py", "", "the name 'json' is taken"),
        ("not a name.py", "", "not a Python file with a plain name"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused(
    name: str, code: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(code)
    assert main(["plan", "--plugin", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import tasks\ndef", "SyntaxError: invalid syntax (broken_0.py:2)"),
        ("import tasks\nimport nothing_so_named", "No module named 'nothing_so_named'"),
        ("import sys\nimport tasks\nsys.exit(0)", "SystemExit: 0 (broken_0.py:3)"),
        ("import ctypes\nimport tasks\nctypes.string_at(0)", "signal 11 (SIGSEGV)"),
        ("import tasks\nwhile True:\n    pass", "did not end within 1 s"),
    ],
)
def test_runs_of_a_plugin_that_can_not_be_imported_fail_and_no_other(
    code: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(plugins, "IMPORT_LIMIT_S", 1.0)
    plugin, results = tmp_path / "broken_0.py", tmp_path / "results"
    plugin.write_text(code)
    arguments = [
        *("run", "--no-speed", *selectors("quick", results), "--plugin", str(plugin)),
        *("--task", "broken_0", "--task", "copy_memory", "--length", "3", "--model", "rnn"),
        *("--set", "max_steps=2", "--set", "seeds=[0]", "--set", "num_validation=5"),
    ]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "broken_0.py can't be imported" in said.err
    assert reason in said.err
    found = {r.spec.task.name: r for r in Store(results).read_all()[0]}
    assert found["copy_memory"].status == "ok"
    assert found["broken_0"].status == "failed"
    assert reason in (found["broken_0"].error or "")
    assert reason in (results / "tables" / "problems.csv").read_text()


def test_a_stand_in_is_what_the_file_would_have_been(tmp_path: Path) -> None:
    plugin = tmp_path / "broken_1.py"
    plugin.write_text("from models import Model\n1 / 0")
    found = plugins.check(plugin)
    assert found.broken == "ZeroDivisionError: division by zero (broken_1.py:2)"
    plugins.load(found)
    assert "broken_1" in models.names()
    assert "broken_1" not in tasks.names()
    copy_memory = tasks.load("copy_memory", length=3)
    width, _ = models.fit_width(models.load("broken_1"), copy_memory.signature, 12_500)
    with pytest.raises(plugins.PluginError, match="ZeroDivisionError"):
        models.network("broken_1", copy_memory.signature, width=width)
