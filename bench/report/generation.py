"""Records of generation → frames: likelihoods at equal budget, what a sample costs, samples."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

from collections.abc import Sequence

import pandas as pd

from bench.core.records import Record, SampleRecord, SpeedRecord
from bench.report import tables
from bench.report.tables import Labels

BASELINES = ("uniform", "unigram", "markov-1")
"""Those that are drawn beside networks; a task may have others, or not all of them."""


def likelihood(runs: pd.DataFrame, records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The scores of tasks whose records hold those of predictors without a network, beside them.

    As `tables.scores` counts; with nats a sequence, where the task has them.
    """
    place = {r.spec.id: (labels[r.spec.id][0], r.spec.length) for r in records}
    known = {place[r.spec.id]: r.outcome.baselines for r in records if r.outcome}
    known = {cell: baselines for cell, baselines in known.items() if baselines}
    cells = list(zip(runs["task"], runs["T"], strict=True))
    table = tables.scores(runs[[cell in known for cell in cells]])
    if table.empty:
        return table
    table = table[
        ["task", "T", "model", "score", "mean", "mean_low", "mean_high", "seeds", "unit"]
    ].merge(runs.groupby(tables.ROW)["parameters"].max().reset_index(), on=tables.ROW)
    metrics = tables.metrics(records, labels)
    nats = metrics[metrics["metric"] == "nats"][[*tables.ROW, "mean"]]
    table = table.merge(nats.rename(columns={"mean": "nats"}), on=tables.ROW, how="left")
    beside = [known[cell] for cell in zip(table["task"], table["T"], strict=True)]
    return pd.concat([table, pd.DataFrame(beside)], axis=1)


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
    return tables.by_length(pd.DataFrame(rows))


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
