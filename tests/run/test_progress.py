"""Timings show a bar with the time left on a terminal, and one line each elsewhere."""

import io

import pytest

from bench.run.progress import with_bar
from tests.support.records import speed_record


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said_by(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    good = speed_record("gru", 10, step_ms=0.02)
    bad = speed_record("tcn", 10).model_copy(
        update={"status": "failed", "error": "out of luck", "speed": None}
    )
    assert list(with_bar([good, bad], 2)) == [good, bad]
    return stream.getvalue()


def test_a_terminal_shows_a_bar_and_only_failures_as_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = said_by(Terminal(), monkeypatch)
    assert "left" in text
    assert "2/2" in text
    assert "failed: out of luck" in text
    assert "gru on copy_memory" not in text


def test_a_file_gets_one_line_per_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said_by(io.StringIO(), monkeypatch).splitlines()
    assert [line[:5] for line in lines] == ["[1/2]", "[2/2]"]
    assert "gru on copy_memory" in lines[0]
