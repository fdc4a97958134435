"""Checks, imports and registers the user's files that define a task or a model.

A file runs in this process, with the rights of the user. An error in it ends the command with a
`RequestError`: one line that names the place in the user's file, then the traceback.
"""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import models
import tasks
from bench.core.errors import RequestError, short_reason, traceback_of

TASK_HAS, MODEL_HAS = ("version", "smallest", "lengths"), ("version",)
"""Attributes that the class of a task or of a model has to set."""
_files: dict[str, Path] = {}
_hashes: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A file of the user. Each worker process imports it again from its path."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem


def load(path: Path) -> Plugin:
    """Import the file and register what it defines under the file's name.

    Raises `RequestError` if the file is missing or can't be imported, if its name is taken or is
    not that of a Python module, if it defines two tasks, two models, or no task and no model, or if
    a task or model lacks an attribute that all have.
    """
    name = path.stem
    if not path.is_file():
        raise RequestError(f"--plugin {path}: no such file")
    if path.suffix != ".py" or not name.isidentifier():
        raise RequestError(
            f"--plugin {path}: the name of a plug-in is a Python identifier followed by .py"
        )
    if _files.get(name) == path:
        return Plugin(path=path)
    if name in sys.modules or name in tasks.names() or name in models.names():
        raise RequestError(f"--plugin {path}: the name {name!r} is taken; rename the file")
    try:
        source = path.read_bytes()
        found = _defined(_imported(path))
    except (Exception, SystemExit) as error:
        raise _explained(error, path, "can't be imported") from error
    if not found:
        raise RequestError(f"--plugin {path}: defines neither a Task nor a Model")
    for kind in (tasks.Task, models.Model):
        classes = [cls.__name__ for cls in found if issubclass(cls, kind)]
        if len(classes) > 1:
            raise RequestError(
                f"--plugin {path}: defines {' and '.join(classes)}; a file defines one "
                f"{kind.__name__}: move each into a file of its own"
            )
    for cls in found:
        required = TASK_HAS if issubclass(cls, tasks.Task) else MODEL_HAS
        lacking = [attribute for attribute in required if not hasattr(cls, attribute)]
        if lacking:
            del sys.modules[name]
            raise RequestError(f"--plugin {path}: {cls.__name__} has no attribute {lacking[0]}")
    for cls in found:
        if issubclass(cls, tasks.Task):
            tasks.register(cls)
        else:
            models.register(cls)
    _files[name], _hashes[name] = path, hashlib.sha256(source).hexdigest()
    return Plugin(path=path)


def explained(error: BaseException, what: str) -> BaseException:
    """The error itself, or a `RequestError` if a loaded plug-in raised it.

    `what` says when it was raised, as in `raises while runs are planned`.
    """
    frames = traceback.extract_tb(error.__traceback__)
    files = {str(path): path for path in _files.values()}
    blamed = next((files[f.filename] for f in reversed(frames) if f.filename in files), None)
    if blamed is None:  # an AttributeError about a class of a plug-in has no frame in its file
        lacking = getattr(error, "obj", None)
        owner = lacking if isinstance(lacking, type) else type(lacking)
        blamed = _files.get(owner.__module__)
    return error if blamed is None else _explained(error, blamed, what)


def _explained(error: BaseException, path: Path, what: str) -> RequestError:
    return RequestError(
        f"--plugin {path} {what}: {short_reason(error, [path])}\n\n{traceback_of(error)}"
    )


def names() -> list[str]:
    """Names of the loaded plug-ins."""
    return list(_files)


def hashes(*classes: type) -> dict[str, str]:
    """Name → SHA-256 of each plug-in file that defines one of these classes."""
    return {cls.__module__: _hashes[cls.__module__] for cls in classes if cls.__module__ in _files}


def _imported(path: Path) -> ModuleType:
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[path.stem] = module
    try:
        module_spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _defined(module: ModuleType) -> Sequence[type[tasks.Task] | type[models.Model]]:
    """The tasks and models that the module defines itself, in alphabetical order."""
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__
        and not inspect.isabstract(member)
        and issubclass(member, tasks.Task | models.Model)
    ]
