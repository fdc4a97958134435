"""No file imports itself through other files, not even inside a function."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere, except under `if TYPE_CHECKING`."""
    nodes: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes.extend(node.orelse)
        else:
            nodes.extend(ast.iter_child_nodes(node))


def file_of(name: str, root: Path) -> Path | None:
    """The file of a module, of a package, or of the module that defines this name."""
    path = root.joinpath(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py", path.parent.with_suffix(".py")):
        if file.is_file():
            return file
    return path.parent / "__init__.py" if (path.parent / "__init__.py").is_file() else None


def circle_of(package: str, root: Path = ROOT) -> list[str] | None:
    """The files of an import circle in this package; None if there is no circle."""
    imports = {
        path: {file_of(name, root) for name in imported_names(path)} - {None}
        for path in sorted((root / package).rglob("*.py"))
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [str(path.relative_to(root)) for path in error.args[1]]
    return None


@pytest.mark.parametrize("package", ["bench", "models", "tasks"])
def test_no_file_imports_itself_through_others(package: str) -> None:
    circle = circle_of(package)
    assert circle is None, " ← ".join(circle or ())


@pytest.mark.parametrize("inner", ["from pack.b import y", "def f():\n    import pack.b"])
def test_a_circle_is_found_and_named(inner: str, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "a.py").write_text(inner)
    (tmp_path / "pack" / "b.py").write_text("from pack import c")
    (tmp_path / "pack" / "c.py").write_text("from pack.a import x")
    circle = circle_of("pack", tmp_path)
    assert circle is not None
    assert {Path(file).name for file in circle} == {"a.py", "b.py", "c.py"}
    (tmp_path / "pack" / "b.py").write_text("if TYPE_CHECKING:\n    from pack import c")
    assert circle_of("pack", tmp_path) is None
