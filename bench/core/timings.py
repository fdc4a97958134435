"""The data types of measured times, operations and memory, and how processes are merged."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from bench.core.spec import Frozen, Int64

SPEED_SECONDS = 0.3
"""Shortest time that a process spends on each measurement that figures show, by default."""
MOST_SAMPLES = 50
"""Samples that a merged `Times` keeps."""

Seconds = Annotated[float, Field(gt=0)]


class Times(Frozen):
    """Durations of single calls after warm-up, in seconds, from one process or several.

    Samples of one process are in the order of measurement. Merged samples are sorted.
    """

    samples: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    per_process: tuple[Seconds, ...] = ()
    """The median of each process. Empty if a single process took all samples."""

    @property
    def processes(self) -> tuple[float, ...]:
        """The median of each process, also if there was only one."""
        return self.per_process or (median(self.samples),)

    @property
    def median(self) -> float:
        """The median over processes of the median in each process."""
        return median(self.processes)

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
    """Operations per second of one large matrix product: the largest of all processes, since
    everything that disturbs a measurement makes it smaller."""
    num_processes: Int64 = 1
    """Fresh processes that took the times. A fast or slow start of a process affects all of its
    times, so only several processes show how far a time repeats."""
    train: Work | None = None
    """Forward pass, backward pass and update on one batch."""
    forward: Work | None = None
    """Forward pass on one batch of whole sequences, without gradients."""
    streaming: Streaming | None = None
    sampling: Sampling | None = None


def merged(speeds: Sequence[Speed]) -> Speed:
    """One network's measurements in several processes as one.

    Each process has the same weight in the samples. Memory and peak are the largest.
    """
    number = sum(speed.num_processes for speed in speeds)
    return _merged(speeds).model_copy(update={"num_processes": number})


def pooled(times: Sequence[Times]) -> Times:
    """The processes and samples of all of them, the samples thinned to `MOST_SAMPLES`."""
    per_process = tuple(value for each in times for value in each.processes)
    samples: list[float] = []
    for each in times:
        share = len(each.processes) / len(per_process)
        samples += _thinned(each.samples, max(1, math.floor(share * MOST_SAMPLES)))
    return Times(
        samples=tuple(sorted(samples)), per_process=per_process if len(per_process) > 1 else ()
    )


def _thinned(samples: Sequence[float], most: int) -> list[float]:
    """At most this many of the samples: their quantiles at equal distances."""
    ordered, n = sorted(samples), min(most, len(samples))
    return [ordered[(2 * i + 1) * len(ordered) // (2 * n)] for i in range(n)]


def _merged(parts: Sequence[Any]) -> Any:
    """Equal fields stay, times are pooled, and of differing numbers the largest is taken."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    first = known[0]
    if isinstance(first, Times):
        return pooled(known)
    if isinstance(first, Frozen):
        names = type(first).model_fields
        fields = {name: _merged([getattr(part, name) for part in known]) for name in names}
        return first.model_copy(update=fields)
    return max(known)
