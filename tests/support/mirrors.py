"""A web server whose folders are mirrors of small IDX files; some mirrors are faulty."""

import gzip
import io
import math
import shlex
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

SHAPES = {
    "t10k-labels-idx1-ubyte": (6,),
    "train-labels-idx1-ubyte": (8,),
    "t10k-images-idx3-ubyte": (6, 4, 4),
    "train-images-idx3-ubyte": (8, 4, 4),
}


def idx_files(seed: int) -> dict[str, bytes]:
    """Four small IDX files with the names of MNIST's, written here by hand."""
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
BOMB = gzip.compress(bytes(3_000_000))  # 3 kB, which the limit on transfers lets through
PAGE = b"<!doctype html><title>404 Not Found</title>"


class Server(ThreadingHTTPServer):
    """`asked` holds the paths of all requests; `sent` counts the bytes of endless bodies.

    `plain` is the http address to which the folder `to_http` redirects.
    """

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
        self.plain = f"http://127.0.0.1:{self.server_port}/good/"
        self.stopping = threading.Event()

    def mirror(self, folder: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/{folder}/"

    def handle_error(self, request, client_address) -> None:
        pass  # clients that hang up are expected here


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
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
            self.move(f"{self.server.plain}{name}.gz")
        elif folder == "to_file":
            self.move("file:///etc/hostname")
        elif folder == "drip_headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            self.drip()
        elif folder == "drip":
            self.begin(200, 10_000)
            self.drip()
        elif folder == "drip_chunk":  # the size of a chunk never ends, so that no read returns
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
                "web_page": (200, PAGE),
                "missing": (404, PAGE),
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


def make_certificate(folder: Path) -> Path:
    """A fresh self-signed certificate for 127.0.0.1, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs the openssl command")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout cert.pem -out cert.pem -days 2"
        " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        " -addext keyUsage=digitalSignature,keyCertSign"
    )
    subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem"


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def silent() -> Iterator[tuple[str, list[socket.socket]]]:
    """A mirror that accepts connections and never answers, and the connections."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):  # the listener is shut down below
                while True:
                    accepted.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/", accepted
        listener.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()


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
