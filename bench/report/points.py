"""Everything that is known of a network on a task, as one row of points to draw.

A point is one task, length, model and size. Its measures come from the runs (means and medians over
seeds) and from the timings of the same network. The explorer draws any measure against any other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from bench.core.intervals import mean_interval, wilson
from bench.report import runs
from bench.report.data import Data
from bench.report.frame import ROW, first, groups, is_true, numbers, rows_of

RESULT, TRAINING = "Result", "Training"
RANGE = "range over seeds"
PERCENTILES = "5th to 95th percentile of the timings"
NO_INTERVAL = (None, None)
IMPROVING = "improving"
"""How a run ended whose loss was still falling: it might have solved the task later."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A quantity that an axis can show."""

    name: str
    title: str
    unit: str = ""
    """Empty where the task says the unit, or where there is none."""
    group: str
    log: bool = True
    """Whether an axis of it is logarithmic at first."""
    spread: str = ""
    """What the interval of a value is; empty if it has none."""


OF_RUNS = (
    Measure(name="T", title="dependency length T", unit="steps", group=RESULT),
    Measure(
        name="score",
        title="test score",
        group=RESULT,
        log=False,
        spread="95% interval of the mean, Student's t",
    ),
    Measure(
        name="share",
        title="share of seeds that solve it",
        group=RESULT,
        log=False,
        spread="Wilson 95% interval",
    ),
    Measure(name="parameters", title="parameters of the network", group="Network", spread=RANGE),
    Measure(name="updates", title="training updates", group=TRAINING, spread=RANGE),
    Measure(
        name="solved_after",
        title="updates until solved (median of the seeds that solve it)",
        group=TRAINING,
        spread="range over the seeds that solve it",
    ),
    Measure(
        name="run_s",
        title="time of a run on a shared machine",
        unit="s",
        group=TRAINING,
        spread=RANGE,
    ),
    Measure(
        name="train_s",
        title="training time: updates × one update timed alone",
        unit="s",
        group=TRAINING,
        spread=RANGE,
    ),
    Measure(
        name="train_flops",
        title="training operations: updates × those of one update",
        unit="FLOP",
        group=TRAINING,
        spread=RANGE,
    ),
)
MEDIANS = {
    "parameters": "parameters",
    "updates": "steps",
    "solved_after": "solved_after",
    "run_s": "total_s",
}
"""Measure → column of the runs that it is the median of."""
TIMED = (
    ("train_steps_per_s", "training throughput", "steps/s"),
    ("forward_steps_per_s", "inference throughput", "steps/s"),
    ("step_us", "latency of a streaming step", "µs"),
)
STATE = Measure(name="state_bytes", title="state of a stream", unit="bytes", group="Network")


def points(data: Data) -> tuple[list[Measure], list[dict[str, Any]]]:
    """The measures that some point has, and the points, in the order of the runs.

    A point holds the identity columns, `network`, `budget`, `seeds`, `solved`, `improving`, and for
    each measure `NAME`, `NAME_low` and `NAME_high`; what is not known is left out.
    """
    found: dict[str, dict[str, Any]] = {}
    updates: dict[str, dict[int, tuple[float, float]]] = {}
    for point in (*_of_runs(data), *_of_times(data)):
        # What the runs say comes first: their labels hold for a timing of the same network.
        found[point["network"]] = {**point, **found.get(point["network"], {})}
    for row in rows_of(data.leading[data.leading["train_ms"].notna()]):
        of_network = updates.setdefault(row["network"], {})
        of_network[row["batch"]] = (row["train_ms"] / 1e3, row["train_flops"])
    for network, point in found.items():
        batch = point.pop("batch", None)
        if batch is not None and network in updates:
            point |= _work(point, updates[network], batch)
    everything = [*OF_RUNS, STATE, *_timed_measures(data.timed)]
    known = set().union(*found.values())
    return [measure for measure in everything if measure.name in known], list(found.values())


def step_measure(data: Data) -> str:
    """The measure of a step's latency that statements compare: batch 1, leading implementation."""
    names = data.leading["implementation"].unique()
    return f"step_us{_suffix(str(names[0]) if len(names) else '', 1)}"


def with_networks(data: Data) -> pd.DataFrame:
    """The runs that count, with the id of their network, which timings have too."""
    networks = {spec.id: spec.network for spec in data.source.specs}
    return runs.counted(data.runs.assign(network=data.runs["id"].map(networks)))


def _of_runs(data: Data) -> Iterator[dict[str, Any]]:
    decisions = runs.decisions(data.runs)
    for cell, seeds in groups(with_networks(data), [*ROW, "network"]):
        decision = decisions.get(tuple(cell[name] for name in ROW))
        complete = decision is None or decision.is_complete
        mean = mean_interval(seeds["score"].tolist())
        ends = runs.ends(mean, 0.0, first(seeds, "unit") or "") if complete else NO_INTERVAL
        point = {**cell, "seeds": len(seeds), "budget": first(seeds, "budget")}
        point |= _interval("score", seeds["score"].mean(), *ends)
        if seeds["solved_at"].notna().any():
            solved = int(is_true(seeds["solved"]).sum())
            ends = wilson(solved, len(seeds)) if complete else NO_INTERVAL
            point |= _interval("share", solved / len(seeds), *ends)
            point["solved"] = solved
        for name, column in MEDIANS.items():
            point |= _over_seeds(name, seeds[column])
        if "ended" in seeds:
            point["improving"] = int((seeds["ended"] == IMPROVING).sum())
        yield {**point, "batch": first(seeds, "batch")}


def _of_times(data: Data) -> Iterator[dict[str, Any]]:
    budgets = {record.spec.network: record.spec.param_budget for record in data.source.speed}
    for row in rows_of(data.timed):
        point = {name: row[name] for name in (*ROW, "network", "parameters")}
        point["budget"] = budgets[row["network"]]
        suffix = _suffix(row["implementation"], row["batch"])
        for name, value, low, high in _values(row):
            point |= _interval(f"{name}{suffix}", value, low, high)
        if not pd.isna(row["state_bytes"]):
            point["state_bytes"] = row["state_bytes"]
        yield point


def _values(row: dict[str, Any]) -> Iterator[tuple[str, float, float, float]]:
    """Throughput and latency of a timing: name, value, and the ends of its interval."""
    for work in ("train", "forward"):
        median, rate = row[f"{work}_ms"], row[f"{work}_steps_per_s"]
        slow, fast = row[f"{work}_high_ms"], row[f"{work}_low_ms"]
        if not pd.isna(median):
            yield f"{work}_steps_per_s", rate, rate * median / slow, rate * median / fast
    if not pd.isna(row["step_ms"]):
        yield "step_us", 1e3 * row["step_ms"], 1e3 * row["step_low_ms"], 1e3 * row["step_high_ms"]


def _timed_measures(timed: pd.DataFrame) -> Iterator[Measure]:
    """A measure for each implementation and batch size that was timed."""
    places = timed[["implementation", "batch"]].drop_duplicates().sort_values("batch")
    for name, title, unit in TIMED:
        for place in rows_of(places):
            yield Measure(
                name=f"{name}{_suffix(place['implementation'], place['batch'])}",
                title=f"{title}, batch {place['batch']}, {place['implementation']}",
                unit=unit,
                group=f"Speed, {place['implementation']}",
                spread=PERCENTILES,
            )


def _suffix(implementation: str, batch: int) -> str:
    return f"@{batch}@{implementation}"


def _work(
    point: dict[str, Any], updates: Mapping[int, tuple[float, float]], batch: int
) -> dict[str, float]:
    """Training time and operations: the updates of the runs times those of one update.

    `updates` maps a batch size to the seconds and operations of an update that was timed alone.
    Seconds need a timing at the batch size of the runs; operations grow with the batch.
    """
    timed_at, (_, flops) = max(updates.items())
    factors = {"train_flops": flops * batch / timed_at}
    if batch in updates:
        factors["train_s"] = updates[batch][0]
    ends = [f"updates{end}" for end in ("", "_low", "_high") if f"updates{end}" in point]
    return {
        end.replace("updates", name): point[end] * factor
        for name, factor in factors.items()
        for end in ends
    }


def _over_seeds(name: str, values: pd.Series) -> dict[str, float]:
    known = numbers(values).dropna()
    if known.empty:
        return {}
    return _interval(name, known.median(), known.min(), known.max())


def _interval(name: str, value: Any, low: Any, high: Any) -> dict[str, float]:
    """The value and its ends, without those that are missing."""
    found = {name: value, f"{name}_low": low, f"{name}_high": high}
    return {key: float(each) for key, each in found.items() if each is not None and isfinite(each)}
