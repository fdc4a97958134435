"""The times of both folders, one row per network, batch size and timed call."""

from collections.abc import Iterable, Mapping

import pandas as pd

from bench.compare.match import SUBJECT, Compared, Label, Side, arrow, framed, matches, subject
from bench.core.intervals import ratio_of_medians
from bench.core.records import SpeedRecord
from bench.core.timings import Times

SAME, OTHER_VERSIONS, OTHER_MACHINE = "same", "same, other versions", "another"
TIMED = {"train": "training step", "forward": "whole sequence", "step": "streaming step"}
COLUMNS = {
    **{"timed": str, **SUBJECT, "batch": int, "parameters": str, "machine": str},
    **{"a_ms": float, "b_ms": float, "ratio": float, "low": float, "high": float, "verdict": str},
}


def time_table(
    a: Side, b: Side, labels: Mapping[str, Label], tolerance: float, *, by_model: bool
) -> tuple[pd.DataFrame, Compared]:
    """The table, and the records that are in it."""
    rows: list[dict[str, object]] = []
    compared: Compared = set()
    for records_a, records_b in matches(a.speed, b.speed, timed_at, by_model=by_model):
        measured_a, measured_b = _measured(records_a), _measured(records_b)
        for measure in [each for each in TIMED if each in measured_a and each in measured_b]:
            (record_a, times_a), (record_b, times_b) = measured_a[measure], measured_b[measure]
            assert record_a.speed is not None
            assert record_b.speed is not None
            rows.append(
                {
                    "timed": TIMED[measure],
                    **subject(record_a.spec, record_b.spec, labels),
                    "batch": record_a.spec.batch_size,
                    "parameters": arrow(
                        record_a.speed.num_parameters, record_b.speed.num_parameters
                    ),
                    "machine": _machines(record_a, record_b),
                    **_judged(times_a, times_b, tolerance),
                }
            )
            compared |= {(a.name, record_a.path), (b.name, record_b.path)}
    order = ["timed", "task_label", "T", "batch", "model_label"]
    return framed(rows, COLUMNS, order), compared


def timed_at(record: SpeedRecord) -> tuple[str, str]:
    """The backend and the machine of a timing."""
    return record.backend.name, record.machine.slug


def _measured(records: Iterable[SpeedRecord]) -> dict[str, tuple[SpeedRecord, Times]]:
    """Measure → the newest times, and the record that holds them."""
    found = {}
    for record in sorted(records, key=lambda record: record.created):
        if record.speed is not None:
            streaming = record.speed.streaming
            for measure, work in (
                ("train", record.speed.train),
                ("forward", record.speed.forward),
                ("step", None if streaming is None else streaming.step),
            ):
                if work is not None:
                    found[measure] = record, work.times
    return found


def _machines(a: SpeedRecord, b: SpeedRecord) -> str:
    """Whether a difference in times may come from the machine instead of the code."""
    hardware = ("cpu", "cores", "gpu", "system")
    if a.backend != b.backend or any(
        getattr(a.machine, part) != getattr(b.machine, part) for part in hardware
    ):
        return OTHER_MACHINE
    return SAME if a.machine.slug == b.machine.slug else OTHER_VERSIONS


def _judged(a: Times, b: Times, tolerance: float) -> dict[str, object]:
    """Both medians, their ratio and the verdict."""
    low, high = ratio_of_medians(b.samples, a.samples) or (None, None)
    if low is None or high is None:
        verdict = "one sample"
    elif low > 1 + tolerance:
        verdict = "slower"
    else:
        verdict = "faster" if high < 1 / (1 + tolerance) else "no clear difference"
    medians = {"a_ms": 1e3 * a.median, "b_ms": 1e3 * b.median, "ratio": b.median / a.median}
    return {**medians, "low": low, "high": high, "verdict": verdict}
