"""Rows of the frames of runs and times that verdicts are judged on, and the verdicts on them."""

from collections.abc import Mapping
from typing import Any

from bench.plan.rates import Rates, Tried, Tuned
from bench.report import claims
from bench.report.claims.verdict import Verdict
from bench.report.frame import typed
from bench.report.horizon import LONG_BUDGET
from bench.report.runs import RUNS
from bench.report.times import TIMED

FAMILIES = {"tcn": "convolutional", "cnn": "convolutional", "gru": "recurrent", "lstm": "recurrent"}
Rows = list[dict[str, Any]]


def cell(
    model: str,
    length: int,
    num_solved: int,
    num_run: int = 5,
    *,
    variant: str = "",
    task: str = "adding",
    num_seeds: int | None = None,
    ended: str = "converged",
    field: int | None = None,
    reach: int | None = None,
    updates: int = 100,
    statuses: tuple[str, ...] = (),
    **columns: Any,
) -> Rows:
    """Rows of the frame of runs: of the seeds that ran, the first solve; a convolution covers 2 T.

    The others ended as `ended`; `statuses` are those of the last of them. By default as many seeds
    were planned as ran, but at least five.
    """
    family = FAMILIES.get(model, "other")
    if field is None and family == "convolutional":
        field = 2 * length
    rows = []
    for seed in range(max(num_run, 5) if num_seeds is None else num_seeds):
        solved = seed < num_solved
        row = {
            **{"task": task, "task_variant": "", "task_label": task, "T": length},
            **{"model": model, "variant": variant, "family": family},
            "model_label": f"{model} {variant}".strip(),
            **{"seed": seed, "stands": True, "status": "missing"},
            "reach": length if reach is None else reach,
            "memory": length,
            **{"max_steps": LONG_BUDGET, "batch": 32, "protocol": 1, "rate": 0.01},
        }
        if seed < num_run:
            row |= {
                **{"status": "ok", "ended": "solved" if solved else ended},
                **{"score": 1.0 if solved else 0.1, "solved": solved},
                **{"score_name": "recall", "unit": "share", "chance": 0.1, "solved_at": 0.95},
                **{"parameters": 12_400, "receptive_field": field},
                **{"solved_after": updates if solved else None, "steps": LONG_BUDGET},
                **columns,
            }
        rows.append(row)
    for row, status in zip(reversed(rows[:num_run]), statuses, strict=False):
        row["status"] = status
        if status == "failed":
            row |= {"score": None, "solved": False, "solved_at": None, "ended": None}
    return rows


def tuned(rate: float = 0.01, grid: tuple[float, ...] = (0.003, 0.01, 0.03)) -> Tuned:
    tried = (Tried(rate=each, num_runs=2, num_solved=1, updates=1, seconds=1) for each in grid)
    return Tuned(rate=rate, tried=tuple(tried))


def judged(
    key: str,
    *cells: Rows,
    timed: Rows = (),  # pyright: ignore[reportArgumentType]
    rates: Rates | None = None,
    device: str = "one machine",
) -> Verdict:
    """The verdict on a claim; by default every model has a tuned rate inside its grid."""
    rows = [row for each in cells for row in each]
    by_task: dict[str, Mapping[str, Tuned]] = {}
    for row in rows:
        by_task[row["task"]] = {**by_task.get(row["task"], {}), row["model_label"]: tuned()}
    chosen = by_task if rates is None else rates
    found = claims.verdicts(typed(RUNS, rows), typed(TIMED, timed), chosen, device=device)
    (verdict,) = (each for each in found if each.key == key)
    assert verdict.sentence
    return verdict


def pair(
    length: int, conv: float, rec: float, *, task: str = "adding", batch: int = 64, **columns: Any
) -> Rows:
    """Two timed networks: `conv` and `rec` are their training speeds and steps in milliseconds."""
    both = {"task_label": task, "T": length, "batch": batch, "parameters": 12_400}
    both |= {"steps": length, "timings": 1, "implementation": "fastest", "protocol": 2}
    return [
        both
        | {"model_label": "tcn", "family": "convolutional", "receptive_field": 2 * length}
        | {"train_steps_per_s": conv, "step_ms": conv, "plain_step_ms": 6.0, "window_ms": 90.0}
        | {"call_ms": 9.0}
        | columns,
        both
        | {"model_label": "gru", "family": "recurrent"}
        | {"train_steps_per_s": rec, "step_ms": rec, "plain_step_ms": 2.0, "call_ms": 6.0},
    ]


def of_times(key: str, *pairs: Rows, device: str = "one machine") -> Verdict:
    return judged(key, timed=[row for each in pairs for row in each], device=device)
