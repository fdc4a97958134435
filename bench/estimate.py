"""How long a run takes: a rule of thumb, corrected by what the records say."""

import math
from collections.abc import Sequence
from statistics import median

from bench.backend import Backend
from bench.plan import model_of, task_of
from bench.spec import Spec
from bench.store import Summary
from models import count_parameters

OVERHEAD_S = 2e-3
"""Of a training step, whatever its size."""
FLOPS_PER_S = {"cpu": 3e10, "cuda": 3e11}
"""What small networks reach, order of magnitude."""


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
    """Learns from records how far the rule is off, for a model on a task and a length."""

    def __init__(self, backend: Backend, records: Sequence[Summary] = ()) -> None:
        self.backend = backend
        self._known: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for record in records:
            self.learn(record)

    def learn(self, record: Summary) -> None:
        if record.outcome is not None and record.backend == self.backend:
            rule = rule_of_thumb(record.spec, self.backend.device)
            self._known.setdefault((record.spec.model.name, record.spec.task.name), []).append(
                (math.log(record.spec.length), record.outcome.total_seconds / rule)
            )

    def seconds(self, spec: Spec) -> float:
        """Of the three recorded runs nearest in length: of this task, or of the model."""
        rule = rule_of_thumb(spec, self.backend.device)
        model, task = spec.model.name, spec.task.name
        near = self._known.get((model, task)) or [
            known for (name, _), every in self._known.items() if name == model for known in every
        ]
        if not near:
            return rule
        near = sorted(near, key=lambda known: abs(known[0] - math.log(spec.length)))[:3]
        return rule * median(ratio for _, ratio in near)
