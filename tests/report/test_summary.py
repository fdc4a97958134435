"""The summary of a command fits a terminal, whatever was run, and says the answer."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

import models
import tasks
from bench.core.records import Record
from bench.core.spec import Spec
from bench.report.data import Data
from bench.report.summary import HEIGHT, WIDTH, summary
from tests.support.records import record, spec, speed_record
from tests.support.reports import planted, source

FOLDER = Path("results")


def lines_of(text: str) -> list[str]:
    return click.unstyle(text).splitlines()


def everything() -> tuple[list[Spec], list[Record]]:
    """Every task and model at three lengths; runs solve, fail and are skipped.

    In turn, the TCN, the GRU and both solve the second length.
    """
    specs = [
        spec(task=task, model=model, length=length)
        for task in tasks.names()
        for model in models.names()
        for length in (49, 196, 784)
    ]
    ahead = [("tcn",), ("gru",), ("tcn", "gru")]

    def solves(of: Spec) -> bool:
        further = of.model.name in ahead[tasks.names().index(of.task.name) % 3]
        return of.length <= (196 if further else 49)

    records = [record(each, 1.0 if solves(each) else 0.2) for each in specs]
    for n in range(0, 40, 8):
        error = f"RuntimeError: a reason {n} that is long, " + "and longer " * n
        records[n] = record(specs[n], None, error=error)
        records[n + 1] = record(specs[n + 1], status="skipped", outcome=None, error="no data")
    return specs, records


def timings() -> list:
    return [
        speed_record(model, length, batch_size=size, train_ms=4.0 if size > 1 else None, step_ms=ms)
        for model, ms in (("tcn", 0.005), ("gru", 0.02), ("lstm", 0.03), ("wavenet", 0.01))
        for length in (10, 100, 1000)
        for size in (1, 64)
    ]


def summary_of(
    specs: Sequence[Spec], records: Sequence[Record], folder: Path = FOLDER, **more: Any
) -> list[str]:
    return lines_of(summary(folder, Data(source(list(specs), list(records), **more))))


def test_a_large_profile_fits_a_terminal() -> None:
    specs, records = everything()
    lines = summary_of(specs, records, speed=timings(), demonstration=True)
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith("This is a demonstration")
    text = " ".join(lines)
    assert "Both families solve the longest T on" in text
    assert "a training update with" in text
    assert any(line.startswith("solved up to T =") for line in lines)
    assert "more tasks" in text
    assert lines[-1] == f"Report: {FOLDER / 'report.html'}"


def test_a_long_path_leaves_fewer_lines_to_the_table() -> None:
    specs, records = everything()
    lines = summary_of(specs, records, Path("/".join(["folder"] * 60)), speed=timings())
    assert sum(-(-max(len(line), 1) // WIDTH) for line in lines) <= HEIGHT


def table_of(lines: list[str]) -> list[str]:
    """The head and the first row of the table of what the families solve."""
    (at,) = [i for i, line in enumerate(lines) if line.startswith("solved up to")]
    return lines[at : at + 2]


def test_the_answer_comes_first_and_the_table_says_who_solves_what() -> None:
    lines = summary_of(*planted())
    assert lines[0].startswith("So far, a convolutional network is ahead on")
    head, row = table_of(lines)
    assert head.split() == ["solved", "up", "to", "T", "=", "convolutional"]
    assert row.split() == ["copy_memory", "tcn", "10+"]
    assert "failed (1): RuntimeError: out of luck (task.py:1)" in lines
    assert any("python -m bench show" in line and "--results results" in line for line in lines)
    assert "12 runs: 11 ok, 1 failed (6 solved, 5 at chance); profile planted" in lines


def test_each_claim_is_in_the_line_of_the_claims_once() -> None:
    data = Data(source(*planted()))
    (line,) = [line for line in lines_of(summary(FOLDER, data)) if line.startswith("Claims: ")]
    for verdict in data.verdicts:
        parts = line.removeprefix("Claims: ").split("; ")
        (part,) = [part for part in parts if part.endswith(f" {verdict.word}")]
        assert verdict.key in part.removesuffix(f" {verdict.word}").split(", ")


def test_other_families_share_a_column() -> None:
    specs = [spec(model=model, length=10) for model in ("tcn", "gru", "mamba", "attention")]
    records = [record(each, 1.0 if each.model.name != "gru" else 0.2) for each in specs]
    lines = summary_of(specs, records)
    head, row = table_of(lines)
    assert head.split()[5:] == ["convolutional", "other"]
    assert row.split()[-3:] in (["mamba", "≥", "10"], ["attention", "≥", "10"])


def test_without_an_answer_it_says_why() -> None:
    specs, _ = planted()
    assert summary_of(specs, [])[0] == "No run of this profile is recorded."
    unsolved = [record(each, 0.2) for each in specs]
    assert summary_of(specs, unsolved)[0].startswith("These runs solve no task")


def test_names_of_plugins_cannot_move_the_cursor() -> None:
    specs, records = planted()
    records[0] = record(specs[0], None, error="bad\x1b[2J\nnews")
    assert "\x1b[2J" not in summary(FOLDER, Data(source(specs, records)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("wanted", [True, False])
def test_colours_only_on_a_terminal_and_not_with_no_color(
    wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.options import print_styled

    text = summary(FOLDER, Data(source(*planted())))
    assert "\x1b[31m" in text
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not wanted:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal, file = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stdout", terminal)
    print_styled(text)
    monkeypatch.setattr("sys.stdout", file)
    print_styled(text)
    assert ("\x1b[" in terminal.getvalue()) is wanted
    assert "\x1b[" not in file.getvalue()
