"""Tables with typed columns: the one place that adapts pandas to the type checker."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

Kind = Literal["text", "count", "integer", "number", "flag"]
DTYPES: Mapping[Kind, str] = {
    "text": "str",
    "count": "int64",
    "integer": "Int64",
    "number": "float64",
    "flag": "boolean",
}
"""`count` is a whole number that is never missing; an `integer` may be missing."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    unit: str
    """Empty for a plain number or a text."""
    text: str

    @property
    def dtype(self) -> str:
        return DTYPES[self.kind]


TASK = (
    Column("task", "text", "", "Name of the task."),
    Column("task_variant", "text", "", "The task's fields that differ from their defaults."),
)
MODEL = (
    Column("model", "text", "", "Name of the model."),
    Column("variant", "text", "", "The model's fields that differ from their defaults."),
    Column("family", "text", "", "Family of the model: how it is compared."),
)
LABELS = (
    Column("task_label", "text", "", "Name and variant of the task, for display."),
    Column("model_label", "text", "", "Name and variant of the model, for display."),
)
LENGTH = Column("T", "count", "steps", "Dependency length.")
IDENTITY = (*TASK, LENGTH, *MODEL, *LABELS)
"""The columns that say which task, length and model a row is about, in every table."""
SCORE = (
    Column("score", "text", "", "Name of the score."),
    Column("unit", "text", "", "Unit of the score."),
)
SUMMARY = (
    Column("mean", "number", "see `unit`", "Mean over seeds."),
    Column("min", "number", "see `unit`", "Least over seeds."),
    Column("max", "number", "see `unit`", "Greatest over seeds."),
    Column("chance", "number", "see `unit`", "The value of the best predictor without memory."),
    Column("seeds", "count", "runs", "Runs that count."),
)
INTERVAL = (
    Column("mean_low", "number", "see `unit`", "Lower end of the mean's 95% interval."),
    Column("mean_high", "number", "see `unit`", "Upper end of the mean's 95% interval."),
)
SOLVED = (
    Column("solved", "integer", "runs", "Runs that solve the task."),
    Column("share_low", "number", "share", "Lower end of the solving share's 95% interval."),
    Column("share_high", "number", "share", "Upper end of the solving share's 95% interval."),
)
ROW = [column.name for column in IDENTITY]
NETWORK = [name for name in ROW if name != LENGTH.name]
CELL = ["task_label", "T", "model_label"]
"""The fewest columns that tell rows apart."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a report: a file `tables/NAME.csv` and, if it is shown, a part of the page."""

    name: str
    columns: tuple[Column, ...]
    caption: str = ""
    shown: bool = True
    """Whether the page shows it; the CSV file is written in any case."""

    def of(self, rows: Iterable[Mapping[str, Any]], *more: Column) -> pd.DataFrame:
        """These rows with the table's columns in their types, and further columns after them."""
        return typed((*self.columns, *more), rows)


def typed(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame; a column that a row lacks is missing there."""
    rows = list(rows)
    return pd.DataFrame(
        {
            column.name: pd.Series([row.get(column.name) for row in rows], dtype=column.dtype)
            for column in columns
        }
    )


def groups(
    frame: pd.DataFrame, by: Sequence[str], *, sort: bool = False
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The values of these columns, and the rows that have them, in order of appearance."""
    for key, rows in frame.groupby(list(by), sort=sort):
        yield dict(zip(by, key, strict=True)), rows


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, as dictionaries by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def within(
    rows: pd.DataFrame, keys: Collection[tuple[Hashable, ...]], columns: Sequence[str] = CELL
) -> pd.Series:
    """Which rows have one of the keys in these columns, as flags."""
    found = pd.MultiIndex.from_frame(rows[list(columns)]).isin(keys) if keys else False
    return pd.Series(found, index=rows.index, dtype=bool)


def keys_of(rows: pd.DataFrame, columns: Sequence[str] = CELL) -> set[tuple[Hashable, ...]]:
    """The values that rows have in these columns."""
    return set(rows[list(columns)].itertuples(index=False, name=None))


def is_true(flags: pd.Series) -> pd.Series:
    """Flags without missing values; a missing flag counts as false."""
    return flags.fillna(False).astype(bool)


def numbers(column: pd.Series) -> pd.Series:
    """Whole numbers that may be missing, as floats with NaN."""
    return column.astype("float64")


def first(rows: pd.DataFrame, column: str) -> Any:
    """The value of the first row; None where it is missing."""
    value = rows[column].iloc[0]
    return None if pd.isna(value) else value


def by_length(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with tasks and models in order of appearance and lengths rising."""
    keys = pd.DataFrame(
        {
            "task": pd.factorize(frame["task_label"])[0],
            "T": frame["T"].to_numpy(),
            "model": pd.factorize(frame["model_label"])[0],
        }
    )
    return frame.iloc[keys.sort_values(["task", "T", "model"]).index.to_numpy()].reset_index(
        drop=True
    )


def span(values: Iterable[float]) -> str:
    """`5` or `5 to 20`; from 100 on in whole numbers."""
    values = list(values) or [0]
    low, high = (
        f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"
        for value in (min(values), max(values))
    )
    return low if low == high else f"{low} to {high}"


def listed(column: pd.Series) -> str:
    """The different values, rising: `5, 20, 50`."""
    return ", ".join(
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in sorted(column.dropna().unique())
    )
