"""Ladders: the lengths that a model climbs until it fails, and the runs that this takes.

A rung is one length. Its seeds run in order until they decide it. Two rungs in a row that the model
fails end the climb. Failing runs may then go on to a second, larger budget; the run with the larger
budget stands for its seed. All of this follows from the plan and the records alone.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from bench.core.decision import Decision
from bench.core.ending import Ending, ending
from bench.core.records import Record
from bench.core.spec import Spec

MOST_FAILED = 2
"""The climb ends after this many failed rungs in a row."""
GO_ON: tuple[Ending, ...] = ("improving", "converged", "at chance")
"""Failing runs that ended like this go on to the second budget."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the climb needs to know of a run."""

    status: Literal["ok", "diverged", "failed", "skipped"]
    ending: Ending | None = None
    """None if the run failed or was skipped."""
    error: str | None = None

    @property
    def solved(self) -> bool:
        return self.ending == "solved"


Results = Mapping[str, Result]
"""Spec id → how the run ended."""


def results_of(
    records: Iterable[Record], thresholds: Mapping[str, float | None]
) -> dict[str, Result]:
    """The results of these records. `thresholds`: spec id → the score that counts as solved."""
    return {each.spec.id: result_of(each, thresholds[each.spec.id]) for each in records}


def result_of(record: Record, solved_at: float | None) -> Result:
    outcome = record.outcome
    ended = ending(outcome, record.spec.training, solved_at) if outcome else None
    return Result(status=record.status, ending=ended, error=record.error)


@dataclass(frozen=True)
class Ladder:
    """The runs that one model may need on one task."""

    cells: tuple[tuple[Spec, ...], ...]
    """For each length, in ascending order: one run per seed, in the order of the seeds."""
    extend: int | None = None
    """Number of updates to which failing runs go on. None: there is no second budget."""

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Every run with the first budget."""
        return tuple(spec for cell in self.cells for spec in cell)

    @cached_property
    def longer(self) -> Mapping[str, Spec]:
        """Spec id → the same run with the second budget."""
        if self.extend is None:
            return {}
        return {spec.id: with_budget(spec, self.extend) for spec in self.specs}

    @property
    def ids(self) -> set[str]:
        """The ids of all runs, with either budget."""
        return {each.id for each in (*self.specs, *self.longer.values())}


def ladders_of(specs: Iterable[tuple[Spec, int | None]]) -> tuple[Ladder, ...]:
    """One ladder for each set of runs that differ in length and seed alone.

    Each run comes with its second budget.
    """
    found: dict[tuple[str, int | None], dict[int, dict[str, Spec]]] = {}
    for spec, extend in specs:
        content = spec.model_dump()
        del content["seed"], content["task"]["fields"]["length"]
        if spec.param_budget is not None:  # the width that meets the budget may depend on T
            del content["width"], content["extra_width"]
        cells = found.setdefault((repr(content), extend), {})
        cells.setdefault(spec.length, {})[spec.id] = spec
    return tuple(
        Ladder(tuple(tuple(cell.values()) for _, cell in sorted(cells.items())), extend)
        for (_, extend), cells in found.items()
    )


def with_budget(spec: Spec, max_steps: int) -> Spec:
    """The same run with another number of updates."""
    training = spec.training.model_copy(update={"max_steps": max_steps})
    return spec.model_copy(update={"training": training})


State = Literal["solved", "failed", "open", "waiting", "not climbed"]
"""What is known of a rung. `open`: seeds of it may run. `waiting`: a shorter length is not decided
yet. `not climbed`: no seed of it will run."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What is known of a model at one length."""

    specs: tuple[Spec, ...]
    """One run per seed: the one with the largest budget that ran, or else the one to make."""
    results: tuple[Result | None, ...]
    """The result of each of them; None: it has not run."""
    state: State
    why: str
    """Why the rung is `waiting` or `not climbed`; empty in the other states."""

    @property
    def length(self) -> int:
        return self.specs[0].length

    @property
    def decision(self) -> Decision:
        return _decision(self.results)

    @property
    def left(self) -> list[Spec]:
        """The seeds that have not run."""
        pairs = zip(self.specs, self.results, strict=True)
        return [spec for spec, result in pairs if result is None]


def _decision(results: Sequence[Result | None]) -> Decision:
    ran = [each for each in results if each is not None and each.status != "skipped"]
    num_solved = sum(each.solved for each in ran)
    return Decision(num_solved=num_solved, num_failed=len(ran) - num_solved, num_seeds=len(results))


def num_certain(decision: Decision) -> int:
    """How many further seeds a cell needs whatever they give, so that they may run together."""

    def is_open(solved: int, failed: int) -> bool:
        added = replace(
            decision,
            num_solved=decision.num_solved + solved,
            num_failed=decision.num_failed + failed,
        )
        return added.solved is None

    number = 0
    while is_open(number, 0) and is_open(0, number):
        number += 1
    return number


def climb(ladder: Ladder, results: Results) -> tuple[Rung, ...]:
    """Every rung of the ladder, from the shortest length up, with what is known of it."""
    rungs: list[Rung] = []
    failed: list[int] = []
    """Lengths of the failed rungs directly below."""
    held: tuple[State, str] | None = None
    """The state of all further rungs, once the climb has stopped."""
    for cell in ladder.cells:
        if held is None and len(failed) == MOST_FAILED:
            lengths = " and ".join(f"T = {length}" for length in failed)
            held = "not climbed", f"it failed {lengths}"
        rung = _rung(ladder, cell, results, held)
        rungs.append(rung)
        if held is None and rung.state == "not climbed":
            held = rung.state, rung.why
        elif held is None and rung.state == "open":
            held = "waiting", f"T = {rung.length} is not decided"
        failed = [*failed, rung.length] if rung.state == "failed" else []
    return tuple(rungs)


def _rung(
    ladder: Ladder, cell: Sequence[Spec], results: Results, held: tuple[State, str] | None
) -> Rung:
    ran = {
        spec.id: longer
        for spec in cell
        if (longer := ladder.longer.get(spec.id)) is not None and longer.id in results
    }
    specs = tuple(ran.get(spec.id, spec) for spec in cell)
    found = tuple(results.get(spec.id) for spec in specs)
    state, why = held or ("open", "")
    solved = _decision(found).solved
    if solved is not None:
        state, why = "solved" if solved else "failed", ""
    elif held is None:
        skipped = [each.error for each in found if each is not None and each.status == "skipped"]
        if skipped:
            state, why = "not climbed", f"it was skipped: {skipped[0]}"
    return Rung(specs=specs, results=found, state=state, why=why)


def next_runs(
    ladders: Sequence[Ladder], results: Results, running: Collection[str] = ()
) -> list[Spec]:
    """The runs with the first budget that may start now: the shortest length of all ladders first.

    `running` holds the ids of runs that have started and have no result yet. Seeds run together
    only if all of them are needed, whatever they give.
    """
    due: dict[str, Spec] = {}
    for ladder in ladders:
        for rung in climb(ladder, results):
            if rung.state == "open":
                due |= {spec.id: spec for spec in rung.left[: num_certain(rung.decision)]}
    waiting = [spec for spec_id, spec in due.items() if spec_id not in running]
    return sorted(waiting, key=lambda spec: spec.length)


def longer_runs(
    ladders: Sequence[Ladder], results: Results, running: Collection[str] = ()
) -> list[Spec]:
    """The runs with the second budget that may start now.

    They repeat the failing seeds of failed rungs. A run that seems to have converged goes on too,
    since some of these runs have solved their task later.
    """
    found: dict[str, Spec] = {}
    for ladder in ladders:
        for rung in climb(ladder, results):
            if rung.state != "failed":
                continue
            for spec, result in zip(rung.specs, rung.results, strict=True):
                longer = ladder.longer.get(spec.id)
                if longer is not None and result is not None and result.ending in GO_ON:
                    found[longer.id] = longer
    return [spec for spec_id, spec in found.items() if spec_id not in running]


def longer_among(ladders: Sequence[Ladder], recorded: Collection[str]) -> list[Spec]:
    """The runs with the second budget whose ids are among these."""
    every = {longer.id: longer for ladder in ladders for longer in ladder.longer.values()}
    return [longer for spec_id, longer in every.items() if spec_id in recorded]


def most_left(ladder: Ladder, results: Results) -> list[Spec]:
    """The runs with the first budget that a climb to the top takes if every seed is needed."""
    return [
        spec
        for rung in climb(ladder, results)
        if rung.state in ("open", "waiting")
        for spec in rung.left
    ]
