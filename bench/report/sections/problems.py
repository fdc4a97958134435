"""Runs that failed or are missing, and files that cannot be read, each with the reason."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.core.errors import one_line
from bench.core.store import Damaged
from bench.report.data import Data
from bench.report.frame import LABELS, MODEL, NETWORK, TASK, Column, Table, groups, listed
from bench.report.runs import NO_PROBLEM
from bench.report.section import Filled, Item, Section, Text

TABLE = Table(
    name="problems",
    columns=(
        Column("what", "text", "", "A status, `not supported` or `not a valid record`."),
        *TASK,
        *MODEL,
        *LABELS,
        Column("T", "text", "steps", "The lengths."),
        Column("runs", "integer", "", "Number of runs."),
        Column("reason", "text", "", "Reason."),
    ),
)


def build(data: Data) -> Iterator[Item]:
    source = data.source
    found = problems(data.runs, source.unsupported, source.damaged)
    if found.empty:
        yield Text(markdown="None: every run that was needed was made and ended well.")
    yield Filled(table=TABLE, frame=found)


def problems(
    runs: pd.DataFrame,
    unsupported: Sequence[tuple[str, str, str]],
    damaged: Sequence[Damaged],
) -> pd.DataFrame:
    """Runs that are not `ok`, models that do not support a task, and invalid files."""
    wrong = runs[~runs["status"].isin(NO_PROBLEM)]
    wrong = wrong.assign(error=wrong["error"].fillna("not run yet"))
    rows = [
        {
            **group,
            "what": group["status"],
            "T": listed(rows["T"]),
            "runs": len(rows),
            "reason": group["error"],
        }
        for group, rows in groups(wrong, ["status", *NETWORK, "error"])
    ]
    rows += [
        {"what": "not supported", "task_label": task, "model_label": model, "reason": reason}
        for task, model, reason in unsupported
    ]
    rows += [
        {
            "what": "not a valid record",
            "task_label": one_line(file.path.name),
            "reason": file.reason,
        }
        for file in damaged
    ]
    return TABLE.of(rows)


SECTION = Section(title="Problems", order=150, tables=(TABLE,), build=build)
