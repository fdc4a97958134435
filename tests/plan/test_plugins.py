"""Tasks and models in files of the user; the examples of docs/extending.md are run as they are."""

import re
from pathlib import Path

import pytest
import torch

import models
import tasks
from bench.cli import main
from bench.core.errors import RequestError
from bench.core.store import Store
from bench.plan import plugins, profile
from bench.plan.grid import Selection, make_plan
from tests.support.commands import selectors
from tests.support.harness import forget_plugins
from tests.support.signatures import Signature, sequences

DOCS = Path(__file__).parent.parent.parent / "docs" / "extending.md"

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Name → path of each file that the page shows."""
    found = {}
    for name, code in re.findall(r"`(\w+\.py)`:.*?```python\n(.*?)```", DOCS.read_text(), re.S):
        found[name] = tmp_path / name
        found[name].write_text(code)
    return found


def run(tmp_path: Path, profile_name: str, *arguments: str) -> list:
    results = tmp_path / "results"
    assert main(["run", "--no-speed", *selectors(profile_name, results), *arguments]) == 0
    return Store(results).read_all()[0]


SHORT = ["--set", "max_steps=60", "--set", "seeds=[0]", "--set", "num_validation=50"]


def test_a_task_may_be_a_file_anywhere(files: dict[str, Path], tmp_path: Path) -> None:
    plugin = files["first_token.py"]
    assert len([line for line in plugin.read_text().splitlines() if line]) <= 30
    selected = ["--task", "first_token", "--length", "4", "--model", "gru"]
    (record,) = run(tmp_path, "quick", *SHORT, "--plugin", str(plugin), *selected)
    assert record.status == "ok", record.error
    assert record.spec.task.name == "first_token"
    assert record.spec.task.fields == {"length": 4}
    assert record.outcome.test_score > 0.5  # it learns: chance is a quarter
    assert "first_token" in (tmp_path / "results" / "report.html").read_text()


def test_the_source_of_a_plugin_is_part_of_the_id(files: dict[str, Path], tmp_path: Path) -> None:
    plugin = files["leaky.py"]
    selected = ["--plugin", str(plugin), "--task", "adding", "--length", "8", "--model", "leaky"]
    made = run(tmp_path, "quick", *SHORT, *selected, "--model", "rnn")
    assert {(r.spec.model.name, r.status) for r in made} == {("leaky", "ok"), ("rnn", "ok")}
    assert "leaky" in (tmp_path / "results" / "report.html").read_text()
    plugin.write_text(plugin.read_text().replace("6.0", "5.0"))
    forget_plugins()
    both = run(tmp_path, "quick", *SHORT, *selected)
    assert len(both) == 3
    assert {record.spec.id for record in made} < {record.spec.id for record in both}


def test_a_model_from_the_shared_scan_is_a_short_file(
    files: dict[str, Path], tmp_path: Path
) -> None:
    plugin = files["forgetting.py"]
    assert len([line for line in plugin.read_text().splitlines() if line]) <= 40
    selected = ["--plugin", str(plugin), "--task", "copy_memory", "--length", "5"]
    (record,) = run(tmp_path, "quick", *SHORT, *selected, "--model", "forgetting")
    assert record.status == "ok", record.error
    network = models.network("forgetting", Signature(), width=6).double()
    assert network.rate_scales == {"core.time_scale": 0.25}
    x = sequences(Signature(), 2, 20)
    whole, (first, state) = network(x)[0], network(x[:, :7])
    torch.testing.assert_close(torch.cat([first, network(x[:, 7:], state)[0]], 1), whole)


def test_a_profile_with_a_star_finds_them_by_itself(files: dict[str, Path], tmp_path: Path) -> None:
    paths = [part for path in files.values() for part in ("--plugin", str(path))]
    selected = ["--model", "leaky", "--task", "first_token", "--task", "copy_memory"]
    found = run(tmp_path, "smoke", *paths, *selected)
    assert {(r.spec.task.name, r.spec.model.name, r.status) for r in found} == {
        ("first_token", "leaky", "ok"),
        ("copy_memory", "leaky", "ok"),
    }


def test_the_task_of_a_plugin_is_run_without_being_selected(files: dict[str, Path]) -> None:
    plugins.load(files["first_token.py"])
    selection = Selection(models=("gru",), seeds=(0,))
    named = {spec.task.name for spec in make_plan(profile.load("quick"), selection).specs}
    assert "first_token" in named
    assert named > {"adding", "copy_memory"}
    assert "markov_source" not in named


def test_the_models_of_the_page_keep_the_contract(files: dict[str, Path]) -> None:
    import torch

    from tests.support.signatures import REALS

    plugins.load(files["leaky.py"])
    net = models.network("leaky", REALS, width=5).double()
    x = torch.randn(2, 9, 3, dtype=torch.double)
    y, state = net(x[:, :4])
    assert torch.allclose(torch.cat([y, net(x[:, 4:], state)[0]], 1), net(x)[0])


TASK = "from tasks.copy_memory import CopyMemory\nclass {}(CopyMemory):\n    version = 1\n"

NO_VERSION = (
    "from models import Model\nclass Mine(Model):\n"
    "    def build_core(self, signature, width, extra_width): ...\n"
)
NO_LENGTHS = (
    "from tasks import Task\nclass Mine(Task):\n    version, smallest = 1, {'length': 4}\n"
    "    signature = objective = solved = None\n    def sample(self, n, generator, split): ...\n"
)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("nothing.py", None, "nothing.py: no such file"),
        ("empty_file.py", "", "defines neither a Task nor a Model"),
        ("lstm.py", "", "the name 'lstm' is taken"),
        ("json.py", "", "the name 'json' is taken"),
        ("not a name.py", "", "the name of a plug-in is a Python identifier followed by .py"),
        ("two_tasks.py", TASK.format("One") + TASK.format("Two"), "defines One and Two; a file"),
        ("no_version.py", NO_VERSION, "no_version.py: Mine has no attribute version"),
        ("no_lengths.py", NO_LENGTHS, "no_lengths.py: Mine has no attribute lengths"),
    ],
)
def test_a_file_that_can_not_be_a_plugin_is_refused(
    name: str, code: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if code is not None:
        (tmp_path / name).write_text(code)
    assert main(["plan", "--plugin", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


WITH_REACH_0 = TASK.format("Mine") + (
    "    @property\n    def signature(self):\n        from tasks import Signature\n"
    "        return Signature(input='real', num_inputs=1, num_outputs=1, per='step', num_steps=4, "
    "reach=0)\n"
)
WITH_CHANCE_NAN = TASK.format("Mine") + (
    "    @property\n    def objective(self):\n        from tasks import Metric, Objective\n"
    "        score = Metric(name='score', unit='m', higher_is_better=True, chance=float('nan'), "
    "values=len)\n        return Objective(loss=len, score=score)\n"
)
WITHOUT_FEATURES = (
    "from models import Core, Model\nclass Mine(Core):\n    receptive_field = 1\n"
    "    def forward(self, x_BTI, state=None, *, last_only=False): ...\n"
    "class MyModel(Model):\n    version = 1\n"
    "    def build_core(self, signature, width, extra_width):\n        return Mine()\n"
)
IN_POST_INIT = (
    TASK.format("Mine") + "    def __post_init__(self):\n        raise KeyError('knob')\n"
)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import tasks\ndef", "can't be imported: SyntaxError: invalid syntax (broken.py:2)"),
        ("import nothing_so_named", "No module named 'nothing_so_named' (broken.py:1)"),
        ("import sys\nsys.exit(0)", "can't be imported: SystemExit: 0 (broken.py:2)"),
        ("import json\njson.loads('{')", "JSONDecodeError: Expecting property name"),
        (IN_POST_INIT, "raises while runs are planned: KeyError: 'knob' (broken.py:5)"),
        (WITH_REACH_0, "ValueError: reach=0; valid: from 1 to the number of steps, 4 (broken.py:"),
        (WITH_REACH_0.replace("'real'", "'ids'"), "ValueError: input='ids'; valid: token or real"),
        (WITH_REACH_0.replace("'step'", "'row'"), "ValueError: per='row'; valid: step or sequence"),
        (WITH_REACH_0.replace("outputs=1", "outputs=0"), "num_outputs=0; valid: 1 or more"),
        (WITH_REACH_0.replace("reach", "num_conditions=-1, reach"), "num_conditions=-1; valid: 0"),
        (WITH_REACH_0.replace("reach", "grid=(3, 2), reach"), "grid=(3, 2); valid: 4 pixels"),
        (WITH_CHANCE_NAN, "ValueError: chance=nan of score; valid: a finite number (broken.py:"),
    ],
)
def test_an_error_of_a_plugin_ends_the_command_with_its_place_and_traceback(
    code: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(code)
    arguments = ["--plugin", str(plugin), "--task", "broken", "--results", str(tmp_path / "none")]
    assert main(["plan", "--device", "cpu", *arguments]) == 2
    first, _, rest = capsys.readouterr().err.partition("\n")
    assert reason in first
    assert rest.lstrip().startswith("Traceback (most recent call last):")


def test_planning_reads_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("files are read")

    monkeypatch.setattr(tasks.task_class("pixel_mnist"), "objective", property(refuse))
    arguments = ["plan", "--task", "pixel_mnist", "--device", "cpu", "--profile", "reference"]
    assert main([*arguments, "--results", str(tmp_path / "none")]) == 0


def test_an_attribute_that_a_core_lacks_is_the_plugins_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "unfinished.py"
    plugin.write_text(WITHOUT_FEATURES)
    of = ["--plugin", str(plugin), "--results", str(tmp_path / "none"), "--profile", "quick"]
    assert main(["plan", *of, "--task", "adding", "--model", "unfinished", "--device", "cpu"]) == 2
    first = capsys.readouterr().err.partition("\n")[0]
    assert "unfinished.py raises while runs are planned: " in first
    assert "object has no attribute 'num_features'" in first


def test_a_field_without_a_default_has_to_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "layered.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom tasks.copy_memory import CopyMemory\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Layered(CopyMemory):\n"
        "    version = 1\n    layers: int\n"
    )
    of = ["--plugin", str(plugin), "--results", str(tmp_path / "none"), "--profile", "quick"]
    assert main(["plan", *of, "--task", "layered", "--device", "cpu"]) == 2
    assert "layers of layered is missing" in capsys.readouterr().err


def test_the_place_of_an_error_is_the_deepest_line_of_the_users_file(tmp_path: Path) -> None:
    plugin = tmp_path / "deep.py"
    plugin.write_text(
        "import torch\n\ndef f():\n    return torch.zeros(2) @ torch.zeros(3)\n\nf()\n"
    )
    with pytest.raises(RequestError, match=r"\(deep\.py:4\)"):
        plugins.load(plugin)
