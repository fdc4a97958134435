"""The four raw files of MNIST: their sizes and checksums, and how bytes are checked against them.

The files are in the IDX format: two zero bytes, a type code, the number of dimensions, each
dimension as a big-endian 32-bit integer, then the data with the last dimension fastest.
"""

import gzip
import io
import math
import stat
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One raw IDX file of unsigned bytes: its name, its dimensions and its checksum."""

    name: str
    shape: tuple[int, ...]
    sha256: str
    """SHA-256 of the uncompressed file, in hexadecimal."""

    @property
    def header_bytes(self) -> int:
        """Size of the magic number and the dimensions."""
        return 4 + 4 * len(self.shape)

    @property
    def num_bytes(self) -> int:
        """Size of the uncompressed file."""
        return self.header_bytes + math.prod(self.shape)

    @property
    def max_bytes(self) -> int:
        """Largest size that is read, compressed or not: gzip may add a few bytes."""
        return self.num_bytes + 4096

    def array(self, raw: bytes) -> np.ndarray:
        """The data of a file that `checked` has accepted, as a writable uint8 array."""
        return np.frombuffer(raw, np.uint8, offset=self.header_bytes).reshape(self.shape).copy()


# The smallest file comes first, so that a mirror with another data set is recognised early.
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


class SourceError(Exception):
    """A source does not provide valid files; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file that passed the check: its uncompressed bytes, and where these lie on disk."""

    file: DataFile
    raw: bytes
    path: Path | None = None
    """None where no uncompressed copy is on disk yet."""


def read_capped(path: Path, max_bytes: int) -> bytes:
    """The bytes of the regular file at `path`.

    Raises `OSError`, or `SourceError` where the file is not regular or larger than `max_bytes`.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe could block for ever
        raise SourceError(f"{path.name} is not a regular file")
    with open(path, "rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise SourceError(f"{path.name} has more than {max_bytes} bytes")
    return data


def gunzip(data: bytes, max_bytes: int, name: str) -> bytes:
    """Decompress gzip data without ever holding much more than `max_bytes` of the content."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            raw = stream.read(max_bytes + 1)
    except EOFError:
        raise SourceError(f"{name} is a gzip file cut short") from None
    except (OSError, zlib.error) as error:
        raise SourceError(f"{name} is a damaged gzip file: {error}") from None
    if len(raw) > max_bytes:
        raise SourceError(f"{name} unpacks to more than {max_bytes} bytes")
    return raw


def checked(data: bytes, file: DataFile, name: str) -> bytes:
    """The uncompressed bytes of `file`, from gzip or raw `data` that was found under `name`.

    Returns `data` itself where it is not compressed. Raises `SourceError` where the size or the
    checksum is wrong.
    """
    raw = gunzip(data, file.num_bytes, name) if data[:2] == b"\x1f\x8b" else data
    if len(raw) != file.num_bytes:
        page = ", and is a web page" if raw.lstrip()[:1] == b"<" else ""
        raise SourceError(f"{name} has {len(raw)} bytes, not {file.num_bytes}{page}")
    digest = sha256(raw).hexdigest()
    if digest != file.sha256:
        raise SourceError(
            f"{name} has SHA-256 {digest[:12]}..., not {file.sha256[:12]}... (it is damaged or "
            "belongs to another data set)"
        )
    return raw


def one_line(text: str) -> str:
    """The text with every run of white space replaced by one space."""
    return " ".join(text.split())
