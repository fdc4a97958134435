"""Records of two folders → frames: scores, times, and what was compared with nothing."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.compare.match import (
    Labels,
    Side,
    arrow,
    changed,
    matches,
    only,
    paired_places,
    plain_labels,
    task_key,
)
from bench.core.intervals import paired_difference, ratio_of_medians, share_difference
from bench.core.records import MetricInfo, Record, SpeedRecord, Times
from bench.plan.labels import with_settings
from bench.report.frame import listed
from bench.report.runs import COUNTED, ends

TOLERANCE = 0.1
"""How much slower is no regression: 10%."""
SAME, OTHER_VERSIONS, OTHER_MACHINE = "same", "same, other versions", "another"
TIMED = {"train": "training step", "forward": "whole sequence", "step": "streaming step"}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found."""

    a: Side
    b: Side
    models: tuple[str, str] | None
    """The two models compared; None: each with itself."""
    tolerance: float
    scores: pd.DataFrame
    """A row a configuration, on the seeds that both have."""
    times: pd.DataFrame
    """A row a network, batch size and what was timed."""
    left: pd.DataFrame
    """What was compared with nothing."""

    @property
    def worse(self) -> pd.DataFrame:
        return _of_verdict(self.scores, "worse")

    @property
    def slower(self) -> pd.DataFrame:
        """On the same machine: another one's times say nothing of the code."""
        slower = _of_verdict(self.times, "slower")
        return slower[slower["machine"] != OTHER_MACHINE] if len(slower) else slower

    @property
    def num_regressions(self) -> int:
        return len(self.worse) + len(self.slower)


def compare(
    a: Side, b: Side, *, models: tuple[str, str] | None = None, tolerance: float = TOLERANCE
) -> Comparison:
    """Each configuration with itself, or the first model in A with the second in B.

    A model is named by its label, or by its name where no label is so. Raises `RequestError` for
    one that a folder does not have.
    """
    plain = plain_labels(a, b)
    specs = {record.spec.id: record.spec for record in (*a.runs, *b.runs)}
    labels = plain | with_settings(list(specs.values()), plain)
    by_model = models is not None
    if models is not None:
        a, b = (
            only(side, model, labels, plain) for side, model in zip((a, b), models, strict=True)
        )
    scores, compared = _scores(a, b, labels, by_model=by_model)
    times, timed = _times(a, b, labels, tolerance, by_model=by_model)
    return Comparison(
        a=a,
        b=b,
        models=models,
        tolerance=tolerance,
        scores=scores,
        times=times,
        left=_left(a, b, labels, compared | timed),
    )


def _scores(
    a: Side, b: Side, labels: Labels, *, by_model: bool
) -> tuple[pd.DataFrame, set[tuple[str, Path]]]:
    """The table, and which records are in it."""
    counted = [[run for run in side.runs if run.status in COUNTED] for side in (a, b)]
    # What a score means and when it counts as solved is the same for both: as B has it.
    known = {
        task_key(run.spec): (run.outcome.score, run.outcome.solved_at)
        for run in itertools.chain(*counted)
        if run.outcome is not None
    }
    rows, compared = [], set()
    places = ([run.backend.name for run in runs] for runs in counted)
    for place_a, place_b in paired_places(*places):
        of_a, of_b = (
            [run for run in runs if run.backend.name == place]
            for runs, place in zip(counted, (place_a, place_b), strict=True)
        )
        for runs_a, runs_b in matches(of_a, of_b, by_model=by_model):
            by_seed_a, by_seed_b = _current(runs_a), _current(runs_b)
            seeds = sorted(by_seed_a.keys() & by_seed_b.keys())
            task = task_key(runs_a[0].spec)
            if not seeds or task not in known:
                continue
            score, solved_at = known[task]
            pairs = [(by_seed_a[seed], by_seed_b[seed]) for seed in seeds]
            if any(run.outcome and run.outcome.score.name != score.name for run, _ in pairs):
                continue
            spec_a, spec_b = pairs[0][0].spec, pairs[0][1].spec
            rows.append(
                {
                    "task": labels[spec_a.id][0],
                    "T": spec_a.length,
                    "model": arrow(labels[spec_a.id][1], labels[spec_b.id][1]),
                    "backend": arrow(place_a, place_b),
                    "changed": changed(spec_a, spec_b),
                    **_score_row(pairs, score, solved_at),
                }
            )
            for pair in pairs:
                compared |= {(side.name, run.path) for side, run in zip((a, b), pair, strict=True)}
    return _sorted(rows, ["task", "T", "model", "backend"]), compared


def _current(runs: Iterable[Record]) -> dict[int, Record]:
    """Seed → run, of the code that made the newest run: two versions make no mean."""
    newest = max(runs, key=lambda run: run.created)

    def code(run: Record) -> object:
        return run.spec.protocol, run.spec.model.version, run.spec.plugin_sha256

    return {run.spec.seed: run for run in runs if code(run) == code(newest)}


def _score_row(
    pairs: Sequence[tuple[Record, Record]], score: MetricInfo, solved_at: float | None
) -> dict[str, object]:
    values_a, values_b = ([_value(run, score) for run in runs] for runs in zip(*pairs, strict=True))
    n = len(pairs)
    found = paired_difference(values_b, values_a)
    low, high = ends(found, -1.0, score.unit)
    row: dict[str, object] = {
        "score": score.name,
        "better": "higher" if score.higher_is_better else "lower",
        "seeds": n,
        "a": sum(values_a) / n,
        "b": sum(values_b) / n,
        "difference": found.mean,
        "low": low,
        "high": high,
    }
    fewer = more = False
    if solved_at is not None:
        solved_a, solved_b = (
            sum(_solves(run, score, solved_at) for run in runs) for runs in zip(*pairs, strict=True)
        )
        share_low, share_high = share_difference(solved_b, solved_a, n)
        fewer, more = share_high < 0, share_low > 0
        row |= {
            "solved_a": solved_a,
            "solved_b": solved_b,
            "share_low": share_low,
            "share_high": share_high,
        }
    sign = 1 if score.higher_is_better else -1
    # An interval's ends in the direction that is better.
    bounds = None if low is None or high is None else sorted((sign * low, sign * high))
    if all(_numbers(run) == _numbers(other) for run, other in pairs):
        verdict = "identical"
    elif fewer or (bounds and bounds[1] < 0):
        verdict = "worse"
    elif more or (bounds and bounds[0] > 0):
        verdict = "better"
    else:
        verdict = "one seed" if n == 1 else "no clear difference"
    return row | {"verdict": verdict}


def _value(run: Record, score: MetricInfo) -> float:
    """The score as a report counts it: at chance where there is none."""
    return score.chance if run.outcome is None else run.outcome.test_score


def _solves(run: Record, score: MetricInfo, solved_at: float) -> bool:
    return run.outcome is not None and score.reaches(run.outcome.test_score, solved_at)


def _numbers(run: Record) -> object:
    """What is the same wherever the same arithmetic was done: everything but times."""
    if run.outcome is None:
        return run.status
    kept = {"steps", "best_step", "stopped", "test", "num_test", "curve"}
    return run.outcome.model_dump(include=kept, exclude={"curve": {"__all__": {"seconds"}}})


def _times(
    a: Side, b: Side, labels: Labels, tolerance: float, *, by_model: bool
) -> tuple[pd.DataFrame, set[tuple[str, Path]]]:
    """The table, and which records are in it."""
    rows, compared = [], set()
    places = ([_timed_at(record) for record in side.speed] for side in (a, b))
    for place_a, place_b in paired_places(*places):
        of_a, of_b = (
            [record for record in side.speed if _timed_at(record) == place]
            for side, place in zip((a, b), (place_a, place_b), strict=True)
        )
        for records_a, records_b in matches(of_a, of_b, by_model=by_model):
            measured_a, measured_b = _measured(records_a), _measured(records_b)
            for measure, what in TIMED.items():
                if measure not in measured_a or measure not in measured_b:
                    continue
                (record_a, times_a), (record_b, times_b) = measured_a[measure], measured_b[measure]
                spec_a, spec_b = record_a.spec, record_b.spec
                assert record_a.speed is not None
                assert record_b.speed is not None
                rows.append(
                    {
                        "timed": what,
                        "task": labels[spec_a.id][0],
                        "T": spec_a.length,
                        "batch": spec_a.batch_size,
                        "model": arrow(labels[spec_a.id][1], labels[spec_b.id][1]),
                        "parameters": arrow(
                            record_a.speed.num_parameters, record_b.speed.num_parameters
                        ),
                        "machine": _machines(record_a, record_b),
                        "changed": changed(spec_a, spec_b),
                        **_time_row(times_a, times_b, tolerance),
                    }
                )
                compared |= {(a.name, record_a.path), (b.name, record_b.path)}
    return _sorted(rows, ["timed", "task", "T", "batch", "model"]), compared


def _timed_at(record: SpeedRecord) -> tuple[str, str]:
    return record.backend.name, record.machine.slug


def _measured(records: Iterable[SpeedRecord]) -> dict[str, tuple[SpeedRecord, Times]]:
    """Measure → times, the newest of each."""
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
    """Whether the times tell of the code or of what it ran on."""
    hardware = ("cpu", "cores", "gpu", "system")
    if a.backend != b.backend or any(
        getattr(a.machine, part) != getattr(b.machine, part) for part in hardware
    ):
        return OTHER_MACHINE
    return SAME if a.machine.slug == b.machine.slug else OTHER_VERSIONS


def _time_row(a: Times, b: Times, tolerance: float) -> dict[str, object]:
    low, high = ratio_of_medians(b.samples, a.samples) or (None, None)
    if low is None or high is None:
        verdict = "one sample"
    elif low > 1 + tolerance:
        verdict = "slower"
    elif high < 1 / (1 + tolerance):
        verdict = "faster"
    else:
        verdict = "no clear difference"
    return {
        "a_ms": 1e3 * a.median,
        "b_ms": 1e3 * b.median,
        "ratio": b.median / a.median,
        "low": low,
        "high": high,
        "verdict": verdict,
    }


def _sorted(rows: Sequence[Mapping[str, object]], by: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows).sort_values(by, ignore_index=True) if rows else pd.DataFrame()


def _left(a: Side, b: Side, labels: Labels, compared: set[tuple[str, Path]]) -> pd.DataFrame:
    """What stands in no row of the other tables, with the reason and how many there are."""
    rows = [
        {
            "in": side.name,
            "what": "run" if isinstance(record, Record) else "times",
            "task": labels[record.spec.id][0],
            "model": labels[record.spec.id][1],
            "T": record.spec.length,
            "reason": _reason(record, other),
        }
        for side, other in ((a, b), (b, a))
        for record in (*side.runs, *side.speed)
        if (side.name, record.path) not in compared
    ]
    if not rows:
        return pd.DataFrame()
    keys = ["in", "what", "task", "model", "reason"]
    return pd.DataFrame(
        [
            {**dict(zip(keys, key, strict=True)), "T": listed(group["T"]), "count": len(group)}
            for key, group in pd.DataFrame(rows).groupby(keys, sort=False)
        ]
    )


def _reason(record: Record | SpeedRecord, other: Side) -> str:
    if record.status in ("failed", "skipped"):
        return f"{record.status}: {record.error}"
    if isinstance(record, Record):
        there = {run.backend.name for run in other.runs}
        place, kind = record.backend.name, f"no run of {record.backend.name}"
    else:
        there = {_timed_at(timed) for timed in other.speed}
        place, kind = _timed_at(record), "no times of this machine and backend"
    if place not in there:
        return f"{kind} in {other.name}"
    return f"no counterpart in {other.name}"


def _of_verdict(table: pd.DataFrame, verdict: str) -> pd.DataFrame:
    return table[table["verdict"] == verdict] if len(table) else table
