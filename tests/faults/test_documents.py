"""What docs/reliability.md names is there, and every fault test is named."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "reliability.md"


def named() -> set[str]:
    """Files and tests as the page names them: `faults/test_x.py::test_y`."""
    return set(re.findall(r"`([\w/]+\.py::test_\w+)`", PAGE.read_text("utf-8")))


def there(path: Path) -> set[str]:
    """The tests of a file, named so."""
    tree = ast.parse(path.read_text("utf-8"))
    name = path.relative_to(TESTS).as_posix()
    return {
        f"{name}::{node.name}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_the_page_names_exists() -> None:
    found = {test for path in TESTS.rglob("test_*.py") for test in there(path)}
    assert named() - found == set()
    assert len(named()) > 40


def test_every_promise_has_a_test() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "| ---"))]
    assert all("::test_" in row for row in promises)
    assert "FIGURE" not in PAGE.read_text("utf-8")


def test_every_fault_that_is_injected_often_is_on_the_page() -> None:
    """Those that have a full half: they are what the page is about."""
    slow = {
        f"{path.relative_to(TESTS).as_posix()}::{node.name}"
        for path in (TESTS / "faults").glob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and any(
            "faults" in ast.unparse(d) or "repeated" in ast.unparse(d) for d in node.decorator_list
        )
    }
    assert slow - named() == set()
