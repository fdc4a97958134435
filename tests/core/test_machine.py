"""The commit in a record says whether the tree differed from it."""

import subprocess
from pathlib import Path

import pytest

from bench.core import machine


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a file of code and a file of results, both committed."""
    for name in ("bench/core/spec.py", "results/reference/report.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("before")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "marked"),
    [(None, False), ("results/reference/report.md", False), ("bench/core/spec.py", True)],
)
def test_changes_of_the_code_are_marked(project: Path, changed: str | None, marked: bool) -> None:
    if changed is not None:
        (project / changed).write_text("after")
    commit = machine.commit()
    assert commit is not None
    assert commit.endswith("+changes") is marked


def test_a_folder_without_git_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.commit() is None
