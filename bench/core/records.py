"""What a run, a timing, a comparison or a sample gave: the data types of the records."""

import hashlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from bench.core.backend import Backend
from bench.core.machine import Machine
from bench.core.spec import Frozen, Spec, SpeedSpec, Yardstick

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A whole number that fits a column of 64 bits."""
SCHEMA = 1
"""Raised whenever older records can no longer be read as they are."""

MOST_ERROR = 4_000
"""Characters of an error that are kept."""


def is_share(unit: str) -> bool:
    """Whether values of this unit are shares, in [0, 1]."""
    return unit.startswith("share of")


class Filed(Frozen):
    """What lies in a file of its own below the results."""

    @property
    def path(self) -> Path:
        """Where."""
        raise NotImplementedError


class MetricInfo(Frozen):
    """What a figure of merit means."""

    name: str
    unit: str
    higher_is_better: bool
    chance: float

    @property
    def said_unit(self) -> str:
        """The unit and, where lower is better, that."""
        return self.unit if self.higher_is_better else f"{self.unit}, lower is better"

    def reaches(self, value: float, threshold: float) -> bool:
        """Whether a value is as good as the threshold, or better."""
        return value >= threshold if self.higher_is_better else value <= threshold


class CurvePoint(Frozen):
    """One validation."""

    step: Int64
    """Updates done."""
    seconds: float
    """Wall time since the run began."""
    train_loss: float | None
    """Mean over the batches since the last validation; None before the first and if not finite."""
    validation_loss: float | None = None
    """Mean over validation sequences; None if not finite."""
    values: dict[str, float | None]
    """Mean over validation sequences, a metric; None if not finite."""


class Latency(Frozen):
    """Of one sequence alone, while other runs may share the machine."""

    sequence_ms: float
    """To read a whole sequence and answer, in milliseconds."""
    step_us: float
    """To take one further step from a state, in microseconds."""


class ByDistance(Frozen):
    """The size of a gradient against how far back the input lies that it belongs to."""

    distances: tuple[Int64, ...]
    """Steps before the last one, 0 being the last itself; each stands for those up to the next."""
    values: tuple[float, ...]
    """Norm over the inputs' features of one step, root mean square over sequences and steps."""

    @model_validator(mode="after")
    def _of_one_length(self) -> "ByDistance":
        if len(self.distances) != len(self.values):
            raise ValueError(f"{len(self.distances)} distances and {len(self.values)} values")
        return self


class Probe(Frozen):
    """What a network's inputs of long ago do to it, at one moment of its training."""

    step: Int64
    """Updates behind the weights that were probed."""
    output_gradient: ByDistance
    """Of the last output with respect to each past input: the Jacobian's Frobenius norm."""
    loss_gradient: ByDistance
    """Of one sequence's loss with respect to each past input."""
    effective_field: Int64
    """The fewest last inputs that hold 95% of the squared norm of `output_gradient`."""


class Probes(Frozen):
    """What was probed inside a training run."""

    measured_field: Int64
    """Receptive field by perturbation, before training: 1 + the distance of the oldest input
    whose change changes the last output; `seen_steps` where that is all there was to change."""
    seen_steps: Int64
    """Steps of the sequences that were perturbed."""
    initial: Probe
    trained: Probe
    """Of the weights that were tested."""


class Beyond(Frozen):
    """A test at another length than the one that was trained, without further training."""

    length: Int64
    test: dict[str, float | None]
    """Mean over test sequences, a metric; None if not finite."""
    num_test: Int64


class Outcome(Frozen):
    """What training gave."""

    label: str
    """The model and what differs from its defaults: `lstm num_layers=2`."""
    task_label: str
    """The task and what differs from its defaults, `length` aside: `pixel_mnist side=7`."""
    num_parameters: Int64
    receptive_field: Int64 | None
    """None: without end."""
    num_steps: Int64
    """Steps of a sequence."""
    solved_at: float | None
    """The score that counted as solved in this run; None: the task has no horizon."""
    metrics: Annotated[tuple[MetricInfo, ...], Field(min_length=1)]
    """The score first."""
    curve: Annotated[tuple[CurvePoint, ...], Field(min_length=1)]
    stopped: Literal["solved", "budget", "diverged"]
    steps: Int64
    """Updates done."""
    best_step: Int64
    """Updates behind the weights that validated best, which the test was run with."""
    test: dict[str, float | None]
    """Mean over test sequences, a metric; None if not finite."""
    num_test: Int64
    train_seconds: float
    total_seconds: float
    peak_memory_bytes: Int64 | None
    """Allocated on the GPU; None on a CPU."""
    latency: Latency | None = None
    """None in records made without it."""
    eager_because: str | None = None
    """Why the training step was not replayed as a graph, where it should have been."""
    probes: Probes | None = None
    """None in records made without them, and where a gradient was not finite."""
    beyond: tuple[Beyond, ...] = ()
    """Tests at lengths the network was not trained on, where the task names any."""
    baselines: dict[str, float] = {}
    """Name → score of a predictor that needs no network, where the task has any."""

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
        """The score on the test stream; chance where it is not finite."""
        value = self.test[self.score.name]
        return self.score.chance if value is None else value

    @property
    def solved(self) -> bool | None:
        if self.solved_at is None:
            return None
        return self.score.reaches(self.test_score, self.solved_at)


Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


def _kept(error: object) -> object:
    """What of an error a file can hold: whatever a plug-in raises, its record can be written."""
    if not isinstance(error, str):
        return error
    return error[:MOST_ERROR].encode("utf-8", "backslashreplace").decode()[:MOST_ERROR]


Reason = Annotated[str | None, BeforeValidator(_kept)]


class Spent(Frozen):
    """What a run took: a part of its `Outcome`, read without the rest."""

    model_config = ConfigDict(extra="ignore")

    steps: Int64
    total_seconds: float
    peak_memory_bytes: Int64 | None


class Summary(Filed):
    """What a plan asks of a record: which run it is of, how that ended and what it took."""

    schema_version: Literal[1] = SCHEMA
    spec: Spec
    backend: Backend
    machine: Machine
    status: Literal["ok", "diverged", "failed", "skipped"]
    error: Reason = None
    """Why it failed or was skipped, or how it diverged."""
    traceback: Reason = None
    """The whole traceback of a failed run, causes included."""
    outcome: Spent | None = None
    """There unless it failed or was skipped."""
    created: Timestamp

    @model_validator(mode="after")
    def _with_outcome(self) -> Self:
        if self.finished and self.outcome is None:
            raise ValueError(f"{self.status} and no outcome")
        return self

    @property
    def finished(self) -> bool:
        """Whether a bench need not run it again."""
        return self.status in ("ok", "diverged")

    @property
    def path(self) -> Path:
        """Where it lies below the results: a training record counts whichever machine made it."""
        return Path("runs", self.backend.name, f"{self.spec.place}-{self.spec.id}.json")


class Record(Summary):
    """What one spec produced on one backend."""

    outcome: Outcome | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class Times(Frozen):
    """Seconds of one call after warm-up, each sample as it was taken."""

    samples: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]

    @property
    def median(self) -> float:
        return median(self.samples)

    def percentile(self, percent: float) -> float:
        """The sample below which `percent` of a hundred lie."""
        ordered = sorted(self.samples)
        return ordered[min(int(percent / 100 * len(ordered)), len(ordered) - 1)]


class Work(Frozen):
    """One way of calling a network: its times, operations and memory."""

    times: Times
    flops: Int64
    """Floating-point operations of one call: products and sums of matrices and convolutions."""
    memory_bytes: Int64 | None = None
    """The most that a call takes beyond what was there before; None: not measured."""


class Streaming(Frozen):
    """Sequences read a step at a time."""

    step: Work
    """A further step of every stream by the model's stepper."""
    stepper: str
    """Which stepper."""
    state_bytes: Int64
    """Of one stream."""
    plain_step: Times
    """The same by `forward` on a chunk of one step."""
    prefill: Times
    """A whole sequence in one pass, its state handed to a stepper, and one step more."""
    window: Times | None
    """The whole receptive field read again by `forward`; None: the field has no end."""
    window_last: Times | None
    """The same, asking for the last step alone."""


class Sampling(Frozen):
    """Sequences drawn from a network, a step at a time."""

    num_steps: Int64
    """Of a sequence."""
    cached: Times
    """Of the whole draw, by the model's stepper."""
    naive: Times
    """The same, the past being read again for every step."""


class Speed(Frozen):
    """What one network costs."""

    label: str
    """The model and what differs from its defaults."""
    task_label: str
    num_parameters: Int64
    receptive_field: Int64 | None
    """None: without end."""
    num_steps: Int64
    """Steps of a sequence."""
    peak_flops: Annotated[float, Field(gt=0)]
    """What the machine reached in the same process on one large matrix product, a second."""
    train: Work | None = None
    """Forward, backward and update of one batch."""
    forward: Work | None = None
    """A batch of whole sequences at once, without gradients."""
    streaming: Streaming | None = None
    sampling: Sampling | None = None


class SpeedRecord(Filed):
    """What one network costs on one machine."""

    schema_version: Literal[1] = SCHEMA
    spec: SpeedSpec
    backend: Backend
    machine: Machine
    status: Literal["ok", "failed", "skipped"]
    error: Reason = None
    traceback: Reason = None
    """The whole traceback of a failed timing, causes included."""
    speed: Speed | None = None
    """There unless it failed or was skipped."""
    created: Timestamp

    @property
    def finished(self) -> bool:
        return self.status == "ok"

    @property
    def path(self) -> Path:
        """Where it lies below the results: it counts for its own machine alone."""
        folder = Path("speed", self.backend.name, self.machine.slug)
        return folder / f"{self.spec.place}-{self.spec.id}.json"


class YardstickRecord(Filed):
    """How a comparison came out on one machine."""

    schema_version: Literal[1] = SCHEMA
    yardstick: Yardstick
    backend: Backend
    machine: Machine
    status: Literal["ok", "skipped"]
    error: Reason = None
    times: dict[str, Times] = {}
    """Ours first, theirs second, what else was timed after them; a sample a turn."""
    created: Timestamp

    @model_validator(mode="after")
    def _turn_by_turn(self) -> "YardstickRecord":
        turns = {len(times.samples) for times in self.times.values()}
        if len(turns) > 1 or (self.status == "ok" and len(self.times) < 2):
            raise ValueError("two sides and as many samples of each are wanted")
        return self

    @property
    def ratio(self) -> float:
        """Theirs over ours, the median over turns."""
        ours, theirs = list(self.times)[:2]
        return self.over_ours(theirs) if ours != theirs else math.nan

    def over_ours(self, other: str) -> float:
        ours = next(iter(self.times.values()))
        pairs = zip(self.times[other].samples, ours.samples, strict=True)
        return median(theirs / own for theirs, own in pairs)

    @property
    def path(self) -> Path:
        folder = Path("yardsticks", self.backend.name, self.machine.slug)
        return folder / f"{self.yardstick.name.replace(' ', '_')}.json"


class Agreement(Frozen):
    """How often a classifier finds in a sample the condition that was given."""

    share: float
    low: float
    high: float
    """Wilson's 95% interval."""
    num_samples: Int64
    on_real: float
    """The same of the real test sequences, whose conditions are known."""


class SampleRecord(Filed):
    """What was sampled, beside its files."""

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
    """Of some of the samples, below the results."""
    created: Timestamp

    @model_validator(mode="after")
    def _of_its_own_picture(self) -> Self:
        if self.picture not in (None, self.path.with_suffix(".png").as_posix()):
            raise ValueError("a picture of another record")
        return self

    @property
    def path(self) -> Path:
        """Where it lies below the results, by all that was asked for; its files lie beside it."""
        asked = [self.number, self.steps, self.condition, self.prompt, self.temperature, self.seed]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
        return Path("samples", f"{self.spec.place}-{self.spec.id}-{digest}.json")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
