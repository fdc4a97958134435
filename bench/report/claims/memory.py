"""Claims on what is learned: (a) and (b), and (d), what a receptive field is good for."""

import math
from collections.abc import Sequence
from typing import Any

from bench.report.claims.cells import (
    FEWEST_SEEDS,
    Cell,
    best_of,
    by_length,
    by_task,
    of_family,
)
from bench.report.claims.verdict import (
    LONG,
    NOT_ENOUGH,
    Answer,
    Verdict,
    by_number,
    named,
    per_task,
    place,
    seeds_that_solve,
)

HARD = 2.0
"""Training is hard beyond this multiple of the updates of the best convolutional model."""
MOSTLY_HARD, MOSTLY_EASY = 0.8, 0.2
"""Shares of hard cells of a task from which on, and up to which, the claim is decided."""


def long_dependencies(cells: Sequence[Cell]) -> Verdict:
    rows: list[dict[str, Any]] = []
    confirmed: list[str] = []
    refuted: list[str] = []
    solving: list[Cell] = []
    for task, of_task in by_task(cells).items():
        results = []
        for length, here in by_length(of_task).items():
            recurrent = of_family(here, "recurrent")
            if length <= LONG or not recurrent:
                continue
            best = best_of(recurrent)
            near = [cell for cell in here if cell.solves and cell.field <= LONG]
            others = [cell for cell in here if cell.solves and cell.family != "recurrent"]
            if near:
                result = f"left out: a field of {near[0].field:.0f} steps solves it"
                others = near
            elif best.solves:
                result = "against: a recurrent model solves it"
                solving.append(best)
            else:
                result = "for: only others solve it" if others else "undecided: no model solves it"
            results.append(result.partition(":")[0])
            other = str(best_of(others)) if others else None
            row = {"task": task, "T": length, "best recurrent": str(best)}
            rows.append({**row, "best other that solves it": other, "result": result})
        if "against" in results:
            refuted.append(task)
        elif "for" in results:
            confirmed.append(task)
    parts = []
    if confirmed:
        parts.append(f"no recurrent model solves T > {LONG} on {named(confirmed)}")
    if refuted:
        longest = max(solving, key=lambda cell: cell.length)
        parts.append(f"{longest.model} solves {place(longest.task, longest.length)}")
    if not parts:
        parts = [f"no task has a recurrent model with {FEWEST_SEEDS} seeds at T > {LONG} and one "
                 "that solves it"]  # fmt: skip
    return Verdict(
        key="a",
        claim="Recurrent networks can't learn dependencies longer than 100 steps.",
        verdict=per_task(confirmed, refuted),
        sentence="; ".join(parts),
        table=rows,
        figures=("solved_vs_length", "variants"),
    )


def hard_to_train(cells: Sequence[Cell]) -> Verdict:
    rows: list[dict[str, Any]] = []
    shares: list[float] = []
    hard: list[str] = []
    for task, of_task in by_task(cells).items():
        judged = []
        for length, here in by_length(of_task).items():
            recurrent = of_family(here, "recurrent")
            convolutional = of_family(here, "convolutional")
            if not (recurrent and convolutional and any(cell.solves for cell in here)):
                continue
            ours, theirs = best_of(recurrent), best_of(convolutional)
            judged.append(is_hard(ours, theirs))
            hard += [place(task, length)] if judged[-1] else []
            row = {"task": task, "T": length, "best recurrent": _effort(ours)}
            row |= {"best convolutional": _effort(theirs), "hard": "yes" if judged[-1] else "no"}
            rows.append(row)
        if judged:
            shares.append(sum(judged) / len(judged))
    answer: Answer = "holds when"
    if not shares:
        answer = NOT_ENOUGH
    elif min(shares) >= MOSTLY_HARD:
        answer = "holds"
    elif max(shares) <= MOSTLY_EASY:
        answer = "fails"
    examples = f", among them {named(hard)}" if hard else ""
    return Verdict(
        key="b",
        claim="Recurrent networks are hard to train.",
        verdict=answer,
        sentence=f"training is hard in {len(hard)} of {len(rows)} cells{examples}"
        if rows
        else "both families have evidence in no cell that some model solves",
        table=rows,
        figures=("rate_sensitivity", "gradients"),
    )


def is_hard(recurrent: Cell, convolutional: Cell) -> bool:
    """Whether the recurrent model is hard to train, in a cell that some model solves."""
    if not recurrent.solves:
        return True
    return convolutional.solves and recurrent.updates > HARD * convolutional.updates


def _effort(cell: Cell) -> str:
    if not cell.solves:
        return f"{cell.model}: not solved, {cell.seeds}"
    if math.isinf(cell.updates):
        return f"{cell.model}: solved, though never on validation, {cell.seeds}"
    return f"{cell.model}: {cell.updates:,.0f} updates, {cell.seeds}"


def _field_row(cell: Cell) -> dict[str, Any]:
    return {
        "task": cell.task,
        "T": cell.length,
        "model": cell.model,
        "field": cell.field,
        "reach": cell.reach,
        "seeds": cell.seeds,
        "solves": "yes" if cell.solves else "no",
    }


def field_necessary(cells: Sequence[Cell]) -> Verdict:
    confirmed: list[str] = []
    refuted: list[Cell] = []
    short = [cell for cell in cells if cell.short]
    covering = {
        (c.task, c.length) for c in of_family(cells, "convolutional") if c.covers and c.solves
    }
    for task, of_task in by_task(short).items():
        solving = [cell for cell in of_task if cell.solves]
        beside = any((cell.task, cell.length) in covering for cell in of_task)
        if solving:
            refuted.append(min(solving, key=lambda cell: cell.field / cell.reach))
        elif beside and not any(cell.num_solved for cell in of_task):
            confirmed.append(task)
    parts = []
    if short:
        seeds = seeds_that_solve(
            sum(cell.num_solved for cell in short), sum(cell.num_seeds for cell in short)
        )
        parts.append(f"{seeds} of networks with too short a field solve their task")
    if refuted:
        counter = named(f"{cell.model} solves {place(cell.task, cell.length)}" for cell in refuted)
        parts.append(f"against it: {counter}")
    return Verdict(
        key="d1",
        claim="A receptive field that covers the dependency is necessary.",
        verdict=per_task(confirmed, [cell.task for cell in refuted]),
        sentence="; ".join(parts)
        or f"no model with {FEWEST_SEEDS} seeds has a field shorter than the reach",
        table=[_field_row(cell) for cell in short],
        figures=("cliff",),
    )


def field_sufficient(cells: Sequence[Cell]) -> Verdict:
    covering = [cell for cell in of_family(cells, "convolutional") if cell.covers]
    solving = [cell for cell in covering if cell.solves]
    failing = [cell for cell in covering if not cell.solves]
    parts = []
    for words, group in (
        ("one to two times", [cell for cell in covering if cell.field < 2 * cell.reach]),
        ("at least twice", [cell for cell in covering if cell.field >= 2 * cell.reach]),
    ):
        if group:
            solved = sum(cell.solves for cell in group)
            parts.append(
                f"{solved} of {len(group)} solve their task with a field of {words} the reach"
            )
    if failing:
        examples = named(f"{cell.model} on {place(cell.task, cell.length)}" for cell in failing)
        parts.append(f"not solved: {examples}")
    return Verdict(
        key="d2",
        claim="A receptive field that covers the dependency is sufficient.",
        verdict=by_number(len(solving), len(failing)),
        sentence="; ".join(parts)
        or f"no convolutional model with {FEWEST_SEEDS} seeds covers the reach",
        table=[_field_row(cell) for cell in covering],
        figures=("cliff", "score_vs_length"),
    )
