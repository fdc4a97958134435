"""Claims on cost: (e) training and (f) a step of a stream."""

from typing import Any

import pandas as pd

from bench.report.claims.verdict import LONG, NOT_ENOUGH, Answer, Verdict, decided, weighed
from bench.report.frame import listed, numbers, rows_of, span
from bench.report.times import how

FAR_MORE = 2.0
"""Smallest ratio of throughputs that counts as far more efficient training."""
INEFFICIENT, ON_A_PAR = 2.0, 1.1
"""A step is inefficient above the first multiple of a recurrent step; up to the second, equal."""
MOST_CELLS = 0.9
"""Share of the ratios of steps that decides claim (f)."""
FEWEST_RATIOS = 3
"""Smallest number of ratios of times that counts as evidence."""

PLACE = ["task_label", "batch", "T"]


def pairs_of(timed: pd.DataFrame, column: str, *, highest: bool) -> pd.DataFrame:
    """The fastest convolutional network and the fastest recurrent one, per task, T and batch size.

    The convolutional field is at least T. Columns of the recurrent one end in `_recurrent`.
    """
    known = timed[timed[column].notna()]
    known = known.sort_values(column, ascending=not highest, kind="stable")
    sees = (known["family"] == "convolutional") & (numbers(known["receptive_field"]) >= known["T"])
    convolutional = known[sees].drop_duplicates(PLACE)
    recurrent = known[known["family"] == "recurrent"].drop_duplicates(PLACE)
    pairs = convolutional.merge(recurrent, on=PLACE, suffixes=("", "_recurrent"))
    return pairs.sort_values(PLACE, ignore_index=True)


def _table(pairs: pd.DataFrame, **ratios: pd.Series) -> list[dict[str, Any]]:
    names = ["task", "batch", "T", "implementation", "convolutional", "recurrent"]
    columns = [*PLACE, "implementation", "model_label", "model_label_recurrent"]
    shown = pairs[columns].set_axis(names, axis=1)
    return rows_of(shown.assign(**{f"{what}, ratio": ratio for what, ratio in ratios.items()}))


def _where(pairs: pd.DataFrame, device: str) -> str:
    """Implementation, device, batch sizes and lengths of these pairs."""
    if pairs.empty:
        return how(pairs, device)
    batches = listed(pairs["batch"]).replace(", ", " and ")
    return f"{how(pairs, device)}, batch {batches}, T = {span(pairs['T'])}"


def training_efficiency(timed: pd.DataFrame, device: str) -> Verdict:
    speed = "train_steps_per_s"
    pairs = pairs_of(timed, speed, highest=True)
    pairs = pairs[pairs["T"] >= LONG]
    ratios = pairs[speed] / pairs[f"{speed}_recurrent"]
    far_more, others = (
        [
            f"{row['task_label']} at T = {row['T']:,} (batch {row['batch']})"
            for row in rows_of(chosen)
        ]
        for chosen in (pairs[ratios >= FAR_MORE], pairs[ratios < FAR_MORE])
    )
    return Verdict(
        key="e",
        claim="Convolutional training is far more efficient.",
        verdict=decided(far_more, others) if len(pairs) >= FEWEST_RATIOS else NOT_ENOUGH,
        sentence=f"{_where(pairs, device)}: {weighed('cell', far_more, others)}",
        table=_table(pairs, **{"steps a second": ratios}),
        figures=("throughput_vs_length",),
    )


def step_efficiency(timed: pd.DataFrame, device: str) -> Verdict:
    pairs = pairs_of(timed, "step_ms", highest=False)
    pairs = pairs[pairs["batch"] == 1]
    step = pairs["step_ms_recurrent"]
    ratios = pairs["step_ms"] / step
    answer: Answer = "holds when"
    if len(pairs) < FEWEST_RATIOS:
        answer = NOT_ENOUGH
    elif (ratios > INEFFICIENT).mean() >= MOST_CELLS:
        answer = "holds"
    elif (ratios <= INEFFICIENT).all() or (ratios <= ON_A_PAR).mean() >= MOST_CELLS:
        answer = "fails"
    sentence = "no convolutional network that sees T steps was timed beside a recurrent one"
    if len(pairs):
        sentence = (
            f"{_where(pairs, device)}: a convolutional step takes {span(ratios)} times as long as "
            f"a recurrent one (median {ratios.median():.2g})"
        )
    calls = pairs["call_ms"] / pairs["call_ms_recurrent"]
    return Verdict(
        key="f",
        claim="Convolutional step-by-step inference is inefficient.",
        verdict=answer,
        sentence=sentence,
        table=_table(
            pairs,
            **{
                "steps": ratios,
                **({"single calls from Python": calls} if calls.notna().any() else {}),
                "PyTorch's modules": pairs["plain_step_ms"] / pairs["plain_step_ms_recurrent"],
                "field read again": pairs["window_ms"] / step,
            },
        ),
        figures=("latency_vs_length",),
    )
