"""How long a run takes and how much memory: a rule of thumb, corrected by what the records say."""

import math
from collections.abc import Hashable, Iterable, Iterator

from bench.core.backend import Backend
from bench.core.records import Summary
from bench.core.spec import Spec
from bench.plan.grid import model_of, task_of
from models import count_parameters

OVERHEAD_S = 2e-3
"""Of a training step, whatever its size."""
FLOPS_PER_S = {"cpu": 3e10, "cuda": 3e11}
"""What small networks reach, order of magnitude."""
ACTIVATIONS = 40
"""Numbers kept for the backward pass, a step of a sequence and unit of width, order of magnitude;
a network of n parameters has about √n units."""
PROCESS_BYTES = 600 * 2**20
"""What a process takes of a GPU for itself."""
LEAST_NEAR = 4
"""Runs that an estimate is made of, where there are so many."""


def rule_of_thumb(spec: Spec, device: str) -> float:
    """Seconds for the whole budget: 6 operations a parameter, token and step."""
    num_tokens = spec.training.batch_size * task_of(spec).signature.num_steps
    step_s = OVERHEAD_S + 6 * _parameters(spec) * num_tokens / FLOPS_PER_S[device]
    return spec.training.max_steps * step_s


def _parameters(spec: Spec) -> int:
    """As asked for; those of a given width are counted."""
    if spec.param_budget is not None:
        return spec.param_budget
    signature = task_of(spec).signature
    return count_parameters(model_of(spec), signature, spec.width, spec.extra_width)


class Estimator:
    """Learns from records how far the rule is off, and which share of its budget a run takes.

    How fast a model is says a run of it on any task; how soon it stops, one on the same task. A
    variant is first looked for by itself, then among all that bear the model's name.
    """

    def __init__(self, backend: Backend, records: Iterable[Summary] = ()) -> None:
        self.backend = backend
        self._speed: dict[tuple[str, ...], _Known] = {}
        """Model, or variant → how far the rule is off, by the logarithm of its step in seconds."""
        self._share: dict[tuple[str, ...], _Known] = {}
        """Task alone, with model, with variant → share of the budget, by the length's logarithm."""
        self._memory = 1.0
        """How far the guess of a run's memory is off, at most."""
        self._rules: dict[Hashable, float] = {}
        for record in records:
            self.learn(record)

    def learn(self, record: Summary) -> None:
        outcome = record.outcome
        if outcome is None or record.backend != self.backend:
            return
        spec = record.spec
        share = max(outcome.steps, 1) / spec.training.max_steps
        try:
            speed = outcome.total_seconds / (self._rule(spec) * share)
            place = math.log(spec.length)
        except Exception:  # of a plug-in that is not here now, or of values that no task has
            return
        for key in _widening(spec):
            self._speed.setdefault(key, _Known()).add(self._size(spec), speed)
            if spec.training.stop_when_solved:
                known = self._share.setdefault((spec.task.name, *key), _Known())
                known.add(place, share)
        if outcome.peak_memory_bytes is not None:
            self._memory = max(self._memory, outcome.peak_memory_bytes / _activation_bytes(spec))

    def seconds(self, spec: Spec) -> float:
        """By the recorded runs that are nearest."""
        return self.full_seconds(spec) * self.share(spec)

    def full_seconds(self, spec: Spec) -> float:
        """Of the whole budget."""
        for key in _widening(spec):
            if key in self._speed:
                return self._rule(spec) * self._speed[key].near(self._size(spec))
        return self._rule(spec)

    def share(self, spec: Spec) -> float:
        """Of its budget that a run takes until it is solved."""
        if spec.training.stop_when_solved:
            at = math.log(spec.length)
            for key in _widening(spec):
                if known := self._share.get((spec.task.name, *key)):
                    return known.near(at)
        return 1.0

    def scouts(self, specs: Iterable[Spec]) -> set[str]:
        """Ids of the shortest run of each unknown variant: run first, they tell of the others."""
        shortest: dict[tuple[str, ...], Spec] = {}
        for spec in specs:
            variant = next(_widening(spec))
            if variant not in self._speed and (
                variant not in shortest or self.seconds(spec) < self.seconds(shortest[variant])
            ):
                shortest[variant] = spec
        return {spec.id for spec in shortest.values()}

    def memory_bytes(self, spec: Spec) -> int:
        """Of the GPU, with what the process takes for itself; 0 on the CPU."""
        if self.backend.device == "cpu":
            return 0
        return PROCESS_BYTES + int(self._memory * _activation_bytes(spec))

    def _size(self, spec: Spec) -> float:
        return math.log(self._rule(spec) / spec.training.max_steps)

    def _rule(self, spec: Spec) -> float:
        key = kind(spec)
        if key not in self._rules:
            self._rules[key] = rule_of_thumb(spec, self.backend.device)
        return self._rules[key]


def kind(spec: Spec) -> Hashable:
    """The same for runs that one estimate is made for: those that differ in their seed, say."""
    task, model, training = spec.task, spec.model, spec.training
    sizes = training.batch_size, training.max_steps, training.stop_when_solved
    parts = task.name, repr(task.fields), model.name, repr(model.fields)
    return *parts, spec.param_budget, spec.width, spec.extra_width, *sizes


def _widening(spec: Spec) -> Iterator[tuple[str, ...]]:
    """The variant, the model, any."""
    yield spec.model.name, repr(spec.model.fields)
    yield (spec.model.name,)
    yield ()


class _Known:
    """Values at places on a line, and their mean near any place."""

    def __init__(self) -> None:
        self._at: dict[float, tuple[float, int]] = {}
        """Place → sum and number of values."""

    def add(self, place: float, value: float) -> None:
        place = round(place, 3)
        total, number = self._at.get(place, (0.0, 0))
        self._at[place] = total + value, number + 1

    def near(self, place: float) -> float:
        """Over the nearest places that hold `LEAST_NEAR` values together; there is at least one."""
        total, number = 0.0, 0
        for at in sorted(self._at, key=lambda at: abs(at - place)):
            total, number = total + self._at[at][0], number + self._at[at][1]
            if number >= LEAST_NEAR:
                break
        return total / number


def _activation_bytes(spec: Spec) -> float:
    num_tokens = spec.training.batch_size * task_of(spec).signature.num_steps
    return 4 * ACTIVATIONS * num_tokens * math.sqrt(_parameters(spec))
