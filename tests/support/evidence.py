"""Invented evidence for the choice of a model."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.core.decision import Decision
from bench.core.intervals import mean_interval
from bench.report.claims.against import MORE_UPDATES
from bench.report.evidence import Cost, Evidence
from tasks import task_class
from tests.support.records import spec


def solving(
    model: str, length: int, updates: Sequence[int], *, task: str = "copy_memory", **cost: Any
) -> Evidence:
    """Five seeds that solve the task after these updates."""
    return _evidence(
        model,
        length,
        task,
        [1.0] * len(updates),
        state="solves",
        decision=Decision(num_solved=len(updates), num_failed=0, num_seeds=len(updates)),
        needed=tuple(map(float, updates)),
        updates=float(median(updates)),
        cost=Cost(**cost),
    )


def failing(
    model: str,
    length: int,
    *,
    allowed: int = 62_400,
    missing: tuple[str, ...] = (),
    only_updates: bool | None = None,
    task: str = "copy_memory",
    **cost: Any,
) -> Evidence:
    """Two seeds that do not solve the task within `allowed` updates; the cell is decided."""
    return _evidence(
        model,
        length,
        task,
        [0.2, 0.3],
        state="undecided" if missing else "does not",
        missing=missing,
        only_updates=missing == (MORE_UPDATES,) if only_updates is None else only_updates,
        decision=Decision(num_solved=0, num_failed=2, num_seeds=5),
        updates=math.inf,
        allowed=allowed,
        cost=Cost(**cost),
    )


def scoring(
    model: str,
    length: int,
    scores: Sequence[float],
    *,
    missing: tuple[str, ...] = (),
    task: str = "char_text",
    **cost: Any,
) -> Evidence:
    """Seeds of a task without a score that counts as solved, where lower is better."""
    return _evidence(
        model,
        length,
        task,
        scores,
        state="undecided",
        missing=missing,
        only_updates=True,
        decision=None,
        higher_is_better=False,
        allowed=2_000,
        cost=Cost(**cost),
    )


def _evidence(
    model: str, length: int, task: str, scores: Sequence[float], **fields: object
) -> Evidence:
    return Evidence(
        kind=task_class(task).kind,
        task=task,
        length=length,
        model=model,
        spec=spec(task=task, model=model.partition(" ")[0], length=length),
        score=mean_interval(scores),
        scores=tuple(scores),
        **fields,  # pyright: ignore
    )
