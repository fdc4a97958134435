"""One slot of GPU time: test, time and train until the minutes are over, then write one archive.

    python -m bench.run.slot --minutes 25 --results DIR

The same command goes on where the last slot stopped. It needs torch, numpy, tqdm and pydantic, and
nothing else: no installation of the project, and no command line of it.
"""

import argparse
import importlib.util
import math
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.core.spec import SpeedSpec
    from bench.run.request import Request

RESERVE_S = 20.0
"""Time at the end of a slot in which the workers end and the archive is written."""
TESTS_SHARE = 0.4
"""Largest share of a slot that the GPU tests may take."""
GPU_TESTS = ("tests/test_gpu.py",)
OUTPUT_LINES = 20
"""Lines of the output of the tests that are kept."""
SIGNALS = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM)
"""What ends a slot: its time, Ctrl-C, or the scheduler of a cluster."""


class _Ended(BaseException):
    """The slot ends now, by one of `SIGNALS`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The time of a slot, and where its archive is written."""

    seconds: float
    begin: float
    """By `time.monotonic`."""
    archive: Path

    @property
    def reserve_s(self) -> float:
        return min(RESERVE_S, 0.2 * self.seconds)

    @property
    def left_s(self) -> float:
        """Time until work has to stop."""
        return self.begin + self.seconds - self.reserve_s - time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Use one slot; returns the exit status, with the meaning that the command line gives it."""
    begin = time.monotonic()
    wanted = _parser().parse_args(arguments)
    slot = Slot(
        seconds=60 * wanted.minutes,
        begin=begin,
        archive=wanted.output or wanted.results / "slot.tar.gz",
    )
    from bench.core.errors import RequestError, StorageError

    try:
        return use(slot, wanted)
    except _Ended as ended:
        _say("the slot ended before the work began; the archive is as it was")
        return 128 + ended.number
    except StorageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def use(slot: Slot, wanted: argparse.Namespace) -> int:
    """Do what fits into the slot and write its archive; returns the exit status."""
    from bench.run import archive

    status = 0
    with _ending(slot.left_s):
        request = _request(wanted)
        if slot.archive.exists():
            added = archive.merge(slot.archive, request.results)
            _say(archive.merged_line(request.results, *added))
        try:
            status = 0 if _work(request, slot, wanted) else 1
        except _Ended as ended:
            status = 0 if ended.number == signal.SIGALRM else 128 + ended.number
            _say("the time is over" if status == 0 else "interrupted")
        _hold()
        written = archive.write(request.results, slot.archive)
    _say(_summary(request, slot, *written))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run.slot",
        description="Use a limited time on a GPU: run the GPU tests, time the networks of a "
        "profile, train its runs, the cheapest first, and write one archive of the records. The "
        "same command continues where it stopped.",
    )
    add = parser.add_argument
    add("--minutes", type=_minutes, required=True, help="End before this time is over.")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="Folder of records.")
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="The archive; by default slot.tar.gz in the folder of records. If it exists, its "
        "records are read first.",
    )
    add("--profile", default="paper", metavar="NAME|FILE.toml", help="What to time and to train.")
    add("--device", default="cuda", help="cuda, cuda:N, or cpu to try the command without a GPU.")
    add(
        "--per-gpu",
        type=_whole,
        metavar="N",
        help="Number of parallel runs on each GPU; by default one per core where NVIDIA's MPS is "
        "installed, otherwise 1.",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="Replace a value.")
    add("--plugin", action="append", default=[], type=Path, metavar="FILE.py", help="A plug-in.")
    return parser


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; valid: numbers above 0")
    return value


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; valid: whole numbers from 1")
    return int(text)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _ending(seconds: float) -> Iterator[None]:
    """Raise `_Ended` inside the block after this time, or at one of the other signals."""
    before = {number: signal.signal(number, _end) for number in SIGNALS}
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        _hold()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    _hold()
    raise _Ended(number)


def _hold() -> None:
    """Ignore the signals from now on, so that nothing interrupts the writing of the archive."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _request(wanted: argparse.Namespace) -> "Request":
    from bench.core.errors import RequestError
    from bench.plan.grid import Selection
    from bench.run.request import make_request

    request = make_request(
        results=wanted.results,
        selection=Selection(),
        device=wanted.device,
        profile_name=wanted.profile,
        settings=wanted.set,
        plugin_files=wanted.plugin,
    )
    if request.plan.kept:
        raise RequestError(
            f"the profile {wanted.profile} keeps the weights of runs, which an archive does not "
            "hold; use the command run"
        )
    return request


def _work(request: "Request", slot: Slot, wanted: argparse.Namespace) -> bool:
    """Test, time and train; returns whether nothing failed."""
    from bench.measure.checkpoint import INTERVAL_S
    from bench.run.estimate import RUN_S, START_S
    from bench.run.execute import Manner, execute
    from bench.run.request import make_results

    make_results(request)
    succeeded = check(request, TESTS_SHARE * slot.seconds)
    for specs in waiting_groups(request):
        succeeded &= _time(request, specs, slot)
    if slot.left_s < START_S + RUN_S:
        return succeeded
    # A run that starts in the last minute would be cut before its first checkpoint.
    last_s = min(INTERVAL_S, 0.2 * slot.seconds)
    manner = Manner(
        per_gpu=wanted.per_gpu,
        time_limit_s=max(slot.left_s - last_s, 0.0),
        timed=False,
        reported=False,
        cheapest_first=True,
    )
    return execute(request, request.plan.specs, manner) and succeeded


def check(request: "Request", limit_s: float) -> bool:
    """Run the GPU tests if they have not passed here yet; returns whether they did not fail."""
    from bench.core.errors import one_line
    from bench.core.machine import ROOT, fingerprint
    from bench.core.records import CheckRecord, now

    def recorded(passed: bool, output: str) -> CheckRecord:
        end = "\n".join(output.strip().splitlines()[-OUTPUT_LINES:])
        return CheckRecord(machine=fingerprint(), passed=passed, output=end, created=now())

    path = request.results / recorded(True, "").path
    present = request.store.read(path, CheckRecord) if path.exists() else None
    reason = (
        "the device is the CPU"
        if request.device == "cpu"
        else "they have passed on this machine and commit"
        if isinstance(present, CheckRecord) and present.passed
        else "pytest is not installed"
        if importlib.util.find_spec("pytest") is None
        else None
    )
    if reason is not None:
        _say(f"GPU tests: skipped, since {reason}")
        return True
    _say("GPU tests: running")
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *GPU_TESTS]
    try:
        ended = subprocess.run(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        _say(f"GPU tests: ended after {limit_s:.0f} s, their share of the time")
        return True
    record = recorded(ended.returncode == 0, ended.stdout.decode(errors="replace"))
    request.store.write(record)
    _say(f"GPU tests: {one_line((record.output or '').rpartition(chr(10))[2])}")
    return record.passed


def waiting_groups(request: "Request") -> "list[list[SpeedSpec]]":
    """The networks to time, those of a task and length together, the shortest sequences first."""
    from bench.run import inventory

    groups: dict[tuple[int, str], list[SpeedSpec]] = {}
    for spec in inventory.waiting_timings(request, inventory.read(request)):
        groups.setdefault((spec.length, spec.task.name), []).append(spec)
    return [groups[key] for key in sorted(groups)]


def _time(request: "Request", specs: "Sequence[SpeedSpec]", slot: Slot) -> bool:
    """Time these networks if the time is expected to suffice; returns whether none failed."""
    from bench.run import inventory
    from bench.run.estimate import TIMING_S
    from bench.run.execute import time_networks

    begun = inventory.continued(request, inventory.read(request), specs)
    num_left = request.profile.speed_rounds * len(specs) - inventory.num_timed(begun)
    if TIMING_S * num_left > slot.left_s:
        _say(f"timing: T={specs[0].length} of {specs[0].task.name} waits for the next slot")
        return True
    return time_networks(replace(request, speed_specs=tuple(specs)))


def _summary(request: "Request", slot: Slot, num_records: int, num_checkpoints: int) -> str:
    """What is recorded, what is left, and the commands that merge the archive and go on."""
    from bench.core.wording import counted
    from bench.plan.ladder import longer_runs
    from bench.run import inventory

    specs, found = request.plan.specs, inventory.read(request)
    recorded = len(specs) - len(inventory.waiting_specs(request, found, specs))
    longer = longer_runs(request.plan.ladders, inventory.ladder_results(request, found))
    left = len(inventory.needed_specs(request, found, specs)) + len(longer)
    timings = len(inventory.waiting_timings(request, found))
    merge = ["python", "-m", "bench.run.archive", str(slot.archive), str(request.results)]
    lines = [
        f"{recorded} of {counted(len(specs), 'run')} recorded, "
        f"{counted(left, 'run')} and {counted(timings, 'timing')} left",
        f"wrote {slot.archive}: {counted(num_records, 'record')} and "
        f"{counted(num_checkpoints, 'checkpoint')}",
        f"to merge it on another machine: {shlex.join(merge)}",
    ]
    if left or timings:
        lines.append(f"to go on: repeat this command; in a new folder, with {slot.archive} in it")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
