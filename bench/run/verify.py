"""Recorded runs, drawn at random, are made again and compared bit for bit."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.backend import prepare
from bench.core.errors import RequestError, one_line, short_reason
from bench.core.machine import fingerprint
from bench.core.records import Outcome, Record
from bench.core.store import Store
from bench.core.wording import counted, duration
from bench.measure.train import train
from bench.plan.coverage import is_current
from bench.plan.protocols import is_older
from bench.run.progress import name_of
from tasks import DataUnavailable

COMPARED = ("stopped", "steps", "best_step", "test", "num_test", "beyond")
"""Fields of an outcome that are compared, after its curve. Times are not."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The runs of a folder that should have the same numbers here."""

    records: Sequence[Record]
    others: dict[str, int]
    """Why a run can't be compared here → how many such runs there are."""


def verify(
    folder: Path, number: int, *, seed: int, time_limit_s: float, ids: tuple[str, ...] = ()
) -> bool:
    """Make up to `number` runs of a folder again; returns whether all have the same numbers.

    With `ids`, these are all runs whose id begins with one of them. A run that took longer than
    the time that is left is passed over. Raises `RequestError` if no run can be compared.
    """
    records, damaged = Store(folder).read_all()
    if ids:
        records = [record for record in records if record.spec.id.startswith(ids)]
        if not records:
            raise RequestError(f"no run in {folder} has an id that begins with {' or '.join(ids)}")
        number = len(records)
    found = candidates(records)
    total = len(found.records)
    print(f"{counted(total, 'run')} of {folder} can be compared here; drawn with --seed {seed}")
    for why, how_many in sorted(found.others.items()):
        print(f"not compared: {counted(how_many, 'run')} {why}")
    if damaged:
        print(f"not compared: {counted(len(damaged), 'file')} that can't be read")
    deadline = time.monotonic() + time_limit_s
    differences = compared = too_long = 0
    for record in random.Random(seed).sample(found.records, total):
        assert record.outcome is not None
        if compared == number:
            break
        if record.outcome.total_seconds > deadline - time.monotonic():
            too_long += 1
            continue
        try:
            difference = again(record)
        except DataUnavailable as error:
            print(f"no data     {name_of(record.spec)}: {one_line(str(error))}", flush=True)
            continue
        compared += 1
        differences += difference is not None
        print(_line(record, difference), flush=True)
    if too_long:
        print(f"passed over: {counted(too_long, 'run')} that would exceed the time limit")
    if compared == 0:
        raise RequestError(f"no run of {folder} was compared")
    print(f"the same numbers: {compared - differences} of {counted(compared, 'run')}")
    return differences == 0


def candidates(records: Sequence[Record]) -> Candidates:
    """The runs that can be compared on this machine, and why the others cannot."""
    chosen = list[Record]()
    others: Counter[str] = Counter()
    for record in records:
        why = _obstacle(record)
        if why is None:
            chosen.append(record)
        else:
            others[why] += 1
    return Candidates(records=chosen, others=dict(others))


def _obstacle(record: Record) -> str | None:
    """Why a run can't be compared here; None if it can."""
    if not record.finished:
        return "without a result"
    if not is_current(record.spec):
        return "of older code, or of a plug-in"
    if is_older(record.spec):
        return f"of protocol {record.spec.protocol}, which the present code replaced"
    if record.backend.device != "cpu":
        return "of a GPU, whose sums have no fixed order"
    machine = record.machine
    if not machine.computes_like(fingerprint()):
        processor = f"{machine.cpu} ({machine.instructions or 'instructions not recorded'})"
        return f"of {processor}, PyTorch {machine.torch}, Python {machine.python}"
    return None


def again(record: Record) -> str | None:
    """Make a run again; where its numbers first differ, or None."""
    assert record.outcome is not None
    prepare(record.backend)
    try:
        outcome = train(record.spec, "cpu")
    except DataUnavailable:
        raise
    except Exception as error:
        return f"fails: {short_reason(error)}"
    return difference(record.outcome, outcome)


def difference(recorded: Outcome, made: Outcome) -> str | None:
    """Where the second outcome first differs from the first; None if all but the times agree."""
    for before, after in zip(recorded.curve, made.curve, strict=False):
        for name, value in _numbers(before).items():
            if value != _numbers(after)[name]:
                where = f"at update {before.step}, {name}"
                return f"{where}: recorded {value!r}, now {_numbers(after)[name]!r}"
    for name in COMPARED:
        value, now = getattr(recorded, name), getattr(made, name)
        if value != now:
            return f"{name}: recorded {value!r}, now {now!r}"
    return None


def _numbers(point: Any) -> dict[str, object]:
    return {name: value for name, value in point if name != "seconds"}


def _line(record: Record, difference: str | None) -> str:
    assert record.outcome is not None
    what = f"{name_of(record.spec)} ({record.spec.id}, commit {record.machine.commit})"
    if difference is not None:
        if record.machine.instructions is None:
            difference += "; its record does not name the vector instructions of its machine"
        return f"differs     {what}: {difference}"
    outcome = record.outcome
    return (
        f"same        {what}: {outcome.score.name} {outcome.test_score:.3f} after "
        f"{counted(outcome.steps, 'update')}, {duration(outcome.total_seconds)} when recorded"
    )
