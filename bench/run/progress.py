"""Progress of a bench: names of runs, the line that each one ends with, and a bar."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec
from bench.plan.grid import label, model_of, task_of
from bench.run.job import Event, Job

AnySpec = TypeVar("AnySpec", Spec, SpeedSpec)


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `1 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def unique_names(specs: Iterable[AnySpec]) -> dict[str, str]:
    """Spec id → `gru chrono=True on adding, T=50, seed 0`.

    Specs that would have the same name also get the settings in which they differ.
    """
    by_name: dict[str, list[AnySpec]] = {}
    for spec in specs:
        by_name.setdefault(name_of(spec), []).append(spec)
    names = {}
    for name, alike in by_name.items():
        settings = {spec.id: _settings(spec) for spec in alike}
        for spec_id, own in settings.items():
            differing = [
                f"{key}={value}"
                for key, value in own.items()
                if any(other.get(key) != value for other in settings.values())
            ]
            names[spec_id] = ", ".join([name, *differing])
    return names


def name_of(spec: Spec | SpeedSpec) -> str:
    """`gru chrono=True on adding, T=50, seed 0`; of a timing, `batch 1` in place of the seed."""
    model = label(model_of(spec), spec.model.name)
    task = label(task_of(spec), spec.task.name)
    last = f"seed {spec.seed}" if isinstance(spec, Spec) else f"batch {spec.batch_size}"
    return f"{model} on {task}, T={spec.length}, {last}"


def _settings(spec: Spec | SpeedSpec) -> dict[str, object]:
    """What tells two specs of one name apart, by the names that a profile uses."""
    own = spec.training.model_dump() if isinstance(spec, Spec) else {}
    if isinstance(spec, SpeedSpec):
        own["measures"] = "+".join(spec.measures)
    return {**own, "param_budget": spec.param_budget, "width": spec.width}


def outcome_line(record: Record, name: str) -> str:
    """How a run ended: `tcn on adding, T=50, seed 0: within_tolerance 0.98 after 900 updates`."""
    if record.outcome is None:
        return f"{name}: {record.status}: {record.error}"
    outcome = record.outcome
    state = "" if record.status == "ok" else f" {record.status}:"
    solved = {True: ", solved", False: ", not solved", None: ""}[outcome.solved]
    return (
        f"{name}:{state} {outcome.score.name} {outcome.test_score:.3f}{solved} "
        f"after {outcome.steps} updates, {duration(outcome.total_seconds)}"
    )


def speed_line(record: SpeedRecord, name: str) -> str:
    """What was timed: `tcn on copy_memory, T=50, batch 1: training step 4.1 ms, step 9.2 µs`."""
    speed = record.speed
    if speed is None:
        return f"{name}: {record.status}: {record.error}"
    times = []
    if speed.train:
        times.append(f"training step {1e3 * speed.train.times.median:.3g} ms")
    if speed.forward:
        times.append(f"whole sequences {1e3 * speed.forward.times.median:.3g} ms")
    if speed.streaming:
        times.append(f"step {1e6 * speed.streaming.step.times.median:.3g} µs")
    if speed.sampling:
        times.append(f"sampling {1e3 * speed.sampling.cached.median:.3g} ms")
    return f"{name}: {', '.join(times)}"


class ProgressBar:
    """A bar weighted by the estimated work on a terminal, plain lines elsewhere.

    Call it with every event. The time left assumes that the rest goes as fast as the work so far.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.num_done, self.total = 0, len(jobs)
        self._names = unique_names([job.spec for job in jobs])
        self._weights = {job.spec.id: job.estimate_s for job in jobs}
        self._whole_s = sum(self._weights.values())
        self._done_s = 0.0
        self._running: dict[str, float] = {}
        """Spec id → the part of its weight that is done."""
        self._begin = time.monotonic()
        self.bar = tqdm(
            total=1.0,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar:24}| {elapsed} passed{postfix}",
        )

    def __call__(self, event: Event) -> None:
        spec_id, name = event.spec.id, self._names[event.spec.id]
        if event.record is None:
            share = event.step / max(event.max_steps, 1)
            self._running[spec_id] = share * self._weights[spec_id]
            line = f"{name}: step {event.step}/{event.max_steps}"
            if event.loss is not None:
                line += f", loss {event.loss:.3g}"
            if event.score is not None:
                line += f", score {event.score:.3f}"
            self._show(line)
            return
        self._running.pop(spec_id, None)
        self._done_s += self._weights[spec_id]
        self.num_done += 1
        line = outcome_line(event.record, name)
        if self.bar.disable:
            print(f"[{self._state()}] {line}", file=sys.stderr, flush=True)
        elif event.record.status != "ok":
            self.bar.write(line, file=sys.stderr)
        self._show("")

    @property
    def num_left(self) -> int:
        return self.total - self.num_done

    @property
    def share(self) -> float:
        """The share of the estimated work that is done."""
        return (self._done_s + sum(self._running.values())) / self._whole_s

    def _state(self) -> str:
        """`12/48, about 3 min left`."""
        state = f"{self.num_done}/{self.total}"
        if self.num_left and self.share > 0:
            passed = time.monotonic() - self._begin
            state += f", about {duration(passed * (1 / self.share - 1))} left"
        return state

    def _show(self, line: str) -> None:
        self.bar.set_postfix_str(" · ".join(filter(None, [self._state(), line])), refresh=False)
        self.bar.update(self.share - self.bar.n)

    def close(self) -> None:
        self.bar.close()
