"""Tasks and models are found by the names of their files."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

import models
import tasks

TWO = "class First({0}): ...\nclass Second({0}): ...\n"


@pytest.mark.parametrize(
    ("package", "base", "find"),
    [(tasks, "Task", tasks.task_class), (models, "Model", models.model_class)],
    ids=["tasks", "models"],
)
def test_a_file_has_exactly_one_class(
    package: ModuleType,
    base: str,
    find,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    name = package.__name__
    cases = (("empty", "", "none"), ("twice", TWO, "First and Second"))
    for file, content, _ in cases:
        (tmp_path / f"{file}.py").write_text(f"from {name} import {base}\n{content.format(base)}")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    package._in_this_folder.cache_clear()
    request.addfinalizer(package._in_this_folder.cache_clear)
    for file, _, found in cases:
        message = f"{name}/{file}.py defines these {name}: {found}; valid: one class derived from "
        try:
            with pytest.raises(ValueError, match=message + f"{name}.{base}"):
                find(file)
        finally:
            sys.modules.pop(f"{name}.{file}", None)
    with pytest.raises(ValueError, match=f"unknown .* 'nothing'; the {name} are .*empty"):
        find("nothing")
