"""Files of a results folder: written whole, read with bounds, swept of what kills have left."""

import contextlib
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bench.errors import StorageError, one_line

MOST_BYTES = 32 * 2**20
"""A larger file is no record."""
STALE_AFTER_S = 3600.0
"""A temporary file this old was left by a process that was killed."""
FOLDERS = ("runs", "speed", "yardsticks", "tables", "figures", "comparison")
"""Below the results, where files are written."""
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


def write_whole(path: Path, content: bytes) -> None:
    """Synced under a unique temporary name, then renamed: a reader meets it whole.

    Raises `StorageError` where that can't be done.
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
    """Remove what writers that were killed have left half written, once it is an hour old.

    A younger one may be at work, on another machine too.
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
            pass  # another process was faster, or nothing may be removed here


def json_below(folder: Path) -> Iterator[Path]:
    """Whatever has a record's kind of name, links and folders too; nothing in such a folder."""
    for parent, folders, files in os.walk(folder):
        named = [name for name in folders if name.endswith(".json")]
        folders[:] = [name for name in folders if name not in named]
        yield from (Path(parent, name) for name in (*named, *files) if name.endswith(".json"))


def read_json(path: Path) -> object:
    """What a file holds.

    Raises `ValueError` where it is no regular file (reading a pipe would never end), too large, not
    JSON in UTF-8, or has a number that no record has: NaN, Inf, a whole one beyond 64 bits. Raises
    `OSError` where it can't be read and `RecursionError` where it is nested too deeply.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    text = path.read_bytes().decode()
    return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"a number beyond 64 bits: {digits[:20]}…")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"a number that is not finite: {digits[:20]}")
    return value
