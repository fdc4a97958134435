"""Choice of learning rates from the validation scores of a sweep.

A sweep has two stages. The grid is a ladder of half decades: …, 0.001, 0.003, 0.01, 0.03, … If its
best rate is at an edge, the grid is extended by the next rung. Then the best rate of the grid is
refined: a profile with `refine = { recurrent = 1.8 }` also tries 1.8 times and 1 / 1.8 of it for
recurrent networks, which is a quarter of a decade.
"""

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

from bench.core.intervals import censored_median
from bench.core.records import Outcome, Record
from bench.core.spec import Spec
from bench.core.wording import counted
from bench.plan import rates
from bench.plan.labels import family, label_of
from bench.plan.rates import Tried, Tuned
from bench.run import inventory
from bench.run.execute import Manner, execute
from bench.run.request import Request

MOST_RUNGS = 6
"""A grid with this many rates is not extended."""

Pair = tuple[str, str]
"""Name of a task and label of a model: each variant of a model has its own rate."""
Chosen = dict[str, dict[str, Tuned]]
"""Name of a task → label of a model → its rate."""


def pair_of(spec: Spec) -> Pair:
    return spec.task.name, label_of(spec).model_label


def sweep(request: Request, manner: Manner) -> bool:
    """Make the runs of a sweep, extend and refine its grids, and write the rates.

    Returns whether no run failed. Repeated, it makes the runs that are not recorded yet. Records of
    another device count: which rate is best does not depend on the device.
    """
    grid, fine = list(request.plan.specs), list[Spec]()
    for task, model in sorted(with_one_seed(grid)):
        print(
            f"warning: {model} on {task} has one run per rate, which may be noise", file=sys.stderr
        )
    while True:
        specs = grid + fine
        succeeded = execute(request, missing(request, specs), manner)
        if succeeded and missing(request, specs):
            print("the sweep is not complete, so no rates are chosen yet", file=sys.stderr)
            return succeeded
        of_grid = choose(recorded(request, grid))
        further = beyond_the_edge(grid, of_grid)
        known = {spec.id for spec in specs}
        refining = refined(grid, of_grid, request.profile.refine)
        finer = [] if further else [spec for spec in refining if spec.id not in known]
        if not succeeded or not (further or finer):
            break
        why = "a best rate is at the edge of its grid" if further else "best rates are refined"
        more = counted(len(further or finer), "further run")
        print(f"{more}, since {why}", file=sys.stderr)
        grid += further
        fine += finer
    choices = choose(recorded(request, specs))
    chosen = rates.Sweep(records=str(request.results), rates=choices)
    path = rates.write(request.results / "rates.toml", chosen)
    print(f"\n{path.read_text()}\nwritten to {path}")
    return succeeded


def recorded(request: Request, specs: Sequence[Spec]) -> list[Record]:
    """One record of each spec that has any."""
    return inventory.read(request).of(specs, request.backend)


def missing(request: Request, specs: Sequence[Spec]) -> list[Spec]:
    """The specs without a finished record."""
    finished = {record.spec.id for record in recorded(request, specs) if record.finished}
    return [spec for spec in specs if spec.id not in finished]


def choose(records: Sequence[Record]) -> Chosen:
    """Task → model label → the rate that solves most runs.

    Among rates that solve as many runs, the one with the best mean validation score is chosen.
    Among equal scores it is the one whose runs ended after the fewest updates: a run ends early
    only if its task stays solved, which a rate at the edge of stability delays. Numbers of updates
    that differ by less than the distance of two validations are equal; then the smallest rate is
    chosen, since it is the furthest from that edge. A rate at which all runs solve the task is
    passed over if most runs fail at the next larger one and another rate is as good: with other
    lengths or seeds it may lie beyond the edge. Test scores are not used.
    """
    groups: dict[Pair, dict[float, list[Record]]] = {}
    for record in records:
        rate = record.spec.training.learning_rate
        groups.setdefault(pair_of(record.spec), {}).setdefault(rate, []).append(record)
    chosen: Chosen = {}
    for (task, model), by_rate in sorted(groups.items()):
        tried = tuple(_tried(rate, found) for rate, found in sorted(by_rate.items()))
        chosen.setdefault(task, {})[model] = Tuned(rate=_best(tried, by_rate), tried=tried)
    return chosen


def _best(tried: Sequence[Tried], records: Mapping[float, Sequence[Record]]) -> float:
    """The best of the rates that were tried, which are in ascending order."""
    merits = [_merit(each, records[each.rate]) for each in tried]
    best = [each for each, merit in zip(tried, merits, strict=True) if merit == max(merits)]
    stable = [each for each in best if not _is_next_to_failure(each, tried)]
    best = stable or best
    between = max(r.spec.training.validate_every for each in best for r in records[each.rate])
    most = min(each.updates for each in best) + between
    return next(each.rate for each in best if each.updates < most)


def _is_next_to_failure(each: Tried, tried: Sequence[Tried]) -> bool:
    """Whether all runs at this rate solve the task, and most at the next larger rate do not."""
    after = next((other for other in tried if other.rate > each.rate), None)
    solves = each.num_solved == each.num_runs
    return solves and after is not None and 2 * after.num_solved < after.num_runs


def _merit(tried: Tried, records: Sequence[Record]) -> tuple[int, float]:
    score = -math.inf if tried.score is None else mean(map(_counted, records))
    return tried.num_solved, score


def _tried(rate: float, records: list[Record]) -> Tried:
    outcomes = [record.outcome for record in records if record.outcome is not None]
    scores = [_best_validation(outcome) for outcome in outcomes]
    complete = len(outcomes) == len(records) and all(map(math.isfinite, scores))
    solved, unsolved = _updates_to_solve(outcomes)
    median, is_known = censored_median(solved, unsolved) if outcomes else (0.0, False)
    return Tried(
        rate=rate,
        num_runs=len(records),
        num_solved=len(solved),
        score=round(mean(scores), 4) if complete else None,
        low=round(min(scores), 4) if complete else None,
        high=round(max(scores), 4) if complete else None,
        updates=round(mean([outcome.steps for outcome in outcomes] or [0]), 1),
        solved_after=median if is_known else None,
        seconds=round(sum(outcome.total_seconds for outcome in outcomes), 1),
    )


def _sign(outcome: Outcome) -> int:
    return 1 if outcome.score.higher_is_better else -1


def _updates_to_solve(outcomes: Sequence[Outcome]) -> tuple[list[float], list[float]]:
    """Updates of the runs that solved their task on validation, and of those that did not."""
    solved, unsolved = list[float](), list[float]()
    for outcome in outcomes:
        after = None if outcome.solved_at is None else outcome.updates_to(outcome.solved_at)
        (unsolved if after is None else solved).append(outcome.steps if after is None else after)
    return solved, unsolved


def _counted(record: Record) -> float:
    """The best validation score of a run, the higher the better.

    A run that stops once it has solved its task could have a better score if it went on. Its score
    counts as the threshold, so that such rates are compared by their updates.
    """
    outcome = record.outcome
    assert outcome is not None
    best, threshold = _best_validation(outcome), outcome.solved_at
    stops = record.spec.training.stop_when_solved
    if threshold is not None and stops and outcome.score.reaches(best, threshold):
        best = threshold
    return _sign(outcome) * best


def _best_validation(outcome: Outcome) -> float:
    """The best validation score of a run; NaN if none is finite."""
    scores = [point.values[outcome.score.name] for point in outcome.curve]
    known = [score for score in scores if score is not None]
    return max(known, key=lambda score: _sign(outcome) * score, default=math.nan)


def with_one_seed(specs: Sequence[Spec]) -> set[Pair]:
    """The pairs for which some rate has a single run at some length."""
    seeds = Counter((pair_of(s), s.length, s.training.learning_rate) for s in specs)
    return {pair for (pair, _, _), number in seeds.items() if number == 1}


def beyond_the_edge(specs: Sequence[Spec], chosen: Chosen) -> list[Spec]:
    """The specs at the next rung, for each chosen rate at the edge of its grid."""
    further = list[Spec]()
    for pair, tuned in _pairs(chosen):
        if tuned.at_edge and len(tuned.tried) < MOST_RUNGS:
            rate = next_rung(tuned.rate, up=tuned.rate == tuned.tried[-1].rate)
            further += _with_rate(specs, pair, tuned.rate, rate)
    return further


def refined(specs: Sequence[Spec], chosen: Chosen, factors: Mapping[str, float]) -> list[Spec]:
    """The specs beside each chosen rate, for models of the families that have a factor."""
    finer = list[Spec]()
    for pair, tuned in _pairs(chosen):
        factor = factors.get(family(pair[1].partition(" ")[0]))
        if factor is not None:
            for rate in (tuned.rate / factor, tuned.rate * factor):
                finer += _with_rate(specs, pair, tuned.rate, float(f"{rate:.2g}"))
    return finer


def _pairs(chosen: Chosen) -> list[tuple[Pair, Tuned]]:
    return [((task, model), tuned) for task in chosen for model, tuned in chosen[task].items()]


def _with_rate(specs: Sequence[Spec], pair: Pair, of_rate: float, rate: float) -> list[Spec]:
    """The specs of a pair and a rate, with another rate."""
    return [
        spec.model_copy(
            update={"training": spec.training.model_copy(update={"learning_rate": rate})}
        )
        for spec in specs
        if pair_of(spec) == pair and spec.training.learning_rate == of_rate
    ]


def next_rung(rate: float, *, up: bool) -> float:
    """0.001 → 0.003 → 0.01 upwards, and back down."""
    mantissa, exponent = f"{rate:.0e}".split("e")
    power = int(exponent)
    if up:
        return float(f"3e{power}") if mantissa == "1" else float(f"1e{power + 1}")
    return float(f"1e{power}") if mantissa == "3" else float(f"3e{power - 1}")
