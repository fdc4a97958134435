"""Claims on cost: (e) training and (f) a step of a stream, for each device and implementation."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.core import wording
from bench.core.wording import counted
from bench.report.claims.verdict import LONG, Verdict, answered
from bench.report.frame import numbers, rows_of, span
from bench.report.times import how, implementation, implementations, plain, without_calls

FAR_MORE = 2.0
"""Smallest ratio of throughputs that counts as far more efficient training."""
INEFFICIENT = 2.0
"""A step is inefficient above this multiple of a recurrent step."""
MOST_RATIOS = 0.9
"""Share of the ratios that must agree with a claim."""
FEWEST_RATIOS = 3
"""Smallest number of ratios of times that counts as evidence."""

PLACE = ["task_label", "batch", "T"]


def speed_verdicts(timed: pd.DataFrame, device: str) -> Iterator[Verdict]:
    """Claims (e) and (f) for every implementation with times; the fastest has the plain keys.

    Each claim names its implementation and device. Variants of a model are left out, so that a
    family with more of them has no advantage.
    """
    for judge, key in ((training_efficiency, "e"), (step_efficiency, "f")):
        found = []
        for i, rows in enumerate(implementations(plain(timed))):
            verdict = judge(rows, device, key if i == 0 else f"{key}{i + 1}")
            if i == 0 or verdict.verdict != "not tested":
                found.append((verdict, implementation(rows)))
        for verdict, made_with in found:
            scope = ", ".join(filter(None, (made_with, device)))
            yield replace(verdict, claim=f"{verdict.claim.removesuffix('.')} ({scope}).")


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
    return rows_of(shown.assign(**ratios))


def _per_batch(pairs: pd.DataFrame, ratios: pd.Series, agrees: pd.Series) -> list[str]:
    """How many ratios of each batch size agree, and their range."""
    return [
        f"{int(agrees[rows.index].sum())} of {counted(len(rows), 'case')} with batch {size} "
        f"(ratio {span(ratios[rows.index])})"
        for size, rows in pairs.groupby("batch")
    ]


def _verdict(
    key: str, claim: str, ratios: pd.Series, agrees: pd.Series, said: str, **shown: Any
) -> Verdict:
    """The verdict on a claim that most of these ratios must agree with."""
    enough = len(ratios) >= FEWEST_RATIOS
    most = enough and bool(agrees.mean() >= MOST_RATIOS)
    if 0 < len(ratios) < FEWEST_RATIOS:
        said = f"missing: {counted(FEWEST_RATIOS - len(ratios), 'more ratio')} of times; {said}"
    word = answered(most, enough and not most, len(ratios) > 0)
    return Verdict(key=key, claim=claim, verdict=word, sentence=said, **shown)


def training_efficiency(timed: pd.DataFrame, device: str, key: str = "e") -> Verdict:
    speed = "train_steps_per_s"
    pairs = pairs_of(timed, speed, highest=True)
    pairs = pairs[pairs["T"] >= LONG]
    ratios = pairs[speed] / pairs[f"{speed}_recurrent"]
    agrees = ratios >= FAR_MORE
    said = f"no two networks were timed in training at T ≥ {LONG}"
    if len(pairs):
        cases = wording.listed(_per_batch(pairs, ratios, agrees), 9, "size")
        said = (
            f"{how(pairs, device)}, T = {span(pairs['T'])}: convolutional training is at least "
            f"twice as fast in {cases}"
        )
    return _verdict(
        key,
        "Convolutional training is far more efficient.",
        ratios,
        agrees,
        said,
        table=_table(pairs, **{"training throughput, convolutional / recurrent": ratios}),
        figure="throughput_vs_length",
    )


def step_efficiency(timed: pd.DataFrame, device: str, key: str = "f") -> Verdict:
    """The call from Python is not part of a step; times that include it conclude nothing."""
    pairs = pairs_of(without_calls(timed), "step_ms", highest=False)
    pairs = pairs[pairs["batch"] == 1]
    step = pairs["step_ms_recurrent"]
    ratios = pairs["step_ms"] / step
    said = "no times of a step without the call from Python"
    if len(pairs):
        said = (
            f"{how(pairs, device)}, batch 1, T = {span(pairs['T'])}: a convolutional step takes "
            f"{span(ratios)} times as long as a recurrent one (median {ratios.median():.2g})"
        )
    states = numbers(pairs["state_bytes"]) / numbers(pairs["state_bytes_recurrent"])
    if states.notna().any():
        said += f", and its state has {span(states.dropna())} times the bytes"
    return _verdict(
        key,
        "Convolutional step-by-step inference is inefficient.",
        ratios,
        ratios > INEFFICIENT,
        said,
        table=_table(
            pairs,
            **{
                "time of a step, convolutional / recurrent": ratios,
                "state of a stream, convolutional / recurrent": states,
                "the same with PyTorch's modules": pairs["plain_step_ms"]
                / pairs["plain_step_ms_recurrent"],
                "convolution over its whole field / recurrent step": pairs["window_ms"] / step,
            },
        ),
        figure="latency_vs_length",
    )
