"""Choice of learning rates from the validation scores of a sweep.

Rates form a ladder of half decades: …, 0.001, 0.003, 0.01, 0.03, … If the best rate is at the edge
of its grid, the grid is extended by the next rung.
"""

import math
import sys
from collections.abc import Sequence
from statistics import mean

from bench.core.records import Outcome, Record
from bench.core.spec import Spec
from bench.plan import rates
from bench.plan.labels import label_of
from bench.plan.rates import Tried, Tuned
from bench.run import inventory
from bench.run.execute import Manner, execute
from bench.run.progress import counted
from bench.run.request import Request

MOST_RUNGS = 6
"""A grid with this many rates is not extended."""

Pair = tuple[str, str]
"""Name of a task and label of a model: each variant of a model has its own rate."""


def pair_of(spec: Spec) -> Pair:
    return spec.task.name, label_of(spec).model_label


def sweep(request: Request, manner: Manner) -> bool:
    """Make the runs of a sweep, extend grids whose best rate is at an edge, and write the rates.

    Returns whether no run failed.
    """
    specs = list(request.plan.specs)
    while True:
        succeeded = execute(request, specs, manner)
        found = inventory.read(request)
        if succeeded and inventory.needed_specs(request, found, specs):
            print("the sweep is not complete, so no rates are chosen yet", file=sys.stderr)
            return succeeded
        choices = choose(found.of(specs, request.backend))
        further = beyond_the_edge(specs, choices)
        if not succeeded or not further:
            break
        more = counted(len(further), "further run")
        print(f"{more}, since a best rate is at the edge of its grid", file=sys.stderr)
        specs += further
    chosen = rates.Sweep(records=str(request.results), rates=choices)
    path = rates.write(request.results / "rates.toml", chosen)
    print(f"\n{path.read_text()}\nwritten to {path}")
    return succeeded


def choose(records: Sequence[Record]) -> dict[str, dict[str, Tuned]]:
    """Task → model label → the rate that solves most runs.

    Among rates that solve every run, the one that needs the fewest updates is chosen; otherwise the
    one with the best validation score, averaged over runs. Test scores are not used.
    """
    groups: dict[Pair, dict[float, list[Record]]] = {}
    for record in records:
        rate = record.spec.training.learning_rate
        groups.setdefault(pair_of(record.spec), {}).setdefault(rate, []).append(record)
    chosen: dict[str, dict[str, Tuned]] = {}
    for (task, model), by_rate in sorted(groups.items()):
        tried = tuple(_tried(rate, found) for rate, found in sorted(by_rate.items()))
        sign = next((_sign(r.outcome) for each in by_rate.values() for r in each if r.outcome), 1)
        best = max(tried, key=lambda each: _merit(each, sign))
        chosen.setdefault(task, {})[model] = Tuned(rate=best.rate, tried=tried)
    return chosen


def _merit(tried: Tried, sign: int) -> tuple[int, float, float]:
    steps = tried.updates if tried.num_solved == tried.num_runs else 0
    return tried.num_solved, -steps, -math.inf if tried.score is None else sign * tried.score


def _tried(rate: float, records: list[Record]) -> Tried:
    outcomes = [record.outcome for record in records if record.outcome is not None]
    scores = [_best_validation(outcome) for outcome in outcomes]
    complete = len(outcomes) == len(records) and all(map(math.isfinite, scores))
    return Tried(
        rate=rate,
        num_runs=len(records),
        num_solved=sum(
            outcome.solved_at is not None and outcome.score.reaches(score, outcome.solved_at)
            for outcome, score in zip(outcomes, scores, strict=True)
        ),
        score=round(mean(scores), 4) if complete else None,
        low=round(min(scores), 4) if complete else None,
        high=round(max(scores), 4) if complete else None,
        updates=round(mean([outcome.steps for outcome in outcomes] or [0]), 1),
        seconds=round(sum(outcome.total_seconds for outcome in outcomes), 1),
    )


def _sign(outcome: Outcome) -> int:
    return 1 if outcome.score.higher_is_better else -1


def _best_validation(outcome: Outcome) -> float:
    """The best validation score of a run; NaN if none is finite."""
    scores = [point.values[outcome.score.name] for point in outcome.curve]
    known = [score for score in scores if score is not None]
    return max(known, key=lambda score: _sign(outcome) * score, default=math.nan)


def beyond_the_edge(specs: Sequence[Spec], chosen: dict[str, dict[str, Tuned]]) -> list[Spec]:
    """The specs at the next rung, for each chosen rate at the edge of its grid."""
    further = []
    for task, of_task in chosen.items():
        for model, tuned in of_task.items():
            if not tuned.at_edge or len(tuned.tried) >= MOST_RUNGS:
                continue
            rate = next_rung(tuned.rate, up=tuned.rate == tuned.tried[-1].rate)
            further += [
                spec.model_copy(
                    update={"training": spec.training.model_copy(update={"learning_rate": rate})}
                )
                for spec in specs
                if pair_of(spec) == (task, model) and spec.training.learning_rate == tuned.rate
            ]
    return further


def next_rung(rate: float, *, up: bool) -> float:
    """0.001 → 0.003 → 0.01 upwards, and back down."""
    mantissa, exponent = f"{rate:.0e}".split("e")
    power = int(exponent)
    if up:
        return float(f"3e{power}") if mantissa == "1" else float(f"1e{power + 1}")
    return float(f"1e{power}") if mantissa == "3" else float(f"3e{power - 1}")
