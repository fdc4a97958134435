"""Names and first lines of the tasks, models and profiles there are, without importing them."""

import ast
import tomllib
from importlib.util import find_spec
from pathlib import Path

PROFILES = Path(__file__).parent / "profiles"


def first_lines(package: str) -> dict[str, str]:
    """Each file of a package that does not begin with `_`, and what its first line says."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    return {
        path.stem: (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
        for path in sorted(Path(folder).glob("[!_]*.py"))
    }


def profiles() -> dict[str, str]:
    return {path.stem: _description(path) for path in sorted(PROFILES.glob("*.toml"))}


def _description(path: Path) -> str:
    """The first line that says what a profile is for; empty where it says nothing."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8")).get("description", "")
    except (OSError, ValueError, RecursionError):
        return ""
    return str(said).strip().partition("\n")[0]
