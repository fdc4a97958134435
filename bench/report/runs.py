"""Training records → the frame of runs, and the means over seeds that other tables build on.

How runs that did not end well are counted: a failed run counts as not solved and scores at chance;
a diverged run counts with the score of its test; skipped and missing runs are left out of means.
The table of problems lists all of them. Seeds that are not run because the others decide the cell
are left out too; they are no problem.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.core.decision import Decision
from bench.core.ending import ending
from bench.core.intervals import Interval, mean_interval, wilson
from bench.core.records import Outcome, Record, is_share
from bench.core.spec import Spec, Training
from bench.plan.grid import task_of
from bench.plan.labels import Label
from bench.report.frame import (
    IDENTITY,
    INTERVAL,
    NETWORK,
    ROW,
    SCORE,
    SOLVED,
    SUMMARY,
    Column,
    Table,
    by_length,
    first,
    groups,
    is_true,
    numbers,
    typed,
    within,
)
from bench.report.horizon import Horizon, Rung, horizon, long_budget
from tasks import names as task_names

Labels = Mapping[str, Label]
"""Spec id → what its task and model are called."""
Thresholds = Mapping[str, float | None]
"""Spec id → the score that counts as solved; None: the task has no horizon."""

Cell = tuple[Any, ...]
"""One task, length and model: the values of the columns `ROW`."""

COUNTED = ("ok", "diverged", "failed")
NOT_NEEDED, NOT_CLIMBED = "not needed", "not climbed"
"""Statuses of runs that are not made: the other seeds decide the cell; the model did not solve the
two lengths below."""
NO_PROBLEM = ("ok", NOT_NEEDED, NOT_CLIMBED)
TIMES = ("step_ms", "total_s", "latency_ms", "latency_us")
"""Columns of a run whose values depend on the device."""

PROTOCOL = Column("protocol", "count", "", "Version of the training loop.")
RUNS = (
    *IDENTITY,
    Column("seed", "count", "", "Seed of the initialisation and of the training stream."),
    Column("reach", "integer", "steps", "Number of last inputs, the present one included, that "
           "the answer may depend on."),
    Column("memory", "integer", "steps", "Number of last inputs that every network must use to "
           "solve the task."),
    Column("status", "text", "", "`ok`, `diverged`, `failed`, `skipped`, `missing`, `not needed` "
           "(the other seeds decide the cell) or `not climbed` (not run, since the model "
           "failed the two lengths below)."),
    Column("ended", "text", "", "`solved`, `improving`, `converged`, `at chance` or `diverged`; "
           "missing for a run that failed or was not made."),
    Column("stands", "flag", "", "Whether this run stands for its seed: of several budgets, the "
           "largest that was run."),
    Column("error", "text", "", "Why the run failed or was skipped, or how it diverged."),
    Column("budget", "integer", "parameters", "Parameters asked for."),
    Column("optimizer", "text", "", "Optimizer."),
    Column("rate", "number", "", "Learning rate."),
    Column("batch", "count", "sequences", "Sequences in a training batch."),
    Column("clip_norm", "number", "", "Largest norm of the gradient; missing: not clipped."),
    Column("cooldown", "number", "share", "Last share of the budget, in which the rate falls."),
    Column("max_steps", "count", "updates", "Updates allowed."),
    PROTOCOL,
    Column("backend", "text", "", "Device and arithmetic that made the record."),
    Column("commit", "text", "", "Commit of the code that made the record."),
    Column("id", "text", "", "Id of the spec, and of its record."),
    Column("score", "number", "see `unit`", "Score on the test stream."),
    Column("solved", "flag", "", "Whether the score reaches `solved_at`."),
    Column("score_name", "text", "", "Name of the score."),
    Column("unit", "text", "", "Unit of the score."),
    Column("chance", "number", "see `unit`", "Score of the best predictor without memory."),
    Column("solved_at", "number", "see `unit`", "The score that counts as solved."),
    Column("parameters", "integer", "parameters", "Parameters of the network."),
    Column("receptive_field", "integer", "steps", "By formula. Missing if it is unlimited."),
    Column("measured_field", "integer", "steps", "Receptive field by perturbing the inputs."),
    Column("effective_field", "integer", "steps", "Last inputs with 95% of the squared gradient."),
    Column("seen_steps", "integer", "steps", "Length of the sequences that were perturbed."),
    Column("steps", "integer", "updates", "Updates made."),
    Column("solved_after", "integer", "updates", "Updates until a validation first solved it."),
    Column("step_ms", "number", "ms", "Mean time of an update."),
    Column("total_s", "number", "s", "Time of the whole run."),
    Column("latency_ms", "number", "ms", "Time to read one sequence alone and to answer."),
    Column("latency_us", "number", "µs", "Time of one further step by `forward`."),
)  # fmt: skip
SCORES = Table(
    name="scores",
    columns=(
        *IDENTITY,
        *SCORE,
        *SUMMARY,
        *INTERVAL,
        *SOLVED,
        Column("decision", "text", "runs", "Seeds that solve the task, of those that ran. "
               "`decided`: no further seed was needed. `open`: the seeds do not decide yet."),
        Column("improving", "count", "runs", "Seeds that do not solve the task and were improving "
               "when they ended."),
    ),
    caption="Mean over the seeds that ran, with its 95% interval (Student's t) and range, and how "
    "many seeds solve the task. *Decided*: the seeds settle whether at least 80% of those planned "
    "solve the task, so that the others were not run. They are not averaged. On a ladder the "
    "number of seeds depends on their scores, so its cells have no intervals, also where all "
    "seeds ran. In other cells, the interval of the share of solving seeds is Wilson's (95%).",
)  # fmt: skip


def runs_frame(
    specs: Sequence[Spec], records: Sequence[Record], labels: Labels, thresholds: Thresholds
) -> pd.DataFrame:
    """One row per planned run, with the fields of its task and model as `task_…` and `model_…`.

    Whether a run solves its task is decided here, by the task's present threshold, so that a
    changed threshold does not require new records. So is whether a run stands for its seed, and
    whether a missing run is needed at all.
    """
    found, known = {record.spec.id: record for record in records}, set(task_names())
    rows = []
    for spec in specs:
        row = _run(spec, found.get(spec.id), labels[spec.id], thresholds[spec.id])
        task = task_of(spec) if spec.task.name in known else None
        row["reach"] = task.signature.reach if task else None
        rows.append({**row, "memory": task.needed_memory if task else None})
    frame = _judged(typed(RUNS, rows))
    fields = pd.DataFrame([_fields(spec) for spec in specs], index=frame.index)
    fields = fields.drop(columns=[name for name in fields if name in frame.columns])
    return pd.concat([frame, fields.convert_dtypes()], axis=1)


def key(label: Label, length: int) -> dict[str, Any]:
    """The identity columns of a row."""
    return {name: length if name == "T" else getattr(label, name) for name in ROW}


def _fields(spec: Spec) -> dict[str, Any]:
    """The fields of task and model; a value that is neither a number nor a text becomes text."""
    return {
        f"{kind}_{name}": value if isinstance(value, bool | int | float | str) else str(value)
        for kind, part in (("task", spec.task), ("model", spec.model))
        for name, value in part.fields.items()
        if (kind, name) != ("task", "length") and value is not None
    }


def _run(
    spec: Spec, record: Record | None, label: Label, solved_at: float | None
) -> dict[str, object]:
    training = spec.training
    row: dict[str, object] = {
        **key(label, spec.length),
        "seed": spec.seed,
        "status": "missing",
        "budget": spec.param_budget,
        "optimizer": training.optimizer,
        "rate": training.learning_rate,
        "batch": training.batch_size,
        "clip_norm": training.clip_norm,
        "cooldown": training.cooldown,
        "max_steps": training.max_steps,
        "protocol": spec.protocol,
        "id": spec.id,
    }
    if record is not None:
        row |= {
            "status": record.status,
            "error": record.error,
            "backend": record.backend.name,
            "commit": record.machine.commit,
            "solved": False if record.status == "failed" else None,
        }
        if record.outcome is not None:
            row |= _outcome(record.outcome, training, solved_at)
    return row


def _judged(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `stands`, and with the status of the runs that are not needed."""
    made, budget = frame["status"].isin(COUNTED), frame["max_steps"]
    # A run that was made comes before all that were not, of which the smallest is planned next.
    ranked = frame.assign(made=made, rank=budget.where(made, -budget))
    ranked = ranked.sort_values(["made", "rank"], ascending=False, kind="stable")
    frame["stands"] = frame.index.isin(ranked.drop_duplicates([*ROW, "seed"]).index)
    frame["stands"] = frame["stands"].astype("boolean")
    found = decisions(standing(frame))
    decided = {cell for cell, decision in found.items() if decision.solved is not None}
    not_needed = (frame["status"] == "missing") & within(frame, decided, ROW)
    frame["status"] = frame["status"].mask(not_needed, NOT_NEEDED)
    return frame


def standing(runs: pd.DataFrame) -> pd.DataFrame:
    """One run per seed: of several budgets the largest that was run."""
    return runs[is_true(runs["stands"])]


def decisions(runs: pd.DataFrame) -> dict[Cell, Decision]:
    """What the seeds of each cell decide. Tasks without a threshold decide nothing."""
    made = runs["status"].isin(COUNTED)
    judged = runs["solved_at"].notna().groupby(runs["task_label"]).transform("any")
    # A frame without this column has no ladders.
    stops = runs.get("on_ladder", False)
    counts = runs.assign(made=made, solving=made & is_true(runs["solved"]), stops=stops)[judged]
    by_cell = counts.groupby(ROW, sort=False)
    found = by_cell.agg(
        solved=("solving", "sum"),
        run=("made", "sum"),
        all=("made", "size"),
        stops=("stops", "any"),
    )
    return {
        cell: Decision(
            num_solved=int(solved),
            num_failed=int(run - solved),
            num_seeds=int(number),
            stops=bool(stops),
        )
        for cell, solved, run, number, stops in found.itertuples(name=None)
    }


def _outcome(outcome: Outcome, training: Training, solved_at: float | None) -> dict[str, object]:
    score, probes, latency = outcome.score, outcome.probes, outcome.latency
    return {
        "score": outcome.test_score,
        "score_name": score.name,
        "unit": score.said_unit,
        "chance": score.chance,
        "solved_at": solved_at,
        "solved": None if solved_at is None else score.reaches(outcome.test_score, solved_at),
        "ended": ending(outcome, training, solved_at),
        "parameters": outcome.num_parameters,
        "receptive_field": outcome.receptive_field,
        "measured_field": probes.measured_field if probes else None,
        "effective_field": probes.trained.effective_field if probes else None,
        "seen_steps": probes.seen_steps if probes else None,
        "steps": outcome.steps,
        "solved_after": solved_after(outcome, solved_at),
        "step_ms": 1e3 * outcome.train_seconds / outcome.steps if outcome.steps else None,
        "total_s": outcome.total_seconds,
        "latency_ms": latency.sequence_ms if latency else None,
        "latency_us": latency.step_us if latency else None,
    }


def solved_after(outcome: Outcome, solved_at: float | None) -> int | None:
    """Updates before the first validation whose score reached `solved_at`; None: never."""
    return None if solved_at is None else outcome.updates_to(solved_at)


def counted(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that enter a mean; failed runs score at the chance level of their task."""
    runs = runs[runs["status"].isin(COUNTED)].copy()
    for column in ("chance", "solved_at", "score_name", "unit"):
        known = runs.groupby("task_label")[column].transform("first")
        runs[column] = runs[column].where(runs[column].notna(), known)
    runs["score"] = runs["score"].fillna(runs["chance"])
    return runs[runs["score"].notna()]


def outcomes(records: Sequence[Record]) -> Iterator[tuple[Record, Outcome]]:
    """The records that have an outcome."""
    for record in records:
        if record.outcome is not None:
            yield record, record.outcome


def scores(runs: pd.DataFrame) -> pd.DataFrame:
    """Per task, T and model: mean score, interval, range, and how many seeds solve the task.

    The runs are those that stand for their seed.
    """
    rows, found = [], decisions(runs)
    for cell, seeds in groups(counted(runs), ROW):
        unit, score = seeds["unit"].iloc[0], seeds["score"]
        mean_low, mean_high = ends(mean_interval(score.tolist()), 0.0, unit)
        decision = found.get(tuple(cell.values()))
        if decision is not None and not decision.is_complete:
            mean_low = mean_high = None
        share: tuple[float | None, float | None] = (None, None)
        if decision is not None and decision.is_complete:
            share = wilson(decision.num_solved, len(seeds))
        rows.append(
            {
                **cell,
                "score": seeds["score_name"].iloc[0],
                "unit": unit,
                "mean": score.mean(),
                "min": score.min(),
                "max": score.max(),
                "mean_low": mean_low,
                "mean_high": mean_high,
                "chance": seeds["chance"].iloc[0],
                "seeds": len(seeds),
                "solved": decision.num_solved if decision else None,
                "share_low": share[0],
                "share_high": share[1],
                "decision": str(decision) if decision else None,
                "improving": int((seeds["ended"] == "improving").sum()),
            }
        )
    return by_length(SCORES.of(rows))


def ends(found: Interval, least: float, unit: str) -> tuple[float | None, float | None]:
    """The ends of an interval; those of a share are cut off at `least` and at 1, bits at 0."""
    if found.low is None or found.high is None:
        return None, None
    if is_share(unit):
        return max(found.low, least), min(found.high, 1.0)
    return max(found.low, 0.0) if unit.startswith("bits") else found.low, found.high


def over_seeds(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean, range, chance and number of the values that share these keys."""
    return (
        rows.groupby(keys, sort=False)
        .agg(
            mean=("value", "mean"),
            min=("value", "min"),
            max=("value", "max"),
            chance=("chance", "first"),
            seeds=("value", "size"),
        )
        .reset_index()
    )


def horizons(runs: pd.DataFrame) -> list[tuple[dict[str, Any], Horizon]]:
    """The identity of each task and model, and its horizon, for the tasks that have one.

    The runs are those that stand for their seed.
    """
    improving = runs[runs["ended"] == "improving"].groupby(ROW).size()
    unsettled = runs[_unsettled(runs)].groupby(ROW).size()
    rungs: dict[Cell, dict[int, Rung]] = {}
    for cell, decision in decisions(runs).items():
        about = dict(zip(ROW, cell, strict=True))
        network = tuple(about[name] for name in NETWORK)
        rung = Rung(
            decision=decision,
            improving=int(improving.get(cell, 0)),
            unsettled=int(unsettled.get(cell, 0)),
        )
        rungs.setdefault(network, {})[int(about["T"])] = rung
    found = ((network, horizon(by_length)) for network, by_length in rungs.items())
    return [
        (dict(zip(NETWORK, network, strict=True)), far) for network, far in found if far is not None
    ]


def _unsettled(runs: pd.DataFrame) -> pd.Series:
    """Which runs do not solve their task, but may do so in another run."""
    unfinished = runs["ended"].isin(("improving", "diverged")) | (runs["status"] == "failed")
    short = runs["max_steps"] < runs["task_label"].map(long_budget)
    return runs["status"].isin(COUNTED) & ~is_true(runs["solved"]) & (unfinished | short)


def updates_to_solve(rows: pd.DataFrame) -> pd.Series:
    """Updates of each seed until a validation first solved the task; infinite if none did.

    A seed whose test fails after such a validation has a finite value. A seed whose test passes
    although no validation did counts all of its updates.
    """
    all_of_them = numbers(rows["steps"]).where(is_true(rows["solved"]), math.inf)
    return numbers(rows["solved_after"]).fillna(all_of_them)


def thresholds_of(runs: pd.DataFrame) -> dict[str, float]:
    """Task label → the score that counts as solved."""
    known = runs[runs["solved_at"].notna()]
    return {str(task): first(rows, "solved_at") for task, rows in known.groupby("task_label")}
