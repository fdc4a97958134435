"""The scores of both folders, one row per configuration, on the seeds that both have."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from bench.compare.match import (
    SUBJECT,
    Compared,
    Label,
    Side,
    arrow,
    framed,
    matches,
    subject,
    task_key,
)
from bench.core.intervals import paired_difference, share_difference
from bench.core.records import MetricInfo, Record
from bench.report.runs import COUNTED, ends

Pair = tuple[Record, Record]
"""The runs of one seed in A and in B."""
COLUMNS = SUBJECT | {
    **{"backend": str, "score": str, "better": str, "seeds": int},
    **{"a": float, "b": float, "difference": float, "low": float, "high": float},
    **{"solved_a": "Int64", "solved_b": "Int64", "share_low": float, "share_high": float},
    "verdict": str,
}


def score_table(
    a: Side, b: Side, labels: Mapping[str, Label], *, by_model: bool
) -> tuple[pd.DataFrame, Compared]:
    """The table, and the records that are in it."""
    counted_a, counted_b = ([run for run in side.runs if run.status in COUNTED] for side in (a, b))
    # Both sides are judged by one score and one threshold: those of B.
    known = {
        task_key(run.spec): (run.outcome.score, run.outcome.solved_at)
        for run in itertools.chain(counted_a, counted_b)
        if run.outcome is not None
    }
    rows: list[dict[str, object]] = []
    compared: Compared = set()
    for runs_a, runs_b in matches(counted_a, counted_b, _backend, by_model=by_model):
        by_seed_a, by_seed_b = _current(runs_a), _current(runs_b)
        pairs = [(by_seed_a[s], by_seed_b[s]) for s in sorted(by_seed_a.keys() & by_seed_b.keys())]
        found = known.get(task_key(runs_a[0].spec))
        if not pairs or found is None:
            continue
        score, solved_at = found
        if any(run.outcome and run.outcome.score.name != score.name for run, _ in pairs):
            continue
        first_a, first_b = pairs[0]
        rows.append(
            {
                **subject(first_a.spec, first_b.spec, labels),
                "backend": arrow(_backend(first_a), _backend(first_b)),
                **_judged(pairs, score, solved_at),
            }
        )
        for run_a, run_b in pairs:
            compared |= {(a.name, run_a.path), (b.name, run_b.path)}
    return framed(rows, COLUMNS, ["task_label", "T", "model_label", "backend"]), compared


def _backend(run: Record) -> str:
    return run.backend.name


def _current(runs: Iterable[Record]) -> dict[int, Record]:
    """Seed → run, of the code that made the newest run: a mean never mixes two versions."""
    newest = max(runs, key=lambda run: run.created)

    def code(run: Record) -> object:
        return run.spec.protocol, run.spec.model.version, run.spec.plugin_sha256

    return {run.spec.seed: run for run in runs if code(run) == code(newest)}


def _judged(pairs: Sequence[Pair], score: MetricInfo, solved_at: float | None) -> dict[str, object]:
    """Both scores, their difference and the verdict."""
    n = len(pairs)
    values_a, values_b = ([_value(run, score) for run in runs] for runs in zip(*pairs, strict=True))
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
    # Intervals of differences in which more is better.
    intervals = []
    if low is not None and high is not None:
        intervals.append((low, high) if score.higher_is_better else (-high, -low))
    if solved_at is not None:
        row["solved_a"], row["solved_b"] = solved_a, solved_b = [
            sum(_solves(run, score, solved_at) for run in runs) for runs in zip(*pairs, strict=True)
        ]
        row["share_low"], row["share_high"] = share = share_difference(solved_b, solved_a, n)
        intervals.append(share)
    if all(_numbers(run) == _numbers(other) for run, other in pairs):
        verdict = "identical"
    elif any(high < 0 for _, high in intervals):
        verdict = "worse"
    elif any(low > 0 for low, _ in intervals):
        verdict = "better"
    else:
        verdict = "one seed" if n == 1 else "no clear difference"
    return row | {"verdict": verdict}


def _value(run: Record, score: MetricInfo) -> float:
    """The score as a report counts it: a failed run is at chance."""
    return score.chance if run.outcome is None else run.outcome.test_score


def _solves(run: Record, score: MetricInfo, solved_at: float) -> bool:
    return run.outcome is not None and score.reaches(run.outcome.test_score, solved_at)


def _numbers(run: Record) -> object:
    """Everything but times: what is the same wherever the same arithmetic was done."""
    if run.outcome is None:
        return run.status
    kept = {"steps", "best_step", "stopped", "test", "num_test", "curve"}
    return run.outcome.model_dump(include=kept, exclude={"curve": {"__all__": {"seconds"}}})
