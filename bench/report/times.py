"""Speed records → one frame of times, and sentences about them.

All records given together are of one machine and backend.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

import models
from bench.core.records import SpeedRecord
from bench.core.spec import Spec, SpeedSpec, Subject
from bench.core.timings import Work, pooled
from bench.plan.labels import label_of
from bench.plan.protocols import is_older
from bench.report.frame import IDENTITY, Column, numbers, span, typed
from bench.report.runs import key

FEWEST_PROCESSES, STABLE = 3, 0.1
"""A time is stable if the medians of at least so many processes differ by at most this share."""
CALLS_INCLUDED = 1
"""The last protocol in which the time of a step includes its call from Python."""
WORK = (("train", "A training step"), ("forward", "Whole sequences"), ("step", "A streaming step"))

IMPLEMENTATION = (
    Column("implementation", "text", "", "`fastest`: compiled kernels where they apply. `stock`: "
           "PyTorch's own layers, and the textbook's TCN. Protocol 1 did not tell them apart."),
    Column("protocol", "count", "", "Version of the timings."),
)  # fmt: skip
PLACE = (
    *IDENTITY,
    Column("batch", "count", "sequences", "Sequences at once."),
    *IMPLEMENTATION,
    Column("network", "text", "", "Id of the network on its task."),
    Column("parameters", "count", "parameters", "Parameters of the network."),
    Column("receptive_field", "integer", "steps", "By formula. Missing if it is unlimited."),
    Column("steps", "count", "steps", "Length of a sequence."),
    Column("timings", "count", "", "Timings that are pooled in this row, one per process."),
)
TIMED = (
    *PLACE,
    *(
        Column(f"{name}_{measure}", "number", unit, f"{what}: {text}.")
        for name, what in WORK
        for measure, unit, text in (
            ("ms", "ms", "median"),
            ("low_ms", "ms", "5th percentile"),
            ("high_ms", "ms", "95th percentile"),
            ("least_ms", "ms", "least median of a process"),
            ("most_ms", "ms", "greatest median of a process"),
            ("flops", "", "floating-point operations"),
            ("peak_percent", "%", "share of the machine's matrix-product speed"),
        )
    ),
    *(
        Column(f"{name}_stable", "flag", "", f"{what}: whether at least {FEWEST_PROCESSES} "
               f"processes agree within {STABLE:.0%}.")
        for name, what in WORK
    ),
    *(
        Column(f"{name}_{measure}", "number", unit, f"{what}: {text}.")
        for name, what in WORK[:2]
        for measure, unit, text in (
            ("sequences_per_s", "1/s", "sequences per second"),
            ("steps_per_s", "1/s", "steps of sequences per second"),
            ("MB", "MB", "peak memory beyond what was held before"),
        )
    ),
    Column("call_ms", "number", "ms", "One step as a single call from Python."),
    Column("plain_step_ms", "number", "ms", "One step by `forward` on a chunk of one."),
    Column("prefill_ms", "number", "ms", "A whole sequence in one pass, then one more step."),
    Column("window_ms", "number", "ms", "The whole receptive field read again."),
    Column("window_last_ms", "number", "ms", "The same, asking for the last step alone."),
    Column("state_bytes", "integer", "bytes", "State of one stream."),
    Column("stepper", "text", "", "The stepper that was timed."),
)  # fmt: skip


def timed_frame(records: Sequence[SpeedRecord]) -> pd.DataFrame:
    """One row per network, batch size and implementation; failed timings are left out.

    If a network was timed several times, the processes of all its records are pooled.
    """
    found: dict[tuple[str, int, str], list[SpeedRecord]] = {}
    for record in records:
        if record.speed is not None:
            spec = record.spec
            place = spec.network, spec.batch_size, implementation_of(spec)
            found.setdefault(place, []).append(record)
    frame = typed(TIMED, [_row(group) for group in found.values()])
    order = ["task_label", "T", "batch", "model_label", "implementation"]
    return frame.sort_values(order, ignore_index=True)


def implementation_of(spec: SpeedSpec) -> str:
    """What a timing stands for. Those of an older protocol are of the code of that time."""
    if is_older(spec):
        return f"as measured in protocol {spec.protocol}"
    return spec.implementation


def _row(records: Sequence[SpeedRecord]) -> dict[str, object]:
    spec = records[0].spec
    speeds = [record.speed for record in records if record.speed is not None]
    row: dict[str, object] = {
        **key(label_of(spec), spec.length),
        "batch": spec.batch_size,
        "implementation": implementation_of(spec),
        "protocol": spec.protocol,
        "network": spec.network,
        "parameters": speeds[0].num_parameters,
        "receptive_field": speeds[0].receptive_field,
        "steps": speeds[0].num_steps,
        "timings": sum(speed.num_processes for speed in speeds),
    }
    num_steps = spec.batch_size * speeds[0].num_steps
    for name in ("train", "forward"):
        works = [
            (work, speed.peak_flops)
            for speed in speeds
            if (work := getattr(speed, name)) is not None
        ]
        if works:
            median = pooled([work.times for work, _ in works]).median
            memory = [work.memory_bytes for work, _ in works if work.memory_bytes is not None]
            row |= _work(name, works) | {
                f"{name}_sequences_per_s": spec.batch_size / median,
                f"{name}_steps_per_s": num_steps / median,
                f"{name}_MB": max(memory) / 1e6 if memory else None,
            }
    streams = [speed.streaming for speed in speeds if speed.streaming is not None]
    if streams:
        peaks = [speed.peak_flops for speed in speeds if speed.streaming is not None]
        steps = [stream.step for stream in streams]
        row |= _work("step", list(zip(steps, peaks, strict=True)))
        for column in ("call", "plain_step", "prefill", "window", "window_last"):
            known = [times for stream in streams if (times := getattr(stream, column)) is not None]
            row[f"{column}_ms"] = 1e3 * pooled(known).median if known else None
        row |= {"state_bytes": streams[0].state_bytes, "stepper": streams[0].stepper}
    return row


def _work(name: str, works: Sequence[tuple[Work, float]]) -> dict[str, float | bool]:
    """Columns of one kind of work, from its times and the machine's peak in the same process."""
    times, flops = pooled([work.times for work, _ in works]), works[0][0].flops
    peak = max(peak for _, peak in works)
    least, most = min(times.processes), max(times.processes)
    return {
        f"{name}_ms": 1e3 * times.median,
        f"{name}_low_ms": 1e3 * times.percentile(5),
        f"{name}_high_ms": 1e3 * times.percentile(95),
        f"{name}_least_ms": 1e3 * least,
        f"{name}_most_ms": 1e3 * most,
        f"{name}_stable": len(times.processes) >= FEWEST_PROCESSES and most <= (1 + STABLE) * least,
        f"{name}_flops": flops,
        f"{name}_peak_percent": 100 * flops / times.median / peak,
    }


def leading(timed: pd.DataFrame) -> pd.DataFrame:
    """The rows that statements on speed compare: all of one implementation, the fastest.

    If no fastest implementation was timed by the present protocol, they are those of the newest
    older one.
    """
    candidates = timed[timed["implementation"] != "stock"]
    return candidates[candidates["protocol"] == candidates["protocol"].max()]


def implementations(timed: pd.DataFrame) -> list[pd.DataFrame]:
    """The `leading` rows, then those of every other implementation of the newest protocol."""
    first = leading(timed)
    others = timed[~timed.index.isin(first.index) & (timed["protocol"] == timed["protocol"].max())]
    return [first, *(rows for _, rows in others.groupby("implementation"))]


def without_calls(timed: pd.DataFrame) -> pd.DataFrame:
    """The rows whose time of a step does not include its call from Python."""
    return timed[timed["protocol"] > CALLS_INCLUDED]


def how(timed: pd.DataFrame, device: str) -> str:
    """The implementation and the device of `leading` rows, for a sentence."""
    return ", ".join(filter(None, (implementation(timed), f"on {device}")))


def implementation(timed: pd.DataFrame) -> str:
    """How a sentence names the implementations of these rows."""
    names = {"fastest": "fastest implementations", "stock": "PyTorch's own layers"}
    return ", ".join(names.get(name, name) for name in map(str, timed["implementation"].unique()))


def plain(timed: pd.DataFrame) -> pd.DataFrame:
    """The plain models alone; all models where fewer than two plain ones were timed."""
    found = timed[timed["variant"] == ""]
    return found if found["model"].nunique() > 1 else timed


def step_times(
    specs: Sequence[Spec], timed: pd.DataFrame, subjects: Iterable[Subject]
) -> dict[str, float]:
    """Spec id → median microseconds of a step of one stream, where it was timed without calls.

    A network that was not timed itself has the time of the nearest length of its task at which the
    same model has the same width, since a step computes the same there, unless its state grows.
    `subjects` are the networks that were timed.
    """
    alone = without_calls(timed[(timed["batch"] == 1) & timed["step_ms"].notna()])
    measured = dict(zip(alone["network"], 1e3 * alone["step_ms"], strict=True))
    constant = [each for each in subjects if not _state_grows(each.model.name)]
    return _of_networks(specs, measured, constant)


def _state_grows(model: str) -> bool:
    return model in models.names() and models.model_class(model).state_grows


def state_sizes(
    specs: Sequence[Spec], timed: pd.DataFrame, subjects: Iterable[Subject]
) -> dict[str, float]:
    """Spec id → bytes of the state of one stream; of a state that grows, after a whole sequence.

    A network that was not timed has the state of another length, as in `step_times`.
    """
    known = timed[timed["state_bytes"].notna()]
    measured = dict(zip(known["network"], known["state_bytes"].astype(float), strict=True))
    constant = [each for each in subjects if not _state_grows(each.model.name)]
    return _of_networks(specs, measured, constant)


def _of_networks(
    specs: Sequence[Spec], measured: Mapping[str, float], subjects: Iterable[Subject]
) -> dict[str, float]:
    """Spec id → the value of its network, or else of the nearest length with the same step."""
    by_network, alike = dict(measured), dict[str, dict[int, float]]()
    for each in subjects:
        if each.network in by_network:
            alike.setdefault(_step_of(each), {})[each.length] = by_network[each.network]
    for spec in {spec.network: spec for spec in specs}.values():
        # Without a budget of parameters, the depth may depend on the length and the width does not.
        if spec.network in by_network or spec.param_budget is None or not alike:
            continue
        others = alike.get(_step_of(spec))
        if others:
            nearest = min(others, key=lambda length: abs(math.log(length / spec.length)))
            by_network[spec.network] = others[nearest]
    return {spec.id: by_network[spec.network] for spec in specs if spec.network in by_network}


def _step_of(subject: Subject) -> str:
    """An id that networks for different lengths of one task share if their steps are the same."""
    fields = {**subject.task.fields, "length": 1}
    task = subject.task.model_copy(update={"fields": fields})
    return subject.model_copy(update={"task": task}).network


def headlines(timed: pd.DataFrame) -> list[str]:
    """How networks with a finite receptive field compare with the others, in training and steps.

    The times are `leading` ones of one device; `how` says of which code and device. Of a model that
    was timed in several sizes, the smallest one counts.
    """
    place = ["task_label", "T", "batch", "model_label"]
    timed = timed.sort_values("parameters", kind="stable").drop_duplicates(place).sort_index()
    return [*_training_headlines(timed), *_step_headlines(timed)]


def _pairs(timed: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Each model with a finite receptive field, and all models with an unlimited one."""
    fields = numbers(timed["receptive_field"]).groupby(timed["model_label"], sort=False).max()
    unlimited = [str(model) for model in fields[fields.isna()].index]
    for finite in fields[fields.notna()].index:
        yield str(finite), unlimited


def _training_headlines(timed: pd.DataFrame) -> Iterator[str]:
    made = timed[timed["train_ms"].notna()]
    for (task, batch), group in made.groupby(["task_label", "batch"], sort=False):
        speeds, least, most = (
            group.pivot_table(index="T", columns="model_label", values=column)
            for column in ("train_steps_per_s", "train_least_ms", "train_most_ms")
        )
        for ours, others in _pairs(group):
            parts = []
            for other in others:
                ratio = (speeds[ours] / speeds[other]).dropna()
                if ratio.empty:
                    continue
                # Clear where the slowest process of one is faster than the fastest of the other.
                faster = (most[ours] < least[other])[ratio.index]
                slower = (least[ours] > most[other])[ratio.index]
                longest = ratio.index.max()
                end = f"{ratio[longest]:.2g} × as fast at T = {longest:,}"
                parts.append(f"{_faster_or_slower(faster, slower, other)} ({end})")
            if parts:
                yield f"{task}, batch {batch}: {ours} trains {'; '.join(parts)}"


def _faster_or_slower(faster: pd.Series, slower: pd.Series, other: str) -> str:
    """From which T on a model is clearly faster or slower than another one."""
    unclear = faster.index[~faster]
    later = faster.index[faster.index > unclear.max()] if len(unclear) else faster.index
    if len(faster) == 1:
        word = "faster" if faster.all() else "slower" if slower.all() else "not clearly faster"
        return f"{word} than {other} at the only T tried"
    if faster.all():
        return f"faster than {other} at every T tried"
    if len(later):
        return f"faster than {other} from T = {later.min():,} on"
    if slower.all():
        return f"slower than {other} at every T tried"
    if slower[slower.index.max()]:
        return f"slower than {other} at the longest T tried"
    return f"not clearly faster than {other} at the longest T tried"


def _step_headlines(timed: pd.DataFrame) -> Iterator[str]:
    made = without_calls(timed[timed["step_ms"].notna()])
    for batch, group in made.groupby("batch", sort=False):
        steps = group.pivot_table(
            index=["task_label", "T"], columns="model_label", values="step_ms", dropna=False
        )
        for ours, others in _pairs(group):
            parts = []
            for other in others:
                ratio = (steps[ours] / steps[other]).dropna()
                if ratio.empty:
                    continue
                lengths = span(ratio.index.get_level_values("T"))
                cases = f"tasks and lengths: {len(ratio)}, T = {lengths}; ratio {span(ratio)}"
                parts.append(f"{ratio.median():.2g} × a step of {other} ({cases})")
            if parts:
                yield f"streaming, batch {batch}: a step of {ours} takes {'; '.join(parts)}"
