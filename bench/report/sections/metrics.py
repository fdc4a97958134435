"""Every test metric beside its value without memory."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.core.records import Record
from bench.report.data import Data
from bench.report.frame import IDENTITY, SUMMARY, Column, Table, by_length
from bench.report.runs import Labels, key, outcomes
from bench.report.section import Filled, Item, Section
from bench.report.sections._shared import over_seeds

TABLE = Table(
    name="metrics",
    columns=(
        *IDENTITY,
        Column("metric", "text", "", "Name of the metric."),
        Column("unit", "text", "", "Unit of the metric."),
        Column("better", "text", "", "`higher` or `lower`."),
        *SUMMARY,
    ),
)


def build(data: Data) -> Iterator[Item]:
    yield Filled(table=TABLE, frame=metrics(data.records, data.source.labels))


def metrics(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """Mean and range over seeds of every metric."""
    rows = [
        {
            **key(labels[record.spec.id], record.spec.length),
            "metric": metric.name,
            "unit": metric.unit,
            "better": "higher" if metric.higher_is_better else "lower",
            "value": outcome.test[metric.name],
            "chance": metric.chance,
        }
        for record, outcome in outcomes(records)
        for metric in outcome.metrics
    ]
    return by_length(over_seeds(TABLE, rows, ["metric", "unit", "better"]))


SECTION = Section(title="Further metrics", order=90, tables=(TABLE,), build=build)
