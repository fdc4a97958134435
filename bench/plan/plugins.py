"""Files that define a task or a model of the user's: found, tried and loaded.

A file is imported in a process of its own first. Where that fails, or where what it defines raises
while runs are planned, a stand-in takes its place: its runs fail with the reason, and nothing else
is touched.
"""

import hashlib
import importlib.util
import inspect
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import torch
from torch import Tensor, nn

import models
import tasks
from bench.core.errors import RequestError, message_of, one_line
from bench.core.processes import context, end, how_it_ended

IMPORT_LIMIT_S = 60.0
"""An import that takes longer does not end."""

_files: dict[str, Path] = {}


class PluginError(Exception):
    """Why a plug-in's run can't be made."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A file and, where its runs can only fail, why."""

    path: Path
    broken: str | None = None
    how: str = "can't be imported"
    """What `broken` is the reason of."""

    @property
    def name(self) -> str:
        return self.path.stem


def check(path: Path) -> Plugin:
    """Try the file in a process of its own.

    Raises `RequestError` where it is no Python file, its name is taken or it defines nothing.
    """
    name = path.stem
    if not path.is_file() or path.suffix != ".py" or not name.isidentifier():
        raise RequestError(f"--plugin {path}: not a Python file with a plain name")
    if name in sys.modules or name in tasks.names() or name in models.names():
        raise RequestError(f"--plugin {path}: the name {name!r} is taken; rename the file")
    broken, found = _tried(path)
    if broken is not None:
        return Plugin(path=path, broken=broken)
    if not found:
        raise RequestError(f"--plugin {path}: defines neither a Task nor a Model")
    return Plugin(path=path)


def load(plugin: Plugin) -> None:
    """Register what the file defines, under the file's name, or its stand-ins."""
    if plugin.broken is None:
        for cls in _defined(_imported(plugin.path)):
            if issubclass(cls, tasks.Task):
                tasks.register(cls)
            else:
                models.register(cls)
    else:
        _register_stand_ins(plugin)
    _files[plugin.name] = plugin.path


def blamed(error: BaseException, loaded: Sequence[Plugin]) -> Plugin | None:
    """The plug-in that raised, as a broken one; None where it was none of these.

    It is the innermost one that the traceback goes through; else the one that lacks what was asked
    for, or the only one there is.
    """
    whole = [plugin for plugin in loaded if plugin.broken is None]
    by_file = {str(plugin.path): plugin for plugin in whole}
    by_name = {plugin.name: plugin for plugin in whole}
    frames = traceback.extract_tb(error.__traceback__)
    asked = getattr(error, "obj", None)  # of an AttributeError
    lacking = asked if isinstance(asked, type) else type(asked)
    found = next((by_file[f.filename] for f in reversed(frames) if f.filename in by_file), None)
    found = found or by_name.get(lacking.__module__) or (whole[0] if len(whole) == 1 else None)
    if found is None:
        return None
    return replace(found, broken=_reason(error, found.path), how="raises while runs are planned")


def names() -> list[str]:
    """Of the files that were loaded."""
    return list(_files)


def hashes(*classes: type) -> dict[str, str]:
    """SHA-256 of the plug-in files behind these classes, by name."""
    return {
        cls.__module__: hashlib.sha256(_files[cls.__module__].read_bytes()).hexdigest()
        for cls in classes
        if cls.__module__ in _files
    }


def _tried(path: Path) -> tuple[str | None, bool]:
    """Why the file can't be imported, and whether it defines anything."""
    ours, theirs = context().Pipe(duplex=False)
    process = context().Process(target=_try, args=(theirs, path), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(IMPORT_LIMIT_S):
            return f"its import did not end within {IMPORT_LIMIT_S:g} s", False
        said = ours.recv_bytes().decode()
    except (EOFError, ConnectionResetError):
        process.join()
        return f"importing it ended the process: {how_it_ended(process)}", False
    finally:
        end(process)
        ours.close()
    kind, _, reason = said.partition(":")
    return (reason, False) if kind == "broken" else (None, kind == "found")


def _try(connection: Connection, path: Path) -> None:
    """The life of the process that imports a file to see what comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    try:
        said = "found:" if _defined(_imported(path)) else "nothing:"
    except BaseException as error:  # sys.exit is one of the things that can happen
        said = f"broken:{_reason(error, path)}"
    connection.send_bytes(said.encode())


def _reason(error: BaseException, path: Path) -> str:
    """What went wrong, and in which line of the file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    message = error.msg if isinstance(error, SyntaxError) else message_of(error)
    place = "" if line is None else f" ({path.name}:{line})"
    return f"{type(error).__name__}: {one_line(message)}{place}"


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
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__
        and not inspect.isabstract(member)
        and issubclass(member, tasks.Task | models.Model)
    ]


def _register_stand_ins(plugin: Plugin) -> None:
    """A task, a model or both, by what the file imports."""
    text = plugin.path.read_text("utf-8", errors="replace")
    imported = set(re.findall(r"^\s*(?:from|import)\s+(tasks|models)\b", text, re.MULTILINE))
    reason = f"{plugin.path.name} {plugin.how}: {plugin.broken}"
    inside = {"__module__": plugin.name, "reason": reason}
    if imported != {"models"}:
        tasks.register(type("Broken", (_Task,), inside))
    if imported != {"tasks"}:
        models.register(type("Broken", (_Model,), inside))


def stands_in(cls: type) -> bool:
    """Whether a class is in the place of a broken one: it takes whatever fields it is given."""
    return issubclass(cls, _Task | _Model)


@dataclass(frozen=True, kw_only=True, init=False)
class _Task(tasks.Task):
    """In the place of a task that is broken."""

    version = 0
    smallest = {"length": 1}
    lengths = (1,)
    reason = ""

    def __init__(self, *, length: int, **given: object) -> None:
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "given", given)

    @property
    def fields(self) -> dict[str, object]:
        return {"length": self.length, **vars(self)["given"]}

    @property
    def solved(self) -> None:
        return None

    @property
    def signature(self) -> tasks.Signature:
        return tasks.Signature(
            input="real", num_inputs=1, num_outputs=1, per="sequence", num_steps=1, reach=1
        )

    @property
    def objective(self) -> tasks.Objective:
        raise PluginError(self.reason)

    def sample(self, n: int, generator: torch.Generator, split: tasks.Split = "train") -> NoReturn:
        raise PluginError(self.reason)


@dataclass(frozen=True, kw_only=True, init=False)
class _Model(models.Model):
    """In the place of a model that is broken."""

    version = 0
    reason = ""

    def __init__(self, **given: object) -> None:
        object.__setattr__(self, "given", given)

    @property
    def fields(self) -> dict[str, object]:
        return dict(vars(self)["given"])

    def build_core(self, signature: models.Signature, width: int, extra_width: int) -> models.Core:
        core = _Core(width)
        if not core.units.is_meta:  # its parameters may be counted
            raise PluginError(self.reason)
        return core


class _Core(models.Core):
    num_features = 1
    receptive_field = 1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.units = nn.Parameter(torch.empty(width))

    def forward(self, x_BTI: Tensor, state: object = None, *, last_only: bool = False) -> NoReturn:
        raise AssertionError("a stand-in is never run")
