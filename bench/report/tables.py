"""Records → frames, a function a table.

The rule for what went wrong: a run that failed counts as not solved and scores at chance, one that
diverged counts as it tested, one that was skipped is listed and not averaged, and so is one that
has not been made. Each is in the table of problems, so that none drops silently out of a mean.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.core.errors import one_line
from bench.core.intervals import Interval, mean_interval, mean_intervals, wilson
from bench.core.records import Outcome, Record, is_share
from bench.core.spec import Spec
from bench.core.store import Damaged
from bench.plan.grid import task_of
from bench.plan.rates import Rates, Tuned, find
from bench.report.horizon import Horizon, horizon
from models import model_class

Labels = Mapping[str, tuple[str, str]]
"""Spec id → label of its task and of its model."""
Thresholds = Mapping[str, float | None]
"""Spec id → the score that counts as solved; None: the task has no horizon."""

MOST_COLUMNS = 6
COUNTED = ("ok", "diverged", "failed")
ROW = ["task", "model", "T"]


def runs_frame(
    specs: Sequence[Spec], records: Sequence[Record], labels: Labels, thresholds: Thresholds
) -> pd.DataFrame:
    """One row a planned run, with what is known of it.

    What counts as solved is the task's own, as it is now: no record has to be made again where a
    threshold is moved.
    """
    found = {record.spec.id: record for record in records}
    return pd.DataFrame(
        [_run(spec, found.get(spec.id), *labels[spec.id], thresholds[spec.id]) for spec in specs]
    )


def _run(
    spec: Spec, record: Record | None, task: str, model: str, solved_at: float | None
) -> dict[str, object]:
    training = spec.training
    row: dict[str, object] = {
        "task": task,
        "model": model,
        "T": spec.length,
        "seed": spec.seed,
        "task_name": spec.task.name,
        "model_name": spec.model.name,
        "family": model_class(spec.model.name).family,
        "reach": task_of(spec).signature.reach,
        "status": "missing" if record is None else record.status,
        "error": None if record is None else record.error,
        "budget": spec.param_budget,
        "optimizer": training.optimizer,
        "rate": training.learning_rate,
        "batch": training.batch_size,
        "max_steps": training.max_steps,
        "id": spec.id,
        "score": None,
        "solved": None,
    }
    outcome = None if record is None else record.outcome
    if record is not None and record.status == "failed":
        row["solved"] = False
    if outcome is not None:
        row |= {
            "score": outcome.test_score,
            "score_name": outcome.score.name,
            "unit": outcome.score.said_unit,
            "chance": outcome.score.chance,
            "solved_at": solved_at,
            "solved": None
            if solved_at is None
            else outcome.score.reaches(outcome.test_score, solved_at),
            "parameters": outcome.num_parameters,
            "receptive_field": outcome.receptive_field,
            "measured_field": outcome.probes.measured_field if outcome.probes else None,
            "effective_field": outcome.probes.trained.effective_field if outcome.probes else None,
            "seen_steps": outcome.probes.seen_steps if outcome.probes else None,
            "steps": outcome.steps,
            "solved_after": solved_after(outcome, solved_at),
            "step_ms": 1e3 * outcome.train_seconds / outcome.steps if outcome.steps else None,
            "total_s": outcome.total_seconds,
            "latency_ms": outcome.latency.sequence_ms if outcome.latency else None,
            "latency_us": outcome.latency.step_us if outcome.latency else None,
        }
    return row


def solved_after(outcome: Outcome, solved_at: float | None) -> int | None:
    """Updates before the first validation whose score reached `solved_at`; None: it never did."""
    if solved_at is None:
        return None
    score = outcome.score
    values = ((point.step, point.values[score.name]) for point in outcome.curve)
    return next(
        (step for step, value in values if value is not None and score.reaches(value, solved_at)),
        None,
    )


def counted(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that enter a mean, failed ones at their task's chance level."""
    if "score_name" not in runs:
        return runs.iloc[:0]
    runs = runs[runs["status"].isin(COUNTED)].copy()
    for column in ("chance", "solved_at", "score_name", "unit"):
        known = runs.groupby("task")[column].transform("first")
        runs[column] = runs[column].where(runs[column].notna(), known)
    runs["score"] = pd.to_numeric(runs["score"]).fillna(runs["chance"])
    return runs[runs["score"].notna()]


def _groups(runs: pd.DataFrame, by: list[str]) -> list[tuple[tuple, pd.DataFrame]]:
    return [(key, group) for key, group in runs.groupby(by, sort=False)]


def by_length(frame: pd.DataFrame) -> pd.DataFrame:
    """Tasks and models as planned, lengths rising."""
    if frame.empty:
        return frame
    order = {task: i for i, task in enumerate(dict.fromkeys(frame["task"]))}
    models = {model: i for i, model in enumerate(dict.fromkeys(frame["model"]))}
    keys = [frame["task"].map(order), frame["T"], frame["model"].map(models)]
    return frame.iloc[pd.concat(keys, axis=1, keys=range(3)).sort_values([0, 1, 2]).index]


def scores(runs: pd.DataFrame) -> pd.DataFrame:
    """The score a task, length and model: mean, its interval and range over seeds, who solves."""
    rows = []
    for (task, model, length), group in _groups(counted(runs), ROW):
        unit = group["unit"].iloc[0]
        mean_low, mean_high = ends(mean_interval(group["score"]), 0.0, unit)
        row = {
            "task": task,
            "T": length,
            "model": model,
            "score": group["score_name"].iloc[0],
            "unit": unit,
            "mean": group["score"].mean(),
            "min": group["score"].min(),
            "max": group["score"].max(),
            "mean_low": mean_low,
            "mean_high": mean_high,
            "chance": group["chance"].iloc[0],
            "seeds": len(group),
        }
        if group["solved_at"].notna().any():
            num_solved = int((group["solved"] == True).sum())  # noqa: E712  None is not False
            low, high = wilson(num_solved, len(group))
            row |= {"solved": num_solved, "share_low": low, "share_high": high}
        rows.append(row)
    return by_length(pd.DataFrame(rows))


def ends(found: Interval, least: float, unit: str) -> tuple[float | None, float | None]:
    """Of an interval of this unit; one of shares is neither below `least` nor above 1."""
    if found.low is None or not is_share(unit):
        return found.low, found.high
    return max(found.low, least), min(found.high, 1.0)


def metrics(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """Every test metric, mean and range over seeds, beside the value without memory."""
    rows = [
        {
            "task": labels[record.spec.id][0],
            "T": record.spec.length,
            "model": labels[record.spec.id][1],
            "metric": metric.name,
            "unit": metric.unit,
            "better": "higher" if metric.higher_is_better else "lower",
            "value": record.outcome.test[metric.name],
            "chance": metric.chance,
        }
        for record in records
        if record.outcome is not None
        for metric in record.outcome.metrics
    ]
    if not rows:
        return pd.DataFrame()
    keys = ["task", "T", "model", "metric", "unit", "better"]
    return by_length(over_seeds(pd.DataFrame(rows), keys))


def over_seeds(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean and range of `value` a group of the same keys, its `chance` and how many there are."""
    grouped = rows.groupby(keys, sort=False)
    return grouped.agg(
        mean=("value", "mean"),
        min=("value", "min"),
        max=("value", "max"),
        chance=("chance", "first"),
        seeds=("value", "size"),
    ).reset_index()


def horizons(runs: pd.DataFrame) -> dict[tuple[str, str], Horizon]:
    """(task, model) → horizon, for the tasks that have one."""
    found = {}
    for (task, model), group in _groups(counted(runs), ["task", "model"]):
        if group["solved_at"].notna().any():
            solved = {
                length: dict(zip(runs["seed"], runs["solved"] == True, strict=True))  # noqa: E712
                for length, runs in group.groupby("T")
            }
            found[task, model] = horizon(solved)
    return found


def horizon_table(found: Mapping[tuple[str, str], Horizon]) -> pd.DataFrame:
    """A row a task, a column a model; a row each where the models are many."""
    tasks = list(dict.fromkeys(task for task, _ in found))
    models = list(dict.fromkeys(model for _, model in found))
    if len(models) > MOST_COLUMNS:
        rows = [
            {
                "task": task,
                "model": model,
                "horizon": at.reached,
                "low": at.low,
                "high": at.high,
                "seeds": f"{at.num_solved}/{at.num_seeds}",
            }
            for (task, model), at in found.items()
        ]
        return pd.DataFrame(rows, dtype=object)
    return pd.DataFrame(
        [
            {"task": task}
            | {model: str(found[task, model]) for model in models if (task, model) in found}
            for task in tasks
        ]
    )


def paired_differences(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a task, T and pair of a convolutional network `a` and a recurrent one `b`.

    On the seeds that both have, whose batches are the same: the mean of a's score minus b's with
    Student's interval, and how many seeds only one of the two solves.
    """
    runs = counted(runs)
    if runs.empty:
        return pd.DataFrame()
    known = runs[[*ROW, "seed", "score", "unit", "solved", "solved_at"]]
    pairs = known[runs["family"] == "convolutional"].merge(
        known[runs["family"] == "recurrent"], on=["task", "T", "seed"], suffixes=("_a", "_b")
    )
    if pairs.empty:
        return pd.DataFrame()
    # A pair's seeds one after the other; tasks and pairs as planned, lengths rising.
    pair = pairs.groupby(["task", "T", "model_a", "model_b"], sort=False).ngroup()
    order = np.lexsort((pair, pairs["T"], pd.factorize(pairs["task"])[0]))
    pairs, pair = pairs.iloc[order], pair.iloc[order]
    starts = np.flatnonzero(np.diff(pair.to_numpy(), prepend=-1))
    sizes = np.diff(starts, append=len(pairs))
    difference = (pairs["score_a"] - pairs["score_b"]).to_numpy()
    mean, low, high = mean_intervals(difference, sizes)
    first = pairs.iloc[starts]
    shares = first["unit_a"].map(is_share).to_numpy()
    table = pd.DataFrame(
        {
            "task": first["task"],
            "T": first["T"],
            "a": first["model_a"],
            "b": first["model_b"],
            "difference": mean,
            "low": np.where(shares, np.maximum(low, -1.0), low),
            "high": np.where(shares, np.minimum(high, 1.0), high),
            "seeds": sizes,
        }
    )
    judged = np.logical_or.reduceat(pairs["solved_at_a"].notna().to_numpy(), starts)
    if judged.any():
        by_a, by_b = ((pairs[f"solved_{of}"] == True).to_numpy() for of in "ab")  # noqa: E712
        for column, alone in (("only_a", by_a & ~by_b), ("only_b", by_b & ~by_a)):
            count = np.add.reduceat(alone, starts, dtype=int)
            table[column] = count if judged.all() else np.where(judged, count, np.nan)
    return table.reset_index(drop=True)


def settings(runs: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    """How each row was chosen and what it took, the choice of its learning rate included."""
    rows = []
    for (task, model), group in _groups(runs, ["task", "model"]):
        made = group[group["status"].isin(("ok", "diverged"))]
        used = made["steps"].median() if len(made) else None
        first = group.iloc[0]
        tuned = find(rates, first["task_name"], model, first["model_name"])
        own = model in rates.get(first["task_name"], {})
        if tuned is not None and set(group["rate"]) != {tuned.rate}:
            tuned = None
        rows.append(
            {
                "task": task,
                "model": model,
                "optimizer": listed(group["optimizer"]),
                "learning_rate": listed(group["rate"]),
                "chosen_from": _grid(tuned, own, first["model_name"]),
                "validation_score": None if tuned is None else tuned.chosen.score,
                "tuning_solved": None
                if tuned is None
                else f"{tuned.chosen.num_solved}/{tuned.chosen.num_runs}",
                "tuning_hours": tuned.seconds / 3600 if tuned is not None and own else None,
                "batch": listed(group["batch"]),
                "parameters_asked": listed(group["budget"]),
                "parameters": _range(made["parameters"]) if len(made) else None,
                "updates_allowed": listed(group["max_steps"]),
                "updates_used": used,
                "lengths": listed(group["T"]),
                "seeds": group["seed"].nunique(),
                "hours": made["total_s"].sum() / 3600 if len(made) else 0.0,
            }
        )
    return pd.DataFrame(rows)


def _grid(tuned: Tuned | None, own: bool, plain: str) -> str:
    """The rates tried; a variant that has no sweep of its own takes the plain model's rate."""
    if tuned is None:
        return "set by the profile, or the middle of all tuned rates"
    tried = ", ".join(f"{each.rate:g}" for each in tuned.tried)
    return tried if own else f"the rate of {plain}"


def _range(column: pd.Series) -> str:
    low, high = column.min(), column.max()
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def listed(column: pd.Series) -> str:
    """The values that are there, rising."""
    return ", ".join(
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in sorted(column.dropna().unique())
    )


def problems(
    runs: pd.DataFrame,
    unsupported: Sequence[tuple[str, str, str]],
    damaged: Sequence[Damaged],
) -> pd.DataFrame:
    """Whatever was planned and did not end well, with the reason."""
    wrong = runs[runs["status"] != "ok"]
    rows = []
    for (status, task, model, error), group in _groups(
        wrong.assign(error=wrong["error"].fillna("not run yet")),
        ["status", "task", "model", "error"],
    ):
        rows.append(
            {
                "what": status,
                "task": task,
                "model": model,
                "T": listed(group["T"]),
                "runs": len(group),
                "reason": error,
            }
        )
    for task, model, reason in unsupported:
        rows.append({"what": "not supported", "task": task, "model": model, "reason": reason})
    for file in damaged:
        name = one_line(file.path.name)
        rows.append({"what": "no record", "task": name, "reason": file.reason})
    columns = ["what", "task", "model", "T", "runs", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(object)


def environment(records: Sequence[Record]) -> pd.DataFrame:
    """The machines, versions and commits the records come from, with their counts of runs."""
    rows = [{**record.machine.model_dump(), "backend": record.backend.name} for record in records]
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows).fillna("–")
    frame["memory"] = (frame.pop("memory_bytes") / 2**30).round().astype(int).astype(str) + " GiB"
    return frame.value_counts(sort=False).rename("runs").reset_index()
