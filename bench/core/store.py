"""Records on disk: one JSON file each, written whole or not at all."""

import contextlib
import gc
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bench.core.errors import StorageError, one_line
from bench.core.files import json_below, read_json, write_whole
from bench.core.records import Filed, Record, SpeedRecord, Summary, YardstickRecord

AnyRecord = TypeVar("AnyRecord", bound=Filed)


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file among the records that is not one."""

    path: Path
    reason: str


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, now and later, for what is made inside.

    Records hold no cycles, and of many of them each walk of the collector takes seconds.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


class Store:
    """The records below a results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.aside = root / "set-aside"

    def write(self, record: Filed) -> Path:
        """Whole or not at all; returns where."""
        path = self.root / record.path
        write_whole(path, (record.model_dump_json(indent=1) + "\n").encode())
        return path

    def read(self, path: Path, kind: type[AnyRecord] = Record) -> AnyRecord | Damaged:
        """The record in a file, validated, or why it is none."""
        try:
            record = kind.model_validate_json(read_json(path))
            if path != self.root / record.path:
                raise ValueError("its name or folder does not fit what it holds")
            return record
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

    def read_all(self) -> tuple[list[Record], list[Damaged]]:
        """Every training record, and every file among them that is none."""
        return self.read_below("runs", Record)

    def read_summaries(self) -> tuple[list[Summary], list[Damaged]]:
        """As `read_all`, in a quarter of the time: what a run gave is neither read nor checked."""
        return self.read_below("runs", Summary)

    def read_speed(self) -> tuple[list[SpeedRecord], list[Damaged]]:
        """Every speed record of whatever machine, and every file among them that is none."""
        return self.read_below("speed", SpeedRecord)

    def read_yardsticks(self) -> tuple[list[YardstickRecord], list[Damaged]]:
        """Every comparison of whatever machine, and every file among them that is none."""
        return self.read_below("yardsticks", YardstickRecord)

    def read_below(
        self, folder: str, kind: type[AnyRecord]
    ) -> tuple[list[AnyRecord], list[Damaged]]:
        """Every record of a kind in a folder, and every file among them that is none."""
        records, damaged = [], []
        with _uncollected():
            for path in json_below(self.root / folder):
                found = self.read(path, kind)
                if not isinstance(found, Damaged):
                    records.append(found)
                elif os.path.lexists(path):  # else another bench has set it aside
                    damaged.append(found)
        return records, damaged

    def set_aside(self, damaged: Damaged) -> Path | None:
        """Move a file that is no record out of the way; nothing is deleted.

        Returns where to; None where another bench was faster. Raises `StorageError` where it can't
        be moved.
        """
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
