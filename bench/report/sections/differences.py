"""Convolutional networks against recurrent ones, seed by seed."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.core.intervals import mean_intervals
from bench.core.records import is_share
from bench.report.data import Data
from bench.report.frame import LENGTH, TASK, Column, Table, is_true
from bench.report.runs import counted
from bench.report.section import Filled, Item, Section, Text

KEY = ["task", "task_variant", "task_label", "T"]
SIDE = ["model", "variant", "model_label"]
TABLE = Table(
    name="differences",
    columns=(
        *TASK,
        LENGTH,
        *(
            Column(name, "text", "", text)
            for side, what in (("a", "convolutional"), ("b", "recurrent"))
            for name, text in (
                (side, f"Name of the {what} model."),
                (f"{side}_variant", f"Fields of the {what} model that differ from defaults."),
                (f"{side}_label", f"Name and variant of the {what} model, for display."),
            )
        ),
        Column("task_label", "text", "", "Name and variant of the task, for display."),
        Column("difference", "number", "unit of the score", "Mean of a's score minus b's."),
        Column("low", "number", "unit of the score", "Lower end of its 95% interval."),
        Column("high", "number", "unit of the score", "Upper end of its 95% interval."),
        Column("seeds", "count", "", "Seeds that both have."),
        Column("only_a", "integer", "", "Seeds that only a solves."),
        Column("only_b", "integer", "", "Seeds that only b solves."),
    ),
    caption="Difference of test scores on the same seeds, the first model's minus the second's, "
    "with a 95% interval (paired Student's t), and how many seeds only one of the two solves.",
)


def build(data: Data) -> Iterator[Item]:
    yield Text(markdown="### Convolutional against recurrent, seed by seed")
    yield Filled(table=TABLE, frame=paired_differences(data.main))


def paired_differences(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per task, length and pair of a convolutional model `a` and a recurrent model `b`.

    Only seeds that both have are compared: their batches are the same.
    """
    runs = counted(runs)
    known = runs[[*KEY, *SIDE, "seed", "score", "unit", "solved", "solved_at"]]
    pairs = known[runs["family"] == "convolutional"].merge(
        known[runs["family"] == "recurrent"], on=[*KEY, "seed"], suffixes=("_a", "_b")
    )
    if pairs.empty:
        return TABLE.of([])
    # The seeds of a pair follow each other; tasks and pairs as planned, lengths rising.
    pair = pairs.groupby(["task_label", "T", "model_label_a", "model_label_b"], sort=False).ngroup()
    order = np.lexsort((pair, pairs["T"], pd.factorize(pairs["task_label"])[0]))
    pairs, pair = pairs.iloc[order], pair.iloc[order]
    starts = np.flatnonzero(np.diff(pair.to_numpy(), prepend=-1))
    sizes = np.diff(starts, append=len(pairs))
    mean, low, high = mean_intervals((pairs["score_a"] - pairs["score_b"]).to_numpy(), sizes)
    first = pairs.iloc[starts].reset_index(drop=True)
    shares = first["unit_a"].map(is_share).to_numpy()
    judged = np.logical_or.reduceat(pairs["solved_at_a"].notna().to_numpy(), starts)
    by_a, by_b = (is_true(pairs[f"solved_{side}"]).to_numpy() for side in "ab")
    names = {"model": "", "variant": "_variant", "model_label": "_label"}
    columns = {
        **{name: first[name] for name in KEY},
        **{f"{s}{new}": first[f"{old}_{s}"] for s in "ab" for old, new in names.items()},
        "difference": mean,
        "low": np.where(shares, np.maximum(low, -1.0), low),
        "high": np.where(shares, np.minimum(high, 1.0), high),
        "seeds": sizes,
        "only_a": np.where(judged, np.add.reduceat(by_a & ~by_b, starts, dtype=int), np.nan),
        "only_b": np.where(judged, np.add.reduceat(by_b & ~by_a, starts, dtype=int), np.nan),
    }
    frame = pd.DataFrame(columns)
    return frame[[column.name for column in TABLE.columns]].astype(
        {column.name: column.dtype for column in TABLE.columns}
    )


SECTION = Section(title="Horizons", order=21, tables=(TABLE,), build=build)
