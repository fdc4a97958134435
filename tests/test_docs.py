"""The commands and examples that README and docs/ print are valid, and those of the lecture run."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench.cli import bench, main
from bench.core.store import Store
from bench.options import Options, request_of
from bench.plan.labels import label_of
from tests.support.commands import ROOT

README, LECTURE = ROOT / "README.md", ROOT / "docs" / "lecture.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
SMALLEST = ("max_steps=2", "validate_every=1", "num_validation=10", "batch_size=2")
"""Settings with which a run of the lecture takes less than a second."""
PLANNING = ("plan", "report", "run", "speed", "tune")
"""Commands that take a profile and a selection of it."""
LONG = ("64", "128", "400")
"""Lengths of the lecture that the test shortens."""
ENVIRONMENT = {"SCRATCH": ".", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "8"}
OF_MAKE = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PROFILE", "RESULTS"}


def blocks(page: Path, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    return [code for of_block, code in found if of_block == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words after `python -m bench` of every command on a page, also of those behind `make`."""
    for block in blocks(page):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            words = shlex.split(os.path.expandvars(line), comments=True)
            if words[:1] == ["make"]:
                yield from behind(words)
            elif "bench" in words and words[words.index("bench") - 1] == "-m":
                yield words[words.index("bench") + 1 :]


def behind(make: list[str]) -> Iterator[list[str]]:
    """The commands that a call of make would start. The call fails for an unknown target."""
    left = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    printed = subprocess.run(
        [*make, "--dry-run"], cwd=ROOT, env=left, capture_output=True, text=True, check=True
    ).stdout
    for line in printed.splitlines():
        _, found, rest = line.partition(" -m bench ")
        if found:
            yield shlex.split(rest)


def files(page: Path) -> dict[str, str]:
    """Name → content of each Python file that a page shows in full."""
    shown = r"`(\w+\.py)`[^\n]*\n\n```python\n(.*?)```"
    return dict(re.findall(shown, page.read_text("utf-8"), re.S))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: None) -> Path:
    """An empty working folder, with the environment that the pages assume."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_is_valid(page: Path, folder: Path) -> None:
    """Options exist and have valid values; what is selected exists, and all of it would run."""
    for name, content in files(page).items():
        (folder / name).write_text(content)
    for verb, *words in dict.fromkeys(map(tuple, commands(page))):
        if "--help" in words:
            assert verb in bench.commands
            continue
        values = bench.commands[verb].make_context(verb, list(words)).params
        # A profile of the user, such as my.toml, is only a name on a page.
        if verb in PLANNING and not str(values["profile"]).endswith(".toml"):
            given = {
                each.name: values[each.name] for each in fields(Options) if each.name in values
            }
            request = request_of(replace(Options(**given), ray=None, again=None, device="cpu"))
            specs = request.speed_specs if verb == "speed" else request.plan.specs
            labels = {(label.model, label.variant) for label in map(label_of, specs)}
            assert specs, words
            assert len(labels) >= len(values["model"]), words
            assert not request.plan.left_out, words


def test_the_lecture_runs_as_printed(folder: Path, stand_in_mnist: object) -> None:
    """Each run at its smallest size, in this process, then the samples, in the order of the page.

    The test of valid commands covers the timings and the report.
    """
    smaller = [word for setting in SMALLEST for word in ("--set", setting)]
    made = list(commands(LECTURE))
    assert {verb for verb, *_ in made} == {"run", "speed", "sample", "report"}
    for verb, *words in made:
        if verb == "run":
            words = ["8" if word in LONG else word for word in words]
            assert main([verb, *words, *smaller, "--debug"]) == 0, words
        if verb == "sample":
            assert main([verb, *words]) == 0, words
    records, damaged = Store(folder / "results" / "lecture").read_all()
    assert not damaged
    assert {record.status for record in records} == {"ok"}
    assert len(list((folder / "results" / "lecture" / "samples").rglob("*.png"))) > 0


@pytest.mark.parametrize("page", [README, LECTURE], ids=lambda page: page.name)
def test_the_python_on_a_page_runs_as_printed(
    page: Path, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """The README loads a network that one of its commands trains, here at the smallest size."""
    smaller = [word for setting in SMALLEST for word in ("--set", setting)]
    for command in commands(page) if page is README else ():
        if "--keep-weights" in command:
            assert main([*command, *smaller, "--debug"]) == 0
            capsys.readouterr()
    shown = set(files(page).values())
    for code in blocks(page, "python"):
        if code not in shown:
            exec(compile(code, page.name, "exec"), {"__name__": page.stem})
    if page is LECTURE:
        printed = capsys.readouterr().out.splitlines()
        fields = next(block for block in blocks(page, "text") if block.startswith("2 ["))
        assert printed[:3] == fields.splitlines()


def test_the_task_of_the_readme_is_short_and_learns(folder: Path) -> None:
    ((name, content),) = files(README).items()
    assert len([line for line in content.splitlines() if line]) <= 25
    (folder / name).write_text(content)
    task = ["--plugin", name, "--task", Path(name).stem, "--length", "5", "--model", "gru"]
    short = ["--seed", "0", "--set", "max_steps=100", "--set", "num_validation=50"]
    assert main(["run", "--debug", "--results", "made", *task, *short]) == 0
    ((record,), _) = Store(folder / "made").read_all()
    assert record.outcome is not None
    assert record.outcome.test_score > 0.75  # chance is one half


def test_the_citation_agrees_with_the_file_for_reference_managers() -> None:
    (shown,) = blocks(ROOT / "docs" / "faq.md", "bibtex")
    given = dict(re.findall(r"^  (\w+) *= \{+(.*?)\}+,?$", shown, re.M))
    cff = (ROOT / "CITATION.cff").read_text("utf-8")
    known = dict(re.findall(r'^(?:  - )?([\w-]+): "?(.*?)"?$', cff, re.M))
    assert given["author"] == known["name"]
    assert given["title"] == known["title"]
    assert given["version"] == known["version"]
    assert given["date"] == known["date-released"]


def test_the_torch_that_the_questions_install_is_the_pinned_one() -> None:
    page = (ROOT / "docs" / "faq.md").read_text("utf-8")
    pinned = (ROOT / "requirements.lock").read_text("utf-8")
    (version,) = set(re.findall(r"torch==([\d.]+)", page))
    assert f"\ntorch=={version}\n" in pinned
