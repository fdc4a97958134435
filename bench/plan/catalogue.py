"""Names and first lines of all tasks, models and profiles, found without importing them."""

import ast
import tomllib
from importlib.util import find_spec
from pathlib import Path

PROFILES = Path(__file__).parent / "profiles"


def first_lines(package: str) -> dict[str, str]:
    """Name of each public file of a package → the first line of its docstring."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    return {
        path.stem: (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
        for path in sorted(Path(folder).glob("[!_]*.py"))
    }


def profiles() -> dict[str, str]:
    """Name of each profile of the project → the first line of its description."""
    return {path.stem: _description(path) for path in sorted(PROFILES.glob("*.toml"))}


def _description(path: Path) -> str:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(content.get("description", "")).strip().partition("\n")[0]
