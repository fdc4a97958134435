"""Files that a field of a task names: what is in them is part of the task's identity."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path


def sha256_below(folder: Path, files: Sequence[Path]) -> str:
    """SHA-256 of the names of these files within the folder and of what is in each; `OSError`."""
    digest = sha256()
    for path in files:
        content = sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def changed(path: Path) -> tuple[str, str]:
    """For `DataUnavailable`: what is there now is not what the task was made with."""
    return str(path), "what it holds is not what it held when the run was planned"
