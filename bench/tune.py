"""Chooses learning rates from the records of a sweep, on validation alone.

Rates stand on a ladder of half decades: …, 0.001, 0.003, 0.01, 0.03, … A choice at the edge of
its grid extends the grid by the next rung.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench.spec import Spec
from bench.store import Outcome, Record

MOST_RUNGS = 6
"""A grid that has grown to so many rates is not extended further."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The rate of a task and model, and what speaks for it."""

    task: str
    model: str
    rate: float
    grid: tuple[float, ...]
    num_solved: int
    """Runs whose best validation score reached `solved`."""
    num_runs: int
    """Over lengths and seeds."""
    score: float
    """Mean over runs of the best validation score."""
    steps: float
    """Mean updates of a run."""

    @property
    def at_edge(self) -> bool:
        return self.rate in (self.grid[0], self.grid[-1])


def choose(records: Sequence[Record]) -> list[Choice]:
    """For each task and model the rate that solves most runs.

    Among rates that solve every run the one that needs the fewest updates; between equals the one
    of the highest mean of the best validation scores. The test stream has no part in it.
    """
    groups: dict[tuple[str, str], dict[float, list[Record]]] = {}
    for record in records:
        pair = (record.spec.task.name, record.spec.model.name)
        rate = record.spec.training.learning_rate
        groups.setdefault(pair, {}).setdefault(rate, []).append(record)
    chosen = []
    for (task, model), by_rate in sorted(groups.items()):
        candidates = [
            _candidate(task, model, rate, tuple(sorted(by_rate)), found)
            for rate, found in sorted(by_rate.items())
        ]
        chosen.append(max(candidates, key=_merit))
    return chosen


def _merit(choice: Choice) -> tuple[int, float, float]:
    steps = choice.steps if choice.num_solved == choice.num_runs else 0
    return choice.num_solved, -steps, choice.score


def _candidate(
    task: str, model: str, rate: float, grid: tuple[float, ...], records: list[Record]
) -> Choice:
    outcomes = [record.outcome for record in records if record.outcome is not None]
    return Choice(
        task=task,
        model=model,
        rate=rate,
        grid=grid,
        num_solved=sum(
            outcome.solved_at is not None and _best_validation(outcome) >= outcome.solved_at
            for outcome in outcomes
        ),
        num_runs=len(records),
        # A run that failed takes its rate out of the choice.
        score=mean(map(_best_validation, outcomes)) if len(outcomes) == len(records) else -math.inf,
        steps=mean([outcome.steps for outcome in outcomes] or [0]),
    )


def _best_validation(outcome: Outcome) -> float:
    """The best validation score, the larger the better."""
    sign = 1 if outcome.score.higher_is_better else -1
    scores = [point.values[outcome.score.name] for point in outcome.curve]
    return max((sign * score for score in scores if score is not None), default=-math.inf)


def beyond_the_edge(specs: Sequence[Spec], choices: Sequence[Choice]) -> list[Spec]:
    """The specs one rung further, where a choice stands at the edge of its grid."""
    further = []
    for choice in choices:
        if not choice.at_edge or len(choice.grid) >= MOST_RUNGS:
            continue
        rate = next_rung(choice.rate, up=choice.rate == choice.grid[-1])
        further += [
            spec.model_copy(
                update={"training": spec.training.model_copy(update={"learning_rate": rate})}
            )
            for spec in specs
            if spec.task.name == choice.task
            and spec.model.name == choice.model
            and spec.training.learning_rate == choice.rate
        ]
    return further


def next_rung(rate: float, *, up: bool) -> float:
    """0.001 → 0.003 → 0.01 upwards, and back down."""
    mantissa, exponent = f"{rate:.0e}".split("e")
    power = int(exponent)
    if up:
        return float(f"3e{power}") if mantissa == "1" else float(f"1e{power + 1}")
    return float(f"1e{power}") if mantissa == "3" else float(f"3e{power - 1}")


def write_rates(path: Path, choices: Sequence[Choice], records: str) -> Path:
    """As TOML, with what speaks for each rate beside it."""
    lines = [
        "# Learning rates by task and model, chosen on validation by `python -m bench tune`.",
        f'records = "{records}"',
    ]
    for task in sorted({choice.task for choice in choices}):
        lines += ["", f"[rates.{task}]"]
        for choice in choices:
            if choice.task == task:
                edge = ", at the edge" if choice.at_edge else ""
                lines.append(
                    f"{choice.model} = {choice.rate}  # {choice.num_solved}/{choice.num_runs} "
                    f"runs solved, score {choice.score:.3f}, {choice.steps:.0f} updates; "
                    f"grid {choice.grid[0]} to {choice.grid[-1]}{edge}"
                )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
