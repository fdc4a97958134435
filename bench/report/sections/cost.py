"""What training, whole sequences and streaming cost, timed one network after the other."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.core.records import YardstickRecord
from bench.report import facets, times
from bench.report.data import Data
from bench.report.drawing import cost_against_length, logarithmic, shared_legend, titled_panels
from bench.report.facets import Style
from bench.report.frame import IDENTITY, ROW, Column, Table, groups, rows_of
from bench.report.horizon import Horizon
from bench.report.markup import code, text
from bench.report.section import Filled, Item, Picture, Section, Text
from bench.report.sections._shared import dotted_again

AGAIN = ", window read again"
"""Ends the label of a model's second line, whose steps use no stepper."""
ENDS = (("least", "Least"), ("most", "Greatest"))
STABLE_TEXT = (
    f"Whether the medians of {times.FEWEST_PROCESSES} processes or more agree within "
    f"{times.STABLE:.0%}."
)
BOTH_LOGARITHMIC = "Both axes are logarithmic."
PLACE = (
    *IDENTITY,
    Column("batch", "count", "sequences", "Sequences at once."),
    *times.IMPLEMENTATION,
    Column("parameters", "count", "parameters", "Parameters of the network."),
)
WHOLE = (
    *PLACE,
    Column("sequences_per_s", "number", "1/s", "Sequences per second."),
    Column("steps_per_s", "number", "1/s", "Steps of sequences per second."),
    Column("ms", "number", "ms", "Median time of a call."),
    Column("5%_ms", "number", "ms", "5th percentile."),
    Column("95%_ms", "number", "ms", "95th percentile."),
    *(Column(f"{name}_ms", "number", "ms", f"{text} median of a process.") for name, text in ENDS),
    Column("stable", "flag", "", STABLE_TEXT),
    Column("peak_memory_MB", "number", "MB", "Peak memory of a call beyond what was held before."),
    Column("operations", "number", "", "Floating-point operations of a call."),
    Column("%_of_peak", "number", "%", "Share of the speed of one large matrix product."),
)
TRAINING = Table(name="training_speed", columns=WHOLE)
INFERENCE = Table(name="inference_speed", columns=WHOLE)
STREAMING = Table(
    name="streaming",
    columns=(
        *PLACE,
        Column("receptive_field", "integer", "steps", "By formula. Missing if it is unlimited."),
        Column("timings", "count", "", "Timings whose samples are pooled in this row."),
        Column("step_us", "number", "µs", "Median time of a step by the stepper, within `run`."),
        Column("5%_us", "number", "µs", "5th percentile."),
        Column("95%_us", "number", "µs", "95th percentile."),
        *(
            Column(f"{name}_us", "number", "µs", f"{text} median of a process.")
            for name, text in ENDS
        ),
        Column("stable", "flag", "", STABLE_TEXT),
        Column("call_us", "number", "µs", "Median time of a single call from Python."),
        Column("plain_step_us", "number", "µs", "`forward` on a chunk of one step."),
        Column("window_again_us", "number", "µs", "`forward` over the whole receptive field."),
        Column("window_last_us", "number", "µs", "The same, but only the last step is computed."),
        Column("prefill_ms", "number", "ms", "A whole sequence in one pass, and one step more."),
        Column("state_bytes", "integer", "bytes", "State of one stream."),
        Column("operations", "number", "", "Floating-point operations of a plain step."),
        Column("stepper", "text", "", "The stepper that was timed."),
    ),
    caption="One row per network, batch size and implementation. If a network was timed several "
    "times, the samples of all timings are pooled. Stepper: compiled, or PyTorch's modules step by "
    "step. Step: one of the many steps that a single call makes. Call: one step per call from "
    "Python, as in live use. Protocol 1 timed single calls alone, so its step includes the call. "
    "Plain step: forward on one step. Window again: the whole receptive field is computed again "
    "for each step. Window last: the same, but only its last output is computed. Prefill: a whole "
    "sequence in one pass, then one step. Least and most: the medians of the fastest and the "
    "slowest process; of five processes, the true median lies between them with 94% confidence (of "
    "three: 75%). If they differ by more than 10%, the time is not stable. Operations are products "
    "and sums of matrices and convolutions in a plain step, as PyTorch counts them; a stepper may "
    "need fewer.",
)
YARDSTICKS = Table(
    name="yardsticks",
    columns=(
        Column("comparison", "text", "", "Name and description of the comparison."),
        Column("ours", "text", "", "Our side."),
        Column("ours_us", "number", "µs", "Median time of our side."),
        Column("theirs", "text", "", "The other side."),
        Column("theirs_us", "number", "µs", "Median time of the other side."),
        Column("theirs_over_ours", "number", "", "Median over rounds of the ratio of the times."),
        Column("target_ratio", "text", "", "The target of that ratio."),
        Column("target_met", "text", "", "Whether the target is met, or why it was not measured."),
        Column("other_times", "text", "", "Further times, relative to ours."),
    ),
    caption="Both implementations are timed alternately in one process. The ratio is the median "
    "over these rounds of the time of theirs divided by the time of ours. `make speed` measures it "
    "again.",
)
MEASURES = {
    "low_ms": "5%_ms",
    "high_ms": "95%_ms",
    "MB": "peak_memory_MB",
    "flops": "operations",
    "peak_percent": "%_of_peak",
}
"""Measure of a timed call → its column."""
STEP_TIMES = {
    "step_ms": "step_us",
    "step_low_ms": "5%_us",
    "step_high_ms": "95%_us",
    "step_least_ms": "least_us",
    "step_most_ms": "most_us",
    "call_ms": "call_us",
    "plain_step_ms": "plain_step_us",
    "window_ms": "window_again_us",
    "window_last_ms": "window_last_us",
}
"""Time in the frame of times → its column, in microseconds."""
FIGURES = (
    (
        "throughput_vs_length",
        {"train_steps_per_s": "training", "forward_steps_per_s": "whole sequences"},
        "steps read per second",
        "Steps of sequences read per second against length, in training (sampling, forward, "
        "backward, update) and when whole sequences are read at once. Dotted: not the fastest "
        "implementation.",
    ),
    (
        "memory_vs_length",
        {"train_MB": "training", "forward_MB": "whole sequences"},
        "peak memory (MB)",
        "Peak memory of one call beyond what was held before. On a CPU it is the growth of the "
        "memory of the process, which does not show small amounts. Dotted: not the fastest "
        "implementation.",
    ),
)


def build(data: Data) -> Iterator[Item]:
    timed = data.timed
    if data.source.speed:
        machine = data.source.speed[0].machine
        gpu = f" with {text(machine.gpu)}" if machine.gpu else ""
        yield Text(
            markdown="Timed one network after the other, in a fresh process each, on "
            f"{text(machine.cpu)}{gpu}, {machine.cores} cores, torch {text(machine.torch)}, "
            f"backend {code(data.timed_backend)}. Medians after warm-up; every sample is in "
            "the records."
        )
    yield from figures(data)
    for title, table, frame in (
        ("Training", TRAINING, whole_sequences(timed, TRAINING, "train")),
        ("Whole sequences at once", INFERENCE, whole_sequences(timed, INFERENCE, "forward")),
        ("Streaming", STREAMING, streaming(timed)),
        (
            "Compared with other implementations",
            YARDSTICKS,
            yardstick_table(data.source.yardsticks),
        ),
    ):
        if len(frame):
            yield Text(markdown=f"### {title}")
        yield Filled(table=table, frame=frame)


def figures(data: Data) -> Iterator[Picture]:
    swept = times.plain(data.timed)
    apart, style = by_implementation(swept, data.style)
    for name, columns, axis_label, caption in FIGURES:
        frame = by_length(apart, columns)
        frame = frame[frame["value"] > 0]
        if len(frame):
            yield Picture(
                name=name,
                draw=partial(cost_against_length, frame, "value", axis_label, style),
                caption=f"{caption} {BOTH_LOGARITHMIC}",
            )
    steps = steps_by_length(swept)
    if len(steps):
        yield Picture(
            name="latency_vs_length",
            draw=partial(
                cost_against_length,
                steps,
                "value",
                "one step (µs)",
                dotted_again(data.style, AGAIN),
            ),
            caption="Time of one further step of every stream with the model's stepper, against "
            "length: median, with the 5th to 95th percentile. It is measured within a call that "
            "makes many steps, except in protocol 1, where it includes the call. Dotted, for "
            "models with a finite receptive field: the whole field is read again. "
            f"{BOTH_LOGARITHMIC}",
            png=True,
        )
    reached = reached_at_cost(data.main, data.horizons, data.step_us)
    if len(reached):
        yield Picture(
            name="horizon_vs_cost",
            draw=partial(horizon_against_cost, reached, data.style),
            caption="The horizon against a run's training time and against one step of a stream "
            f"(batch 1, {times.how(data.leading, data.device)}). ≥: no T is known to be unsolved. "
            "+: more runs may solve the next T. *: a longer T is solved. Hollow: the "
            f"shortest T is not solved; the cost is that of the shortest T. {BOTH_LOGARITHMIC}",
        )


def whole_sequences(timed: pd.DataFrame, table: Table, what: str) -> pd.DataFrame:
    """Throughput, time, memory and operations; `what` is `train` or `forward`."""
    made = timed[timed[f"{what}_ms"].notna()]
    made = made.rename(columns=lambda name: name.removeprefix(f"{what}_"))
    return made.rename(columns=MEASURES)[[column.name for column in table.columns]]


def streaming(timed: pd.DataFrame) -> pd.DataFrame:
    """Times of one streaming step, in microseconds."""
    made = timed[timed["step_ms"].notna()]
    in_us = {name: 1e3 * made[column] for column, name in STEP_TIMES.items()}
    made = made.rename(columns=lambda name: name.removeprefix("step_")).rename(columns=MEASURES)
    return made.assign(**in_us)[[column.name for column in STREAMING.columns]]


def yardstick_table(records: Sequence[YardstickRecord]) -> pd.DataFrame:
    """One row per comparison, with its aim."""
    return YARDSTICKS.of(_yardstick(record) for record in records)


def _yardstick(record: YardstickRecord) -> dict[str, object]:
    yardstick, names = record.yardstick, list(record.times)
    low, high = yardstick.at_least, yardstick.at_most
    row: dict[str, object] = {
        "comparison": f"{yardstick.name}: {yardstick.what}",
        "target_ratio": f"≥ {low:g}" if low is not None else f"≤ {high:g}",
    }
    if not names:
        return {**row, "target_met": record.error}
    ours, theirs, *others = names
    return {
        **row,
        "ours": ours,
        "ours_us": 1e6 * record.times[ours].median,
        "theirs": theirs,
        "theirs_us": 1e6 * record.times[theirs].median,
        "theirs_over_ours": record.ratio,
        "target_met": "yes" if yardstick.met(record.ratio) else "no",
        "other_times": "; ".join(f"{name}: {record.over_ours(name):.3g} × ours" for name in others)
        or None,
    }


def by_implementation(timed: pd.DataFrame, style: Style) -> tuple[pd.DataFrame, Style]:
    """The rows with a line of its own for every implementation, and the style of these lines.

    Those of the `times.leading` implementation keep their labels; the others are dotted.
    """
    is_leading = timed.index.isin(times.leading(timed).index)
    suffix = (", " + timed["implementation"]).mask(is_leading, "")
    apart = dict(style)
    for other in suffix[~is_leading].unique():
        apart |= dotted_again(style, other)
    return timed.assign(model_label=timed["model_label"] + suffix), apart


def by_length(timed: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Long form for a figure: one panel per column and batch size, `value` against T.

    `columns` maps each column to its name in the panel's title.
    """
    swept = timed[timed["train_ms"].notna()]
    parts = [
        _titled(swept, name).assign(value=swept[column]).dropna(subset="value")
        for column, name in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)[[*ROW, "value"]]


def steps_by_length(timed: pd.DataFrame) -> pd.DataFrame:
    """Long form for a figure of a step's latency, in microseconds, from the 5th to 95th percentile.

    A model whose receptive field ends has a second line: its window read again.
    """
    made = timed[timed["train_ms"].notna() & timed["step_ms"].notna()]
    made = _titled(made, "streaming")
    if made["implementation"].nunique() > 1:
        made["task_label"] += "\n" + made["implementation"]
    step, low, high, window = (
        1e3 * made[f"{name}_ms"] for name in ("step", "step_low", "step_high", "window")
    )
    stepped = made.assign(value=step, low=low, high=high)
    again = made.assign(value=window, low=window, high=window)
    again["model_label"] += AGAIN
    both = pd.concat([stepped, again.dropna(subset="value")], ignore_index=True)
    return both[[*ROW, "value", "low", "high"]]


def _titled(timed: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows with the title of their panel in place of the task: `training, batch 64`."""
    title = f"{name}, batch " + timed["batch"].astype(str)
    if timed["task_label"].nunique() > 1:
        title = title + " (" + timed["task_label"] + ")"
    return timed.assign(task_label=title)


def reached_at_cost(
    runs: pd.DataFrame,
    found: Sequence[tuple[Mapping[str, str], Horizon]],
    step_us: Mapping[str, float],
) -> pd.DataFrame:
    """One row per task, model and cost: the horizon and what the network that reaches it costs.

    Where nothing was solved, the cost is that of the shortest T tested.
    """
    rows = []
    for network, reached in found:
        length = reached.failed_at if reached.length is None else reached.length
        of_model = runs["model_label"] == network["model_label"]
        at = runs[of_model & (runs["task_label"] == network["task_label"]) & (runs["T"] == length)]
        for cost, value in (
            ("one training run (s)", at["total_s"].median()),
            ("one step of a stream (µs)", at["id"].map(step_us).astype(float).median()),
        ):
            if value > 0:
                about = {**network, "T": length, "horizon": length, "reached": reached.reached}
                about["solved"] = reached.length is not None
                rows.append({**about, "cost": cost, "value": value})
    frame = pd.DataFrame(rows)
    return frame if frame.empty else frame.sort_values(["task_label", "cost"], kind="stable")


def horizon_against_cost(reached: pd.DataFrame, style: Style) -> Figure:
    """Horizon against each cost, one panel per task and cost."""
    reached, counts = facets.first_models(reached, style)
    cells = list(groups(reached, ["task_label", "cost"]))
    titles = [cell["task_label"] for cell, _ in cells]
    figure, axes = titled_panels(titles, num_columns=4, counts=counts)
    for panel, (cell, rows) in zip(axes, cells, strict=False):
        for row in rows_of(rows):
            look = style[row["model_label"]]
            mark = {"marker": look["marker"], "mec": look["color"], "ms": 8, "ls": "none"}
            face = look["color"] if row["solved"] else "none"
            panel.plot(row["value"], row["horizon"], label=row["model_label"], mfc=face, **mark)
        marked = rows[rows["reached"] != rows["horizon"].astype(str)]
        for (label, horizon), group in marked.groupby(["reached", "horizon"]):
            middle = (group["value"].min() * group["value"].max()) ** 0.5
            place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
            panel.annotate(str(label), (middle, horizon), fontsize=8, **place)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlim(rows["value"].min() / 1.6, rows["value"].max() * 1.6)
        panel.set_ylim(rows["horizon"].min() / 1.4, rows["horizon"].max() * 1.7)
        logarithmic(panel.xaxis)
        logarithmic(panel.yaxis)
        panel.tick_params(labelsize=8)
        panel.set_xlabel(cell["cost"], fontsize=9)
        panel.set_ylabel("horizon T (steps)", fontsize=9)
    shared_legend(figure, axes, style)
    return figure


SECTION = Section(
    title="What it costs",
    order=110,
    tables=(TRAINING, INFERENCE, STREAMING, YARDSTICKS),
    build=build,
)
