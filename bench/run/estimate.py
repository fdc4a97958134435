"""Estimates of time and memory: a rule of thumb, corrected by records and by measurement."""

import math
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from statistics import median

from bench.core.backend import Backend, prepare, release_memory, synchronize
from bench.core.machine import fingerprint
from bench.core.records import Record
from bench.core.spec import Spec
from bench.plan.grid import model_of, network_of, task_of
from models import count_parameters
from tasks import Task

OVERHEAD_S = 2e-3
"""Seconds of a training step that do not depend on its size."""
FLOPS_PER_S = {"cpu": 3e10, "cuda": 3e11}
"""What small networks reach, as an order of magnitude."""
RUN_S = 1.0
"""Seconds of a run that do not depend on its budget: test, probes, latency of single calls."""
START_S = 5.0
"""Seconds until the worker processes have started."""
TIMING_S = 3.5
"""Seconds to time one network, in a process of its own."""
REPORT_S = 15.0
"""Seconds for a report, to which each run adds `REPORT_RUN_S`."""
REPORT_RUN_S = 0.02
SHARED = 1.2
"""Slowdown of runs that share a machine, since they share its caches and its memory."""
CALIBRATION_S = 2.0
"""Seconds that a calibration may take."""
NUM_TIMED = 5
"""Training steps that a calibration times for each model, where there is time."""
ACTIVATIONS = 40
"""Numbers kept for the backward pass, for each step of a sequence and unit of width.

A network of n parameters has about √n units. An order of magnitude.
"""
PROCESS_BYTES = 600 * 2**20
"""GPU memory that a process takes for itself."""


def rule_of_thumb(spec: Spec, device: str) -> float:
    """Seconds for the whole budget: 6 operations for each parameter, token and training step."""
    num_tokens = spec.training.batch_size * task_of(spec).signature.num_steps
    step_s = OVERHEAD_S + 6 * _parameters(spec) * num_tokens / FLOPS_PER_S[device]
    return spec.training.max_steps * step_s


def _parameters(spec: Spec) -> int:
    """The budget; without one, the parameters of a network of the given width."""
    if spec.param_budget is not None:
        return spec.param_budget
    signature = task_of(spec).signature
    return count_parameters(model_of(spec), signature, spec.width, spec.extra_width)


class Estimator:
    """Corrects the rule of thumb by records and, for this machine, by a short measurement.

    Two numbers are learned: by which factor the rule is wrong, and which fraction of its budget a
    run needs until it is solved. Both come from the most similar runs that are known.
    """

    def __init__(self, backend: Backend, records: Iterable[Record] = ()) -> None:
        self.backend = backend
        self._factors = _Means()
        self._shares = _Means()
        self._measured: dict[Hashable, float] = {}
        """Variant of a model → the factor that was measured on this machine."""
        self._timed_here: set[Hashable] = set()
        """Variants of which there are records of this machine."""
        self._memory = 1.0
        """The largest ratio of the memory that a run took to the guess of it."""
        self._rules: dict[Hashable, float] = {}
        here = fingerprint().slug
        for record in records:
            self._learn(record, here)

    def _learn(self, record: Record, here: str) -> None:
        outcome, spec = record.outcome, record.spec
        if outcome is None or record.backend != self.backend:
            return
        share = max(outcome.steps, 1) / spec.training.max_steps
        try:
            rule = self._rule(spec)
        except Exception:  # a plug-in that is not loaded, or values that the task now refuses
            return
        seconds = max(outcome.total_seconds - RUN_S, 0.1 * outcome.total_seconds)
        self._factors.add(_similar(spec), seconds / (rule * share))
        if spec.training.stop_when_solved:
            self._shares.add(_similar_task(spec), share)
        if record.machine.slug == here:
            self._timed_here.add(_variant(spec))
        if outcome.peak_memory_bytes is not None:
            self._memory = max(self._memory, outcome.peak_memory_bytes / _activation_bytes(spec))

    def calibrate(self, specs: Sequence[Spec], device: str) -> None:
        """Time a few training steps of each model that has no record of this machine.

        Only tasks that read no files are used, so that nothing is downloaded. Plug-ins are not
        run here, since their errors could end this process. Other errors are ignored: the run
        itself reports them.
        """
        waiting: dict[Hashable, list[Spec]] = {}
        for spec in specs:
            safe = not spec.plugin_sha256 and not _reads_files(spec)
            if safe and _variant(spec) not in self._timed_here:
                waiting.setdefault(_variant(spec), []).append(spec)
        if not waiting:
            return
        prepare(self.backend)
        for variant, candidates in waiting.items():
            spec = min(candidates, key=self._rule)
            try:
                step_s = _step_seconds(
                    spec, device, self.backend.capture, CALIBRATION_S / len(waiting)
                )
            except Exception:
                continue
            self._measured[variant] = step_s * spec.training.max_steps / self._rule(spec)
        release_memory(device)

    def seconds(self, spec: Spec) -> float:
        """Expected duration of a run that has the machine for itself."""
        share = 1.0
        if spec.training.stop_when_solved:
            share = self._shares.near(_similar_task(spec))
        factor = self._measured.get(_variant(spec)) or self._factors.near(_similar(spec))
        return RUN_S + factor * share * self._rule(spec)

    def memory_bytes(self, spec: Spec) -> int:
        """GPU memory of a run, including what its process takes for itself; 0 on the CPU."""
        if self.backend.device == "cpu":
            return 0
        return PROCESS_BYTES + int(self._memory * _activation_bytes(spec))

    def _rule(self, spec: Spec) -> float:
        training = spec.training
        key = spec.network, training.batch_size, training.max_steps
        if key not in self._rules:
            self._rules[key] = rule_of_thumb(spec, self.backend.device)
        return self._rules[key]


def wall_seconds(
    run_s: Sequence[float], num_workers: int, *, num_timings: int = 0, num_reported: int = 0
) -> float:
    """Wall time of a command: the runs on so many workers, then the timings, then the report.

    `num_reported` is the number of runs in the report; 0: no report is written.
    """
    total = 0.0
    if run_s:
        at_once = min(num_workers, len(run_s))
        slowdown = SHARED if at_once > 1 else 1.0
        total += START_S + slowdown * max(sum(run_s) / at_once, max(run_s))
    total += TIMING_S * num_timings
    return total + (REPORT_S + REPORT_RUN_S * num_reported if num_reported else 0.0)


def _step_seconds(spec: Spec, device: str, capture: bool, limit_s: float) -> float:
    """Median seconds of a training step, after two steps that are not counted."""
    import torch

    from bench.measure.update import Updater

    deadline = time.perf_counter() + limit_s
    network = network_of(spec).to(device)
    generator = torch.Generator(device).manual_seed(0)
    update = Updater(network, task_of(spec), spec.training, generator, capture)
    times = []
    while len(times) < NUM_TIMED + 2 and (len(times) < 3 or time.perf_counter() < deadline):
        begin = time.perf_counter()
        update()
        synchronize(device)
        times.append(time.perf_counter() - begin)
    return median(times[2:])


class _Means:
    """Means of values by key; of several keys, the mean of the first that is known."""

    def __init__(self) -> None:
        self._sums: dict[Hashable, tuple[float, int]] = {}

    def add(self, keys: Iterable[Hashable], value: float) -> None:
        for key in keys:
            total, number = self._sums.get(key, (0.0, 0))
            self._sums[key] = total + value, number + 1

    def near(self, keys: Iterable[Hashable]) -> float:
        """The mean of the first known key; 1 where none is known."""
        total, number = next((self._sums[key] for key in keys if key in self._sums), (1.0, 1))
        return total / number


def _variant(spec: Spec) -> Hashable:
    return spec.model.name, repr(spec.model.fields)


def _similar(spec: Spec) -> Iterator[Hashable]:
    """Keys of ever more runs: the network, the model's variant, the model, all."""
    yield spec.network
    yield _variant(spec)
    yield spec.model.name
    yield None


def _similar_task(spec: Spec) -> Iterator[Hashable]:
    """Keys of ever more runs of the same task: the network, the variant, the model, all."""
    yield spec.network
    yield spec.task.name, _variant(spec)
    yield spec.task.name, spec.model.name
    yield spec.task.name


def _reads_files(spec: Spec) -> bool:
    return type(task_of(spec)).prepare is not Task.prepare


def _activation_bytes(spec: Spec) -> float:
    num_tokens = spec.training.batch_size * task_of(spec).signature.num_steps
    return 4 * ACTIVATIONS * num_tokens * math.sqrt(_parameters(spec))
