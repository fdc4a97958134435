"""The archive of a results folder: whole, merged without loss, and never trusted."""

import io
import tarfile
from pathlib import Path

import pytest

from bench.core import files
from bench.core.errors import RequestError
from bench.core.records import CheckRecord, Record
from bench.core.store import Store
from bench.measure import checkpoint
from bench.run import archive
from tests.support.harness import files_below
from tests.support.records import BACKEND, MACHINE, record, spec, speed_record, yardstick_record


def state(step: int) -> bytes:
    """A checkpoint with as many updates."""
    return checkpoint.pack({"checkpoint": {"fit": {"step": step}}})


def place(results: Path, seed: int) -> Path:
    return checkpoint.Place(results=results, spec=spec(seed=seed), backend=BACKEND).path


def keep(results: Path, seed: int, step: int) -> Path:
    path = place(results, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(state(step))
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with a record of each kind that a slot makes, a failed run and a checkpoint."""
    folder = tmp_path / "results"
    made = "2026-01-02T03:04:05Z"
    for each in (
        record(spec(seed=0)),
        record(spec(seed=1), None),
        speed_record(step_ms=1.0),
        yardstick_record(),
        CheckRecord(machine=MACHINE, passed=True, output="9 passed", created=made),
    ):
        Store(folder).write(each)
    keep(folder, seed=2, step=30)
    return folder


def packed(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """An archive with these members and one valid record."""
    path, valid = folder / "made.tar.gz", record(spec(seed=7))
    content = valid.model_dump_json().encode()
    every = [(named(valid.path.as_posix(), content), content), *members]
    with tarfile.open(path, "w:gz") as tar:
        for member, content in every:
            tar.addfile(member, io.BytesIO(content))
    return path


def named(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
    return member


def test_an_archive_gives_back_the_same_files(results: Path, tmp_path: Path) -> None:
    (results / "report.html").write_text("not a record")
    (results / "runs" / "half.json").write_text("{")
    (place(results, 2).parent / "notes.txt").write_text("not a checkpoint")
    outside = tmp_path / "outside.pt"
    outside.write_bytes(state(9))
    place(results, 3).symlink_to(outside)
    file = tmp_path / "slot.tar.gz"
    assert archive.write(results, file) == (5, 1)
    first = file.read_bytes()
    assert archive.write(results, file) == (5, 1)
    assert file.read_bytes() == first

    other = tmp_path / "other"
    assert archive.merge(file, other) == (5, 1)
    expected = {path.relative_to(results): text for path, text in files_below(results).items()}
    assert {path.relative_to(other): text for path, text in files_below(other).items()} == {
        path: text
        for path, text in expected.items()
        if path.name not in ("report.html", "half.json", "notes.txt", place(results, 3).name)
    }
    assert archive.merge(file, other) == (0, 0)


def test_an_archive_holds_packed_records_too(results: Path, tmp_path: Path) -> None:
    Store(results).pack()
    assert archive.write(results, tmp_path / "slot.tar.gz") == (5, 1)
    assert archive.merge(tmp_path / "slot.tar.gz", results) == (0, 0)


def test_a_merge_keeps_finished_records_and_replaces_others(results: Path, tmp_path: Path) -> None:
    archive.write(results, tmp_path / "slot.tar.gz")
    store = Store(tmp_path / "home")
    better, failed = record(spec(seed=1), 0.5), record(spec(seed=0), None)
    store.write(better)
    store.write(failed)
    assert archive.merge(tmp_path / "slot.tar.gz", store.root) == (4, 1)
    found = {each.spec.seed: each for each in store.read_all()[0]}
    assert found == {0: record(spec(seed=0)), 1: better}


def test_a_merge_sets_a_damaged_file_aside(results: Path, tmp_path: Path) -> None:
    archive.write(results, tmp_path / "slot.tar.gz")
    path = tmp_path / "home" / record(spec(seed=0)).path
    path.parent.mkdir(parents=True)
    path.write_text('{"half": ')
    archive.merge(tmp_path / "slot.tar.gz", tmp_path / "home")
    assert Store(tmp_path / "home").read(path, Record) == record(spec(seed=0))
    (aside,) = (tmp_path / "home" / "set-aside").iterdir()
    assert aside.read_text() == '{"half": '


@pytest.mark.parametrize(("here", "left"), [(None, 30), (10, 30), (50, 50)])
def test_a_merge_keeps_the_later_checkpoint(
    here: int | None, left: int, results: Path, tmp_path: Path
) -> None:
    archive.write(results, tmp_path / "slot.tar.gz")
    home = tmp_path / "home"
    if here is not None:
        keep(home, seed=2, step=here)
    archive.merge(tmp_path / "slot.tar.gz", home)
    assert checkpoint.step_of(place(home, 2).read_bytes()) == left


def test_a_merge_brings_no_checkpoint_of_a_finished_run(results: Path, tmp_path: Path) -> None:
    archive.write(results, tmp_path / "slot.tar.gz")
    Store(tmp_path / "home").write(record(spec(seed=2)))
    archive.merge(tmp_path / "slot.tar.gz", tmp_path / "home")
    assert not place(tmp_path / "home", 2).exists()


CONTENT = record(spec(seed=8)).model_dump_json().encode()
INSIDE = record(spec(seed=8)).path.as_posix()
STATE = place(Path(), 8).as_posix()


@pytest.mark.parametrize(
    ("member", "content", "said"),
    [
        (named("../outside.json", CONTENT), CONTENT, "neither a record nor a checkpoint"),
        (named("/tmp/outside.json", CONTENT), CONTENT, "neither a record nor a checkpoint"),
        (named(f"runs/../../{INSIDE}", CONTENT), CONTENT, "does not fit its content"),
        (named("runs/other.json", CONTENT), CONTENT, "does not fit its content"),
        (named(f"speed/{INSIDE}", CONTENT), CONTENT, "spec.batch_size"),
        (named("report.html", b"x"), b"x", "neither a record nor a checkpoint"),
        (named(INSIDE, kind=tarfile.SYMTYPE), b"", "not a regular file"),
        (named(INSIDE, kind=tarfile.LNKTYPE), b"", "not a regular file"),
        (named("runs", kind=tarfile.DIRTYPE), b"", "not a regular file"),
        (named(INSIDE, kind=tarfile.FIFOTYPE), b"", "not a regular file"),
        (named(INSIDE, CONTENT[:-9]), CONTENT[:-9], "Invalid JSON"),
        (named(STATE, state(3)[:-1]), state(3)[:-1], "not a valid checkpoint"),
        (named(STATE, kind=tarfile.SYMTYPE), b"", "not a regular file"),
        (named(f"checkpoints/../{STATE}", state(3)), state(3), "neither a record nor"),
        (named(INSIDE, b" " * 200_000), b" " * 200_000, "larger than 100000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_archive_with_anything_else_is_refused_whole(
    member: tarfile.TarInfo,
    content: bytes,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 100_000)
    (tmp_path / "results").mkdir()
    before = set(tmp_path.rglob("*"))
    made = packed(tmp_path, (member, content))
    with pytest.raises(RequestError, match=f"{said}.*; nothing was merged"):
        archive.merge(made, tmp_path / "results")
    assert set(tmp_path.rglob("*")) == {*before, made}


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_damaged_archive_is_refused_whole(results: Path, tmp_path: Path, kept: float) -> None:
    file = tmp_path / "slot.tar.gz"
    archive.write(results, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(RequestError, match="nothing was merged"):
        archive.merge(file, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_an_archive_that_can_not_be_written_leaves_the_one_before(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "slot.tar.gz"
    archive.write(results, file)
    before = file.read_bytes()
    Store(results).write(record(spec(seed=5)))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(files.StorageError):
        archive.write(results, file)
    assert file.read_bytes() == before
    assert not list(tmp_path.glob(".*"))
