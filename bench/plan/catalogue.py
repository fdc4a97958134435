"""Names and first lines of all tasks, models and profiles.

Those of the project are found without importing them; the user's files are imported.
"""

import ast
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

PROFILES = Path(__file__).parent / "profiles"


def sections(plugins: Sequence[Path]) -> dict[str, dict[str, str]]:
    """`tasks`, `models` and `profiles` → name → first line of its description.

    `plugins` are files of the user. Raises `RequestError` where one cannot be loaded.
    """
    found = {"tasks": first_lines("tasks"), "models": first_lines("models")}
    if plugins:
        import models
        import tasks
        from bench.plan.plugins import load

        for path in plugins:
            name = load(path).name
            for kind, known in (("tasks", tasks.names()), ("models", models.names())):
                if name in known:
                    found[kind][name] = _first_line(path)
    return {**found, "profiles": profiles()}


def first_lines(package: str) -> dict[str, str]:
    """Name of each public file of a package → the first line of its docstring."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    return {path.stem: _first_line(path) for path in sorted(Path(folder).glob("[!_]*.py"))}


def _first_line(path: Path) -> str:
    """The first line of the docstring of a Python file."""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]


def profiles() -> dict[str, str]:
    """Name of each profile of the project → the first line of its description."""
    return {path.stem: _description(path) for path in sorted(PROFILES.glob("*.toml"))}


def _description(path: Path) -> str:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(content.get("description", "")).strip().partition("\n")[0]
