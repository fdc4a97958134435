"""A simulated full disk: from the N-th operation that writes below a folder on, each one fails.

Operations are counted over all processes that have called `install`: opening for writing, writing,
syncing, renaming, making a folder. Removing a file never fails, as on a real full disk.
"""

import builtins
import errno
import fcntl
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def install(folder: Path, counter: Path, at: int, code: int = errno.ENOSPC) -> Callable[[], None]:
    """Fail from operation `at` on, with this error number; returns a function that undoes it.

    The file `counter` gets one line per operation: its kind and its path.
    """
    originals = {name: getattr(os, name) for name in ("mkdir", "replace", "fsync")}
    open_file = builtins.open

    def below(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(os.fspath(path)).is_relative_to(folder)

    def operate(what: str, path: object) -> None:
        """Count one operation; raise `OSError` if the disk is full by now."""
        descriptor = os.open(counter, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            number = os.pread(descriptor, 10**6, 0).count(b"\n") + 1
            os.write(descriptor, f"{what} {Path(str(path)).relative_to(folder)}\n".encode())
        finally:
            os.close(descriptor)
        if number >= at:
            raise OSError(code, os.strerror(code), str(path))

    def mkdir(path: Any, *arguments: Any, **named: Any) -> None:
        if below(path) and not os.path.isdir(path):
            operate("mkdir", path)
        originals["mkdir"](path, *arguments, **named)

    def replace(source: Any, target: Any, **named: Any) -> None:
        if below(target):
            operate("replace", target)
        originals["replace"](source, target, **named)

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if below(path):
            operate("fsync", path)
        originals["fsync"](descriptor)

    def opened(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        writes = below(path) and set(mode) & set("wxa+")
        if writes:
            operate("open", path)
        file = open_file(path, mode, *arguments, **named)
        if writes:
            write = file.write

            def half(content: Any) -> int:
                try:
                    operate("write", path)
                except OSError:
                    write(content[: len(content) // 2])
                    raise
                return write(content)

            file.write = half
        return file

    patched = [(os, "mkdir", mkdir), (os, "replace", replace), (os, "fsync", fsync)]
    patched += [(builtins, "open", opened), (io, "open", opened)]
    before = [(module, name, getattr(module, name)) for module, name, _ in patched]
    for module, name, by in patched:
        setattr(module, name, by)

    def undo() -> None:
        for module, name, original in before:
            setattr(module, name, original)

    return undo


def operations(counter: Path) -> list[str]:
    """The counted operations, in order."""
    return counter.read_text().splitlines() if counter.exists() else []
