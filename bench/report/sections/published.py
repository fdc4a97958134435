"""Values from the literature, listed in `bench/report/published.toml`, beside ours.

A run of ours is compared with a published value if its spec, apart from seed and protocol, is one
that the profile named beside the value plans for that task and model. Everything else in the spec
must agree: size, optimizer, rate, clipping, updates.
"""

import math
import tomllib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

import tasks
from bench.core.intervals import FEWEST_SEEDS, prediction_interval
from bench.core.records import Record
from bench.core.spec import Frozen, Spec
from bench.core.wording import counted
from bench.plan import profile
from bench.plan.grid import Selection, make_plan
from bench.plan.labels import label, variant
from bench.plan.protocols import comparison_key
from bench.report.data import Data
from bench.report.frame import LENGTH, TASK, Column, Table
from bench.report.section import Filled, Item, Section, Text

LIST = Path(__file__).parent.parent / "published.toml"
COMMITTED = "results/reference/paper"
SMALLEST_LOSS = 1e-12
"""Smaller losses are rounding errors, down to 0, which has no logarithm."""
HEADING = (
    *TASK,
    Column("task_label", "text", "", "Name and variant of the task, for display."),
    LENGTH,
    Column("model", "text", "", "The model, as the publication calls it."),
    Column("metric", "text", "", "Name of the metric."),
    Column("published", "number", "unit of the metric", "The published value."),
)
ORIGIN = (
    Column("source", "text", "", "Authors, year and arXiv id."),
    Column("note", "text", "", "Details of the published value."),
)
COMPARED = Table(
    name="published",
    columns=(
        *HEADING,
        Column("ours", "number", "unit of the metric", "Our mean over seeds."),
        Column("low", "number", "unit of the metric", "Lower end of the 95% prediction interval."),
        Column("high", "number", "unit of the metric", "Upper end of the 95% prediction interval."),
        Column("seeds", "count", "", "Our runs that count."),
        Column("made_on", "text", "", "The machines of our runs, and where the runs are."),
        Column(
            "better", "integer", "runs", "Runs of ours that are better than the published value."
        ),
        Column("agree", "text", "", "Whether the published value lies within the interval."),
        Column("missing", "text", "", "Why a row has no value or no interval of ours."),
        *ORIGIN,
    ),
    caption="Ours: mean over seeds and the interval in which one further run lies with 95% "
    "confidence, since a published value is one run. Only runs of the profile with the published "
    "settings count: `paper`, and for likelihoods `generation`, whose networks have about the "
    "published size but another design. Mean and interval of a loss are taken on its logarithm. "
    "A run whose best validation score is that of the untrained network counts with the loss of "
    "chance. A published value agrees if it could lie within the interval before it was rounded. "
    "If chance lies within the interval too, it is too wide to tell. "
    "Losses of copy memory are means over all steps, 99% of which are blanks at T = 1000. A "
    f"row without a run in this folder has the committed ones of `{COMMITTED}`.",
)
CONTEXT = Table(
    name="published_later",
    columns=(*HEADING, Column("unit", "text", "", "Unit of the metric."), *ORIGIN),
)


def build(data: Data) -> Iterator[Item]:
    source = data.source
    frame = comparison(source.records, source.with_published_settings)
    yield Filled(table=COMPARED, frame=frame)
    yield Text(markdown="Other results on the same tasks, for context:")
    yield Filled(table=CONTEXT, frame=context())


def is_compared(data: Data) -> bool:
    """Whether a published value stands, or will stand, beside runs of ours."""
    specs = [*data.source.specs, *(each.spec for each in data.source.with_published_settings)]
    return any(
        comparison_key(specs[at]) in _planned(entry.profile)
        for entry in load()
        if entry.profile is not None
        for at in _matching(entry, entry.instance(), specs)
    )


class Published(Frozen):
    """One value as it was printed, in our units."""

    task: str
    task_fields: dict[str, Any]
    model: str
    """As the publication calls it."""
    ours: str | None = None
    """The model of ours that it is compared with."""
    profile: str | None = None
    """The profile that trains it with the published settings."""
    metric: str
    """A metric of our task."""
    value: Decimal
    """As printed, so that its digits say how far it was rounded."""
    unit: str
    source: Annotated[str, Field(pattern=r"^\S.* (19|20)\d\d, arXiv:\d{4}\.\d{5}$")]
    """Authors, year and arXiv id."""
    note: str = ""

    @model_validator(mode="after")
    def _by_way_of_a_profile(self) -> "Published":
        if (self.ours is None) != (self.profile is None):
            raise ValueError("give both ours and profile, or neither")
        return self

    @property
    def rounding(self) -> float:
        """Half of the last printed digit's unit: how far the value may be from its exact one."""
        exponent = self.value.as_tuple().exponent
        assert isinstance(exponent, int)  # other exponents are those of NaN and infinity
        return 0.5 * 10.0**exponent

    def instance(self) -> tasks.Task:
        return tasks.load(self.task, **self.task_fields)


def load(path: Path = LIST) -> list[Published]:
    """Every published value; raises `ValidationError` where an entry is malformed."""
    content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    return [Published.model_validate(entry) for entry in content["published"]]


def comparison(records: Sequence[Record], committed: Sequence[Record] = ()) -> pd.DataFrame:
    """One row per published value that one of our models is compared with.

    A value with no run in `records` is compared with those in `committed`. Rows with runs come
    first.

    A run that failed, or whose metric is not finite, counts at chance. So does the loss of a run
    whose best validation score is that of the untrained weights: its score never left chance, and
    its test loss is the one from before training. `agree` is `yes` if the published value, which
    is rounded, can lie within the interval, else `ours is better` or `ours is worse`. It is `too
    wide` if chance lies within the interval as well, unless that is what was published. Without
    an interval it is `too few seeds` or `not run`, and `missing` says why.
    """
    entries = [(entry, entry.profile) for entry in load() if entry.profile is not None]
    planned = {name: _planned(name) for name in {name for _, name in entries}}
    rows = []
    for entry, name in entries:
        row = _compared(entry, records, planned[name])
        if not row["seeds"] and (other := _compared(entry, committed, planned[name]))["seeds"]:
            row = {**other, "made_on": f"{other['made_on']}; in {COMMITTED}"}
        rows.append(row)
    return COMPARED.of(sorted(rows, key=lambda row: not row["seeds"]))


def context() -> pd.DataFrame:
    """One row per published value that none of our models is compared with."""
    return CONTEXT.of(
        {**_heading(entry), "unit": entry.unit} for entry in load() if entry.ours is None
    )


def _heading(entry: Published) -> dict[str, Any]:
    task = entry.instance()
    return {
        "task": entry.task,
        "task_variant": variant(task),
        "task_label": label(task, entry.task),
        "T": task.length,
        "model": entry.model,
        "metric": entry.metric,
        "published": float(entry.value),
        "source": entry.source,
        "note": entry.note or None,
    }


@cache
def _planned(name: str) -> dict[Hashable, list[Spec]]:
    """Configuration, without seeds and protocol → its runs in a profile of this project."""
    found: dict[Hashable, list[Spec]] = {}
    for spec in make_plan(profile.load(name), Selection()).specs:
        found.setdefault(comparison_key(spec), []).append(spec)
    return found


def _compared(
    entry: Published, records: Sequence[Record], planned: Mapping[Hashable, Sequence[Spec]]
) -> dict[str, Any]:
    task = entry.instance()
    ours = [records[at] for at in _matching(entry, task, [record.spec for record in records])]
    same = [record for record in ours if comparison_key(record.spec) in planned]
    made = [record for record in same if record.status != "skipped"]
    row = {**_heading(entry), "seeds": len(made)}
    if made:
        row["made_on"] = ", ".join(sorted({_machine(each) for each in made}))
    if len(made) < FEWEST_SEEDS:
        row["missing"] = _why_missing(entry, task, ours, same, planned)
    if not made:  # the objective may need data that are not on this machine
        return {**row, "agree": "not run"}
    metric = next(each for each in task.objective.all_metrics if each.name == entry.metric)
    values = [_value(record, metric) for record in made]
    mean, low, high = _interval(values, logarithmic=not metric.higher_is_better)
    published = float(entry.value)
    row["better"] = sum((value > published) == metric.higher_is_better for value in values)
    if len(values) < FEWEST_SEEDS:
        return {**row, "ours": mean, "agree": "too few seeds"}
    agree = "ours is better" if (mean > published) == metric.higher_is_better else "ours is worse"
    if low - entry.rounding <= published <= high + entry.rounding:
        is_chance = abs(published - metric.chance) <= entry.rounding
        agree = "too wide" if low <= metric.chance <= high and not is_chance else "yes"
    return {**row, "ours": mean, "low": low, "high": high, "agree": agree}


def _value(record: Record, metric: tasks.Metric) -> float:
    """What a run contributes to the mean."""
    if (outcome := record.outcome) is None:
        return metric.chance
    untrained = outcome.best_step == 0 and not metric.higher_is_better
    value = None if untrained else outcome.test[metric.name]
    return metric.chance if value is None else value


def _machine(record: Record) -> str:
    """The GPU that a run was made on, or else the CPU."""
    machine = record.machine
    return (machine.gpu if record.backend.device == "cuda" else None) or machine.cpu


def _matching(entry: Published, task: tasks.Task, specs: Sequence[Spec]) -> list[int]:
    """Positions of the specs with the task and the model of a published value."""
    fields = task.fields
    return [
        number
        for number, spec in enumerate(specs)
        if spec.task.name == entry.task
        and spec.model.name == entry.ours
        and spec.task.fields == fields
    ]


def _why_missing(
    entry: Published,
    task: tasks.Task,
    ours: Sequence[Record],
    same: Sequence[Record],
    planned: Mapping[Hashable, Sequence[Spec]],
) -> str:
    """Why too few runs of a published configuration count."""
    every = [spec for runs in planned.values() for spec in runs]
    specs = [every[at] for at in _matching(entry, task, every)]
    if not specs:
        return f"the profile {entry.profile} does not plan it"
    training, made = specs[0].training, sum(record.status != "skipped" for record in same)
    plan = (
        f"{made} of {counted(len(specs), 'run')} made, each of {training.max_steps:,} updates on "
        f"{training.batch_size} sequences of {task.signature.num_steps:,} steps"
    )
    others = f"{counted(len(ours), 'run')} {'has' if len(ours) == 1 else 'have'}"
    if skipped := [record.error for record in same if record.status == "skipped"]:
        return f"skipped: {skipped[0]}"
    return f"{plan}; {others} other settings" if ours and not same else plan


def _interval(values: Sequence[float], *, logarithmic: bool) -> tuple[float, float, float]:
    """Mean of the values, and the interval in which one further run lies; NaN for one value."""
    if logarithmic:
        values = [math.log(max(value, SMALLEST_LOSS)) for value in values]
    found = prediction_interval(values)
    low, high = (math.nan if end is None else end for end in (found.low, found.high))
    ends = (found.mean, low, high)
    if logarithmic:
        with np.errstate(over="ignore"):  # seeds that are far apart give no upper end
            return tuple(np.exp(ends).tolist())
    return ends


SECTION = Section(
    title="Published numbers beside ours",
    order=9,
    unfolded=is_compared,
    tables=(COMPARED, CONTEXT),
    build=build,
)
