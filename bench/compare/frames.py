"""A comparison of two folders: scores, times, and the records without counterpart."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.compare.match import AnySpec, Label, Side, arrow, labels_of, matches, only, task_key
from bench.core.intervals import (
    difference,
    paired_difference,
    ratio_intervals,
    share_difference,
    simultaneous_confidence,
)
from bench.core.records import MetricInfo, Record, SpeedRecord
from bench.core.timings import Times
from bench.report.runs import COUNTED, ends

TOLERANCE = 0.1
"""Slowdown that is not a regression: 10%."""
SAME, OTHER_VERSIONS, OTHER_MACHINE = "same", "same, other versions", "another"
TIMED = {"train": "training step", "forward": "whole sequence", "step": "streaming step"}
SUBJECT = ["task", "T", "model", "task_label", "model_label", "changed"]
"""Columns that say what is compared; `changed` is how the code differs."""
SCORES = [
    *(*SUBJECT, "backend", "score", "better", "seeds", "a", "b", "difference", "low", "high"),
    *("solved_a", "solved_b", "share_low", "share_high", "verdict"),
]
TIMES = [
    *("timed", *SUBJECT, "batch", "implementation", "parameters", "machine"),
    *("processes", "a_ms", "b_ms", "ratio", "low", "high", "verdict"),
]
LEFT = ["side", "what", "task", "model", "task_label", "model_label", "reason", "T", "count"]
DTYPES = {
    **dict.fromkeys(("a", "b", "difference", "low", "high", "share_low", "share_high"), "float64"),
    **dict.fromkeys(("a_ms", "b_ms", "ratio"), "float64"),
    **dict.fromkeys(("solved_a", "solved_b"), "Int64"),
    **dict.fromkeys(("batch", "count"), "int64"),
}
Compared = set[tuple[str, object]]
"""The side (A or B) and the path of every record that is in a table."""


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
    """The records that are in neither table, with the reason."""

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
    scores, with_score = _scores(a, b, labels, by_model=by_model)
    times, with_times = _times(a, b, labels, tolerance, by_model=by_model)
    left = _left(a, b, labels, with_score | with_times)
    return Comparison(
        a=a, b=b, models=models, tolerance=tolerance, scores=scores, times=times, left=left
    )


def _framed(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], order: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows as a frame with these columns, sorted by `order`."""
    frame = pd.DataFrame(rows, columns=list(columns))
    frame = frame.astype({name: DTYPES[name] for name in columns if name in DTYPES})
    return frame.sort_values(list(order), ignore_index=True) if order else frame


def _subject(a: AnySpec, b: AnySpec, labels: Mapping[str, Label]) -> dict[str, object]:
    """The columns of `SUBJECT`."""
    changed = []
    if a.protocol != b.protocol:
        changed.append(f"protocol {a.protocol} → {b.protocol}")
    if a.model.name == b.model.name and a.model.version != b.model.version:
        changed.append(f"model version {a.model.version} → {b.model.version}")
    for name in sorted(a.plugin_sha256.keys() & b.plugin_sha256.keys()):
        if a.plugin_sha256[name] != b.plugin_sha256[name]:
            changed.append(f"source of {name}")
    model_label = arrow(labels[a.id].model, labels[b.id].model)
    about = (a.task.name, a.length, arrow(a.model.name, b.model.name), labels[a.id].task)
    return dict(zip(SUBJECT, (*about, model_label, ", ".join(changed) or None), strict=True))


def _scores(
    a: Side, b: Side, labels: Mapping[str, Label], *, by_model: bool
) -> tuple[pd.DataFrame, Compared]:
    """The table of scores, and the records that are in it."""
    counted_a, counted_b = ([run for run in side.runs if run.status in COUNTED] for side in (a, b))
    # Both sides are judged by one score and one threshold: those of B.
    known = {
        task_key(run.spec): (run.outcome.score, run.outcome.solved_at)
        for run in itertools.chain(counted_a, counted_b)
        if run.outcome is not None
    }
    found: list[tuple[dict[str, object], Cell]] = []
    compared: Compared = set()
    for runs_a, runs_b in matches(counted_a, counted_b, _backend, by_model=by_model):
        by_seed_a, by_seed_b = _current(runs_a), _current(runs_b)
        shared = sorted(by_seed_a.keys() & by_seed_b.keys())
        score, solved_at = known.get(task_key(runs_a[0].spec), (None, None))
        if score is None:
            continue
        cell = Cell(
            a=[by_seed_a[seed] for seed in shared or sorted(by_seed_a)],
            b=[by_seed_b[seed] for seed in shared or sorted(by_seed_b)],
            paired=bool(shared),
            score=score,
            solved_at=solved_at,
        )
        outcomes = [run.outcome for run in (*cell.a, *cell.b) if run.outcome is not None]
        if any(outcome.score.name != score.name for outcome in outcomes):
            continue
        about = _subject(cell.a[0].spec, cell.b[0].spec, labels)
        about["backend"] = arrow(_backend(cell.a[0]), _backend(cell.b[0]))
        found.append((about, cell))
        compared |= {("A", run.path) for run in cell.a} | {("B", run.path) for run in cell.b}
    judged = judge_scores([cell for _, cell in found])
    rows = [{**about, **row} for (about, _), row in zip(found, judged, strict=True)]
    return _framed(rows, SCORES, ["task_label", "T", "model_label", "backend"]), compared


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The runs of one configuration in both folders."""

    a: Sequence[Record]
    b: Sequence[Record]
    paired: bool
    """Whether the runs of both sides have the same seeds. False: they share none."""
    score: MetricInfo
    solved_at: float | None

    @property
    def identical(self) -> bool:
        return self.paired and list(map(_numbers, self.a)) == list(map(_numbers, self.b))

    @property
    def num_intervals(self) -> int:
        """How many intervals judge it: of the mean and, if it has a horizon, of the seeds."""
        if self.identical or min(len(self.a), len(self.b)) < 2:
            return 0
        return 1 if self.solved_at is None else 2


def _backend(run: Record) -> str:
    return run.backend.name


def _current(runs: Iterable[Record]) -> dict[int, Record]:
    """Seed → run, of the code that made the newest run: a mean never mixes two versions."""

    def code(run: Record) -> object:
        return run.spec.protocol, run.spec.model.version, run.spec.plugin_sha256

    newest = code(max(runs, key=lambda run: run.created))
    return {run.spec.seed: run for run in runs if code(run) == newest}


def judge_scores(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """A row for each cell; all of their intervals hold together with 95% confidence."""
    confidence = simultaneous_confidence(sum(cell.num_intervals for cell in cells))
    return [_score_row(cell, confidence) for cell in cells]


def _score_row(cell: Cell, confidence: float) -> dict[str, object]:
    """Both scores, their difference and the verdict; the intervals have this confidence."""
    score, n_a, n_b = cell.score, len(cell.a), len(cell.b)
    # As in a report, a failed run scores at chance.
    values_a, values_b = (
        [score.chance if run.outcome is None else run.outcome.test_score for run in runs]
        for runs in (cell.a, cell.b)
    )
    found = (paired_difference if cell.paired else difference)(values_b, values_a, confidence)
    low, high = ends(found, -1.0, score.unit)
    row: dict[str, object] = {
        "score": score.name,
        "better": "higher" if score.higher_is_better else "lower",
        "seeds": str(n_a) if cell.paired else f"{n_a} → {n_b} others",
        "a": sum(values_a) / n_a,
        "b": sum(values_b) / n_b,
        "difference": found.mean,
        "low": low,
        "high": high,
    }
    # Intervals of differences in which more is better.
    intervals = []
    if low is not None and high is not None:
        intervals.append((low, high) if score.higher_is_better else (-high, -low))
    if cell.solved_at is not None:
        solved_a, solved_b = (_num_solved(runs, score, cell.solved_at) for runs in (cell.a, cell.b))
        share = share_difference((solved_b, n_b), (solved_a, n_a), confidence)
        row |= {"solved_a": solved_a, "solved_b": solved_b}
        row |= {"share_low": share[0], "share_high": share[1]}
        if low is not None:
            intervals.append(share)
    if cell.identical:
        verdict = "identical"
    elif any(high < 0 for _, high in intervals):
        verdict = "worse"
    elif any(low > 0 for low, _ in intervals):
        verdict = "better"
    else:
        verdict = "one seed" if min(n_a, n_b) == 1 else "no clear difference"
    return row | {"verdict": verdict}


def _num_solved(runs: Sequence[Record], score: MetricInfo, solved_at: float) -> int:
    outcomes = [run.outcome for run in runs if run.outcome is not None]
    return sum(score.reaches(outcome.test_score, solved_at) for outcome in outcomes)


def _numbers(run: Record) -> object:
    """Everything but times: these values are equal if the same arithmetic was done."""
    if run.outcome is None:
        return run.status
    kept = {"steps", "best_step", "stopped", "test", "num_test", "curve"}
    return run.outcome.model_dump(include=kept, exclude={"curve": {"__all__": {"seconds"}}})


def _times(
    a: Side, b: Side, labels: Mapping[str, Label], tolerance: float, *, by_model: bool
) -> tuple[pd.DataFrame, Compared]:
    """The table of times, and the records that are in it."""
    rows: list[dict[str, object]] = []
    sides: list[tuple[Times, Times]] = []
    compared: Compared = set()
    for records_a, records_b in matches(a.speed, b.speed, timed_at, by_model=by_model):
        measured_a, measured_b = _measured(records_a), _measured(records_b)
        for call in [each for each in TIMED if each in measured_a and each in measured_b]:
            (record_a, size_a, times_a), (record_b, size_b, times_b) = (
                measured_a[call],
                measured_b[call],
            )
            rows.append(
                {
                    "timed": TIMED[call],
                    **_subject(record_a.spec, record_b.spec, labels),
                    "batch": record_a.spec.batch_size,
                    "implementation": record_a.spec.implementation,
                    "parameters": arrow(size_a, size_b),
                    "machine": _machines(record_a, record_b),
                }
            )
            sides.append((times_a, times_b))
            compared |= {("A", record_a.path), ("B", record_b.path)}
    rows = [
        {**row, **of_row} for row, of_row in zip(rows, judge_times(sides, tolerance), strict=True)
    ]
    order = ["timed", "task_label", "T", "batch", "model_label", "implementation"]
    return _framed(rows, TIMES, order), compared


def timed_at(record: SpeedRecord) -> tuple[str, str]:
    """The backend and the machine of a timing."""
    return record.backend.name, record.machine.slug


def _measured(records: Iterable[SpeedRecord]) -> dict[str, tuple[SpeedRecord, int, Times]]:
    """Timed call → the record with its newest times, the network's parameters, and the times."""
    found = {}
    for record in sorted(records, key=lambda record: record.created):
        if speed := record.speed:
            step = speed.streaming and speed.streaming.step
            for call, work in (("train", speed.train), ("forward", speed.forward), ("step", step)):
                if work is not None:
                    found[call] = record, speed.num_parameters, work.times
    return found


def _machines(a: SpeedRecord, b: SpeedRecord) -> str:
    """Whether a difference in times may come from the machine instead of the code."""
    hardware = ("cpu", "cores", "gpu", "system")
    if a.backend != b.backend or any(
        getattr(a.machine, part) != getattr(b.machine, part) for part in hardware
    ):
        return OTHER_MACHINE
    return SAME if a.machine.slug == b.machine.slug else OTHER_VERSIONS


def judge_times(
    sides: Sequence[tuple[Times, Times]], tolerance: float = TOLERANCE
) -> list[dict[str, object]]:
    """A row for each time in A and in B; all intervals hold together with 95% confidence."""
    intervals = ratio_intervals([(b.processes, a.processes) for a, b in sides])
    return [
        _time_row(a, b, interval, tolerance)
        for (a, b), interval in zip(sides, intervals, strict=True)
    ]


def _time_row(
    a: Times, b: Times, interval: tuple[float, float] | None, tolerance: float
) -> dict[str, object]:
    """Both medians, their ratio with its interval, and the verdict."""
    ratio, (low, high) = b.median / a.median, interval or (None, None)
    if low is None or high is None:
        verdict = "one process"
    elif low > 1 and ratio > 1 + tolerance:
        verdict = "slower"
    else:
        is_faster = high < 1 and ratio < 1 / (1 + tolerance)
        verdict = "faster" if is_faster else "no clear difference"
    return {
        "processes": arrow(len(a.processes), len(b.processes)),
        "a_ms": 1e3 * a.median,
        "b_ms": 1e3 * b.median,
        "ratio": ratio,
        "low": low,
        "high": high,
        "verdict": verdict,
    }


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
    return _framed(rows, LEFT)


def _reason(record: Record | SpeedRecord, other: Side) -> str:
    if record.status in ("failed", "skipped"):
        return f"{record.status}: {record.error}"
    if isinstance(record, Record):
        if all(_backend(run) != _backend(record) for run in other.runs):
            return f"no run of {_backend(record)} in {other.name}"
    elif all(timed_at(timed) != timed_at(record) for timed in other.speed):
        return f"no times of this machine and backend in {other.name}"
    return f"no counterpart in {other.name}"
