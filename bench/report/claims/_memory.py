"""Claims of what is learned: (a) and (b), and (d), what a receptive field is good for."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

import math
from collections.abc import Sequence

import pandas as pd

import models
from bench.plan.rates import Rates
from bench.report.claims._cells import (
    FEWEST_SEEDS,
    Cell,
    best_of,
    by_place,
    by_task,
    limits,
    of_family,
)
from bench.report.claims._verdict import (
    FAMILIES,
    LONG,
    Answer,
    Verdict,
    at,
    but_not,
    per_task,
    seeds_that_solve,
    where,
)
from bench.report.tables import COUNTED

HARD = 2.0
"""Times the updates of the best convolutional model beyond which training is hard."""
MOSTLY_HARD, MOSTLY_EASY = 0.8, 0.2
"""Shares of a task's cells."""


def long_dependencies(runs: pd.DataFrame, cells: Sequence[Cell]) -> Verdict:
    said: list[str] = []
    not_tested: list[str] = []
    confirmed, refuted = [], []
    for task, of_task in by_task(cells).items():
        judged = {}
        for (_, length), here in by_place(of_task).items():
            recurrent = of_family(here, "recurrent")
            if length <= LONG or not recurrent:
                continue
            near = [c for c in here if c.solves and c.field <= LONG]
            if near:
                said.append(
                    f"{task} at T = {length:,} is left out: {near[0].model} with a receptive "
                    f"field of {near[0].field:.0f} steps solves it, {near[0].seeds}."
                )
            else:
                judged[length] = here, recurrent
        solved = {
            length: best
            for length, (_, recurrent) in judged.items()
            if (best := best_of(recurrent)).solves
        }
        others = {
            length: best_of(able)
            for length, (here, _) in judged.items()
            if (able := [c for c in here if c.solves and c.family != "recurrent"])
        }
        if solved:
            refuted.append(task)
            longest = solved[max(solved)]
            rest = judged.keys() - solved.keys()
            said.append(
                f"{task}: recurrent networks solve {at(solved)}"
                + (f" and do not solve {at(rest)}" if rest else "")
                + f". At the longest of them {longest.model} does, {longest.seeds}."
            )
        elif others:
            confirmed.append(task)
            shortest = min(others)
            best = best_of(judged[shortest][1])
            shorter = [c.length for c in of_task if c.family == "recurrent" and c.solves]
            until = (
                f"The longest T that one solves is {max(shorter):,}."
                if shorter
                else "They solve no shorter T either: it is not the length that stops them."
            )
            said.append(
                f"{task}: no recurrent network solves {at(judged)}. The best at T = {shortest:,} "
                f"is {best.model}, {best.seeds}; {others[shortest].model} solves it, "
                f"{others[shortest].seeds}. {until}"
            )
        elif judged:
            said.append(
                f"{task} is undecided: no model solves {at(judged)} where a recurrent one has "
                f"{FEWEST_SEEDS} seeds."
            )
        else:
            not_tested.append(f"T > {LONG} on {task}.")
    answer, conditions = per_task(confirmed, refuted)
    return Verdict(
        key="a",
        claim="Recurrent networks can't learn dependencies longer than 100 steps.",
        verdict=answer,
        conditions=conditions,
        because=tuple(said) or (f"No recurrent model has {FEWEST_SEEDS} seeds at any T > {LONG}.",),
        figures=("solved_vs_length", "variants"),
        not_tested=(*not_tested, *limits(runs, cells)),
    )


def hard_to_train(runs: pd.DataFrame, cells: Sequence[Cell], rates: Rates) -> Verdict:
    said: list[str] = []
    hard: list[tuple[str, int]] = []
    easy: list[tuple[str, int]] = []
    shares: list[float] = []
    for task, of_task in by_task(cells).items():
        told: dict[int, tuple[bool, str]] = {}
        for (_, length), here in by_place(of_task).items():
            recurrent = of_family(here, "recurrent")
            convolutional = of_family(here, "convolutional")
            if recurrent and convolutional and any(cell.solves for cell in here):
                told[length] = _compared(best_of(recurrent), best_of(convolutional))
        if not told:
            continue
        hard += [(task, length) for length, (is_hard, _) in told.items() if is_hard]
        easy += [(task, length) for length, (is_hard, _) in told.items() if not is_hard]
        num_hard = sum(is_hard for is_hard, _ in told.values())
        shares.append(num_hard / len(told))
        said.append(f"{task}: hard in {num_hard} of {len(told)} cells.")
        said += [
            f"{task}, T = {length:,}: {'hard' if is_hard else 'not hard'}; {words}."
            for length, (is_hard, words) in told.items()
        ]
    answer: Answer = "holds when"
    if not shares:
        answer = "not enough evidence yet"
    elif min(shares) >= MOSTLY_HARD:
        answer = "holds"
    elif max(shares) <= MOSTLY_EASY:
        answer = "fails"
    conditions = ""
    if answer == "holds when":
        conditions = but_not(f"on {where(hard)}", f"on {where(easy)}")
    return Verdict(
        key="b",
        claim="Recurrent networks are hard to train.",
        verdict=answer,
        conditions=conditions,
        because=(
            *(said or ["In no cell that some model solves do both families have evidence."]),
            *_rates_that_solve(rates),
            *_diverged(runs),
        ),
        figures=("rate_sensitivity", "gradients"),
        not_tested=(
            "Whether another optimizer, clipping or initialisation makes it easier.",
            *limits(runs, cells),
        ),
    )


def _compared(recurrent: Cell, convolutional: Cell) -> tuple[bool, str]:
    """Whether the recurrent model is hard to train beside the convolutional one, and in words.

    One of any family solves the cell.
    """
    words = (
        f"{recurrent.model} {_effort(recurrent)}, {convolutional.model} {_effort(convolutional)}"
    )
    if not recurrent.solves:
        return True, words
    return convolutional.solves and recurrent.updates > HARD * convolutional.updates, words


def _effort(cell: Cell) -> str:
    if not cell.solves:
        return f"does not solve it, {cell.seeds}"
    if math.isinf(cell.updates):
        return f"solves it, though never on validation, {cell.seeds}"
    return f"{cell.updates:,.0f} updates, {cell.seeds}"


def _rates_that_solve(rates: Rates) -> list[str]:
    """How many of the learning rates tried solve at least half of their runs."""
    tried: dict[str, list[bool]] = {}
    for of_task in rates.values():
        for label, tuned in of_task.items():
            tried.setdefault(_family(label), []).extend(
                2 * each.num_solved >= each.num_runs for each in tuned.tried
            )
    shares = [
        f"{sum(good)} of {len(good)} with {family} models"
        for family in FAMILIES
        if (good := tried.get(family))
    ]
    if not shares:
        return []
    return [f"Learning rates tried that solve at least half of their runs: {', '.join(shares)}."]


def _family(label: str) -> str:
    """Of the model that a label begins with."""
    name = label.split()[0]
    return models.model_class(name).family if name in models.names() else "other"


def _diverged(runs: pd.DataFrame) -> list[str]:
    if runs.empty:
        return []
    made = runs[runs["status"].isin(COUNTED)]
    shares = [
        f"{(group['status'] == 'diverged').sum()} of {len(group)} {family}"
        for family, group in made.groupby("family")
        if family in FAMILIES
    ]
    return [f"Runs that diverged: {', '.join(shares)}."] if shares else []


def field_necessary(runs: pd.DataFrame, cells: Sequence[Cell]) -> Verdict:
    said: list[str] = []
    confirmed, refuted = [], []
    for task, of_task in by_task(cells).items():
        short = [cell for cell in of_task if cell.short]
        if not short:
            continue
        solving = [cell for cell in short if cell.solves]
        lucky = [cell for cell in short if cell.num_solved]
        covering = {
            place: best_of(able)
            for place, here in by_place(of_task).items()
            if (able := [c for c in of_family(here, "convolutional") if c.covers and c.solves])
        }
        beside = [cell for cell in short if cell.place in covering]
        seeds = seeds_that_solve(sum(c.num_solved for c in short), sum(c.num_seeds for c in short))
        counts = f"{seeds} of models with too short a field solve"
        if solving:
            refuted.append(task)
            least = min(solving, key=lambda cell: cell.field / cell.reach)
            said.append(f"{task}: {counts}. {_solves_or_not(least)}.")
        elif lucky or not beside:
            why = "but no model does" if lucky else "and no convolutional model that covers does"
            said.append(f"{task} is undecided: {counts}, {why}.")
        else:
            confirmed.append(task)
            nearest = max(beside, key=lambda cell: cell.field / cell.reach)
            other = covering[nearest.place]
            said.append(f"{task}: {counts}. {_solves_or_not(nearest)}; {_solves_or_not(other)}.")
    answer, conditions = per_task(confirmed, refuted)
    return Verdict(
        key="d1",
        claim="A receptive field that covers the dependency is necessary.",
        verdict=answer,
        conditions=conditions,
        because=tuple(said)
        or (f"No model with {FEWEST_SEEDS} seeds has a field shorter than the reach.",),
        figures=("cliff",),
        not_tested=tuple(limits(runs, cells)),
    )


def _solves_or_not(cell: Cell) -> str:
    verb = "solves" if cell.solves else "does not solve"
    return (
        f"{cell.model} with a field of {cell.field:,.0f} for a reach of {cell.reach:,} {verb} "
        f"T = {cell.length:,}, {cell.seeds}"
    )


def field_sufficient(runs: pd.DataFrame, cells: Sequence[Cell]) -> Verdict:
    covering = [cell for cell in of_family(cells, "convolutional") if cell.covers]
    failing = [cell for cell in covering if not cell.solves]
    said: list[str] = []
    up_to: list[str] = []
    for task, of_task in by_task(covering).items():
        not_here = [cell for cell in of_task if not cell.solves]
        first_failure = min((cell.length for cell in not_here), default=math.inf)
        always = [cell.length for cell in of_task if cell.length < first_failure]
        if always:
            up_to.append(f"{task} up to T = {max(always):,}")
        said.append(
            f"{task}: {len(of_task) - len(not_here)} of {len(of_task)} solve"
            + "".join(f"; {_solves_or_not(cell)}" for cell in not_here)
            + "."
        )
    for words, group in (
        ("once to twice", [cell for cell in covering if cell.field < 2 * cell.reach]),
        ("at least twice", [cell for cell in covering if cell.field >= 2 * cell.reach]),
    ):
        if group:
            solved = sum(cell.solves for cell in group)
            said.append(f"With a field of {words} the reach, {solved} of {len(group)} solve.")
    answer: Answer = "holds when"
    if not covering:
        answer = "not enough evidence yet"
    elif not failing:
        answer = "holds"
    elif len(failing) == len(covering):
        answer = "fails"
    conditions = ""
    if answer == "holds when":
        held = f"on {'; '.join(up_to)}" if up_to else "for some models at some lengths"
        conditions = but_not(held, f"always on {where(cell.place for cell in failing)}")
    return Verdict(
        key="d2",
        claim="A receptive field that covers the dependency is sufficient.",
        verdict=answer,
        conditions=conditions,
        because=tuple(said)
        or (f"No convolutional model with {FEWEST_SEEDS} seeds covers the reach.",),
        figures=("cliff", "score_vs_length"),
        not_tested=tuple(limits(runs, cells)),
    )
