"""One bar over runs with the time left, and the step, loss and score of what runs now."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from bench.estimate import Estimator
from bench.execute import Event, Job
from bench.spec import Spec
from bench.store import Record, SpeedRecord


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


class ProgressBar:
    """A bar on a terminal, plain lines elsewhere; call it with every event."""

    def __init__(self, jobs: Sequence[Job], num_workers: int, estimator: Estimator) -> None:
        self.num_workers = num_workers
        self.estimator = estimator
        self.waiting = {job.spec.id: job.spec for job in jobs}
        self.running: dict[str, tuple[Spec, float]] = {}
        self.total = len(jobs)
        self.bar = tqdm(
            total=self.total,
            unit="run",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{n_fmt}/{total_fmt} runs |{bar:24}| {elapsed} passed{postfix}",
        )

    def __call__(self, event: Event) -> None:
        spec = event.spec
        if event.record is None:
            self.running.setdefault(spec.id, (spec, time.monotonic()))
            now = f"{spec.name}: step {event.step}/{event.max_steps}"
            if event.loss is not None:
                now += f", loss {event.loss:.3g}"
            if event.score is not None:
                now += f", score {event.score:.3f}"
            self.bar.set_postfix_str(f"about {duration(self.seconds_left())} left · {now}")
            return
        self.waiting.pop(spec.id, None)
        self.running.pop(spec.id, None)
        self.estimator.learn(event.record)
        self.bar.set_postfix_str(f"about {duration(self.seconds_left())} left", refresh=False)
        self.bar.update()
        line = outcome_line(event.record)
        if self.bar.disable:
            done = self.total - len(self.waiting)
            left = f", about {duration(self.seconds_left())} left" if self.waiting else ""
            print(f"[{done}/{self.total}{left}] {line}", file=sys.stderr, flush=True)
        elif event.record.status != "ok":
            self.bar.write(line, file=sys.stderr)

    def seconds_left(self) -> float:
        """What the runs to come and the rest of those that run would take, over the workers."""
        now = time.monotonic()
        left = 0.0
        for spec in self.waiting.values():
            cost = self.estimator.seconds(spec)
            if spec.id in self.running:
                cost = max(cost - (now - self.running[spec.id][1]), 0.0)
            left += cost
        return left / max(min(self.num_workers, len(self.waiting)), 1)

    def close(self) -> None:
        self.bar.close()
