"""Imports follow the map in docs/architecture.md, and heavy libraries load only where needed."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import models
import tasks
from bench.core import machine, processes
from bench.run import cluster

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "tasks": set[str](),
    "models": set[str](),
    "bench.core": {"tasks", "models"},
    "bench.plan": {"bench.core", "tasks", "models"},
    "bench.measure": {"bench.core", "bench.plan", "tasks", "models"},
    "bench.run": {"bench.core", "bench.plan", "bench.measure", "tasks", "models"},
    "bench.report": {"bench.core", "bench.plan", "tasks", "models"},
    "bench.compare": {"bench.core", "bench.plan", "bench.report", "tasks", "models"},
}
"""Package → the packages that its files may import beside their own. The command line takes all."""
COMMAND_LINE = {"__init__", "__main__", "answers", "cli", "options", "trained"}
FILES = [path for name in ("tasks", "models", "bench") for path in (ROOT / name).rglob("*.py")]


def package_of(module: str) -> str:
    """`bench.core` for `bench.core.spec`, `tasks` for `tasks.adding`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "bench" else parts[0]


def imported(path: Path) -> Iterator[str]:
    """Every module of the project that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in ("tasks", "models", "bench"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_what_the_map_allows(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = package_of(module)
    if package.removeprefix("bench.") in COMMAND_LINE or module == "bench.__init__":
        return
    found = {package_of(name) for name in imported(path)}
    assert found <= ALLOWED[package] | {package}


def test_the_map_names_every_package() -> None:
    packages = {f"bench.{path.parent.name}" for path in (ROOT / "bench").glob("*/__init__.py")}
    assert packages | {"tasks", "models"} == set(ALLOWED)
    assert {path.stem for path in (ROOT / "bench").glob("*.py")} <= COMMAND_LINE


@pytest.mark.parametrize("path", list((ROOT / "bench").rglob("*.py")), ids=lambda path: path.stem)
def test_the_harness_knows_no_task_or_model_by_name(path: Path) -> None:
    names = {*tasks.names(), *models.names()}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in names, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("name", processes.PRELOADED)
def test_what_workers_preload_exists(name: str) -> None:
    """The server of the workers ignores a wrong name, and every worker then starts slowly."""
    assert importlib.import_module(name)


def test_the_root_of_the_project_is_found() -> None:
    assert machine.ROOT == cluster.ROOT == ROOT
    assert (ROOT / "bench" / "core" / "spec.py").is_file()


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after this code."""
    output = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    return {name.partition(".")[0] for name in output.splitlines()[-1].split()}


def test_listing_does_not_import_torch() -> None:
    loaded = modules_after("from bench.cli import main; main(['list'])")
    assert not loaded & {"torch", "numpy", "pandas"}


def test_training_does_not_import_what_the_report_needs() -> None:
    code = "import bench.measure.train, bench.run.job, bench.run.request, bench.run.progress"
    loaded = modules_after(code)
    assert "torch" in loaded
    assert not loaded & {"pandas", "seaborn", "scipy", "matplotlib", "jinja2", "requests", "numba"}
