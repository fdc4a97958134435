"""The pages of docs/ agree with the code: tests, files and links that they name exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text("utf-8")
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

NAMED = set(re.findall(r"`([\w/]+\.py::test_\w+)`", RELIABILITY))
"""The tests on the page, as `faults/test_x.py::test_y`."""


def found_in(path: Path) -> dict[str, ast.FunctionDef]:
    """The tests of a file, by the name that the page gives them."""
    return {
        f"{path.relative_to(TESTS).as_posix()}::{node.name}": node
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_the_page_names_exists() -> None:
    found = {name for path in TESTS.rglob("test_*.py") for name in found_in(path)}
    assert NAMED - found == set()
    assert len(NAMED) > 40


def test_every_promise_names_a_test() -> None:
    rows = [line for line in RELIABILITY.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "| ---"))]
    assert all("::test_" in row for row in promises)


def test_every_test_with_a_full_form_is_on_the_page() -> None:
    found = {
        name
        for path in (TESTS / "faults").glob("test_*.py")
        for name, test in found_in(path).items()
        for decorator in map(ast.unparse, test.decorator_list)
        if "faults" in decorator or "repeated" in decorator
    }
    assert found - NAMED == set()


def test_the_map_lists_every_file_of_the_harness_once() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    _, *packages = re.split(r"^bench/(\w+)/$", page, flags=re.M)
    listed = {
        f"{package}/{name}"
        for package, files in zip(packages[::2], packages[1::2], strict=True)
        for name in re.findall(r"^  (\w+\.py) ", files.partition("```")[0], re.M)
    }
    files = (ROOT / "bench").glob("*/*.py")
    assert listed == {f"{p.parent.name}/{p.name}" for p in files if p.name != "__init__.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_heading_that_a_page_links_to_exists(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", page.read_text("utf-8")):
        linked = page.parent / target if target else page
        headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.M)
        assert anchor in {anchor_of(heading) for heading in headings}, f"{target}#{anchor}"


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
