"""The data types of all records: training runs, timings, yardsticks, samples and GPU tests."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bench.core.backend import Backend
from bench.core.errors import MOST_TRACEBACK
from bench.core.machine import Machine
from bench.core.spec import Frozen, Int64, Spec, SpeedSpec, Yardstick
from bench.core.timings import Speed, Times

Means = dict[str, float | None]
"""Name of a metric → its mean over the validation or test sequences. None if not finite."""
SCHEMA = 1
"""Version of the records. It is raised when older records can no longer be read."""


def is_share(unit: str) -> bool:
    """Whether values of this unit are shares, in [0, 1]."""
    return unit.startswith("share of")


class Filed(Frozen, ABC):
    """A record that is stored as one file in the results folder."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """Path of the file, relative to the results folder."""

    @property
    def finished(self) -> bool:
        """Whether what is recorded need not be repeated."""
        return True


class MetricInfo(Frozen):
    """Name, unit, direction and chance level of a metric."""

    name: str
    unit: str
    higher_is_better: bool
    chance: float

    @property
    def said_unit(self) -> str:
        """The unit as tables show it: a note is added if lower is better."""
        return self.unit if self.higher_is_better else f"{self.unit}, lower is better"

    def reaches(self, value: float, threshold: float) -> bool:
        """Whether a value is at least as good as the threshold."""
        return value >= threshold if self.higher_is_better else value <= threshold


class CurvePoint(Frozen):
    """The result of one validation during training."""

    step: Int64
    """Number of updates before this validation."""
    seconds: float
    """Wall time since the start of the run."""
    train_loss: float | None
    """Mean over the batches since the last validation. None before any update, or if not finite."""
    validation_loss: float | None = None
    """Mean over validation sequences. None if not finite."""
    values: Means


class Latency(Frozen):
    """Inference times of a batch of one. Other runs may have used the machine meanwhile."""

    sequence_ms: float
    """Time to read a whole sequence and answer, in milliseconds."""
    step_us: float
    """Time to process one further step from a given state, in microseconds."""


class ByDistance(Frozen):
    """Gradient norms with respect to past inputs, by how far back the input lies."""

    distances: tuple[Int64, ...]
    """Distance from the last step, in steps; 0 is the last step itself. A value covers all
    distances from its own up to the next one."""
    values: tuple[float, ...]
    """Gradient norm over the features of one step: root mean square over sequences and steps."""

    @model_validator(mode="after")
    def _of_one_length(self) -> "ByDistance":
        if len(self.distances) != len(self.values):
            raise ValueError(f"{len(self.distances)} distances and {len(self.values)} values")
        return self


class Probe(Frozen):
    """How strongly past inputs affect a network, measured at one point of its training."""

    step: Int64
    """Number of updates after which the network was probed."""
    output_gradient: ByDistance
    """Frobenius norm of the Jacobian of the last output with respect to each past input."""
    loss_gradient: ByDistance
    """Gradient of one sequence's loss with respect to each past input."""
    effective_field: Int64
    """The smallest number of last inputs with 95% of the squared norm of `output_gradient`."""


class Probes(Frozen):
    """The measurements of a network before and after training."""

    measured_field: Int64
    """Receptive field before training, by perturbation: 1 + the distance of the oldest input that
    affects the last output. At most `seen_steps`."""
    seen_steps: Int64
    """Length of the perturbed sequences, in steps."""
    initial: Probe
    trained: Probe
    """Measured with the weights that were tested."""


class Beyond(Frozen):
    """A test at a length that the network was not trained on."""

    length: Int64
    test: Means
    num_test: Int64


class Outcome(Frozen):
    """The result of training one network."""

    label: str
    """Name of the model and its fields that differ from defaults: `lstm num_layers=2`."""
    task_label: str
    """Name of the task and its fields, except `length`, that differ from defaults."""
    num_parameters: Int64
    receptive_field: Int64 | None
    """In steps. None if it is infinite."""
    num_steps: Int64
    """Length of a sequence, in steps."""
    solved_at: float | None
    """The score from which this run counts as solved. None if the task has no horizon."""
    metrics: Annotated[tuple[MetricInfo, ...], Field(min_length=1)]
    """All metrics; the first is the score."""
    curve: Annotated[tuple[CurvePoint, ...], Field(min_length=1)]
    stopped: Literal["solved", "budget", "diverged"]
    steps: Int64
    """Number of updates."""
    best_step: Int64
    """Number of updates after which the network validated best. These weights are tested."""
    test: Means
    num_test: Int64
    train_seconds: float
    total_seconds: float
    peak_memory_bytes: Int64 | None
    """Memory allocated on the GPU. None on a CPU."""
    latency: Latency | None = None
    """None in older records."""
    eager_because: str | None = None
    """Why the training step could not be replayed as a CUDA graph although this was asked for."""
    probes: Probes | None = None
    """None in older records, and if a gradient was not finite."""
    beyond: tuple[Beyond, ...] = ()
    """Tests at the other lengths that the task names."""
    baselines: dict[str, float] = {}
    """Name of a predictor that needs no network → its score."""

    @model_validator(mode="after")
    def _every_metric(self) -> "Outcome":
        for values in (self.test, *(point.values for point in self.curve)):
            for metric in self.metrics:
                if metric.name not in values:
                    raise ValueError(f"no value of {metric.name}")
        return self

    @property
    def score(self) -> MetricInfo:
        return self.metrics[0]

    @property
    def test_score(self) -> float:
        """The score on the test stream; the chance level if it is not finite."""
        value = self.test[self.score.name]
        return self.score.chance if value is None else value

    def updates_to(self, threshold: float) -> int | None:
        """Updates before the first validation whose score reached the threshold; None: never."""
        values = ((point.step, point.values[self.score.name]) for point in self.curve)
        reached = (
            step
            for step, value in values
            if value is not None and self.score.reaches(value, threshold)
        )
        return next(reached, None)

    @property
    def solved(self) -> bool | None:
        if self.solved_at is None:
            return None
        return self.score.reaches(self.test_score, self.solved_at)


Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


def _storable(error: object) -> object:
    """A text cut to a limited length, with escapes for characters that UTF-8 can't encode."""
    if not isinstance(error, str):
        return error
    return error[:MOST_TRACEBACK].encode("utf-8", "backslashreplace").decode()[:MOST_TRACEBACK]


Reason = Annotated[str | None, BeforeValidator(_storable)]


class Record(Filed):
    """The result of one spec on one backend."""

    schema_version: Literal[1] = SCHEMA
    spec: Spec
    backend: Backend
    machine: Machine
    status: Literal["ok", "diverged", "failed", "skipped"]
    error: Reason = None
    """Why the run failed or was skipped, or how it diverged."""
    traceback: Reason = None
    """The traceback of a failed run, chained causes included."""
    outcome: Outcome | None = None
    """None if the run failed or was skipped."""
    created: Timestamp

    @model_validator(mode="after")
    def _with_outcome(self) -> Self:
        if self.finished and self.outcome is None:
            raise ValueError(f"the status is {self.status}, but there is no outcome")
        return self

    @property
    def finished(self) -> bool:
        return self.status in ("ok", "diverged")

    @property
    def path(self) -> Path:
        # The machine is not part of the path: scores of all machines count alike.
        return Path("runs", self.backend.name, f"{self.spec.place}-{self.spec.id}.json")


def one_of_each(records: Iterable[Record], backend: Backend) -> dict[str, Record]:
    """Spec id → one record: a finished one if there is any, and if possible of this backend.

    A run learns the same task with the same settings on every device, so that any record shows what
    it learns.
    """

    def rank(record: Record) -> tuple[bool, bool]:
        return record.finished, record.backend == backend

    best: dict[str, Record] = {}
    for record in records:
        known = best.get(record.spec.id)
        if known is None or rank(record) > rank(known):
            best[record.spec.id] = record
    return best


class SpeedRecord(Filed):
    """The result of one speed spec on one machine."""

    schema_version: Literal[1] = SCHEMA
    spec: SpeedSpec
    backend: Backend
    machine: Machine
    status: Literal["ok", "failed", "skipped"]
    error: Reason = None
    traceback: Reason = None
    speed: Speed | None = None
    """None if the timing failed or was skipped."""
    created: Timestamp

    @property
    def finished(self) -> bool:
        return self.status == "ok"

    @property
    def path(self) -> Path:
        # The machine is part of the path: a time counts for the machine that it was measured on.
        folder = Path("speed", self.backend.name, self.machine.slug)
        return folder / f"{self.spec.place}-{self.spec.id}.json"


class YardstickRecord(Filed):
    """The times of one comparison with another implementation, on one machine."""

    schema_version: Literal[1] = SCHEMA
    yardstick: Yardstick
    backend: Backend
    machine: Machine
    status: Literal["ok", "skipped"]
    error: Reason = None
    times: dict[str, Times] = {}
    """Implementation → its times, ours first, theirs second. Each turn adds one sample to each."""
    created: Timestamp

    @model_validator(mode="after")
    def _turn_by_turn(self) -> "YardstickRecord":
        turns = {len(times.samples) for times in self.times.values()}
        if len(turns) > 1 or (self.status == "ok" and len(self.times) < 2):
            raise ValueError("there must be two sides with the same number of samples")
        return self

    @property
    def ratio(self) -> float:
        """Time of theirs over time of ours, median over turns."""
        return self.over_ours(list(self.times)[1])

    def over_ours(self, other: str) -> float:
        """Time of another implementation over time of ours, median over turns."""
        ours = next(iter(self.times.values()))
        pairs = zip(self.times[other].samples, ours.samples, strict=True)
        return median(theirs / own for theirs, own in pairs)

    @property
    def path(self) -> Path:
        folder = Path("yardsticks", self.backend.name, self.machine.slug)
        return folder / f"{self.yardstick.name.replace(' ', '_')}.json"


class Agreement(Frozen):
    """How often a classifier recognises in a sample the condition that it was drawn with."""

    share: float
    low: float
    high: float
    """Upper end of the Wilson 95% interval; `low` is its lower end."""
    num_samples: Int64
    on_real: float
    """The same share for real test sequences."""


class SampleRecord(Filed):
    """How samples were drawn, and what a classifier recognised in them."""

    spec: Spec
    backend: Backend
    label: str
    task_label: str
    number: Int64
    steps: Int64 | None = None
    condition: str | None
    prompt: str | None
    temperature: float
    seed: Int64
    agreement: Agreement | None = None
    picture: str | None = None
    """Path of a picture of some samples, relative to the results folder."""
    created: Timestamp

    @model_validator(mode="after")
    def _of_its_own_picture(self) -> Self:
        if self.picture not in (None, self.path.with_suffix(".png").as_posix()):
            raise ValueError("the picture belongs to another record")
        return self

    @property
    def path(self) -> Path:
        """Path that is unique for these arguments; the files of the samples lie beside it."""
        asked = [self.number, self.steps, self.condition, self.prompt, self.temperature, self.seed]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
        return Path("samples", f"{self.spec.place}-{self.spec.id}-{digest}.json")


class CheckRecord(Filed):
    """How the tests that need a GPU ended, on one machine and one commit."""

    machine: Machine
    passed: bool
    output: Reason
    """The end of what the tests printed."""
    created: Timestamp

    @property
    def finished(self) -> bool:
        return self.passed

    @property
    def path(self) -> Path:
        return Path("checks", self.machine.slug, f"{self.machine.commit or 'unknown'}.json")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
