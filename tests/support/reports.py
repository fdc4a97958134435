"""Planted records and the report's source that is made of them."""

from pathlib import Path

import pandas as pd

from bench.core.records import Record
from bench.core.spec import Spec
from bench.report.page import Source
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


def source(
    specs: list[Spec], records: list[Record], threshold: float | None = 0.95, **more: object
) -> Source:
    labels = {s.id: (s.task.name, s.model.name) for s in specs}
    return Source(
        profile_name="planted",
        profile_description="made up",
        specs=specs,
        labels=labels,
        thresholds={s.id: threshold for s in specs},
        records=records,
        **more,  # pyright: ignore
    )


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / f"{name}.csv")
