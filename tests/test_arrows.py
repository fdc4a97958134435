"""Imports point one way, the harness knows no task or model by name, and heavy imports wait."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import models
import tasks

ROOT = Path(__file__).parent.parent
PACKAGES = ("bench", "models", "tasks")


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("package", ["models", "tasks"])
def test_tasks_and_models_import_neither_the_harness_nor_each_other(package: str) -> None:
    files = list((ROOT / package).glob("*.py"))
    assert files
    for path in files:
        assert imported(path) & set(PACKAGES) <= {package}, path.name


def test_the_harness_knows_no_task_or_model_by_name() -> None:
    names = {*tasks.names(), *models.names()}
    for path in (ROOT / "bench").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{path.name}:{node.lineno}"


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after this code."""
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    return {name.partition(".")[0] for name in said.splitlines()[-1].split()}


def test_listing_does_not_import_torch() -> None:
    loaded = modules_after("from bench.cli import main; main(['list'])")
    assert not loaded & {"torch", "numpy", "pandas"}


def test_training_does_not_import_what_the_report_needs() -> None:
    code = "import bench.measure.train, bench.run.job, bench.run.request, bench.run.progress"
    loaded = modules_after(code)
    assert "torch" in loaded
    assert not loaded & {"pandas", "seaborn", "scipy", "matplotlib", "jinja2", "requests", "numba"}
