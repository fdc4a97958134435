"""Invented records, and the frames and the source of a report made from them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.core.records import Record
from bench.core.spec import Spec
from bench.plan.labels import Label, label_of
from bench.report.frame import typed
from bench.report.page import Source
from bench.report.runs import RUNS, runs_frame
from tests.support.records import record, spec

SCORES = {
    ("tcn", 10): [1.0, 1.0, 1.0],
    ("tcn", 100): [1.0, 0.97, 0.3],
    ("gru", 10): [0.96, 0.2, None],
    ("gru", 100): [0.125, 0.125, 0.125],
}


def planted() -> tuple[list[Spec], list[Record]]:
    specs, records = [], []
    for (model, length), scores in SCORES.items():
        for seed, score in enumerate(scores):
            specs.append(spec(model=model, length=length, seed=seed))
            records.append(record(specs[-1], score))
    return specs, records


def labels_of(specs: Iterable[Spec]) -> dict[str, Label]:
    return {spec.id: label_of(spec) for spec in specs}


def runs_of(
    specs: Sequence[Spec], records: Sequence[Record], threshold: float | None = 0.95
) -> pd.DataFrame:
    """The frame of runs; all tasks have the same threshold."""
    thresholds = dict.fromkeys((spec.id for spec in specs), threshold)
    return runs_frame(specs, records, labels_of(specs), thresholds)


def no_runs() -> pd.DataFrame:
    return typed(RUNS, [])


def source(
    specs: list[Spec], records: list[Record], threshold: float | None = 0.95, **more: object
) -> Source:
    return Source(
        profile_name="planted",
        profile_description="made up",
        specs=specs,
        labels=labels_of(specs),
        thresholds={s.id: threshold for s in specs},
        records=records,
        **more,  # pyright: ignore
    )


def score_rows(models: Iterable[str], tasks: Iterable[str] = ("copy_memory",)) -> pd.DataFrame:
    """Rows of the table of scores, for these labels of tasks and models; all are recurrent."""
    return pd.DataFrame(
        {
            "task_label": task,
            "T": length,
            "model": model.partition(" ")[0],
            "variant": model.partition(" ")[2],
            "model_label": model,
            "family": "recurrent",
            "score": "recall",
            "unit": "share of symbols",
            **{"mean": 0.5, "min": 0.4, "max": 0.6, "chance": 0.125, "improving": 0},
            "sequences": "as at that length",
        }
        for task in tasks
        for length in (10, 100)
        for model in models
    )


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / f"{name}.csv")
