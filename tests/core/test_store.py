"""Records on disk: whole, validated, never lost."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import StorageError
from bench.core.records import Record
from bench.core.store import Store
from tests.support.records import (
    LOSS,
    SCORE,
    cost_outcome,
    record,
    spec,
    speed_record,
    yardstick_record,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_is_written_is_read(store: Store, tmp_path: Path) -> None:
    records = [record(spec(seed=seed), score) for seed, score in enumerate((1.0, 0.2, None))]
    for one in (record(spec(), 0.5), *records):  # the first is replaced
        path = store.write(one)
        path.with_name(f".{path.stem}.1-a.tmp").write_text("half a rec")  # never read
    assert store.read_all() == (records, [])
    assert len(list(tmp_path.rglob("*.json"))) == 3


def test_a_path_says_what_it_holds(store: Store, tmp_path: Path) -> None:
    of = spec(model="lstm", length=50, seed=3)
    expected = f"runs/cpu-float32-1thread/copy_memory/lstm-T50-s3-{of.id}.json"
    assert store.write(record(of)) == tmp_path / expected


def test_a_write_that_fails_leaves_what_was_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(record(spec()))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write(record(spec(), 0.1))
    assert store.read_all()[0] == [record(spec())]
    assert not list(tmp_path.rglob("*.tmp"))


def damage(path: Path, kind: str) -> None:
    text = path.read_text()
    if kind == "moved":
        path.rename(path.parent.parent / path.name)
    else:
        path.write_bytes(
            {
                "truncated": text[: len(text) // 2].encode(),
                "empty": b"",
                "noise": os.urandom(10_000),
                "another project's": b'{"name": "x"}',
                "older": text.replace('"schema_version": 1', '"schema_version": 0').encode(),
                "edited": text.replace('"seed": 0', '"seed": 7').encode(),
            }[kind]
        )


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "noise", "another project's", "older", "edited", "moved"]
)
def test_a_file_that_is_not_a_record_is_reported_and_set_aside(store: Store, kind: str) -> None:
    damage(store.write(record(spec())), kind)
    store.write(record(spec(seed=1)))
    found, damaged = store.read_all()
    assert [r.spec.seed for r in found] == [1]
    assert len(damaged) == 1
    assert damaged[0].reason
    content = damaged[0].path.read_bytes()
    aside = store.set_aside(damaged[0])
    assert aside is not None
    assert aside.read_bytes() == content
    assert store.read_all() == (found, [])


def test_failed_runs_are_tried_again_and_diverged_ones_are_not() -> None:
    statuses = {"ok": True, "diverged": True, "failed": False, "skipped": False}
    for status, finished in statuses.items():
        assert record(spec(), 0.5, status=status).finished is finished


def test_the_best_of_a_record() -> None:
    solved = record(spec(), 0.97).outcome
    assert solved is not None
    assert solved.solved
    assert solved.test_score == 0.97
    lost = solved.model_copy(update={"test": {"recall": None, "cross_entropy": None}})
    assert lost.test_score == 0.125
    assert not lost.solved
    assert solved.model_copy(update={"solved_at": None}).solved is None


def test_a_cost_is_solved_from_above() -> None:
    assert cost_outcome(0.2).solved
    assert not cost_outcome(0.21).solved
    lost = cost_outcome(0.1, test={"recall": None, "cross_entropy": None})
    assert lost.test_score == 0.5  # chance
    assert not lost.solved
    assert LOSS.reaches(-0.1, 0.2)
    assert SCORE.reaches(0.95, 0.95)
    assert not SCORE.reaches(0.94, 0.95)
    assert (SCORE.said_unit, LOSS.said_unit) == ("share of symbols", "nats, lower is better")


def test_records_hold_neither_host_nor_user() -> None:
    assert not {"host", "hostname", "user", "node"} & set(
        Record.model_json_schema()["$defs"]["Machine"]["properties"]
    )


@pytest.fixture
def full(tmp_path: Path) -> Store:
    """A folder with training, speed and yardstick records."""
    store = Store(tmp_path)
    for seed in range(3):
        store.write(record(spec(seed=seed)))
    store.write(speed_record())
    store.write(yardstick_record())
    return store


def everything(store: Store) -> tuple[list, ...]:
    found = [store.read_all(), store.read_speed(), store.read_yardsticks()]
    assert not any(damaged for _, damaged in found)
    return tuple(records for records, _ in found)


def loose(store: Store) -> list[Path]:
    return sorted(store.root.rglob("*.json"))


def test_packing_changes_no_record_and_unpacking_brings_the_files_back(full: Store) -> None:
    before, files = everything(full), {path: path.read_bytes() for path in loose(full)}
    assert full.pack() == len(files) == 5
    assert list(full.root.iterdir()) == [full.packed]  # no empty folder is left
    assert everything(full) == everything(Store(full.root)) == before
    content = full.packed.read_bytes()
    assert full.pack() == 5
    assert full.packed.read_bytes() == content  # the same records give the same bytes
    assert full.unpack() == 5
    assert not full.packed.exists()
    assert everything(full) == before
    assert set(loose(full)) == set(files)


def test_a_loose_record_comes_before_the_packed_one(full: Store) -> None:
    full.pack()
    newer = record(spec(seed=1), 0.25)
    full.write(newer)
    (found,) = (each for each in full.read_all()[0] if each.spec.seed == 1)
    assert found.outcome == newer.outcome
    full.pack()
    assert len(full.read_all()[0]) == 3
    (found,) = (each for each in full.read_all()[0] if each.spec.seed == 1)
    assert found.outcome == newer.outcome


def test_two_packed_folders_merge_by_unpacking(full: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    other.write(record(spec(seed=7)))
    other.pack()
    full.pack()
    for store in (full, other):
        store.unpack()
    shutil.copytree(other.root / "runs", full.root / "runs", dirs_exist_ok=True)
    assert {each.spec.seed for each in full.read_all()[0]} == {0, 1, 2, 7}


@pytest.mark.parametrize(
    ("change", "reason", "left"),
    [
        (lambda lines: [lines[0], b"{", *lines[1:]], "Invalid JSON", 3),
        (lambda lines: [lines[0].replace(b"runs/", b"elsewhere/", 1), *lines[1:]], "not below", 2),
        (lambda lines: [lines[0].replace(b"-s0-", b"-s9-", 1), *lines[1:]], "does not fit", 2),
        (lambda lines: [b" " * 33 * 2**20, *lines], "can't be read", 0),
    ],
)
def test_a_damaged_line_is_reported_and_the_rest_is_read(
    full: Store, change: Callable[[list[bytes]], list[bytes]], reason: str, left: int
) -> None:
    full.pack()
    lines = gzip.decompress(full.packed.read_bytes()).splitlines()
    full.packed.write_bytes(gzip.compress(b"\n".join(change(lines))))
    records, damaged = full.read_all()
    assert len(records) == left
    (found,) = damaged
    assert found.line is not None
    assert reason in found.reason
    assert full.set_aside(found) is None
    assert full.packed.exists()
    content = full.packed.read_bytes()
    full.write(record(spec(seed=9)))
    for change_files in (full.pack, full.unpack):
        with pytest.raises(StorageError):
            change_files()
        assert full.packed.read_bytes() == content
        assert len(loose(full)) == 1


def test_a_packed_file_that_can_not_be_read_is_not_replaced(full: Store) -> None:
    full.packed.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(StorageError, match="line 1"):
        full.pack()
    assert full.packed.read_bytes().startswith(b"version")
    assert len(loose(full)) == 5


def test_loose_files_stay_if_the_packed_file_reads_back_differently(
    full: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaging(path: Path, content: bytes) -> None:
        path.write_bytes(gzip.compress(gzip.decompress(content).replace(b'"seed":1', b'"seed":9')))

    monkeypatch.setattr("bench.core.store.write_whole", damaging)
    with pytest.raises(StorageError):
        full.pack()
    assert len(loose(full)) == 5


@pytest.mark.parametrize("unpack", [False, True])
def test_a_damaged_loose_file_costs_neither_itself_nor_the_packed_record(
    full: Store, *, unpack: bool
) -> None:
    path = full.root / record(spec(seed=1)).path
    full.pack()
    path.parent.mkdir(parents=True)
    path.write_text("{")
    full.unpack() if unpack else full.pack()
    assert {each.spec.seed for each in full.read_all()[0]} == {0, 1, 2}
    kept = list(full.aside.iterdir()) if unpack else [path]
    assert [each.read_text() for each in kept] == ["{"]


def test_a_packed_file_that_ends_too_early_is_read_as_far_as_it_goes(full: Store) -> None:
    for seed in range(10, 200):
        full.write(record(spec(seed=seed)))
    full.pack()
    content = full.packed.read_bytes()
    full.packed.write_bytes(content[: len(content) // 2])
    records, damaged = full.read_all()
    assert 0 < len(records) < 193
    assert len(damaged) == 1
