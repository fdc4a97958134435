"""Names and first lines of the tasks, models and profiles there are, without importing them."""

import ast
from importlib.util import find_spec
from pathlib import Path

from bench import profile


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
    return {name: profile.description(profile.FOLDER / f"{name}.toml") for name in profile.names()}
