"""Progress of a command: names of runs, the line that each one ends with, and a bar."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm

from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec
from bench.core.timings import Speed, Times
from bench.core.wording import counted, duration
from bench.plan.labels import differing_settings, label_of
from bench.run.job import Event
from bench.run.queue import Queue


def name_of(spec: Spec | SpeedSpec) -> str:
    """`gru chrono=True on adding, T=50, seed 0`; a timing has a batch size in place of the seed."""
    found = label_of(spec)
    last = f"seed {spec.seed}" if isinstance(spec, Spec) else f"batch {spec.batch_size}"
    return f"{found.model_label} on {found.task_label}, T={spec.length}, {last}"


def unique_names(specs: Sequence[Spec]) -> dict[str, str]:
    """Spec id → its name, followed by the settings that tell specs of the same name apart."""
    names = {spec.id: name_of(spec) for spec in specs}
    settings = differing_settings(specs, names)
    return {key: ", ".join(filter(None, [name, settings[key]])) for key, name in names.items()}


def outcome_line(record: Record, name: str) -> str:
    """How a run ended: `tcn on adding, T=50, seed 0: within_tolerance 0.98 after 900 updates`."""
    if record.outcome is None:
        return f"{name}: {record.status}: {record.error}"
    outcome = record.outcome
    state = "" if record.status == "ok" else f" {record.status}:"
    solved = {True: ", solved", False: ", not solved", None: ""}[outcome.solved]
    return (
        f"{name}:{state} {outcome.score.name} {outcome.test_score:.3f}{solved} "
        f"after {counted(outcome.steps, 'update')}, {duration(outcome.total_seconds)}"
    )


def medians(speed: Speed) -> dict[str, Times]:
    """What was timed → its times, in the words of the progress lines."""
    found = {
        "training step": speed.train and speed.train.times,
        "whole sequences": speed.forward and speed.forward.times,
        "streaming step": speed.streaming and speed.streaming.step.times,
        "sampling": speed.sampling and speed.sampling.cached,
    }
    return {name: times for name, times in found.items() if times}


def call_time(seconds: float) -> str:
    """`4.1 ms`, `9.2 µs`."""
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} µs"


def speed_line(record: SpeedRecord) -> str:
    """`tcn on copy_memory, T=50, batch 1: training step 4.1 ms, streaming step 9.2 µs`."""
    text = f"{record.status}: {record.error}"
    if record.speed is not None:
        times = medians(record.speed)
        text = ", ".join(f"{name} {call_time(each.median)}" for name, each in times.items())
    return f"{name_of(record.spec)}: {text}"


def with_bar(timed: Iterable[SpeedRecord], total: int) -> Iterator[SpeedRecord]:
    """The same timings, with a bar and the time left on a terminal, plain lines elsewhere.

    On a terminal only failed timings have a line.
    """
    bar = tqdm(
        timed,
        total=total,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt}, about {remaining} left",
    )
    for number, record in enumerate(bar, 1):
        if bar.disable:
            print(f"[{number}/{total}] {speed_line(record)}", file=sys.stderr, flush=True)
        elif record.status != "ok":
            bar.write(speed_line(record), file=sys.stderr)
        yield record


class ProgressBar:
    """A bar weighted by the estimated work on a terminal, plain lines elsewhere.

    Call it with every event. The remaining time assumes that the rest goes as fast as the work so
    far, and that ladders are climbed to the top.
    """

    def __init__(self, queue: Queue) -> None:
        jobs = queue.left()
        self.num_done = 0
        self._queue = queue
        self._names = unique_names([job.spec for job in jobs])
        self._left = {job.spec.id: job.estimate_s for job in jobs}
        """Spec id → the estimated work of a run that has not ended."""
        self._done_s = 0.0
        self._shares: dict[str, float] = {}
        """Spec id → the share of its updates that are done."""
        self._begin = time.monotonic()
        self.bar = tqdm(
            total=1.0,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar:24}| {elapsed} passed{postfix}",
        )

    def __call__(self, event: Event) -> None:
        spec, record, line = event.spec, event.record, ""
        name = (
            self._names.get(spec.id)
            or f"{name_of(spec)}, {counted(spec.training.max_steps, 'update')} at most"
        )
        if record is None:
            self._shares[spec.id] = event.step / max(event.max_steps, 1)
            line = f"{name}: step {event.step}/{event.max_steps}"
            if event.loss is not None:
                line += f", loss {event.loss:.3g}"
            if event.score is not None:
                line += f", score {event.score:.3f}"
        else:
            self._end(spec)
            ended = outcome_line(record, name)
            if self.bar.disable:
                print(f"[{self._state()}] {ended}", file=sys.stderr, flush=True)
            elif record.status != "ok":
                self.bar.write(ended, file=sys.stderr)
        self.bar.set_postfix_str(" · ".join(filter(None, [self._state(), line])), refresh=False)
        self.bar.update(self.share - self.bar.n)

    def _end(self, spec: Spec) -> None:
        self.num_done += 1
        self._done_s += self._left.pop(spec.id, 0.0)
        self._shares.pop(spec.id, None)
        if self._queue.climbs:
            self._left = {job.spec.id: job.estimate_s for job in self._queue.left()}

    @property
    def num_left(self) -> int:
        return len(self._left)

    @property
    def share(self) -> float:
        """The share of the estimated work that is done."""
        begun = sum(share * self._left.get(key, 0.0) for key, share in self._shares.items())
        total = self._done_s + sum(self._left.values())
        return (self._done_s + begun) / total if total else 1.0

    def _state(self) -> str:
        """`12/48, about 3 min left`."""
        state, share = f"{self.num_done}/{self.num_done + self.num_left}", self.share
        if self.num_left and share > 0:
            passed = time.monotonic() - self._begin
            state += f", about {duration(passed * (1 / share - 1))} left"
        return state

    def close(self) -> None:
        self.bar.close()
