"""One bar over runs with the time left, and the step, loss and score of what runs now."""

import sys
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec
from bench.run.estimate import Estimator, kind
from bench.run.job import Event, Job

KNOWN_SHARE = 0.1
"""Of its budget, from where a run's own pace tells how long it takes."""


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `1 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def outcome_line(record: Record) -> str:
    """How a run ended: `tcn on adding, T=50, seed 0: within_tolerance 0.98 after 900 updates`."""
    if record.outcome is None:
        return f"{record.spec.name}: {record.status}: {record.error}"
    outcome = record.outcome
    state = "" if record.status == "ok" else f" {record.status}:"
    solved = {True: ", solved", False: ", not solved", None: ""}[outcome.solved]
    return (
        f"{record.spec.name}:{state} {outcome.score.name} {outcome.test_score:.3f}{solved} "
        f"after {outcome.steps} updates, {duration(outcome.total_seconds)}"
    )


def speed_line(record: SpeedRecord) -> str:
    """What was timed: `tcn on copy_memory, T=50, batch 1: training step 4.1 ms, step 9.2 µs`."""
    speed = record.speed
    if speed is None:
        return f"{record.spec.name}: {record.status}: {record.error}"
    said = []
    if speed.train:
        said.append(f"training step {1e3 * speed.train.times.median:.3g} ms")
    if speed.forward:
        said.append(f"whole sequences {1e3 * speed.forward.times.median:.3g} ms")
    if speed.streaming:
        said.append(f"step {1e6 * speed.streaming.step.times.median:.3g} µs")
    return f"{record.spec.name}: {', '.join(said)}"


class Forecast:
    """The time that is left, from what was known before and what the runs show.

    What runs took beside what is expected of their like corrects what is expected of the others:
    those that share a machine are slower than one alone.
    """

    def __init__(self, jobs: Sequence[Job], num_workers: int, estimator: Estimator) -> None:
        self.waiting = {job.spec.id: job.spec for job in jobs}
        self._num_workers = num_workers
        self._estimator = estimator
        self._running: dict[str, _Running] = {}
        self._to_come = Counter(kind(job.spec) for job in jobs)
        self._examples = {kind(job.spec): job.spec for job in jobs}
        self._took: dict[Hashable, tuple[float, float]] = {}
        """Kind of run → seconds that those of it took, and shares of a budget, summed."""

    @property
    def num_left(self) -> int:
        return len(self.waiting)

    def learn(self, event: Event, now: float) -> None:
        """Take an event into account, `now` being a time in seconds."""
        spec = event.spec
        if spec.id not in self._running:
            self._running[spec.id] = _Running(spec=spec, since=now)
            self._to_come[kind(spec)] -= 1
        running = self._running[spec.id]
        if event.record is None:
            running.share = event.step / max(event.max_steps, 1)
            return
        del self._running[spec.id]
        self.waiting.pop(spec.id, None)
        outcome = event.record.outcome
        if outcome is not None and now > running.since:
            seconds, shares = self._took.get(kind(spec), (0.0, 0.0))
            share = outcome.steps / spec.training.max_steps
            self._took[kind(spec)] = seconds + now - running.since, shares + share
        self._estimator.learn(event.record)

    def seconds_left(self, now: float) -> float:
        """Of all that waits and the rest of what runs, spread over the workers."""
        pace = self._pace()
        rests = [self._rest(running, pace, now) for running in self._running.values()]
        waiting = sum(
            number * pace * self._estimator.seconds(self._examples[each])
            for each, number in self._to_come.items()
            if number
        )
        num_workers = min(self._num_workers, max(len(self.waiting), 1))
        return max(sum(rests, waiting) / num_workers, max(rests, default=0.0))

    def _pace(self) -> float:
        """What the runs so far took over what is expected, by now, of runs like them."""
        took = sum(seconds for seconds, _ in self._took.values())
        expected = sum(
            shares * self._estimator.full_seconds(self._examples[each])
            for each, (_, shares) in self._took.items()
        )
        return took / expected if expected > 0 else 1.0

    def _rest(self, running: "_Running", pace: float, now: float) -> float:
        passed = now - running.since
        whole = pace * self._estimator.full_seconds(running.spec)
        if running.share > KNOWN_SHARE:
            whole = passed / running.share
        share = max(self._estimator.share(running.spec), running.share)
        return max(whole * share - passed, 0.0)


@dataclass(kw_only=True)
class _Running:
    spec: Spec
    since: float
    """Seconds, when it was first heard of."""
    share: float = 0.0
    """Of its budget that is done."""


class ProgressBar:
    """A bar on a terminal, plain lines elsewhere; call it with every event."""

    def __init__(self, jobs: Sequence[Job], num_workers: int, estimator: Estimator) -> None:
        self.forecast = Forecast(jobs, num_workers, estimator)
        self.total = len(jobs)
        self.bar = tqdm(
            total=self.total,
            unit="run",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{n_fmt}/{total_fmt} runs |{bar:24}| {elapsed} passed{postfix}",
        )
        self._left = ""
        self._next = 0.0
        """When the forecast is next made anew: it must not take the time that it tells of."""

    def __call__(self, event: Event) -> None:
        spec, record = event.spec, event.record
        self.forecast.learn(event, time.monotonic())
        if record is None:
            now = f"{spec.name}: step {event.step}/{event.max_steps}"
            if event.loss is not None:
                now += f", loss {event.loss:.3g}"
            if event.score is not None:
                now += f", score {event.score:.3f}"
            self.bar.set_postfix_str(f"{self._time_left()} · {now}")
            return
        left = self._time_left() if self.forecast.num_left else ""
        self.bar.set_postfix_str(left, refresh=False)
        self.bar.update()
        line = outcome_line(record)
        if self.bar.disable:
            done = self.total - self.forecast.num_left
            said = ", ".join(filter(None, (f"{done}/{self.total}", left)))
            print(f"[{said}] {line}", file=sys.stderr, flush=True)
        elif record.status != "ok":
            self.bar.write(line, file=sys.stderr)

    def _time_left(self) -> str:
        begin = time.monotonic()
        if begin >= self._next:
            self._left = f"about {duration(self.forecast.seconds_left(begin))} left"
            self._next = begin + 50 * (time.monotonic() - begin)
        return self._left

    def close(self) -> None:
        self.bar.close()
