"""Claims on cost: (e) training and (f) a step of a stream."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from bench.report.claims.verdict import (
    LONG,
    NOT_ENOUGH,
    Answer,
    Verdict,
    by_number,
    named,
    number,
    place,
    span,
)
from bench.report.frame import numbers

FAR_MORE = 2.0
"""Training is far more efficient from this ratio of throughputs on."""
INEFFICIENT, ON_A_PAR = 2.0, 1.1
"""A step is inefficient above the first multiple of a recurrent step, equal up to the second."""
MOST_CELLS = 0.9
"""Share of a step's ratios that decides."""
FEWEST_RATIOS = 3
"""Number of ratios of times from which on they are evidence."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The fastest convolutional network and the fastest recurrent one, at the same work."""

    task: str
    length: int
    batch: int
    convolutional: pd.Series
    recurrent: pd.Series

    def ratio(self, column: str, other: str | None = None) -> float:
        """A column of the convolutional network over one of the recurrent one; may be NaN."""
        return float(self.convolutional[column]) / float(self.recurrent[other or column])

    def row(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "batch": self.batch,
            "T": self.length,
            "convolutional": self.convolutional["model_label"],
            "recurrent": self.recurrent["model_label"],
        }


def pairs_of(timed: pd.DataFrame, column: str, *, highest: bool) -> list[Pair]:
    """One pair per task, length and batch size; the convolutional field is at least T."""
    known = timed[timed[column].notna()]
    sees = numbers(known["receptive_field"]) >= known["T"]
    pairs = []
    for (task, batch, length), group in known.groupby(["task_label", "batch", "T"]):
        group = group.sort_values(column, ascending=not highest, kind="stable")
        convolutional = group[(group["family"] == "convolutional") & sees[group.index]]
        recurrent = group[group["family"] == "recurrent"]
        if len(convolutional) and len(recurrent):
            pairs.append(
                Pair(
                    task=str(task),
                    length=int(str(length)),
                    batch=int(str(batch)),
                    convolutional=convolutional.iloc[0],
                    recurrent=recurrent.iloc[0],
                )
            )
    return pairs


def training_efficiency(timed: pd.DataFrame, device: str) -> Verdict:
    speed = "train_steps_per_s"
    pairs = [pair for pair in pairs_of(timed, speed, highest=True) if pair.length >= LONG]
    far_more = [pair for pair in pairs if pair.ratio(speed) >= FAR_MORE]
    answer = by_number(len(far_more), len(pairs) - len(far_more))
    examples = named(f"{place(p.task, p.length)}, batch {p.batch}" for p in far_more)
    return Verdict(
        key="e",
        claim="Convolutional training is far more efficient.",
        verdict=answer if len(pairs) >= FEWEST_RATIOS else NOT_ENOUGH,
        sentence=f"{device}, the convolutional network trains at least {FAR_MORE:g} times as fast "
        f"in {len(far_more)} of {len(pairs)} cells"
        + (f", among them {examples}" if examples else "")
        if pairs
        else "no convolutional network that sees T steps was timed beside a recurrent one",
        table=[{**pair.row(), "steps a second, ratio": pair.ratio(speed)} for pair in pairs],
        figures=("throughput_vs_length",),
    )


def step_efficiency(timed: pd.DataFrame, device: str) -> Verdict:
    step = "step_ms"
    pairs = [pair for pair in pairs_of(timed, step, highest=False) if pair.batch == 1]
    ratios = [pair.ratio(step) for pair in pairs]
    num_inefficient = sum(ratio > INEFFICIENT for ratio in ratios)
    num_on_a_par = sum(ratio <= ON_A_PAR for ratio in ratios)
    answer: Answer = "holds when"
    if len(pairs) < FEWEST_RATIOS:
        answer = NOT_ENOUGH
    elif num_inefficient / len(pairs) >= MOST_CELLS:
        answer = "holds"
    elif not num_inefficient or num_on_a_par / len(pairs) >= MOST_CELLS:
        answer = "fails"
    sentence = "no convolutional network that sees T steps was timed beside a recurrent one"
    if pairs:
        sentence = (
            f"{device}, a convolutional step by the stepper takes {span(ratios)} times a recurrent "
            f"one (median {number(median(ratios))}), more than {INEFFICIENT:g} times in "
            f"{num_inefficient} of {len(pairs)} cells"
        )
    return Verdict(
        key="f",
        claim="Convolutional step-by-step inference is inefficient.",
        verdict=answer,
        sentence=sentence,
        table=[
            {
                **pair.row(),
                "steppers, ratio": pair.ratio(step),
                "PyTorch's modules, ratio": pair.ratio("plain_step_ms"),
                "field read again, ratio": pair.ratio("window_ms", step),
            }
            for pair in pairs
        ],
        figures=("latency_vs_length",),
    )
