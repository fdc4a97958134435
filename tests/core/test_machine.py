"""What a record says about the machine: the commit of the code and the device."""

import subprocess
from pathlib import Path

import pytest
import torch

from bench.core import machine
from bench.core.backend import Backend
from tests.support.records import MACHINE


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
    [
        (None, False),
        ("results/reference/report.md", False),
        ("bench/core/spec.py", True),
        ("models/mine.py", True),  # a new file in a folder of code
        ("mine.toml", False),
    ],
)
def test_changes_of_the_code_are_marked(project: Path, changed: str | None, marked: bool) -> None:
    if changed is not None:
        (project / changed).parent.mkdir(exist_ok=True)
        (project / changed).write_text("after")
    commit = machine.commit()
    assert commit is not None
    assert commit.endswith("+changes") is marked


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({}, True),
        ({"cores": 64, "memory_bytes": 1, "gpu": "H100", "commit": None}, True),
        *(({name: "other"}, False) for name in ("cpu", "system", "python", "torch", "numpy")),
        *(({name: None}, True) for name in ("instructions", "numba")),  # of an older record
        *(({name: "other"}, False) for name in ("instructions", "numba")),
    ],
)
def test_machines_compute_alike_if_processor_and_versions_agree(
    change: dict[str, object], alike: bool
) -> None:
    here = MACHINE.model_copy(update={"instructions": "AVX2", "numba": "0.60"})
    assert here.computes_like(here.model_copy(update=change)) is alike


def test_a_folder_without_git_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.commit() is None


def test_a_sentence_names_the_device_in_words() -> None:
    assert Backend(device="cpu").words == "one CPU thread"
    assert Backend(device="cpu", threads=4).words == "4 CPU threads"
    assert Backend(device="cuda").words == "a GPU"
    assert Backend(device="cuda", capture=True).words == "a GPU with CUDA graphs"


def test_the_processor_is_told_apart_by_instructions_family_and_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = torch.backends.cpu.get_cpu_capability()
    found = machine.fingerprint().instructions
    assert found is not None
    assert found.startswith(vectors)
    linux = {"model name": "EPYC", "cpu family": "25", "model": "17"}
    monkeypatch.setattr(machine, "_cpu_info", lambda: linux)
    assert machine._instructions("AVX2") == "AVX2, family 25, model 17"
    monkeypatch.setattr(machine, "_cpu_info", dict)
    assert machine._instructions("AVX2") == "AVX2"
