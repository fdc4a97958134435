"""Which model to pick for a problem, why, and how sure that is.

`docs/method.md`, "Choosing a model", has the rules. Everything here is a pure function of evidence.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from bench.core.intervals import Interval, difference
from bench.report.evidence import NOT_RUN, Cost, Evidence
from tasks import Kind

Sure = Literal["decided", "close", "undecided", "no evidence here"]

NEAR = 2.0
"""A task says something about T if it has runs at a length within this factor of it."""
NOT_TIMED = "the time of a step"
NOT_MEASURED = "the size of the state"
Cells = Sequence[Evidence]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is known of the problem; a budget that is infinite does not count."""

    kind: Kind
    length: int
    step_us: float = inf
    """Microseconds that a step may take."""
    state_bytes: float = inf
    """Bytes that the state of a stream may have."""
    minutes: float = inf
    """Minutes that a training run may take."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Evidence that is missing."""

    cell: Evidence
    length: int
    """T of the runs that are missing."""
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The model to pick."""

    problem: Problem
    sure: Sure
    pick: str | None = None
    runner_up: str | None = None
    """The next model that is not a variant of the pick."""
    why: tuple[str, ...] = ()
    places: Mapping[str, int] | None = None
    """Task → the length that stands for T."""
    cells: tuple[Evidence, ...] = ()
    """The evidence, that of the pick first."""
    needs: tuple[Need, ...] = ()


def choose(problem: Problem, evidence: Iterable[Evidence]) -> Answer:
    """The answer for a problem."""
    of_kind = [each for each in evidence if each.kind == problem.kind]
    places = near(tested(of_kind), problem.length)
    if not places:
        lengths = sorted({each.length for each in of_kind if each.scores})
        known = f"at T = {', '.join(f'{each:,}' for each in lengths)} only; " if lengths else ""
        why = f"no task of this kind has runs within a factor of {NEAR:g} of T"
        why = f"there are runs {known}{why}" if known else why
        return Answer(problem=problem, sure="no evidence here", why=(why,))
    judged = {each.task for each in of_kind if each.task in places and each.decision is not None}
    if judged:
        places = {task: length for task, length in places.items() if task in judged}
    standing = _standing(of_kind, places, judged=bool(judged))
    answer = (_by_updates if judged else _by_score)(problem, places, standing)
    return replace(answer, why=(*answer.why, *_left_out(of_kind, places, standing)))


def tested(evidence: Iterable[Evidence]) -> dict[str, set[int]]:
    """Task → its lengths with runs."""
    found: dict[str, set[int]] = {}
    for each in evidence:
        if each.scores:
            found.setdefault(each.task, set()).add(each.length)
    return found


def near(lengths: Mapping[str, Iterable[int]], length: int) -> dict[str, int]:
    """Task → the tested length that is nearest to T by its ratio, if it is within `NEAR`."""
    nearest = {
        task: min(of_task, key=lambda tried: (abs(math.log(tried / length)), -tried))
        for task, of_task in lengths.items()
    }
    return {
        task: tried for task, tried in nearest.items() if length / NEAR <= tried <= length * NEAR
    }


def _standing(evidence: Cells, places: Mapping[str, int], *, judged: bool) -> list[list[Evidence]]:
    """For each model, the cells that stand for it, at most one for each place."""
    rows: dict[str, dict[str, list[Evidence]]] = {}
    for each in evidence:
        if each.task in places:
            rows.setdefault(each.model, {}).setdefault(each.task, []).append(each)
    found = (
        [_cell_at(cells, places[task], judged) for task, cells in of_model.items()]
        for of_model in rows.values()
    )
    return [known for cells in found if (known := [each for each in cells if each is not None])]


def _cell_at(cells: Cells, length: int, judged: bool) -> Evidence | None:
    """The cell that stands for a model at a length, from all of its cells on a task.

    It is the cell at this length; else a longer one that the model solves; else the longest one
    below that it does not solve, since its ladder ends there. If it solves all that it was run on
    and this length is planned, the length itself is missing.
    """
    for each in cells:
        if each.length == length:
            return each
    if not judged:
        return None
    by_length = sorted(cells, key=lambda each: each.length)
    longer = [each for each in by_length if each.length > length and each.state == "solves"]
    if longer:
        return longer[0]
    below = [each for each in by_length if each.length < length and each.scores]
    failing = [each for each in below if each.state != "solves"]
    if failing:
        return failing[-1]
    if not below or length not in below[-1].planned:
        return None
    return replace(below[-1], state="undecided", missing=(NOT_RUN,), only_updates=False)


def _left_out(evidence: Cells, places: Mapping[str, int], standing: Sequence[Cells]) -> list[str]:
    """The models that solve all that is planned for them, and are planned at no T as long.

    Variants of a model that is compared are not listed.
    """
    compared = {cells[0].spec.model.name for cells in standing}
    longest = {
        (each.model, each.task): each
        for each in sorted(evidence, key=lambda each: each.length)
        if each.task in places and each.spec.model.name not in compared
    }
    return [
        f"{model} is not compared on {task}: it solves T = {each.length:,}, the longest T that is "
        "planned for it"
        for (model, task), each in longest.items()
        if each.state == "solves"
        and each.length < places[task]
        and places[task] not in each.planned
    ]


def preference(updates: float, step_us: float | None, model: str) -> tuple[float, float, str]:
    """The order of models that solve a task: the fewest updates, then the fastest step.

    The first screen of the page uses it too.
    """
    return updates, inf if step_us is None or math.isnan(step_us) else step_us, model


def beyond(cost: Cost, problem: Problem) -> list[str]:
    """Which budgets the cost exceeds, in words."""
    found = (
        (cost.step_bounds, cost.step_us, problem.step_us, "a step takes {}{:.3g} µs"),
        (cost.state_bounds, cost.state_bytes, problem.state_bytes, "the state has {}{:,.0f} bytes"),
        ((cost.minutes or 0.0, inf), cost.minutes, problem.minutes, "training takes {}{:.3g} min"),
    )
    return [
        text.format("at least " if measured is None else "", least)
        for (least, _), measured, most, text in found
        if least > most
    ]


def unknown(cost: Cost, problem: Problem) -> list[str]:
    """Which costs may be within their budget or not. A recorded run has its training time."""
    found = (
        (cost.step_bounds, problem.step_us, NOT_TIMED),
        (cost.state_bounds, problem.state_bytes, NOT_MEASURED),
    )
    return [text for (least, most), budget, text in found if least <= budget < most]


def _solved(cells: Cells) -> list[Evidence]:
    return [each for each in cells if each.state == "solves"]


def _open(cells: Cells) -> list[Evidence]:
    return [each for each in cells if each.state == "undecided"]


def _rank(cells: Cells) -> tuple[int, tuple[float, float, str]]:
    """More solved places come first; then the largest number of updates and slowest step count."""
    solved = _solved(cells)
    steps = [each.cost.step_us for each in solved]
    slowest = None if None in steps else max(filter(None, steps), default=None)
    return -len(solved), preference(
        max((each.updates for each in solved), default=inf), slowest, cells[0].model
    )


def _by_updates(
    problem: Problem, places: Mapping[str, int], standing: Sequence[list[Evidence]]
) -> Answer:
    """The answer where tasks have a score that counts as solved."""
    fitting = [cells for cells in standing if not _excluded(cells, problem)]
    candidates = sorted((cells for cells in fitting if _solved(cells)), key=_rank)
    ready = [
        cells
        for cells in candidates
        if not any(unknown(each.cost, problem) for each in _solved(cells))
    ]
    best = ready[0] if ready else []
    other = _runner_up(best, ready)
    needs = [
        Need(cell=each, length=each.length, reasons=each.missing)
        for each in _solved(best)
        if each.missing
    ]
    for cells in fitting:
        if cells is not best:
            needs += _threats(cells, best, places, problem)
    why = [_reason(each) for each in _solved(best)]
    sure: Sure = "undecided" if needs else "decided"
    if not best:
        why.append(_nobody(standing, problem))
    elif other:
        compared, is_close = _compared(best, other)
        why.append(compared)
        sure = "close" if is_close and sure == "decided" else sure
    unsolved = [f"{task} at T = {T:,}" for task, T in places.items() if not _solves(best, task)]
    if best and unsolved:
        why.append(f"nothing shows that it solves {', '.join(unsolved)}")
    why += [text for cells in standing if _solved(cells) for text in _excluded(cells, problem)[:1]]
    ranked = sorted(standing, key=_rank)
    about = Answer(problem=problem, sure=sure, why=tuple(why), places=places, needs=tuple(needs))
    return _with_picks(about, best, other, ranked)


def _excluded(cells: Cells, problem: Problem) -> list[str]:
    """Why the model is beyond a budget; empty: it may be within all of them."""
    reasons = dict.fromkeys(
        f"{each.model} is left out: {text} on {each.place}"
        for each in _solved(cells) or cells
        for text in beyond(each.cost, problem)
    )
    return list(reasons)


def _solves(cells: Cells, task: str) -> bool:
    return any(each.task == task for each in _solved(cells))


def _runner_up(best: Cells, ranked: Sequence[Cells]) -> Cells:
    """The next model that is not a variant of the pick."""
    for cells in ranked:
        if best and cells[0].spec.model.name != best[0].spec.model.name:
            return cells
    return []


def _threats(cells: Cells, best: Cells, places: Mapping[str, int], problem: Problem) -> list[Need]:
    """What is missing to say that another model is not better than the pick.

    A seed that was still improving cannot need fewer updates than it had: if the pick solves the
    same number of places with fewer, the model does not come before it.
    """
    solved, undecided = _solved(cells), _open(cells)
    most, of_best = len(solved) + len(undecided), len(_solved(best))
    limit = max((each.updates for each in _solved(best)), default=inf)
    needs = []
    if most > of_best or (most == of_best and most):
        for each in undecided:
            late = each.only_updates and each.allowed >= limit and most == of_best
            if not late:
                length = places[each.task] if each.missing == (NOT_RUN,) else each.length
                needs.append(Need(cell=each, length=length, reasons=each.missing))
    if not best or (solved and _rank(cells) < _rank(best)):
        for each in solved:
            if reasons := unknown(each.cost, problem):
                needs.append(Need(cell=each, length=each.length, reasons=tuple(reasons)))
    return needs


def _reason(cell: Evidence) -> str:
    after = f"{cell.updates:,.0f} updates"
    return f"{cell.model} solves {cell.place} ({cell.decision} seeds) after {after}"


def _nobody(standing: Sequence[Cells], problem: Problem) -> str:
    solving = [cells for cells in standing if _solved(cells)]
    if solving:
        return "no model that solves it is known to be within these limits"
    allowed = max(each.allowed for cells in standing for each in cells)
    return f"no model solved it within {allowed:,} updates"


def _compared(best: Cells, other: Cells) -> tuple[str, bool]:
    """Updates of the runner-up over those of the pick, in words; whether the ratio may be 1."""
    task, name = max(_solved(best), key=lambda each: each.updates).task, other[0].model
    ours = next(each for each in _solved(best) if each.task == task)
    theirs = next((each for each in _solved(other) if each.task == task), None)
    if theirs is None or len(_solved(other)) < len(_solved(best)):
        return f"{name} solves fewer of these tasks", False
    if theirs.length != ours.length:
        return f"{name} was run at T = {theirs.length:,}, not at the same T", True
    a, b = ([math.log(max(each, 1)) for each in cell.needed] for cell in (theirs, ours))
    ratio = difference(a, b) if a and b else None
    if ratio is None or ratio.low is None or ratio.high is None:
        return f"too few seeds to compare its updates with those of {name}", True
    said = (
        f"{name} needs {math.exp(ratio.mean):.2g} times as many updates as {best[0].model} on "
        f"{ours.place} (95% interval {math.exp(ratio.low):.2g} to {math.exp(ratio.high):.2g})"
    )
    return said, ratio.low <= 0


def _with_picks(answer: Answer, best: Cells, other: Cells, ranked: Sequence[Cells]) -> Answer:
    """The answer with the pick, the runner-up, and all cells: first theirs, then the others."""
    rest = [cells for cells in ranked if cells is not best and cells is not other]
    cells = (each for of_model in (best, other, *rest) for each in of_model)
    return replace(
        answer,
        pick=best[0].model if best else None,
        runner_up=other[0].model if other else None,
        cells=tuple(each for each in cells if each.scores),
    )


def _by_score(
    problem: Problem, places: Mapping[str, int], standing: Sequence[list[Evidence]]
) -> Answer:
    """The answer where tasks have no score that counts as solved: the best mean rank of scores."""
    ranks = _mean_ranks(standing)

    def order(cells: Cells) -> tuple[int, tuple[float, float, str]]:
        step = cells[0].cost.step_us
        return -len(cells), preference(ranks[cells[0].model], step, cells[0].model)

    fitting = [cells for cells in standing if not any(beyond(each.cost, problem) for each in cells)]
    ranked = sorted(fitting, key=order)
    ready = [cells for cells in ranked if not any(unknown(each.cost, problem) for each in cells)]
    best = ready[0] if ready else []
    other = _runner_up(best, ready)
    needs = [
        Need(cell=each, length=each.length, reasons=reasons)
        for cells in fitting
        if cells is not best
        for each in cells
        if (reasons := (*each.missing, *(unknown(each.cost, problem))))
    ]
    why = [
        f"{each.model} has the best mean rank of scores; {each.spec.model.name} scores "
        f"{each.score.mean:.4g} on {each.place}"
        for each in best[:1]
    ]
    sure: Sure = "undecided" if needs else "decided"
    if not best:
        why = ["no model is known to be within the budgets"]
    elif other:
        compared, is_close = _scored(best, other)
        why += compared
        sure = "close" if is_close and not needs else sure
    ranked = sorted(standing, key=order)
    about = Answer(problem=problem, sure=sure, why=tuple(why), places=places, needs=tuple(needs))
    return _with_picks(about, best, other, ranked)


def _mean_ranks(standing: Sequence[Cells]) -> dict[str, float]:
    """Model → mean, over its tasks, of its rank by mean score."""
    found: dict[str, list[int]] = {}
    for task in {each.task for cells in standing for each in cells}:
        here = [each for cells in standing for each in cells if each.task == task]
        here.sort(key=lambda each: -each.score.mean if each.higher_is_better else each.score.mean)
        for rank, each in enumerate(here):
            found.setdefault(each.model, []).append(rank)
    return {model: sum(ranks) / len(ranks) for model, ranks in found.items()}


def _scored(best: Cells, other: Cells) -> tuple[list[str], bool]:
    """How the scores of both differ, and whether some task does not favour the pick."""
    said, is_close = [], False
    for ours in best:
        theirs = next((each for each in other if each.task == ours.task), None)
        if theirs is None:
            continue
        gap: Interval = difference(ours.scores, theirs.scores)
        if gap.low is None or gap.high is None:
            said.append(f"too few seeds compare it with {theirs.model} on {ours.place}")
            is_close = True
            continue
        is_better = gap.low > 0 if ours.higher_is_better else gap.high < 0
        is_close |= not is_better
        said.append(
            f"its score minus that of {theirs.model} on {ours.place} is {gap.mean:.3g} (95% "
            f"interval {gap.low:.3g} to {gap.high:.3g})"
        )
    return said, is_close
