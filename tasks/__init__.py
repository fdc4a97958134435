"""Sequence tasks, whose main knob is the dependency length. Each file here without a leading
underscore is one task; a new file is a new task.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from tasks._contract import IGNORE, KINDS, Batch, Kind, Metric, Objective, Signature, Split, Task
from tasks._files import DATA_VARIABLES, DataUnavailable
from tasks._media import Media, Pictures, Sounds, Texts

__all__ = [
    "DATA_VARIABLES",
    "IGNORE",
    "KINDS",
    "Batch",
    "DataUnavailable",
    "Kind",
    "Media",
    "Metric",
    "Objective",
    "Pictures",
    "Signature",
    "Sounds",
    "Split",
    "Task",
    "Texts",
    "load",
    "names",
    "register",
    "task_class",
]

_plugins: dict[str, type[Task]] = {}


def names() -> list[str]:
    """The names of all tasks, sorted: files in this folder and plug-ins. No task is imported."""
    return sorted(_in_this_folder() | set(_plugins))


@cache
def _in_this_folder() -> set[str]:
    """Names of the files in this folder that define one."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return {name for name in names if not name.startswith("_")}


def task_class(name: str) -> type[Task]:
    """The class of the task `name`; `ValueError` lists the valid names if there is no such task."""
    if name in _plugins:
        return _plugins[name]
    return _class_of_file(name)


@cache
def _class_of_file(name: str) -> type[Task]:
    if name not in names():
        raise ValueError(f"unknown task {name!r}; the tasks are {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Task) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        defined = " and ".join(member.__name__ for member in found) or "none"
        raise ValueError(
            f"tasks/{name}.py defines these tasks: {defined}; "
            "valid: one class derived from tasks.Task"
        )
    return found[0]


def load(name: str, **fields: Any) -> Task:
    """The task `name` with these fields, as in `load("copy_memory", length=200)`."""
    return task_class(name)(**fields)


def register(cls: type[Task]) -> None:
    """Add a class from outside this folder, under the name of the file that defines it."""
    _plugins[cls.task_name()] = cls
