"""Prints what the fault tests counted, a line a test."""

import pytest


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
