"""Values from the literature beside ours; they stand in `published.toml`.

A run of ours counts for a published value if its spec is, seed aside, one that the profile named
beside the value plans for that task and model. Whatever a spec holds must agree: size, optimizer,
rate, clipping, updates. No run of another profile is taken for a reproduction unless it is one.
"""

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

import tasks
from bench.core.intervals import prediction_interval
from bench.core.records import Record
from bench.core.spec import Frozen, Spec
from bench.plan import profile
from bench.plan.grid import Selection, label, make_plan

LIST = Path(__file__).parent / "published.toml"
SMALLEST_LOSS = 1e-12
"""Below it is rounding, down to 0, which has no logarithm."""
COMPARED = ["task", "T", "model", "metric", "published"]
COMPARED += ["ours", "low", "high", "seeds", "agree", "source", "note"]
CONTEXT = ["task", "T", "model", "metric", "published", "unit", "source", "note"]


class Published(Frozen):
    """One value as it was printed, in our units."""

    task: str
    task_fields: dict[str, Any]
    model: str
    """As it is called there."""
    ours: str | None = None
    """The model of ours that it stands beside."""
    profile: str | None = None
    """The profile that trains it with the published settings."""
    metric: str
    """A metric of our task."""
    value: float
    unit: str
    source: Annotated[str, Field(pattern=r"^\S.* (19|20)\d\d, arXiv:\d{4}\.\d{5}$")]
    """Authors, year and arXiv id."""
    note: str = ""

    @model_validator(mode="after")
    def _by_way_of_a_profile(self) -> "Published":
        if (self.ours is None) != (self.profile is None):
            raise ValueError("ours and profile: both or neither")
        return self

    def instance(self) -> tasks.Task:
        return tasks.load(self.task, **self.task_fields)


def load(path: Path = LIST) -> list[Published]:
    """Every published value; pydantic's `ValidationError` where an entry is malformed."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Published.model_validate(entry) for entry in content["published"]]


def comparison(records: Sequence[Record]) -> pd.DataFrame:
    """One row a published value that one of our models stands beside; records of one backend.

    `ours` is the mean over seeds; `low` and `high` hold the value of one further run with 95%
    confidence, since the published value is one run. Losses span decades: their mean and interval
    are taken on the logarithm. A run that failed, or whose metric is not finite, counts at chance.
    `agree`: `yes` if the published value lies within, else `ours is better` or `ours is worse`;
    `one seed` where there is no interval; `not run` where no record counts.
    """
    entries = [(entry, entry.profile) for entry in load() if entry.profile is not None]
    planned = {name: _planned(name) for name in {name for _, name in entries}}
    rows = [_compared(entry, records, planned[name]) for entry, name in entries]
    return pd.DataFrame(rows, columns=COMPARED)


def context() -> pd.DataFrame:
    """One row a published value that none of our models stands beside."""
    rows = [
        {**_heading(entry), "unit": entry.unit, "source": entry.source, "note": entry.note}
        for entry in load()
        if entry.ours is None
    ]
    return pd.DataFrame(rows, columns=CONTEXT)


def _heading(entry: Published) -> dict[str, Any]:
    task = entry.instance()
    return {
        "task": label(task, entry.task),
        "T": task.length,
        "model": entry.model,
        "metric": entry.metric,
        "published": entry.value,
    }


def _planned(name: str) -> set[str]:
    """Every configuration of a profile."""
    return {_without_seed(spec) for spec in make_plan(profile.load(name), Selection()).specs}


def _without_seed(spec: Spec) -> str:
    """An id that runs of one configuration share."""
    return spec.model_copy(update={"seed": 0}).id


def _compared(entry: Published, records: Sequence[Record], planned: set[str]) -> dict[str, Any]:
    task = entry.instance()
    fields = task.fields
    metric = next(each for each in task.objective.all_metrics if each.name == entry.metric)
    values = []
    for record in records:
        spec = record.spec
        ours = spec.task.name == entry.task and spec.model.name == entry.ours
        if ours and spec.task.fields == fields and _without_seed(spec) in planned:
            if record.status == "skipped":
                continue
            value = None if record.outcome is None else record.outcome.test[metric.name]
            values.append(metric.chance if value is None else value)
    row = {**_heading(entry), "seeds": len(values), "source": entry.source, "note": entry.note}
    if len(values) < 2:
        ours = values[0] if values else math.nan
        return {**row, "ours": ours, "agree": "one seed" if values else "not run"}
    mean, low, high = _interval(values, logarithmic=not metric.higher_is_better)
    if low <= entry.value <= high:
        agree = "yes"
    else:
        better = (mean > entry.value) == metric.higher_is_better
        agree = "ours is better" if better else "ours is worse"
    return {**row, "ours": mean, "low": low, "high": high, "agree": agree}


def _interval(values: Sequence[float], *, logarithmic: bool) -> tuple[float, float, float]:
    """Mean of two or more values, and where one further run falls: low and high."""
    if logarithmic:
        values = [math.log(max(value, SMALLEST_LOSS)) for value in values]
    found = prediction_interval(values)
    assert found.low is not None
    assert found.high is not None
    if not logarithmic:
        return found.mean, found.low, found.high
    with np.errstate(over="ignore"):  # seeds far apart: without an upper end
        mean, low, high = np.exp([found.mean, found.low, found.high]).tolist()
    return mean, low, high
