"""Ends what the fault tests have started, and prints what they counted, a line a test."""

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
    """Starts a bench in a process group of its own, which does not outlive the test."""
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
