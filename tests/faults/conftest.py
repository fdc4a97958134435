"""Ends the processes of the fault tests, and prints their counts with one line per test."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.commands import start
from tests.support.harness import Begin


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start a bench in its own process group, which is killed when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def starting(*arguments: str) -> subprocess.Popen[str]:
        started.append(start(*arguments))
        return started[-1]

    yield starting
    for bench in started:
        if bench.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(bench.pid, signal.SIGKILL)
            bench.communicate()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{report.nodeid.rpartition('/')[2]}: {value}"
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "figure" and getattr(report, "when", None) == "call"
    ]
    if lines:
        terminalreporter.section("what was injected")
        for line in sorted(lines):
            terminalreporter.write_line(line)
