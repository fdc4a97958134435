"""The data types of measured times, operations and memory."""

from statistics import median
from typing import Annotated

from pydantic import Field

from bench.core.spec import Frozen, Int64


class Times(Frozen):
    """Durations of single calls after warm-up, in seconds, in the order of measurement."""

    samples: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]

    @property
    def median(self) -> float:
        return median(self.samples)

    def percentile(self, percent: float) -> float:
        """The sample below which `percent` percent of the samples lie."""
        ordered = sorted(self.samples)
        return ordered[min(int(percent / 100 * len(ordered)), len(ordered) - 1)]


class Work(Frozen):
    """Cost of one way of calling a network: time, operations and memory."""

    times: Times
    flops: Int64
    """Floating-point operations of the matrix products and convolutions in one call."""
    memory_bytes: Int64 | None = None
    """Peak memory of a call beyond what was held before. None if it was not measured."""


class Streaming(Frozen):
    """Cost of reading sequences one step at a time."""

    step: Work
    """One step of every stream, computed by the model's stepper within `run`, which reads many
    steps in one call. Protocol 1 timed single calls here."""
    call: Times | None = None
    """One step of every stream in a single call of the stepper from Python. None in protocol 1."""
    stepper: str
    state_bytes: Int64
    """Size of the state of one stream."""
    plain_step: Times
    """One step of every stream, computed by `forward` on a chunk of one step."""
    prefill: Times
    """A whole sequence in one pass, then the transfer of its state to a stepper, then one step."""
    window: Times | None
    """`forward` on the whole receptive field, without a state. None if the field is infinite."""
    window_last: Times | None
    """The same as `window`, but only the last step's output is computed."""


class Sampling(Frozen):
    """Times of drawing whole sequences from a network, one step after the other."""

    num_steps: Int64
    cached: Times
    """With the model's stepper."""
    naive: Times
    """Without a stepper: each step reads the whole past again."""


class Speed(Frozen):
    """The measured costs of one network. The first five fields are as in `Outcome`."""

    label: str
    task_label: str
    num_parameters: Int64
    receptive_field: Int64 | None
    num_steps: Int64
    peak_flops: Annotated[float, Field(gt=0)]
    """Operations per second of one large matrix product, measured in the same process."""
    train: Work | None = None
    """Forward pass, backward pass and update on one batch."""
    forward: Work | None = None
    """Forward pass on one batch of whole sequences, without gradients."""
    streaming: Streaming | None = None
    sampling: Sampling | None = None
