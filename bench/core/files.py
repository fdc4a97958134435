"""Files of a results folder: written whole, read with bounds, swept of what kills have left."""

import contextlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import StorageError, one_line

MOST_BYTES = 32 * 2**20
"""A larger file is no record."""
STALE_AFTER_S = 3600.0
"""A temporary file this old was left by a process that was killed."""
FOLDERS = (
    *("runs", "speed", "yardsticks", "weights", "samples"),
    *("tables", "figures", "comparison"),
)
"""Below the results, where files are written."""
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG = b"0" * 19
_LONG_WHOLE = tuple(before + _LONG for before in b" |\t|\n|\r|:|,|[|-".split(b"|"))
"""How a whole number that may be beyond 64 bits begins, its digits taken for zeros."""
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
    """Whatever has a record's kind of name, links and folders too; nothing in such a folder.

    In the order of the paths.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # no folder, or none that may be read
    for entry in entries:
        if entry.name.endswith(".json"):
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield from json_below(Path(entry.path))


def read_json(path: Path) -> bytes:
    """What a file holds, which is to be JSON.

    Raises `ValueError` where it is no regular file (reading a pipe would never end), too large, or
    has a whole number beyond 64 bits, which no record has. Raises `OSError` where it can't be read
    and `RecursionError` where it is nested too deeply.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    content = path.read_bytes()
    zeros = content.translate(_DIGITS)  # looking at each number by itself takes ten times as long
    if _LONG in zeros and any(number in zeros for number in _LONG_WHOLE):
        json.loads(content.decode(), parse_int=_whole)
    return content


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"a number beyond 64 bits: {digits[:20]}…")
    return int(digits)
