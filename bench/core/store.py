"""Records on disk: one JSON file each, or many in one packed file; written whole or not at all."""

import contextlib
import gzip
import io
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from bench.core.errors import StorageError, one_line
from bench.core.files import MOST_BYTES, json_below, read_bytes, unwritable, write_whole
from bench.core.records import (
    CheckRecord,
    Filed,
    Record,
    SampleRecord,
    SpeedRecord,
    YardstickRecord,
)

PACKED = "records.jsonl.gz"
"""File in a results folder that holds the records of finished studies, one per line."""
MOST_LINES = 1_000_000
"""Largest number of lines that are read from a packed file."""
KINDS: dict[str, type[Filed]] = {
    "runs": Record,
    "speed": SpeedRecord,
    "yardsticks": YardstickRecord,
    "samples": SampleRecord,
    "checks": CheckRecord,
}
"""Folder in the results folder → the kind of record in it."""
AnyRecord = TypeVar("AnyRecord", bound=Filed)


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file, or a line of the packed file, that is not a valid record."""

    path: Path
    reason: str
    line: int | None = None
    """Line of the packed file, counted from 1."""


class _Head(BaseModel):
    """The path in a packed line. It is read first, since most lines belong to another folder."""

    path: str


class _Line(_Head, Generic[AnyRecord]):
    """A packed line."""

    record: AnyRecord


class Store:
    """The records in a results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aside = root / "set-aside"
        self.packed = root / PACKED

    def write(self, record: Filed) -> Path:
        """Write one record to its own file; returns the file's path."""
        path = self.root / record.path
        write_whole(path, (record.model_dump_json(indent=1) + "\n").encode())
        return path

    def read(self, path: Path, kind: type[AnyRecord] = Record) -> AnyRecord | Damaged:
        """The record in a file, or the reason why the file is not a valid record."""
        try:
            record = kind.model_validate_json(read_bytes(path))
        except (OSError, ValueError, RecursionError) as error:
            return Damaged(path=path, reason=_reason(error))
        if path != self.root / record.path:
            return Damaged(path=path, reason="its name or folder does not fit its content")
        return record

    def read_all(self) -> tuple[list[Record], list[Damaged]]:
        """All valid training records, and the files and lines that are not valid records."""
        return self.read_below("runs", Record)

    def read_speed(self) -> tuple[list[SpeedRecord], list[Damaged]]:
        """All valid speed records of all machines, and what is not valid."""
        return self.read_below("speed", SpeedRecord)

    def read_yardsticks(self) -> tuple[list[YardstickRecord], list[Damaged]]:
        """All valid yardstick records of all machines, and what is not valid."""
        return self.read_below("yardsticks", YardstickRecord)

    def read_below(
        self, folder: str, kind: type[AnyRecord]
    ) -> tuple[list[AnyRecord], list[Damaged]]:
        """All valid records of one kind, sorted by path, and what is not valid.

        A loose file replaces the packed record of the same path.
        """
        found, damaged = self._read_packed(folder, kind)
        for path in json_below(self.root / folder):
            record = self.read(path, kind)
            if not isinstance(record, Damaged):
                found[record.path.parts] = record
            elif os.path.lexists(path):  # if it is gone, another process has set it aside
                damaged.append(record)
        return [found[path] for path in sorted(found)], damaged

    def _read_packed(
        self, folder: str, kind: type[AnyRecord]
    ) -> tuple[dict[tuple[str, ...], AnyRecord], list[Damaged]]:
        """The records of one folder in the packed file, and the lines that are not valid."""
        found: dict[tuple[str, ...], AnyRecord] = {}
        damaged: list[Damaged] = []
        for number, content in self._packed_lines(damaged):
            try:
                record = _parsed(content, folder, kind)
            except (ValueError, RecursionError) as error:
                damaged.append(Damaged(path=self.packed, reason=_reason(error), line=number))
            else:
                if record is not None:
                    found[record.path.parts] = record
        return found, damaged

    def _packed_lines(self, damaged: list[Damaged]) -> Iterator[tuple[int, bytes]]:
        """Each line of the packed file with its number; adds an error in reading to `damaged`."""
        number = 0
        try:
            if not self.packed.is_file():
                return
            with gzip.open(self.packed) as file:
                while content := file.readline(MOST_BYTES + 1):
                    if number == MOST_LINES:
                        raise ValueError(f"more than {MOST_LINES} lines")
                    number += 1
                    if len(content) > MOST_BYTES:
                        raise ValueError(f"longer than {MOST_BYTES} bytes")
                    yield number, content
        except (OSError, EOFError, zlib.error, ValueError) as error:
            reason = f"the rest of the file can't be read: {one_line(str(error))}"
            damaged.append(Damaged(path=self.packed, reason=reason, line=number + 1))

    def pack(self) -> int:
        """Move all valid records into the packed file; returns how many it then holds.

        A loose file is removed only after the packed file was written and read back without a
        difference. Files that are not valid records stay, and so do records that changed meanwhile.
        Raises `StorageError`, and changes nothing, if the present packed file has a line that is
        not a valid record. The same records give the same bytes.
        """
        every = self._packed_records()
        for folder, kind in KINDS.items():
            every |= _texts(self.read_below(folder, kind)[0])
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
            for path, content in sorted(every.items()):
                head = _Head(path=path).model_dump_json()
                file.write(f'{head[:-1]},"record":{content}}}\n'.encode())
        write_whole(self.packed, buffer.getvalue())
        if self._packed_records() != every:
            raise StorageError(f"{self.packed} could not be read back; no loose file was removed")
        for folder, kind in KINDS.items():
            for path in json_below(self.root / folder):
                record = self.read(path, kind)
                if isinstance(record, Damaged):
                    continue
                if record.model_dump_json() == every.get(record.path.as_posix()):
                    path.unlink(missing_ok=True)
            for parent, _, _ in os.walk(self.root / folder, topdown=False):
                with contextlib.suppress(OSError):  # the folder is not empty
                    os.rmdir(parent)
        return len(every)

    def unpack(self) -> int:
        """Write each packed record to its own file and remove the packed file.

        Returns how many records the packed file held. A loose file that is not a valid record is
        set aside to make room for the packed record. Raises `StorageError`, and removes nothing, if
        a line of the packed file is not a valid record.
        """
        num_records = len(self._packed_records())
        for folder, kind in KINDS.items():
            for record in self.read_below(folder, kind)[0]:
                path = self.root / record.path
                loose = self.read(path, kind) if os.path.lexists(path) else None
                if isinstance(loose, Damaged):
                    self.set_aside(loose)
                if not isinstance(loose, kind):
                    self.write(record)
        self.packed.unlink(missing_ok=True)
        return num_records

    def _packed_records(self) -> dict[str, str]:
        """Path → JSON of each packed record. Raises `StorageError` if a line is not valid."""
        texts: dict[str, str] = {}
        for folder, kind in KINDS.items():
            found, damaged = self._read_packed(folder, kind)
            for first in damaged:
                raise StorageError(f"{first.path}, line {first.line}: {first.reason}")
            texts |= _texts(found.values())
        return texts

    def set_aside(self, damaged: Damaged) -> Path | None:
        """Move a file that is not a valid record to `set-aside/`; nothing is deleted.

        Returns its new path, or None if another process moved it first. A line of the packed file
        stays where it is. Raises `StorageError` if the file can't be moved.
        """
        if damaged.line is not None:
            return None
        name = os.fsdecode(os.fsencode(damaged.path.name)[:200])
        target = self.aside / f"{name}.{secrets.token_hex(4)}"
        try:
            self.aside.mkdir(parents=True, exist_ok=True)
            os.replace(damaged.path, target)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwritable(f"{damaged.path} to {self.aside}", error) from error
        return target


def _texts(records: Iterable[Filed]) -> dict[str, str]:
    """Path → JSON of each record."""
    return {each.path.as_posix(): each.model_dump_json() for each in records}


def _parsed(content: bytes, folder: str, kind: type[AnyRecord]) -> AnyRecord | None:
    """The record in a packed line, or None if it belongs to another folder."""
    path = _Head.model_validate_json(content).path
    top = path.partition("/")[0]
    if top not in KINDS:
        raise ValueError(f"path: {path!r} is not below {', '.join(KINDS)}")
    if top != folder:
        return None
    record = _Line[kind].model_validate_json(content).record
    if record.path.as_posix() != path:
        raise ValueError("its path does not fit its content")
    return record


def _reason(error: Exception) -> str:
    """Why a file or a line is not a valid record, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        return one_line(f"{place}: {first['msg']}" if place else first["msg"])
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return one_line(getattr(error, "strerror", None) or str(error))
