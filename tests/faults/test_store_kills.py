"""Writers of records killed in the middle: what was finished stays, nothing is half written."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core import files
from bench.core.records import Record
from bench.core.store import Store
from tests.support.commands import ROOT
from tests.support.harness import Note, grow_old, repeated
from tests.support.writers import SHARED_SEED, realistic


def written_by(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.writers", *map(str, arguments)]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(made.stdout.splitlines()[-1])


@repeated(few=10, many=200)
def test_writers_killed_in_the_middle_lose_no_finished_record(
    times: int, tmp_path: Path, record_property: Note
) -> None:
    finished = set(written_by("killed", tmp_path / "results", times)["finished"])
    assert len(finished) >= times // 2
    store = Store(tmp_path / "results")
    found, damaged = store.read_all()
    assert damaged == []
    seeds = {record.spec.seed for record in found}
    assert finished <= seeds
    for record in found:
        if record.spec.seed != SHARED_SEED:
            assert record == realistic(record.spec.seed)
    others = [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".json"]
    half = [path for path in others if files._TEMPORARY.fullmatch(path.name)]
    assert others == half
    lost = len(finished - seeds)
    record_property(
        "figure",
        f"{times} kills, {len(found)} records read, {len(half)} left half written under a "
        f"temporary name, {lost} finished ones lost",
    )


@pytest.mark.parametrize(
    ("writers", "records"), [(3, 10), pytest.param(8, 200, marks=pytest.mark.faults)]
)
def test_writers_at_once_do_not_disturb_each_other(
    writers: int, records: int, tmp_path: Path, record_property: Note
) -> None:
    said = written_by("at_once", tmp_path / "results", writers, records)
    assert said["codes"] == [0] * writers
    names = [name for every in said["names"] for name in every]
    assert len(set(names)) == len(names) == 2 * writers * records
    found, damaged = Store(tmp_path / "results").read_all()
    assert damaged == []
    assert {r.spec.seed for r in found} == {*range(writers * records), SHARED_SEED}
    assert not list(tmp_path.rglob("*.tmp"))
    record_property(
        "figure",
        f"{writers} writers, {len(found) - 1} records of {writers * records} read, "
        f"{len(set(names))} temporary names of {len(names)} writes",
    )


def test_the_next_run_removes_old_files_of_killed_writers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write(realistic(0))
    young = path.with_name(f".{path.stem}.1-0123abcd.tmp")
    old = [
        path.with_name(f".{path.stem}.2-0123abcd.tmp"),
        tmp_path / "tables" / ".runs.3-0123abcd.tmp",
        tmp_path / ".report.4-0123abcd.tmp",
    ]
    foreign = [path.with_name(".mine.tmp"), tmp_path / "my-notes" / ".a.5-0123abcd.tmp"]
    for left in (*old, *foreign):
        left.parent.mkdir(exist_ok=True)
        left.write_text("half a rec")
    grow_old(tmp_path)
    young.write_text("half a rec")
    files.sweep(tmp_path)
    assert not [left for left in old if left.exists()]
    assert [left for left in (young, *foreign, path) if not left.exists()] == []
    assert isinstance(store.read(path), Record)
