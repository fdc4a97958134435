"""A task and a model in one new file each: the two that docs/extending.md shows, as they stand."""

import re
from pathlib import Path

import pytest

from bench import profile
from bench.cli import main
from bench.plan import Selection, load_plugin, make_plan
from bench.store import Store
from tests.test_cli import selectors

DOCS = Path(__file__).parent.parent / "docs" / "extending.md"

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
    load_plugin(files["first_token.py"])
    selection = Selection(models=("gru",), seeds=(0,))
    named = {spec.task.name for spec in make_plan(profile.load("quick"), selection).specs}
    assert "first_token" in named
    assert named > {"adding", "copy_memory"}
    assert "markov_source" not in named


def test_the_models_of_the_page_keep_the_contract(files: dict[str, Path]) -> None:
    import torch

    import models
    from tests.test_models import REALS

    load_plugin(files["leaky.py"])
    net = models.network("leaky", REALS, width=5).double()
    x = torch.randn(2, 9, 3, dtype=torch.double)
    y, state = net(x[:, :4])
    assert torch.allclose(torch.cat([y, net(x[:, 4:], state)[0]], 1), net(x)[0])


def test_another_source_is_another_question(files: dict[str, Path], tmp_path: Path) -> None:
    plugin = files["leaky.py"]
    arguments = ["--plugin", str(plugin), "--task", "adding", "--length", "8", "--model", "leaky"]
    first = run(tmp_path, *arguments)
    plugin.write_text(plugin.read_text().replace("6.0", "5.0"))
    import models
    from bench import plan

    models._plugins.clear()
    plan._plugin_files.clear()
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
        ("bad_syntax.py", "def", "can't be imported: SyntaxError"),
        ("bad_import.py", "import nothing_of_that_name", "ModuleNotFoundError"),
        ("leaves.py", "raise SystemExit(0)", "SystemExit"),
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
