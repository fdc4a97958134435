"""Files that a field of a task names. Their content is part of the task's identity."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path


def sha256_below(folder: Path, files: Sequence[Path]) -> str:
    """SHA-256 of the names of these files in the folder and of their contents; raises `OSError`."""
    digest = sha256()
    for path in files:
        content = sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def changed(path: Path) -> tuple[str, str]:
    """The entry in `DataUnavailable` for a path whose content has changed."""
    return str(path), "its content has changed since the run was planned"
