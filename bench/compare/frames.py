"""A comparison of two folders: scores, times, and the records without counterpart."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bench.compare.match import Compared, Label, Side, framed, labels_of, only
from bench.compare.scores import score_table
from bench.compare.times import OTHER_MACHINE, time_table, timed_at
from bench.core.records import Record, SpeedRecord

TOLERANCE = 0.1
"""Slowdown that is not a regression: 10%."""
LEFT = ["side", "what", "task", "model", "task_label", "model_label", "reason", "T", "count"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two folders, and the tables that compare them."""

    a: Side
    b: Side
    models: tuple[str, str] | None
    """The two models that are compared; None: each model with itself."""
    tolerance: float
    scores: pd.DataFrame
    """One row per configuration, on the seeds that both folders have."""
    times: pd.DataFrame
    """One row per network, batch size and timed call."""
    left: pd.DataFrame
    """The records that are in neither table, and why."""

    @property
    def worse(self) -> pd.DataFrame:
        return self.scores[self.scores["verdict"] == "worse"]

    @property
    def slower(self) -> pd.DataFrame:
        """Slower calls on the same machine. Another machine's times say nothing about the code."""
        times = self.times
        return times[(times["verdict"] == "slower") & (times["machine"] != OTHER_MACHINE)]

    @property
    def num_regressions(self) -> int:
        return len(self.worse) + len(self.slower)


def compare(
    a: Side, b: Side, *, models: tuple[str, str] | None = None, tolerance: float = TOLERANCE
) -> Comparison:
    """Compare each configuration with itself, or the first model in A with the second in B.

    A model is named by its label (`gru chrono=True`), or by its name if no label is the same.
    Raises `RequestError` for a model that a folder does not have.
    """
    labels = labels_of(a, b)
    by_model = models is not None
    if models is not None:
        a, b = (only(side, model, labels) for side, model in zip((a, b), models, strict=True))
    scores, compared = score_table(a, b, labels, by_model=by_model)
    times, timed = time_table(a, b, labels, tolerance, by_model=by_model)
    return Comparison(
        a=a,
        b=b,
        models=models,
        tolerance=tolerance,
        scores=scores,
        times=times,
        left=_left(a, b, labels, compared | timed),
    )


def _left(a: Side, b: Side, labels: Mapping[str, Label], compared: Compared) -> pd.DataFrame:
    """One row for all lengths of a configuration that were left for the same reason."""
    lengths: dict[tuple[str, ...], list[int]] = {}
    for side, other in ((a, b), (b, a)):
        for record in (*side.runs, *side.speed):
            if (side.name, record.path) not in compared:
                spec, label = record.spec, labels[record.spec.id]
                what = "run" if isinstance(record, Record) else "times"
                names = (spec.task.name, spec.model.name, label.task, label.model)
                key = (side.name, what, *names, _reason(record, other))
                lengths.setdefault(key, []).append(spec.length)
    rows = [
        dict(zip(LEFT, (*key, ", ".join(map(str, sorted(set(found)))), len(found)), strict=True))
        for key, found in lengths.items()
    ]
    return framed(rows, {**dict.fromkeys(LEFT, str), "count": int})


def _reason(record: Record | SpeedRecord, other: Side) -> str:
    if record.status in ("failed", "skipped"):
        return f"{record.status}: {record.error}"
    if isinstance(record, Record):
        name = record.backend.name
        if all(run.backend.name != name for run in other.runs):
            return f"no run of {name} in {other.name}"
    elif all(timed_at(timed) != timed_at(record) for timed in other.speed):
        return f"no times of this machine and backend in {other.name}"
    return f"no counterpart in {other.name}"
