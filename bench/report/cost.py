"""Speed records → frames and sentences: what training, inference and streaming cost.

All records given together are of one machine and backend.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.core.records import SpeedRecord, Times, Work, YardstickRecord
from models import model_class

ROW = ["task", "T", "batch", "model"]


def frame(records: Sequence[SpeedRecord]) -> pd.DataFrame:
    """One row a network, length and batch size, as timed; nothing of what failed."""
    rows = [_row(record) for record in records if record.speed is not None]
    return pd.DataFrame(rows).sort_values(ROW, ignore_index=True) if rows else pd.DataFrame()


def _row(record: SpeedRecord) -> dict[str, object]:
    spec, speed = record.spec, record.speed
    assert speed is not None
    row: dict[str, object] = {
        "task": speed.task_label,
        "T": spec.length,
        "batch": spec.batch_size,
        "model": speed.label,
        "family": model_class(spec.model.name).family,
        "network": spec.network,
        "parameters": speed.num_parameters,
        "receptive_field": speed.receptive_field,
        "steps": speed.num_steps,
    }
    num_steps = spec.batch_size * speed.num_steps
    for name, work in (("train", speed.train), ("forward", speed.forward)):
        if work is not None:
            row |= {f"{name}_{key}": value for key, value in _of(work, speed.peak_flops).items()}
            row[f"{name}_sequences_per_s"] = spec.batch_size / work.times.median
            row[f"{name}_steps_per_s"] = num_steps / work.times.median
            row[f"{name}_MB"] = None if work.memory_bytes is None else work.memory_bytes / 1e6
    if speed.streaming is not None:
        streaming = speed.streaming
        row |= {f"step_{k}": v for k, v in _of(streaming.step, speed.peak_flops).items()}
        row |= {
            "plain_step_ms": 1e3 * streaming.plain_step.median,
            "prefill_ms": 1e3 * streaming.prefill.median,
            "window_ms": _ms(streaming.window),
            "window_last_ms": _ms(streaming.window_last),
            "state_bytes": streaming.state_bytes,
            "stepper": streaming.stepper,
        }
    return row


def plain(timed: pd.DataFrame) -> pd.DataFrame:
    """The models as they come, without variants; all, where no two of them were timed as such."""
    if timed.empty:
        return timed
    found = timed[~timed["model"].str.contains(" ")]
    return found if found["model"].nunique() > 1 else timed


def _of(work: Work, peak_flops: float) -> dict[str, float]:
    return {
        "ms": 1e3 * work.times.median,
        "low_ms": 1e3 * work.times.percentile(5),
        "high_ms": 1e3 * work.times.percentile(95),
        "flops": work.flops,
        "peak_percent": 100 * work.flops / work.times.median / peak_flops,
    }


def _ms(times: Times | None) -> float | None:
    return None if times is None else 1e3 * times.median


def whole_sequences(timed: pd.DataFrame, what: str) -> pd.DataFrame:
    """`train` or `forward`: throughput, time, memory, operations."""
    if f"{what}_ms" not in timed:
        return pd.DataFrame()
    made = timed[timed[f"{what}_ms"].notna()]
    columns = {
        f"{what}_sequences_per_s": "sequences_per_s",
        f"{what}_steps_per_s": "steps_per_s",
        f"{what}_ms": "ms",
        f"{what}_low_ms": "5%_ms",
        f"{what}_high_ms": "95%_ms",
        f"{what}_MB": "peak_memory_MB",
        f"{what}_flops": "operations",
        f"{what}_peak_percent": "%_of_peak",
    }
    return made[[*ROW, "parameters", *columns]].rename(columns=columns)


def streaming(timed: pd.DataFrame) -> pd.DataFrame:
    """Steps of a stream, in microseconds."""
    if "step_ms" not in timed:
        return pd.DataFrame()
    made = timed[timed["step_ms"].notna()]
    table = made[[*ROW, "parameters", "receptive_field"]].copy()
    for column, name in (
        ("step_ms", "step_us"),
        ("step_low_ms", "5%_us"),
        ("step_high_ms", "95%_us"),
        ("plain_step_ms", "plain_step_us"),
        ("window_ms", "window_again_us"),
        ("window_last_ms", "window_last_us"),
    ):
        table[name] = 1e3 * pd.to_numeric(made[column])
    table["prefill_ms"] = made["prefill_ms"]
    table["state_bytes"] = made["state_bytes"]
    table["operations"] = made["step_flops"]
    table["%_of_peak"] = made["step_peak_percent"]
    table["stepper"] = made["stepper"]
    return table


def yardstick_table(records: Sequence[YardstickRecord]) -> pd.DataFrame:
    """Each comparison with its aim."""
    rows = []
    for record in records:
        yardstick = record.yardstick
        names = list(record.times)
        row: dict[str, object] = {
            "what": yardstick.name,
            "ours": names[0] if names else None,
            "ours_us": 1e6 * record.times[names[0]].median if names else None,
            "theirs": names[1] if names else None,
            "theirs_us": 1e6 * record.times[names[1]].median if names else None,
            "theirs_over_ours": record.ratio if names else None,
            "aim": f"≥ {yardstick.at_least:g}"
            if yardstick.at_least is not None
            else f"≤ {yardstick.at_most:g}",
            "met": ("yes" if yardstick.met(record.ratio) else "no") if names else record.error,
            "beside": "; ".join(f"{n} {record.over_ours(n):.3g} ×" for n in names[2:]) or None,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def headlines(timed: pd.DataFrame) -> list[str]:
    """Where networks of a finite receptive field overtake the others in training, and a step."""
    return [*_training_headlines(timed), *_step_headlines(timed)]


def _pairs(timed: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Each model that sees a window beside each that carries a state without end."""
    ends = timed.groupby("model", sort=False)["receptive_field"].max()
    for window in ends[ends.notna()].index:
        for endless in ends[ends.isna()].index:
            yield str(window), str(endless)


def _training_headlines(timed: pd.DataFrame) -> Iterator[str]:
    if "train_ms" not in timed:
        return
    made = timed[timed["train_ms"].notna()]
    for (task, batch), group in made.groupby(["task", "batch"], sort=False):
        speeds = group.pivot_table(index="T", columns="model", values="train_steps_per_s")
        for ours, other in _pairs(group):
            ratio = (speeds[ours] / speeds[other]).dropna()
            if ratio.empty:
                continue
            slower = ratio[ratio <= 1].index
            later = ratio[ratio.index > slower.max()] if len(slower) else ratio
            where = f"{task}, batch {batch}: {ours} trains"
            longest = ratio.index.max()
            end = f"{ratio[longest]:.2g} × as fast at T = {longest}"
            if later.empty:
                yield f"{where} slower than {other} up to the longest T tried ({end})"
            elif len(slower):
                yield f"{where} faster than {other} from T = {later.index.min()} on ({end})"
            else:
                yield f"{where} faster than {other} at every T tried ({end})"


def _step_headlines(timed: pd.DataFrame) -> Iterator[str]:
    if "step_ms" not in timed:
        return
    made = timed[timed["step_ms"].notna()]
    for batch, group in made.groupby("batch", sort=False):
        steps = group.pivot_table(index=["task", "T"], columns="model", values="step_ms")
        for ours, other in _pairs(group):
            ratio = (steps[ours] / steps[other]).dropna()
            if len(ratio):
                yield (
                    f"streaming, batch {batch}: a step of {ours} takes {ratio.median():.2g} × a "
                    f"step of {other} ({ratio.min():.2g} to {ratio.max():.2g} over "
                    f"{len(ratio)} tasks and lengths)"
                )


def by_length(timed: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Long form for figures: a panel a column and batch size, `value` against T a model.

    `columns` says which and what to call them.
    """
    if "train_ms" not in timed:
        return pd.DataFrame()
    swept = timed[timed["train_ms"].notna()]
    several = swept["task"].nunique() > 1
    parts = []
    for column, name in columns.items():
        if column not in swept:
            continue
        made = swept[swept[column].notna()]
        for (task, batch), group in made.groupby(["task", "batch"], sort=True):
            title = f"{name}, batch {batch}" + (f" ({task})" if several else "")
            part = group[["T", "model"]].assign(task=title, value=pd.to_numeric(group[column]))
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


AGAIN = ", window read again"
"""After a model's name: its step without a stepper."""


def steps_by_length(timed: pd.DataFrame) -> pd.DataFrame:
    """Long form for a figure of one step's latency, in microseconds, from p5 to p95.

    The stepper of each model, and reading its window again where there is an end to it.
    """
    if "train_ms" not in timed or "step_ms" not in timed:
        return pd.DataFrame()
    made = timed[timed["train_ms"].notna() & timed["step_ms"].notna()]
    several = made["task"].nunique() > 1
    title = made["batch"].map("streaming, batch {}".format)
    made = made.assign(panel=title + (" (" + made["task"] + ")" if several else ""))
    stepped = made.assign(
        value=1e3 * made["step_ms"], low=1e3 * made["step_low_ms"], high=1e3 * made["step_high_ms"]
    )
    window = 1e3 * pd.to_numeric(made["window_ms"])
    again = made.assign(value=window, low=window, high=window, model=made["model"] + AGAIN)
    both = pd.concat([stepped, again[again["value"].notna()]], ignore_index=True)
    both = both[["panel", "T", "model", "value", "low", "high"]]
    return both.rename(columns={"panel": "task"})
