"""Files of a results folder: written whole, read with bounds, cleared of half-written files."""

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import StorageError, one_line

MOST_BYTES = 32 * 2**20
"""A record is never larger."""
STALE_AFTER_S = 3600.0
"""A temporary file that is older was left behind by a process that was killed."""
FOLDERS = (
    *("runs", "speed", "yardsticks", "weights", "samples"),
    *("tables", "figures", "comparison"),
)
"""Folders below the results in which files are written."""
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing.

    The content is written under a unique temporary name, synced and renamed. Raises `StorageError`
    if that fails.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"can't write {one_line(str(path))}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove temporary files that are older than an hour: their writers were killed.

    A younger file may still be written, also by another machine.
    """
    left = [*root.glob(".*.tmp")]
    for name in FOLDERS:
        left += (root / name).rglob(".*.tmp")
    for path in left:
        try:
            old = time.time() - path.lstat().st_mtime > STALE_AFTER_S
            if old and _TEMPORARY.fullmatch(path.name):
                path.unlink()
        except OSError:
            pass  # another process was faster, or the folder is read-only


def json_below(folder: Path) -> Iterator[Path]:
    """Every path below a folder whose name ends in .json, in order; folders and links included.

    A folder whose name ends in .json is not entered.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # the folder is missing or can't be read
    for entry in entries:
        if entry.name.endswith(".json"):
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield from json_below(Path(entry.path))


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most `MOST_BYTES`.

    Raises `ValueError` for a file that is not regular (reading a pipe would never end) or that is
    too large, and `OSError` if it can't be read.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    return path.read_bytes()
