"""The fourth figure below the answer: throughput, latency of a step, and state, against length."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.report import drawing, times
from bench.report.data import Data
from bench.report.facets import Style
from bench.report.frame import ROW
from bench.report.front import SIDES
from bench.report.section import Item, Picture, Section
from bench.report.sections._shared import FIGURES
from bench.report.sections.cost import by_implementation


def build(data: Data) -> Iterator[Item]:
    shown = of_one_task(times.plain(data.timed))
    title = message(times.leading(shown)) if len(shown) else ""
    if title:
        lines, style = by_implementation(shown, data.style)
        task = shown["task_label"].iloc[0]
        yield Picture(
            name="front_speed",
            title=title,
            draw=partial(speed_figure, lines, style),
            caption=f"Networks of about equal size on {task}, on {data.device}: sequences trained "
            "per second, time of a streaming step, and memory between two steps. Dotted: PyTorch's "
            "own layers and the textbook's convolutions. All axes are logarithmic.",
        )


def of_one_task(timed: pd.DataFrame) -> pd.DataFrame:
    """The timings by the newest code of the task that was timed at the most lengths."""
    swept = timed[timed["train_ms"].notna()]
    if swept.empty:
        return swept
    swept = swept[swept["protocol"] == swept["protocol"].max()]
    lengths = swept.groupby("task_label", sort=False)["T"].nunique()
    return swept[swept["task_label"] == lengths.idxmax()]


def message(leading: pd.DataFrame) -> str:
    """The fastest of each family at the longest T: training, a step, and the state of a stream."""
    longest = leading[(leading["T"] == leading["T"].max()) & leading["family"].isin(SIDES)]
    batch = longest["batch"].max()
    stream = longest[longest["batch"] == longest["batch"].min()]
    said = [
        _ratio(of_batch, column, text, highest=highest)
        for of_batch, column, text, highest in (
            (
                longest[longest["batch"] == batch],
                "train_sequences_per_s",
                f"{{}} trains at {{:.2g}} times the speed of {{}} (batch {batch:,})",
                True,
            ),
            (stream, "step_ms", "a step of {} takes {:.2g} times as long as one of {}", False),
            (
                stream,
                "state_bytes",
                "a state of {} has {:,.0f} times the bytes of {}",
                False,
            ),
        )
    ]
    return f"At T = {longest['T'].iloc[0]:,} {'; '.join(filter(None, said))}" if said[0] else ""


def _ratio(timed: pd.DataFrame, column: str, said: str, *, highest: bool) -> str:
    """The best network of the first side beside that of the second; empty if a side has none."""
    best = []
    for side in SIDES:
        known = timed[timed[column].notna() & (timed["family"] == side)]
        if known.empty:
            return ""
        ranked = known.assign(value=known[column].astype(float)).sort_values("value", kind="stable")
        row = ranked.iloc[-1 if highest else 0]
        best.append((row["model_label"], row["value"]))
    (ours, our_value), (theirs, their_value) = best
    return said.format(ours, our_value / their_value, theirs)


def speed_figure(shown: pd.DataFrame, style: Style) -> Figure:
    """Three panels: training throughput, latency of a step, bytes of state."""
    batch = shown["batch"].max()
    columns = (
        (f"training, batch {batch}", "sequences per second", "train_sequences_per_s", batch),
        ("a streaming step, batch 1", "µs", "step_us", 1),
        ("state of a stream", "bytes", "state_bytes", 1),
    )
    shown = shown.assign(step_us=1e3 * shown["step_ms"])
    figure, panels = drawing.titled_panels([title for title, *_ in columns])
    for panel, (_, unit, column, at_batch) in zip(panels, columns, strict=True):
        rows = shown[(shown["batch"] == at_batch) & shown[column].notna()]
        for model in (model for model in style if model in set(rows["model_label"])):
            line = rows[rows["model_label"] == model].sort_values("T")[[*ROW, column]]
            look = {"markersize": 4, "linewidth": 1.5, **style[model]}
            panel.plot(line["T"], line[column].astype(float), label=model, **look)
        panel.set_yscale("log")
        drawing.logarithmic(panel.yaxis)
        if len(rows):
            drawing.log_lengths(panel, sorted(rows["T"].unique()))
        panel.set_ylabel(unit, fontsize=9)
    drawing.shared_legend(figure, panels, style)
    return figure


SECTION = Section(title=FIGURES, order=4, unfolded=True, build=build)
