"""Fixtures for the tests of data files: an empty cache, a folder of the user, a web server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import _files
from tests.support.mirrors import RAW, Server, make_certificate, serving, tls
from tests.support.mnist_files import TABLE, fill


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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
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
