"""Records on disk: one JSON file each, or many in one packed file; written whole or not at all."""

import gzip
import io
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from bench.core.errors import StorageError, one_line
from bench.core.files import MOST_BYTES, json_below, read_bytes, write_whole
from bench.core.records import (
    Filed,
    Record,
    SampleRecord,
    SpeedRecord,
    YardstickRecord,
)

PACKED = "records.jsonl.gz"
"""File in a results folder that holds the records of finished studies, one to a line."""
MOST_LINES = 1_000_000
KINDS: dict[str, type[Filed]] = {
    "runs": Record,
    "speed": SpeedRecord,
    "yardsticks": YardstickRecord,
    "samples": SampleRecord,
}
"""Folder below the results → the kind of record in it."""
AnyRecord = TypeVar("AnyRecord", bound=Filed)


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file, or a line of the packed file, that is not a valid record."""

    path: Path
    reason: str
    line: int | None = None
    """Of the packed file, counted from 1."""


class _Head(BaseModel):
    """The part of a packed line that says which record it holds."""

    path: str


class _Line(BaseModel, Generic[AnyRecord]):
    """A packed line."""

    path: str
    record: AnyRecord


class Store:
    """The records below a results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aside = root / "set-aside"
        self.packed = root / PACKED

    def write(self, record: Filed) -> Path:
        """Write one record to a file of its own; returns the file's path."""
        path = self.root / record.path
        write_whole(path, (record.model_dump_json(indent=1) + "\n").encode())
        return path

    def read(self, path: Path, kind: type[AnyRecord] = Record) -> AnyRecord | Damaged:
        """The record in a file, or why the file is not a valid record."""

        def parse() -> AnyRecord:
            record = kind.model_validate_json(read_bytes(path))
            if path != self.root / record.path:
                raise ValueError("its name or folder does not fit its content")
            return record

        return _read(parse, path)

    def read_all(self) -> tuple[list[Record], list[Damaged]]:
        """All valid training records, and the files and lines that are not valid records."""
        return self.read_below("runs", Record)

    def read_speed(self) -> tuple[list[SpeedRecord], list[Damaged]]:
        """All valid speed records of all machines, and what is not valid."""
        return self.read_below("speed", SpeedRecord)

    def read_yardsticks(self) -> tuple[list[YardstickRecord], list[Damaged]]:
        """All valid comparisons of all machines, and what is not valid."""
        return self.read_below("yardsticks", YardstickRecord)

    def read_below(
        self, folder: str, kind: type[AnyRecord]
    ) -> tuple[list[AnyRecord], list[Damaged]]:
        """All valid records of a kind in a folder, by path, and what is not valid.

        A loose file comes before the packed record of the same path.
        """
        found, damaged = self._read_packed(folder, kind)
        for path in json_below(self.root / folder):
            record = self.read(path, kind)
            if not isinstance(record, Damaged):
                found[record.path.parts] = record
            elif os.path.lexists(path):  # else another bench has set it aside
                damaged.append(record)
        return [found[path] for path in sorted(found)], damaged

    def _read_packed(
        self, folder: str, kind: type[AnyRecord]
    ) -> tuple[dict[tuple[str, ...], AnyRecord], list[Damaged]]:
        """The records of one folder in the packed file, and the lines that are not valid."""
        found: dict[tuple[str, ...], AnyRecord] = {}
        damaged: list[Damaged] = []
        for number, content in self._packed_lines(damaged):
            record = _read(lambda content=content: self._parsed(content, folder, kind), self.packed)
            if isinstance(record, Damaged):
                damaged.append(Damaged(path=self.packed, reason=record.reason, line=number))
            elif record is not None:
                found[record.path.parts] = record
        return found, damaged

    def _packed_lines(self, damaged: list[Damaged]) -> Iterator[tuple[int, bytes]]:
        """Each line of the packed file with its number; what can't be read goes to `damaged`."""
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

    def _parsed(self, content: bytes, folder: str, kind: type[AnyRecord]) -> AnyRecord | None:
        """The record of a packed line; None for a record that belongs to another folder."""
        place = _Head.model_validate_json(content).path
        if place.partition("/")[0] not in KINDS:
            raise ValueError(f"path: {place!r} is not below {', '.join(KINDS)}")
        if place.partition("/")[0] != folder:
            return None
        record = _Line[kind].model_validate_json(content).record
        if record.path.as_posix() != place:
            raise ValueError("its path does not fit its content")
        return record

    def pack(self) -> int:
        """Move all valid records into the packed file; returns how many it then holds.

        A loose file is removed once the packed file is written and was read back equal. Files that
        are not valid records stay where they are, and so does a record that changed meanwhile.
        Raises `StorageError`, and changes nothing, if a line of the present packed file is not a
        valid record. The same records give the same bytes.
        """
        every = self._every_record()
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
        return len(every)

    def unpack(self) -> int:
        """Write each packed record to a file of its own and remove the packed file.

        Returns how many records the packed file held. A loose file that is not a valid record is
        set aside for the packed one. Raises `StorageError`, and removes nothing, if a line of the
        packed file is not a valid record.
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
        """Path → JSON text of each packed record; `StorageError` for a line that is not valid."""
        texts: dict[str, str] = {}
        for folder, kind in KINDS.items():
            found, damaged = self._read_packed(folder, kind)
            if damaged:
                first = damaged[0]
                raise StorageError(f"{first.path}, line {first.line}: {first.reason}")
            texts |= {each.path.as_posix(): each.model_dump_json() for each in found.values()}
        return texts

    def _every_record(self) -> dict[str, str]:
        """As `_packed_records`, with the loose records, which come before the packed ones."""
        texts = self._packed_records()
        for folder, kind in KINDS.items():
            records, _ = self.read_below(folder, kind)
            texts |= {each.path.as_posix(): each.model_dump_json() for each in records}
        return texts

    def set_aside(self, damaged: Damaged) -> Path | None:
        """Move a file that is not a valid record out of the way; nothing is deleted.

        Returns its new path; None if another bench was faster, and for a line of the packed file,
        which stays. Raises `StorageError` if the file can't be moved.
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
            reason = error.strerror or str(error)
            path = one_line(str(damaged.path))
            raise StorageError(f"can't write {path} to {self.aside}: {reason}") from error
        return target


Parsed = TypeVar("Parsed")


def _read(parse: Callable[[], Parsed], path: Path) -> Parsed | Damaged:
    """What `parse` gives, or why it can't."""
    try:
        return parse()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
    except OSError as error:
        reason = error.strerror or str(error)
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        reason = str(error)
    return Damaged(path=path, reason=one_line(reason))
