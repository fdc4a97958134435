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
    Summary,
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

    def read_summaries(self) -> tuple[list[Summary], list[Damaged]]:
        """As `read_all`, without reading or checking the outcomes."""
        return self.read_below("runs", Summary)

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
        found: dict[tuple[str, ...], AnyRecord] = {}
        damaged: list[Damaged] = []
        for number, content in self._packed_lines(damaged):
            record = _read(lambda content=content: self._parsed(content, folder, kind), self.packed)
            if isinstance(record, Damaged):
                damaged.append(Damaged(path=self.packed, reason=record.reason, line=number))
            elif record is not None:
                found[record.path.parts] = record
        for path in json_below(self.root / folder):
            record = self.read(path, kind)
            if not isinstance(record, Damaged):
                found[record.path.parts] = record
            elif os.path.lexists(path):  # else another bench has set it aside
                damaged.append(record)
        return [found[path] for path in sorted(found)], damaged

    def _packed_lines(self, damaged: list[Damaged]) -> Iterator[tuple[int, bytes]]:
        """Each line of the packed file with its number; what can't be read goes to `damaged`."""
        number = 0
        try:
            if not self.packed.is_file():
                return
            with gzip.open(self.packed) as file:
                while number < MOST_LINES and (content := file.readline(MOST_BYTES + 1)):
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

        Loose files are removed once the packed file is written and was read back. Files that are
        not valid records stay where they are. The same records give the same bytes.
        """
        every = {record.path.as_posix(): record for record in self._every_record()}
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
            for path in sorted(every):
                head = _Head(path=path).model_dump_json()
                content = every[path].model_dump_json()
                file.write(f'{head[:-1]},"record":{content}}}\n'.encode())
        write_whole(self.packed, buffer.getvalue())
        kept: list[Damaged] = []
        lines = sum(1 for _ in self._packed_lines(kept))
        if (
            kept
            or lines != len(every)
            or {r.path.as_posix() for r in self._every_record()} != set(every)
        ):
            raise StorageError(f"{self.packed} could not be read back; no loose file was removed")
        for path in every:
            (self.root / path).unlink(missing_ok=True)
        return len(every)

    def unpack(self) -> int:
        """Write each packed record to a file of its own and remove the packed file.

        Returns how many records were written. Raises `StorageError`, and removes nothing, if a
        line of the packed file is not a valid record.
        """
        damaged: list[Damaged] = []
        num_lines = sum(1 for _ in self._packed_lines(damaged))
        for folder, kind in KINDS.items():
            records, wrong = self.read_below(folder, kind)
            damaged += [each for each in wrong if each.line is not None]
            for record in records:
                if not (self.root / record.path).exists():
                    self.write(record)
        if damaged:
            first = damaged[0]
            raise StorageError(f"{first.path}, line {first.line}: {first.reason}")
        self.packed.unlink(missing_ok=True)
        return num_lines

    def _every_record(self) -> list[Filed]:
        every: list[Filed] = []
        for folder, kind in KINDS.items():
            every += self.read_below(folder, kind)[0]
        return every

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
