"""Files among the records that are none: told, set aside, never deleted; the rest is read."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.core import files
from bench.core.records import Record, SpeedRecord, YardstickRecord
from bench.core.store import Damaged, Store
from tests.support.records import record, spec, speed_record, yardstick_record

Spoil = Callable[[Path, dict[str, Any]], object]


def written(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """The record with something in it changed, where it was."""

    def spoil(path: Path, content: dict[str, Any]) -> None:
        change(content)
        path.write_text(json.dumps(content))

    return spoil


def edited(old: str, new: str) -> Spoil:
    """The file with some of its text replaced."""

    def spoil(path: Path, content: dict[str, Any]) -> None:
        text = json.dumps(content)
        assert old in text
        path.write_text(text.replace(old, new))

    return spoil


def replaced(by: bytes) -> Spoil:
    return lambda path, content: path.write_bytes(by)


def outside(path: Path, content: dict[str, Any]) -> None:
    """A link to a whole record that lies elsewhere."""
    elsewhere = path.parents[5] / "elsewhere.json"
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)


def to_nothing(path: Path, content: dict[str, Any]) -> None:
    path.unlink()
    path.symlink_to("gone")


def piped(path: Path, content: dict[str, Any]) -> None:
    path.unlink()
    os.mkfifo(path)


def in_a_folder(path: Path, content: dict[str, Any]) -> None:
    """A folder with a record's name, another such inside."""
    path.unlink()
    (path / "inner.json").mkdir(parents=True)
    (path / "inner.json" / path.name).write_text("{}")


def large(path: Path, content: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        file.truncate(files.MOST_BYTES + 1)


DEEP = "[" * 100_000 + "]" * 100_000
NOISE = random.Random(0).randbytes(10**7)
NESTED = "[" * 300 + "]" * 300
RECORD: dict[str, tuple[Spoil, str]] = {
    "truncated": (lambda p, c: os.truncate(p, p.stat().st_size // 2), "line"),
    "empty": (lambda p, c: os.truncate(p, 0), "Invalid JSON"),
    "older": (written(lambda c: c.update(schema_version=0)), "schema_version"),
    "newer": (written(lambda c: c.update(schema_version=99)), "schema_version"),
    "another project's": (replaced(b'{"name": "x"}'), "spec: Field required"),
    "a list": (replaced(b"[1, 2]"), "should be an object"),
    "ten megabytes of noise": (replaced(NOISE), ""),
    "too large": (large, "larger than"),
    "nested": (replaced(f'{{"spec": {DEEP}}}'.encode()), "recursion limit"),
    "nested in a field": (edited('"length": 10', f'"length": 10, "x": {NESTED}'), ""),
    "up in a task's name": (written(lambda c: c["spec"]["task"].update(name="../../up")), "task"),
    "up in a model's name": (written(lambda c: c["spec"]["model"].update(name="../up")), "model"),
    "up in a backend": (written(lambda c: c["backend"].update(dtype="../up")), "backend"),
    "up in a device": (written(lambda c: c["backend"].update(device="../up")), "backend"),
    "a huge length": (edited('"length": 10', f'"length": {"9" * 5000}'), "out of range"),
    "a huge count": (written(lambda c: c["outcome"].update(steps=10**30)), "less than"),
    "a huge float": (edited('"train_seconds": 9.0', '"train_seconds": 9e999'), "finite number"),
    "not a number": (edited('"train_seconds": 9.0', '"train_seconds": NaN'), "finite number"),
    "no end": (
        written(lambda c: c["outcome"]["test"].update(recall=-float("inf"))),
        "finite number",
    ),
    "a text in place of a number": (
        edited('"length": 10', '"length": 10, "x": NaN'),
        "a value that JSON does not keep",
    ),
    "ok without an outcome": (written(lambda c: c.update(outcome=None)), "no outcome"),
    "without its score": (written(lambda c: c["outcome"]["test"].clear()), "no value of recall"),
    "without metrics": (written(lambda c: c["outcome"].update(metrics=[])), "metrics"),
    "another seed": (written(lambda c: c["spec"].update(seed=7)), "does not fit"),
    "another backend": (written(lambda c: c["backend"].update(threads=2)), "does not fit"),
    "escapes in a key": (written(lambda c: c.update({"\x1b[2J\n": 1})), "Extra inputs"),
    "a link to outside": (outside, "not a regular file"),
    "a link to nothing": (to_nothing, "not a regular file"),
    "a pipe": (piped, "not a regular file"),
    "a folder": (in_a_folder, "not a regular file"),
}


def check(store: Store, path: Path, spoil: Spoil, reason: str, kind: type[Any]) -> None:
    """Spoil the record at `path` and read all; then set aside what is none."""
    folder = path.relative_to(store.root).parts[0]
    kept = {p for p in store.root.rglob("*.json") if p != path}
    spoil(path, json.loads(path.read_text()))
    found, damaged = store.read_below(folder, kind)
    assert {store.root / record.path for record in found} == {
        p for p in kept if p.is_relative_to(store.root / folder)
    }
    assert [file.path for file in damaged] == [path]
    assert reason in damaged[0].reason
    assert damaged[0].reason
    assert damaged[0].reason.isprintable()
    assert len(damaged[0].reason) <= 300
    before = path.lstat()
    aside = store.set_aside(damaged[0])
    assert aside is not None
    assert aside.parent == store.root / "set-aside"
    assert os.path.samestat(aside.lstat(), before)  # moved, not copied, and nothing beside it
    assert store.read_below(folder, kind) == (found, [])
    assert store.set_aside(damaged[0]) is None  # another bench was faster


@pytest.mark.parametrize("what", RECORD)
def test_a_damaged_run_is_reported_and_set_aside(what: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    path = store.write(record(spec()))
    store.write(record(spec(seed=1)))
    check(store, path, *RECORD[what], Record)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["yardstick"].update(name="../../up"), "yardstick.name"),
        (lambda c: c["yardstick"].update(name="/tmp/up"), "yardstick.name"),
        (lambda c: c["yardstick"].update(name="x" * 300), "yardstick.name"),
        (lambda c: c["machine"].update(cpu="../../up"), "does not fit"),
        (lambda c: c["times"].popitem(), "two sides"),
        (lambda c: c["times"]["theirs"]["samples"].pop(), "two sides"),
        (lambda c: c["times"]["theirs"].update(samples=[0.0, 0.0]), "times.theirs.samples.0"),
        (lambda c: c["yardstick"].update(at_least=None), "at_least"),
    ],
)
def test_a_damaged_comparison_is_reported_and_set_aside(
    change: Callable[[dict[str, Any]], object], reason: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    record = yardstick_record()
    path = store.write(record)
    other = record.yardstick.model_copy(update={"name": "step of a slug"})
    store.write(record.model_copy(update={"yardstick": other}))
    if reason == "two sides":
        three = json.loads(path.read_text())
        if len(three["times"]) > 2:
            three["times"].popitem()
            path.write_text(json.dumps(three))
    check(store, path, written(change), reason, YardstickRecord)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["speed"].update(peak_flops=0.0), "peak_flops"),
        (lambda c: c["speed"]["train"]["times"].update(samples=[]), "samples"),
        (lambda c: c["speed"]["train"].update(flops=10**30), "less than"),
        (lambda c: c["spec"]["model"].update(name=".."), "model.name"),
    ],
)
def test_damaged_times_are_reported_and_set_aside(
    change: Callable[[dict[str, Any]], object], reason: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    path = store.write(speed_record(train_ms=1.0, step_ms=1.0))
    store.write(speed_record("gru", train_ms=1.0, step_ms=1.0))
    check(store, path, written(change), reason, SpeedRecord)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_file_names_may_be_very_long_or_not_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "results")
    folder = store.write(record(spec())).parent
    for name in (b"\xff\xfe.json", b"a\nb\x1b[31m.json", b"x" * 250 + b".json"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(b"{}")
    selected = ["--profile", "smoke", "--results", str(store.root), "--device", "cpu"]
    main(["report", *selected])
    said = capsys.readouterr().err
    assert said.count("is not a valid record") == 3
    assert "\x1b" not in said
    _, damaged = store.read_all()
    assert all(store.set_aside(file) for file in damaged)
    assert len(list(store.aside.iterdir())) == 3
    assert store.read_all() == ([record(spec())], [])


def test_unreadable_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    path = store.write(record(spec()))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert store.read(path) == Damaged(path=path, reason="Permission denied")
