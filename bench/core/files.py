"""Files of a results folder: writes whole files, limits sizes and removes half-written files."""

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
"""Largest size of a record."""
STALE_AFTER_S = 3600.0
"""Age from which a temporary file is removed: the process that wrote it was killed."""
SWEPT_FOLDERS = (
    *("runs", "speed", "yardsticks", "weights", "samples", "checks"),
    *("tables", "figures", "comparison"),
)
"""Folders of a results folder in which files are written."""
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees either all of it or nothing.

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
        raise unwritable(str(path), error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def unwritable(what: str, error: OSError) -> StorageError:
    return StorageError(f"can't write {one_line(what)}: {error.strerror or error}")


def sweep(root: Path) -> None:
    """Remove temporary files that are more than an hour old.

    A younger file may still be in use, even by another machine.
    """
    left = [*root.glob(".*.tmp")]
    for name in SWEPT_FOLDERS:
        left += (root / name).rglob(".*.tmp")
    for path in left:
        # Another process may have removed it already, and the folder may be read-only.
        with contextlib.suppress(OSError):
            old = time.time() - path.lstat().st_mtime > STALE_AFTER_S
            if old and _TEMPORARY.fullmatch(path.name):
                path.unlink()


def json_below(folder: Path) -> Iterator[Path]:
    """Every path in a folder and its subfolders whose name ends in .json, in order.

    A path may be a file, a link or a folder. A folder with such a name is not searched.
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
