"""One archive of the records of a results folder, to carry to another machine and merge there.

    python -m bench.run.archive ARCHIVE RESULTS     merge the archive into the folder

An archive is a tar.gz file of JSON records and of the checkpoints of unfinished runs. Reading one
unpacks nothing by its name: a record is validated and written where its content belongs, and the
name of a checkpoint is its backend and spec id. Any other name, link or folder is refused.
"""

import argparse
import contextlib
import gzip
import io
import re
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import RequestError, StorageError, one_line
from bench.core.files import MOST_BYTES, read_bytes, write_whole
from bench.core.records import Filed
from bench.core.store import KINDS, MOST_LINES, Damaged, Store
from bench.core.wording import counted
from bench.measure import checkpoint

MOST_TOTAL_BYTES = 2**30
"""Largest size of all files of an archive together."""
_CHECKPOINT = re.compile(rf"{checkpoint.FOLDER}/[a-z0-9-]+/[0-9a-f]{{16}}\.pt")


def write(results: Path, archive: Path) -> tuple[int, int]:
    """Write all valid records and all checkpoints; returns how many of each.

    The file is written whole or not at all; the same folder gives the same bytes. Raises
    `StorageError` if it can't be written.
    """
    store = Store(results)
    records = {
        record.path.as_posix(): (record.model_dump_json(indent=1) + "\n").encode()
        for folder, kind in KINDS.items()
        for record in store.read_below(folder, kind)[0]
    }
    checkpoints = dict(_checkpoints(results))
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, content in sorted((records | checkpoints).items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    write_whole(archive, buffer.getvalue())
    return len(records), len(checkpoints)


def merge(archive: Path, results: Path) -> tuple[int, int]:
    """Add the records and checkpoints that a results folder lacks; returns how many of each.

    A finished record in the folder stays. Of two checkpoints of a run, the later one is kept.
    Raises `RequestError`, and writes nothing, if anything in the archive is not valid.
    """
    try:
        contents = dict(_contents(archive))
        records = [_record(*each) for each in contents.items() if not _is_checkpoint(each[0])]
        steps = {
            name: checkpoint.step_of(contents[name]) for name in filter(_is_checkpoint, contents)
        }
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, RecursionError) as error:
        reason = one_line(getattr(error, "strerror", None) or str(error))
        raise RequestError(f"{archive}: {reason}; nothing was merged") from None
    store = Store(results)
    here: dict[Path, Filed] = {}
    damaged: dict[Path, Damaged] = {}
    for folder, kind in KINDS.items():
        found, invalid = store.read_below(folder, kind)
        here |= {record.path: record for record in found}
        damaged |= {each.path: each for each in invalid}
    added = [record for record in records if _is_better(record, here.get(record.path))]
    for record in added:
        if (invalid := damaged.get(results / record.path)) is not None:
            store.set_aside(invalid)
        store.write(record)
    runs = [record for record in store.read_all()[0] if record.finished]
    done = {f"{checkpoint.FOLDER}/{run.backend.name}/{run.spec.id}.pt" for run in runs}
    later = [
        name for name, step in steps.items() if name not in done and step > _step_at(results / name)
    ]
    for name in later:
        write_whole(results / name, contents[name])
    return len(added), len(later)


def _is_checkpoint(name: str) -> bool:
    return _CHECKPOINT.fullmatch(name) is not None


def _checkpoints(results: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each readable checkpoint; anything else in its folder is left out."""
    for path in (results / checkpoint.FOLDER).glob("*/*.pt"):
        name = path.relative_to(results).as_posix()
        with contextlib.suppress(OSError, ValueError):
            content = read_bytes(path)
            checkpoint.step_of(content)
            if _is_checkpoint(name):
                yield name, content


def _contents(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in an archive; `ValueError` if one is not a small file."""
    total = 0
    with gzip.open(archive) as packed:
        with tarfile.open(fileobj=packed, mode="r:") as tar:
            for number, member in enumerate(tar):
                total += member.size
                if number == MOST_LINES or total > MOST_TOTAL_BYTES:
                    raise ValueError(f"more than {MOST_LINES} files or {MOST_TOTAL_BYTES} bytes")
                if not member.isreg():
                    raise ValueError(f"{member.name!r} is not a regular file")
                if member.size > MOST_BYTES:
                    raise ValueError(f"{member.name!r} is larger than {MOST_BYTES} bytes")
                file = tar.extractfile(member)
                assert file is not None
                yield member.name, file.read()
        while packed.read(2**20):  # up to the checksum, so that a file cut at its end is noticed
            pass


def _record(name: str, content: bytes) -> Filed:
    """The record in a file of an archive; `ValueError` if its name does not fit its content."""
    kind = KINDS.get(name.partition("/")[0])
    if kind is None:
        raise ValueError(f"{name!r} is neither a record nor a checkpoint")
    record = kind.model_validate_json(content)
    if record.path.as_posix() != name:
        raise ValueError(f"{name!r} does not fit its content")
    return record


def _is_better(record: Filed, present: Filed | None) -> bool:
    """Whether a record of the archive replaces the one that the folder has at its path."""
    return present is None or (record.finished and not present.finished)


def _step_at(path: Path) -> int:
    """Updates done in a checkpoint; -1 if there is no readable one."""
    try:
        return checkpoint.step_of(read_bytes(path))
    except (OSError, ValueError):
        return -1


def main() -> int:
    """Merge an archive into a results folder; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.run.archive", description="Merge an archive into a results folder."
    )
    parser.add_argument("archive", type=Path, metavar="ARCHIVE")
    parser.add_argument("results", type=Path, metavar="RESULTS")
    wanted = parser.parse_args()
    try:
        print(merged_line(wanted.results, *merge(wanted.archive, wanted.results)))
    except (RequestError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    return 0


def merged_line(results: Path, num_records: int, num_checkpoints: int) -> str:
    """What a merge has added to a folder."""
    records, checkpoints = counted(num_records, "record"), counted(num_checkpoints, "checkpoint")
    return f"{results}: {records} and {checkpoints} added"


if __name__ == "__main__":
    sys.exit(main())
