"""Claims of cost: (e) training and (f) a step of a stream."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd

from bench.report.claims._verdict import LONG, Answer, Verdict, at, but_not, number, span, where

FAR_MORE = 2.0
"""Times the throughput that make training far more efficient."""
INEFFICIENT, ON_A_PAR = 2.0, 1.1
"""Times a recurrent step that make a step inefficient; up to which it costs the same."""
MOST_CELLS = 0.9
"""Share of a step's ratios that decide."""
FEWEST_RATIOS = 3
"""Of times, from which on they are evidence."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The fastest convolutional network and the fastest recurrent one, at the same work."""

    task: str
    length: int
    batch: int
    convolutional: pd.Series
    recurrent: pd.Series
    """Rows of the frame of times."""

    def ratio(self, column: str, other: str) -> float:
        """A column of the convolutional one over another of the recurrent; NaN: one is missing."""
        return float(self.convolutional[column]) / float(self.recurrent[other])


def _pairs(timed: pd.DataFrame, column: str, *, highest: bool) -> list[_Pair]:
    """A pair each task, length and batch size; convolutional fields are at least T."""
    if column not in timed:
        return []
    known = timed[timed[column].notna()]
    sees = pd.to_numeric(known["receptive_field"]) >= known["T"]
    pairs = []
    for (task, batch, length), group in known.groupby(["task", "batch", "T"]):
        group = group.sort_values(column, ascending=not highest, kind="stable")
        convolutional = group[(group["family"] == "convolutional") & sees[group.index]]
        recurrent = group[group["family"] == "recurrent"]
        if len(convolutional) and len(recurrent):
            pairs.append(
                _Pair(
                    task=str(task),
                    length=int(length),
                    batch=int(batch),
                    convolutional=convolutional.iloc[0],
                    recurrent=recurrent.iloc[0],
                )
            )
    return pairs


def training_efficiency(timed: pd.DataFrame, backend: str | None) -> Verdict:
    speed = "train_steps_per_s"
    pairs = [pair for pair in _pairs(timed, speed, highest=True) if pair.length >= LONG]
    ratios = {(_batch(pair), pair.length): pair.ratio(speed, speed) for pair in pairs}
    far_more = [place for place, ratio in ratios.items() if ratio >= FAR_MORE]
    not_so = [place for place in ratios if place not in far_more]
    answer: Answer = "holds when"
    if len(pairs) < FEWEST_RATIOS:
        answer = "not enough evidence yet"
    elif not not_so:
        answer = "holds"
    elif not far_more:
        answer = "fails"
    said = [
        f"{_batch(pair)}, T = {pair.length:,}: {pair.convolutional['model']} trains "
        f"{ratios[_batch(pair), pair.length]:.2g} times as fast as {pair.recurrent['model']}, "
        f"{pair.convolutional[speed]:,.0f} against {pair.recurrent[speed]:,.0f} steps a second."
        for pair in pairs
    ]
    return Verdict(
        key="e",
        claim="Convolutional training is far more efficient.",
        verdict=answer,
        conditions=but_not(f"for {where(far_more)}", f"for {where(not_so)}")
        if answer == "holds when"
        else "",
        because=tuple(said),
        figures=("throughput_vs_length",),
        not_tested=(
            "How many updates each needs until it solves a task: that is claim b.",
            *_limits_of_times(pairs, backend),
        ),
    )


def step_efficiency(timed: pd.DataFrame, backend: str | None) -> Verdict:
    step = "step_ms"
    pairs = [pair for pair in _pairs(timed, step, highest=False) if pair.batch == 1]
    ratios = {(pair.task, pair.length): pair.ratio(step, step) for pair in pairs}
    inefficient = [place for place, ratio in ratios.items() if ratio > INEFFICIENT]
    not_so = [place for place in ratios if place not in inefficient]
    on_a_par = [place for place, ratio in ratios.items() if ratio <= ON_A_PAR]
    answer: Answer = "holds when"
    if len(pairs) < FEWEST_RATIOS:
        answer = "not enough evidence yet"
    elif len(inefficient) / len(pairs) >= MOST_CELLS:
        answer = "holds"
    elif not inefficient or len(on_a_par) / len(pairs) >= MOST_CELLS:
        answer = "fails"
    said = []
    if pairs:
        said.append(
            f"By their steppers, a convolutional step takes {span(ratios.values())} times a "
            f"recurrent one (median {number(median(ratios.values()))}): at most {ON_A_PAR} times "
            f"in {len(on_a_par)} of {len(pairs)} cells, more than {INEFFICIENT:g} times in "
            f"{len(inefficient)}."
        )
    for column, other, words in (
        ("plain_step_ms", "plain_step_ms", "By PyTorch's modules step by step, both of them,"),
        ("window_ms", step, "Reading its whole receptive field again, without a stepper,"),
    ):
        known = [pair.ratio(column, other) for pair in pairs if column in timed]
        known = [ratio for ratio in known if not math.isnan(ratio)]
        if known:
            said.append(f"{words} it takes {span(known)} times (median {number(median(known))}).")
    for task in dict.fromkeys(pair.task for pair in pairs):
        of_task = [pair for pair in pairs if pair.task == task]
        said.append(
            f"{task} at {at(pair.length for pair in of_task)}: "
            f"{_steps_us(pair.convolutional for pair in of_task)}, "
            f"{_steps_us(pair.recurrent for pair in of_task)}."
        )
    return Verdict(
        key="f",
        claim="Convolutional step-by-step inference is inefficient.",
        verdict=answer,
        conditions=but_not(f"on {where(inefficient)}", f"on {where(not_so)}")
        if answer == "holds when"
        else "",
        because=tuple(said),
        figures=("latency_vs_length",),
        not_tested=(
            "Several streams at a time.",
            *_limits_of_times(pairs, backend),
        ),
    )


def _batch(pair: _Pair) -> str:
    return f"{pair.task}, batch {pair.batch}"


def _steps_us(rows: Iterable[pd.Series]) -> str:
    rows = list(rows)
    names = "/".join(dict.fromkeys(row["model"] for row in rows))
    return f"{names} {span(1e3 * row['step_ms'] for row in rows)} µs"


def _limits_of_times(pairs: Sequence[_Pair], backend: str | None) -> list[str]:
    if not pairs:
        return ["No times of a convolutional network that sees T steps beside a recurrent one."]
    said = [f"Any T but these: {where((pair.task, pair.length) for pair in pairs)}."]
    sizes = [row["parameters"] for pair in pairs for row in (pair.convolutional, pair.recurrent)]
    said.append(f"Networks of other sizes than {span(sizes)} parameters.")
    if backend is not None:
        kind = "Another GPU, or a CPU" if backend.startswith("cuda") else "A GPU"
        said.append(f"{kind}: the times are of {backend}.")
    return said
