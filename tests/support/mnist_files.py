"""Small files in place of MNIST's, and checks of the files that a search for them finds."""

import gzip
import hashlib
from pathlib import Path

import pytest

from tasks._files import DataUnavailable, mnist_files
from tasks._idx import DataFile
from tests.support.mirrors import RAW, SHAPES

TABLE = tuple(
    DataFile(name=name, shape=SHAPES[name], sha256=hashlib.sha256(raw).hexdigest())
    for name, raw in RAW.items()
)
LABELS = "train-labels-idx1-ubyte"


def in_folder(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def fill(folder: Path, files: dict[str, bytes], suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(raw) if suffix else raw)
    return folder


def assert_right(paths: dict[str, Path]) -> None:
    assert {name: path.read_bytes() for name, path in paths.items()} == RAW


def failure_of(**arguments) -> DataUnavailable:
    with pytest.raises(DataUnavailable) as caught:
        mnist_files(**arguments)
    return caught.value
