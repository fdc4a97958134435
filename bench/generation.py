"""Records of generation → frames: likelihoods at equal budget, what a sample costs, samples."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

from collections.abc import Sequence

import pandas as pd

from bench.samples import SampleRecord
from bench.stats import mean_interval
from bench.store import Record, SpeedRecord
from bench.tables import Labels, by_length

BASELINES = ("uniform", "unigram", "markov-1")
"""Those that are shown beside networks; a task may have others, or not all of them."""


def likelihood(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The score of each task, T and model beside those of predictors without a network.

    Of runs whose record holds such baselines: mean over seeds with Student's interval.
    """
    rows = []
    for record in records:
        outcome = record.outcome
        if outcome is not None and outcome.baselines:
            task, model = labels[record.spec.id]
            rows.append(
                {
                    "task": task,
                    "T": record.spec.length,
                    "model": model,
                    "score": outcome.score.name,
                    "unit": outcome.score.unit,
                    "value": outcome.test_score,
                    "nats": outcome.test.get("nats"),
                    "parameters": outcome.num_parameters,
                    "baselines": outcome.baselines,
                }
            )
    if not rows:
        return pd.DataFrame()
    found = []
    for (task, length, model), group in pd.DataFrame(rows).groupby(
        ["task", "T", "model"], sort=False
    ):
        first = group.iloc[0]
        interval = mean_interval(group["value"])
        found.append(
            {
                "task": task,
                "T": length,
                "model": model,
                "score": first["score"],
                "mean": group["value"].mean(),
                "mean_low": interval.low,
                "mean_high": interval.high,
                "seeds": len(group),
                "unit": first["unit"],
                "nats": group["nats"].mean() if group["nats"].notna().all() else None,
                "parameters": int(first["parameters"]),
                **{name: first["baselines"].get(name) for name in BASELINES},
            }
        )
    return by_length(pd.DataFrame(found))


def sampling(records: Sequence[SpeedRecord]) -> pd.DataFrame:
    """How long a sample of T steps takes, cached and naive, and how many of them a second gives."""
    rows = []
    for record in records:
        if record.speed is None or record.speed.sampling is None:
            continue
        speed, found = record.speed, record.speed.sampling
        cached, naive = found.cached.median, found.naive.median
        rows.append(
            {
                "task": speed.task_label,
                "T": record.spec.length,
                "model": speed.label,
                "steps": found.num_steps,
                "parameters": speed.num_parameters,
                "cached_s": cached,
                "naive_s": naive,
                "cached_per_s": 1 / cached,
                "naive_per_s": 1 / naive,
                "speedup": naive / cached,
            }
        )
    return by_length(pd.DataFrame(rows))


def judged(samples: Sequence[SampleRecord]) -> pd.DataFrame:
    """How often a classifier finds in a sample what was asked for."""
    return pd.DataFrame(
        [
            {
                "task": sample.task_label,
                "T": sample.spec.length,
                "model": sample.label,
                "samples": found.num_samples,
                "temperature": sample.temperature,
                "agrees": found.share,
                "low": found.low,
                "high": found.high,
                "on_real_ones": found.on_real,
            }
            for sample in samples
            if (found := sample.agreement) is not None
        ]
    )
