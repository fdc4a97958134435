"""What is known of each model on each task and length, for the choice of a model."""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

import tasks
from bench.core.decision import Decision
from bench.core.intervals import Interval
from bench.core.spec import Spec
from bench.plan.rates import Rates
from bench.report.claims.against import MORE_UPDATES, lacking_rates, lacking_runs, lacking_updates
from bench.report.claims.cells import FEWEST_FAILED, FEWEST_SOLVED, Cell
from bench.report.data import Data
from bench.report.frame import ROW, groups, numbers
from bench.report.points import IMPROVING, points
from bench.report.runs import counted
from bench.report.runs import scores as score_table
from tasks import Kind

State = Literal["solves", "does not", "undecided"]
NOT_RUN = "runs at this T"
FEW = f"{FEWEST_SOLVED} seeds that solve it, or {FEWEST_FAILED} that do not"


Bounds = tuple[float, float]
"""A cost is at least the first and at most the second number."""
NO_BOUNDS: Bounds = (0.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs; None where it was not measured."""

    step_us: float | None = None
    """Microseconds of a step of one stream, without its call from Python."""
    state_bytes: float | None = None
    """Bytes of the state of one stream."""
    minutes: float | None = None
    """Training time of a run, median over seeds."""
    timed_alone: bool = False
    """Whether `minutes` is updates times an update timed alone; else runs shared the machine."""
    step_from_others: Bounds = NO_BOUNDS
    """Bounds of `step_us` from networks of the same model and size for other T."""
    state_from_others: Bounds = NO_BOUNDS
    """Bounds of `state_bytes` from networks of the same model and size for other T."""

    @property
    def step_bounds(self) -> Bounds:
        """Microseconds of a step: what was measured, else the bounds from other lengths."""
        known = self.step_us
        return self.step_from_others if known is None else (known, known)

    @property
    def state_bounds(self) -> Bounds:
        """Bytes of the state: what was measured, else the bounds from other lengths."""
        known = self.state_bytes
        return self.state_from_others if known is None else (known, known)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The seeds of one model on one task and length."""

    kind: Kind | None
    task: str
    length: int
    model: str
    spec: Spec
    """One of the runs."""
    state: State
    missing: tuple[str, ...] = ()
    """What is missing for the state to be certain."""
    only_updates: bool = False
    """Whether more updates are all that is missing."""
    decision: Decision | None
    """None: the task has no score that counts as solved."""
    share: tuple[float, float] | None = None
    """Wilson 95% interval of the share of seeds that solve the task."""
    score: Interval
    """Mean score with Student's 95% interval."""
    scores: tuple[float, ...]
    """Empty: no run counts."""
    higher_is_better: bool = True
    needed: tuple[float, ...] = ()
    """Updates until a validation first solved the task, of the seeds that did."""
    updates: float = math.inf
    """Median over all seeds; a seed that never solves the task counts as infinite."""
    allowed: int = 0
    """Updates that every seed was allowed."""
    cost: Cost = Cost()
    planned: tuple[int, ...] = ()
    """Lengths of this model on this task that are planned and have no runs yet."""

    @property
    def place(self) -> str:
        return f"{self.task} at T = {self.length:,}"


def evidence_of(data: Data, costs: Sequence[Mapping[str, Any]] | None = None) -> list[Evidence]:
    """The evidence of every task, length and model that has runs or is planned.

    A model that has runs at some lengths of a task has evidence at these lengths alone.
    Networks whose receptive field is shortened on purpose are left out. `costs` are the points of
    the report, if they are known already.
    """
    if not data.source.records:
        return []
    runs = data.whole
    made = counted(runs)
    specs = {spec.id: spec for spec in data.source.specs}
    better = {
        record.spec.id: record.outcome.score.higher_is_better
        for record in data.source.records
        if record.outcome is not None
    }
    cells = {(cell.task, cell.length, cell.model): cell for cell in data.cells}
    cost_at = {_place(point): point for point in (points(data)[1] if costs is None else costs)}
    planned = _planned(runs)
    by_place = {_place(row): row for row in score_table(runs).to_dict("records")}
    found = []
    for about, seeds in groups(made, ROW):
        place = _place(about)
        cell = cells.get(place)
        directions = [better[each] for each in seeds["id"] if each in better]
        row = by_place[place]
        low, high = (None if pd.isna(row[end]) else row[end] for end in ("mean_low", "mean_high"))
        step = seeds["id"].map(data.step_us).astype(float).median()
        state = seeds["id"].map(data.state_bytes).astype(float).median()
        cost = cost_at.get(place, {})
        minutes = cost.get("train_s", cost.get("run_s"))
        found.append(
            Evidence(
                kind=_kind(about["task"]),
                task=place[0],
                length=place[1],
                model=place[2],
                spec=specs[seeds["id"].iloc[0]],
                **_judged(cell, seeds, data.rates),
                share=_share(row),
                score=Interval(mean=row["mean"], low=low, high=high, n=len(seeds)),
                scores=tuple(map(float, seeds["score"])),
                higher_is_better=all(directions),
                needed=tuple(numbers(seeds["solved_after"]).dropna()),
                allowed=int(seeds["max_steps"].min()),
                cost=Cost(
                    step_us=None if math.isnan(step) else step,
                    state_bytes=None if math.isnan(state) else state,
                    minutes=None if minutes is None else minutes / 60,
                    timed_alone="train_s" in cost,
                ),
                planned=planned.get((place[0], place[2]), ()),
            )
        )
    return [*(_with_bounds(each, found) for each in found), *_without_runs(data, made)]


def _without_runs(data: Data, made: pd.DataFrame) -> Iterator[Evidence]:
    """The models that are planned on a task with a threshold and have no run on it, per length."""
    with_runs = set(zip(made["task_label"], made["model_label"], strict=True))
    specs = {spec.id: spec for spec in data.source.specs}
    judged = data.whole["task_label"].isin(data.solved_at)
    planned = data.whole[judged & (data.whole["status"] == "missing")]
    for about, seeds in groups(planned, ROW):
        task, length, model = _place(about)
        if (task, model) not in with_runs:
            yield Evidence(
                kind=_kind(about["task"]),
                task=task,
                length=length,
                model=model,
                spec=specs[seeds["id"].iloc[0]],
                state="undecided",
                missing=(NOT_RUN,),
                decision=Decision(num_solved=0, num_failed=0, num_seeds=len(seeds)),
                score=Interval(mean=math.nan, low=None, high=None, n=0),
                scores=(),
            )


def _with_bounds(cell: Evidence, everything: Sequence[Evidence]) -> Evidence:
    """The cell with the bounds that the same model at other lengths gives for its costs.

    With the same number of parameters, the network for a longer T has at least as many layers and
    remembers at least as many steps. So its step is taken to be no faster and its state no smaller.
    """
    same = [each for each in everything if _sizes(each) == _sizes(cell)]

    def bounds(cost: Callable[[Cost], float | None]) -> Bounds:
        known = [(each.length, value) for each in same if (value := cost(each.cost)) is not None]
        below = max((each for each in known if each[0] <= cell.length), default=(0, 0.0))
        above = min((each for each in known if each[0] >= cell.length), default=(0, math.inf))
        # Measured times have an error, so the nearest shorter T may be slower than the longer one.
        return min(below[1], above[1]), max(below[1], above[1])

    steps, states = bounds(lambda cost: cost.step_us), bounds(lambda cost: cost.state_bytes)
    cost = replace(cell.cost, step_from_others=steps, state_from_others=states)
    return replace(cell, cost=cost)


def _sizes(cell: Evidence) -> Hashable:
    """What the cells of a model and size on a task have in common."""
    spec = cell.spec
    return cell.task, cell.model, spec.param_budget or ("width", spec.width, spec.extra_width)


def _place(row: Mapping[Hashable, Any] | Mapping[str, Any]) -> tuple[str, int, str]:
    return row["task_label"], int(row["T"]), row["model_label"]


def _planned(runs: pd.DataFrame) -> dict[tuple[str, str], tuple[int, ...]]:
    missing = runs[runs["status"] == "missing"]
    return {
        (about["task_label"], about["model_label"]): tuple(map(int, rows["T"].unique()))
        for about, rows in groups(missing, ["task_label", "model_label"])
    }


def _kind(task: str) -> Kind | None:
    return tasks.task_class(task).kind if task in tasks.names() else None


def _share(row: Mapping[Hashable, Any]) -> tuple[float, float] | None:
    low, high = row["share_low"], row["share_high"]
    return None if pd.isna(low) else (low, high)


def _judged(cell: Cell | None, seeds: pd.DataFrame, rates: Rates) -> dict[str, Any]:
    """The fields that say whether the model solves the task, and what is missing to say so."""
    if cell is None:
        improving = int((seeds["ended"] == IMPROVING).sum())
        missing = (MORE_UPDATES,) if improving else ()
        return {"state": "undecided", "decision": None, "missing": missing, "only_updates": True}
    about = {"decision": cell.decision, "updates": cell.updates}
    if cell.decision.solved:
        return {**about, "state": "solves", "missing": () if cell.solves else (FEW,)}
    if not cell.fails:
        return {**about, "state": "undecided", "missing": (FEW,)}
    updates, others = lacking_updates(cell), (*lacking_runs(cell), *lacking_rates(cell, rates))
    state: State = "undecided" if updates or others else "does not"
    return {**about, "state": state, "missing": (*updates, *others), "only_updates": not others}
