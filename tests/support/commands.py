"""The command line in tests: short profiles, started benches, records without times."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.core.records import Record
from bench.core.store import Store

ROOT = Path(__file__).parent.parent.parent
PROFILE = """
description = "a few steps"
seeds = [0, 1]
param_budget = 10_000
speed_rounds = 1
speed_seconds = 0.01

[training]
max_steps = {steps}
validate_every = 2
num_validation = 20
batch_size = 4
learning_rate = 0.01

[[grid]]
task = "copy_memory"
lengths = [3, 4]
models = ["tcn", "rnn"]
"""


def selectors(profile: str, results: Path) -> list[str]:
    return ["--device", "cpu", "--profile", profile, "--results", str(results)]


def records(results: Path) -> dict[str, Record]:
    found, damaged = Store(results).read_all()
    assert not damaged
    return {record.spec.id: record for record in found}


def without_times(record: Record) -> dict:
    content = record.model_dump(mode="json", exclude={"created", "machine"})
    outcome = content["outcome"]
    for key in ("train_seconds", "total_seconds", "latency", "peak_memory_bytes"):
        outcome.pop(key)
    for point in outcome["curve"]:
        point.pop("seconds")
    return content


def start(*arguments: str) -> subprocess.Popen[str]:
    """A bench in its own process group. It reacts to Ctrl-C even if tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_records(results: Path, number: int, *, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while len(list(results.rglob("runs/**/*.json"))) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)
