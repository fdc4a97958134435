"""Which figures a report has: frames → calls that draw them, by the figures' names."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from bench.core.records import Record
from bench.report import choices, cost, figures, findings, findings_figures, generation_figures
from bench.report.facets import Style
from bench.report.pictures import Drawing
from bench.report.tables import Labels

MOST_NAME_BYTES = 100
"""Of what a figure is of, in its file name."""
FINDINGS = (
    *("variants", "gradients", "influence", "fields", "cliff", "beyond", "rate_sensitivity"),
    "likelihood",
)
"""Names of figures that have no pattern."""


def of_runs(
    runs: pd.DataFrame,
    scores: pd.DataFrame,
    records: Sequence[Record],
    labels: Labels,
    style: Style,
) -> dict[str, Drawing]:
    """Scores and learning curves of the comparison itself; `records` of these runs."""
    drawn: dict[str, Drawing] = {}
    if len(scores):
        scores = _with_family(scores, runs)
        drawn["score_vs_length"] = partial(
            figures.score_against_length, scores, _thresholds(runs), style
        )
        if "solved" in scores and scores["solved"].notna().any():
            drawn["solved_vs_length"] = partial(figures.solved_share, scores, style)
    curves = findings.learning(records, labels)
    for task, of_task in curves.groupby("task", sort=False) if len(curves) else ():
        drawn[f"learning_{file_name(str(task))}"] = partial(figures.learning_figure, of_task, style)
    return drawn


def of_findings(
    runs: pd.DataFrame,
    variants: pd.DataFrame,
    cliff: pd.DataFrame,
    beyond: pd.DataFrame,
    records: Sequence[Record],
    labels: Labels,
    style: Style,
) -> dict[str, Drawing]:
    """What long dependencies do to a network, and what it depends on.

    `records`: of networks whose receptive field is not cut short.
    """
    solved_at = _thresholds(runs)
    by_depth = findings.field_by_depth()
    drawn: dict[str, Drawing] = {
        "field_vs_depth": partial(findings_figures.field_by_depth_figure, by_depth)
    }
    if len(variants) and (variants["model"].str.contains(" ")).any():
        drawn["variants"] = partial(
            findings_figures.variants_figure, _with_family(variants, runs), solved_at, style
        )
    gradients = findings.gradients(records, labels)
    if len(gradients):
        influence = findings.influence(records, labels)
        whole = findings.fields(records, labels)
        drawn["gradients"] = partial(findings_figures.gradients_figure, gradients, style)
        drawn["influence"] = partial(findings_figures.influence_figure, influence, whole, style)
        drawn["fields"] = partial(findings_figures.fields_figure, whole, style)
    if len(cliff):
        drawn["cliff"] = partial(findings_figures.cliff_figure, cliff, solved_at, style)
    if len(beyond):
        drawn["beyond"] = partial(findings_figures.beyond_figure, beyond, solved_at, style)
    return drawn


def of_rates(runs: pd.DataFrame, sensitivity: pd.DataFrame, style: Style) -> dict[str, Drawing]:
    """Of the tasks and models that are in the report."""
    if len(sensitivity):
        planned = sensitivity["task"].isin(runs["task_name"])
        sensitivity = sensitivity[planned & sensitivity["model"].isin(runs["model"])]
    if sensitivity.empty:
        return {}
    chance, solved_at = _known(runs, "task_name", "chance"), _thresholds(runs, "task_name")
    return {
        "rate_sensitivity": partial(
            findings_figures.rate_sensitivity_figure, sensitivity, chance, solved_at, style
        )
    }


def of_costs(timed: pd.DataFrame, reached: pd.DataFrame, style: Style) -> dict[str, Drawing]:
    """What was timed by itself, and what is paid for what is remembered."""
    drawn: dict[str, Drawing] = {}
    for name, columns, axis_label in (
        (
            "throughput",
            {"train_steps_per_s": "training", "forward_steps_per_s": "whole sequences"},
            "steps read per second",
        ),
        (
            "memory",
            {"train_MB": "training", "forward_MB": "whole sequences"},
            "peak memory (MB)",
        ),
    ):
        frame = cost.by_length(timed, columns)
        if len(frame) and (frame["value"] > 0).any():
            frame = frame[frame["value"] > 0]
            drawn[f"{name}_vs_length"] = partial(
                figures.cost_against_length, frame, "value", axis_label, style
            )
    steps = cost.steps_by_length(timed)
    if len(steps):
        again = {
            f"{model}{cost.AGAIN}": {**look, "linestyle": (0, (1, 2)), "alpha": 0.6}
            for model, look in style.items()
        }
        drawn["latency_vs_length"] = partial(
            figures.cost_against_length, steps, "value", "one step (µs)", {**style, **again}
        )
    if len(reached):
        drawn["horizon_vs_cost"] = partial(figures.horizon_against_cost, reached, style)
    return drawn


def of_run_costs(runs: pd.DataFrame, style: Style) -> dict[str, Drawing]:
    """What the runs themselves took."""
    found = choices.run_cost(runs)
    if found.empty:
        return {}
    found = _with_family(found, runs)
    return {
        f"{column}_vs_length": partial(
            figures.cost_against_length, found, column, axis_label, style
        )
        for column, axis_label in (
            ("update_ms", "one training step (ms)"),
            ("answer_ms", "one sequence alone (ms)"),
        )
        if found[column].notna().any()
    }


def of_generation(
    likelihood: pd.DataFrame, sampling: pd.DataFrame, style: Style
) -> dict[str, Drawing]:
    """Likelihoods beside predictors without a network, and what a sample costs."""
    drawn: dict[str, Drawing] = {}
    if len(likelihood):
        drawn["likelihood"] = partial(generation_figures.likelihood_figure, likelihood, style)
    if len(sampling):
        drawn["sampling_vs_length"] = partial(generation_figures.sampling_figure, sampling, style)
    return drawn


def _thresholds(runs: pd.DataFrame, by: str = "task") -> dict[str, float]:
    """Task → the score that counts as solved."""
    return _known(runs, by, "solved_at")


def _known(runs: pd.DataFrame, by: str, column: str) -> dict[str, float]:
    if column not in runs:
        return {}
    known = runs.dropna(subset=[column])
    return dict(zip(known[by], known[column], strict=True))


def _with_family(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    families = dict(zip(runs["model"], runs["family"], strict=True))
    return frame.assign(family=frame["model"].map(families))


def file_name(words: str) -> str:
    """As part of a file name or an address; what is too long for a name ends in a digest of it."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in words).strip("_")
    if len(plain.encode()) <= MOST_NAME_BYTES:
        return plain
    digest = hashlib.sha256(words.encode()).hexdigest()[:8]
    return f"{plain.encode()[: MOST_NAME_BYTES - 9].decode(errors='ignore')}_{digest}"


def forget_old(folder: Path, kept: Mapping[str, object]) -> None:
    """Remove figures of an earlier report that this one does not have."""
    names = ["*_vs_*", "learning_*", *FINDINGS]
    for old in itertools.chain.from_iterable(folder.glob(f"{name}.*") for name in names):
        if old.suffix in (".png", ".svg") and old.stem not in kept:
            old.unlink(missing_ok=True)  # another bench may be at it
