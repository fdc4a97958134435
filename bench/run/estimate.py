"""Estimates of time and memory: a rule of thumb, corrected by records and by a measurement."""

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from statistics import mean, median

import torch

from bench.core.backend import Backend, prepare, release_memory, synchronize
from bench.core.machine import fingerprint
from bench.core.records import Record
from bench.core.spec import Spec
from bench.measure.update import Updater
from bench.plan.grid import model_of, network_of, task_of
from models import count_parameters
from tasks import Task

OVERHEAD_S = 2e-3
"""Seconds of a training step that do not depend on its size."""
FLOPS_PER_S = {"cpu": 3e10, "cuda": 3e11}
"""Floating-point operations per second of small networks; an order of magnitude."""
RUN_S = 1.0
"""Seconds of a run that do not depend on its updates: test, probes, latency of single calls."""
START_S = 5.0
"""Seconds until the worker processes have started."""
TIMING_S = 3.5
"""Seconds to time one network in one process."""
REPORT_S = 15.0
"""Seconds for a report without runs; each run adds `REPORT_RUN_S`."""
REPORT_RUN_S = 0.02
SHARED = 1.2
"""Slowdown when runs share the caches and the memory of a machine."""
CALIBRATION_S = 2.0
"""Seconds that a calibration may take."""
NUM_TIMED = 5
"""Training steps that a calibration times for each model, at most."""
LEAST_STEPS = 100
"""Runs with fewer training steps are not calibrated, since their steps take little of their time.
"""
ACTIVATIONS = 40
"""Numbers kept for the backward pass, per step of a sequence and unit of width.

An order of magnitude. A network with n parameters has about √n units.
"""
PROCESS_BYTES = 600 * 2**20
"""GPU memory that a process takes for itself."""


def rule_of_thumb(spec: Spec, device: str) -> float:
    """Seconds for the whole budget: 6 operations for each parameter, token and training step."""
    num_tokens = spec.training.batch_size * task_of(spec).signature.num_steps
    step_s = OVERHEAD_S + 6 * _parameters(spec) * num_tokens / FLOPS_PER_S[device]
    return spec.training.max_steps * step_s


def _parameters(spec: Spec) -> int:
    """The parameter budget; without one, the number of parameters at the given width."""
    if spec.param_budget is not None:
        return spec.param_budget
    signature = task_of(spec).signature
    return count_parameters(model_of(spec), signature, spec.width, spec.extra_width)


class Estimator:
    """Estimates of runs, from the rule of thumb, records and a short measurement on this machine.

    Two numbers are learned: the ratio of the time that runs took to the rule of thumb, and the
    fraction of its updates that a run needs until it is solved. Both are means over the most
    similar runs that are known.
    """

    def __init__(self, backend: Backend, records: Iterable[Record] = ()) -> None:
        self.backend = backend
        self._factors: dict[Hashable, list[float]] = defaultdict(list)
        self._fractions: dict[Hashable, list[float]] = defaultdict(list)
        self._measured: dict[Hashable, float] = {}
        """Variant of a model → the factor that was measured on this machine."""
        self._timed_here: set[Hashable] = set()
        """Variants of models that have records of this machine."""
        self._memory = 1.0
        """The largest ratio of the memory that a run took to the estimate without records."""
        here = fingerprint().slug
        for record in records:
            # Tasks and models may be missing, or refuse the values of older records.
            with contextlib.suppress(Exception):
                self._learn(record, here)

    def _learn(self, record: Record, here: str) -> None:
        outcome, spec = record.outcome, record.spec
        if outcome is None or record.backend != self.backend:
            return
        rule = rule_of_thumb(spec, self.backend.device)
        fraction = max(outcome.steps, 1) / spec.training.max_steps
        seconds = max(outcome.total_seconds - RUN_S, 0.1 * outcome.total_seconds)
        for key in _similar(spec):
            self._factors[key].append(seconds / (rule * fraction))
        if spec.training.stop_when_solved:
            for key in _similar(spec, spec.task.name):
                self._fractions[key].append(fraction)
        if record.machine.slug == here:
            self._timed_here.add(_variant(spec))
        if outcome.peak_memory_bytes is not None:
            self._memory = max(self._memory, outcome.peak_memory_bytes / _activation_bytes(spec))

    def calibrate(self, specs: Sequence[Spec], device: str) -> None:
        """Time a few training steps of each model that has no record of this machine.

        Tasks that read files and plug-ins are left out: nothing is downloaded, and no error of a
        plug-in can end this process. Other errors are ignored: the run itself reports them.
        """
        waiting: dict[Hashable, list[Spec]] = {}
        for spec in specs:
            reads_files = type(task_of(spec)).prepare is not Task.prepare
            unknown = _variant(spec) not in self._timed_here
            long = spec.training.max_steps >= LEAST_STEPS
            if long and unknown and not spec.plugin_sha256 and not reads_files:
                waiting.setdefault(_variant(spec), []).append(spec)
        if not waiting:
            return
        prepare(self.backend)
        for variant, candidates in waiting.items():
            rule, spec = min(
                ((rule_of_thumb(each, self.backend.device), each) for each in candidates),
                key=lambda pair: pair[0],
            )
            limit_s = CALIBRATION_S / len(waiting)
            with contextlib.suppress(Exception):
                step_s = _step_seconds(spec, device, self.backend.capture, limit_s)
                self._measured[variant] = step_s * spec.training.max_steps / rule
        release_memory(device)

    def seconds(self, spec: Spec) -> float:
        """Expected duration of a run that is alone on the machine."""
        fraction = 1.0
        if spec.training.stop_when_solved:
            fraction = _nearest(self._fractions, _similar(spec, spec.task.name))
        factor = self._measured.get(_variant(spec)) or _nearest(self._factors, _similar(spec))
        return RUN_S + factor * fraction * rule_of_thumb(spec, self.backend.device)

    def memory_bytes(self, spec: Spec) -> int:
        """GPU memory of a run, including what its process takes for itself; 0 on the CPU."""
        if self.backend.device == "cpu":
            return 0
        return PROCESS_BYTES + int(self._memory * _activation_bytes(spec))


def wall_seconds(
    run_s: Sequence[float], num_workers: int, *, num_timings: int = 0, num_reported: int = 0
) -> float:
    """Wall time of a command: its runs on this many workers, then its timings, then its report.

    `num_reported` is the number of runs in the report; 0 means no report.
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


def _variant(spec: Spec) -> Hashable:
    return spec.model.name, repr(spec.model.fields)


def _similar(spec: Spec, task: str = "") -> list[Hashable]:
    """Keys of groups of runs, the most similar first; groups of one task, if it is given."""
    return [(task, spec.network), (task, _variant(spec)), (task, spec.model.name), (task,)]


def _nearest(known: Mapping[Hashable, list[float]], keys: Iterable[Hashable]) -> float:
    """The mean of the first group that has values; 1 if none has."""
    return mean(next((known[key] for key in keys if key in known), [1.0]))


def _activation_bytes(spec: Spec) -> float:
    num_tokens = spec.training.batch_size * task_of(spec).signature.num_steps
    return 4 * ACTIVATIONS * num_tokens * math.sqrt(_parameters(spec))
