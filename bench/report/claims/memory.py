"""Claims on learning: (a), (b), and (d), which is about the receptive field."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bench.report.claims.cells import Cell, best_of, by_place, of_family, place
from bench.report.claims.verdict import LONG, NOT_ENOUGH, Answer, Verdict, decided, weighed

HARD = 2.0
"""Training is hard beyond this multiple of the updates of the best convolutional model."""
MOSTLY_HARD, MOSTLY_EASY = 0.8, 0.2
"""Claim (b) holds if the share of hard cells is at least the first number in every task. It fails
if the share is at most the second number in every task."""


def long_dependencies(cells: Sequence[Cell]) -> Verdict:
    rows: list[dict[str, Any]] = []
    results: dict[str, set[str]] = {}
    for task, length, here in by_place(cells):
        recurrent = of_family(here, "recurrent")
        if length <= LONG or not recurrent:
            continue
        best = best_of(recurrent)
        near = [cell for cell in here if cell.solves and cell.field <= LONG]
        others = near or [cell for cell in here if cell.solves and cell.family != "recurrent"]
        if near:
            result = f"left out: a field of {near[0].field:.0f} steps solves it"
        elif best.solves:
            result = "against: a recurrent model solves it"
        else:
            result = "for: only others solve it" if others else "undecided: no model solves it"
        results.setdefault(task, set()).add(result.partition(":")[0])
        row = {"task": task, "T": length, "best recurrent": str(best)}
        other = str(best_of(others)) if others else None
        rows.append({**row, "best other that solves it": other, "result": result})
    refuted = [task for task, found in results.items() if "against" in found]
    confirmed = [
        task for task, found in results.items() if "for" in found and "against" not in found
    ]
    return Verdict(
        key="a",
        claim="Recurrent networks can't learn dependencies longer than 100 steps.",
        verdict=decided(confirmed, refuted),
        sentence=weighed("task", confirmed, refuted),
        table=rows,
        figures=("solved_vs_length", "variants"),
    )


def hard_to_train(cells: Sequence[Cell]) -> Verdict:
    rows: list[dict[str, Any]] = []
    by_task: dict[str, list[bool]] = {}
    places: dict[bool, list[str]] = {True: [], False: []}
    for task, length, here in by_place(cells):
        recurrent, convolutional = of_family(here, "recurrent"), of_family(here, "convolutional")
        if not (recurrent and convolutional and any(cell.solves for cell in here)):
            continue
        ours, theirs = best_of(recurrent), best_of(convolutional)
        hard = not ours.solves or (theirs.solves and ours.updates > HARD * theirs.updates)
        by_task.setdefault(task, []).append(hard)
        places[hard].append(place(ours))
        row = {"task": task, "T": length, "best recurrent": _effort(ours)}
        rows.append({**row, "best convolutional": _effort(theirs), "hard": "yes" if hard else "no"})
    shares = [sum(hard) / len(hard) for hard in by_task.values()]
    answer: Answer = "holds when"
    if not shares:
        answer = NOT_ENOUGH
    elif min(shares) >= MOSTLY_HARD:
        answer = "holds"
    elif max(shares) <= MOSTLY_EASY:
        answer = "fails"
    return Verdict(
        key="b",
        claim="Recurrent networks are hard to train.",
        verdict=answer,
        sentence=weighed("cell", places[True], places[False]),
        table=rows,
        figures=("rate_sensitivity", "gradients"),
    )


def _effort(cell: Cell) -> str:
    if not cell.solves:
        return f"{cell.model}: not solved, {cell.seeds}"
    if math.isinf(cell.updates):
        return f"{cell.model}: solved, though never on validation, {cell.seeds}"
    return f"{cell.model}: {cell.updates:,.0f} updates, {cell.seeds}"


def _field_table(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [
        {
            "task": cell.task,
            "T": cell.length,
            "model": cell.model,
            "field": cell.field,
            "reach": cell.reach,
            "seeds": cell.seeds,
            "solves": "yes" if cell.solves else "no",
        }
        for cell in cells
    ]


def field_necessary(cells: Sequence[Cell]) -> Verdict:
    short = [cell for cell in cells if cell.field < cell.reach]
    covered = {
        (cell.task, cell.length)
        for cell in of_family(cells, "convolutional")
        if cell.field >= cell.reach and cell.solves
    }
    confirmed: list[str] = []
    refuted: list[str] = []
    for task, group in groupby(short, lambda cell: cell.task):
        of_task = list(group)
        if any(cell.solves for cell in of_task):
            refuted.append(task)
        elif any(cell.num_solved for cell in of_task):
            continue
        elif any((cell.task, cell.length) in covered for cell in of_task):
            confirmed.append(task)
    return Verdict(
        key="d1",
        claim="A receptive field that covers the dependency is necessary.",
        verdict=decided(confirmed, refuted),
        sentence=weighed("task", confirmed, refuted),
        table=_field_table(short),
        figures=("cliff",),
    )


def field_sufficient(cells: Sequence[Cell]) -> Verdict:
    covering = [cell for cell in of_family(cells, "convolutional") if cell.field >= cell.reach]
    solving, failing = (
        [f"{cell.model} on {place(cell)}" for cell in covering if cell.solves is solves]
        for solves in (True, False)
    )
    return Verdict(
        key="d2",
        claim="A receptive field that covers the dependency is sufficient.",
        verdict=decided(solving, failing),
        sentence=weighed("combination", solving, failing),
        table=_field_table(covering),
        figures=("cliff", "score_vs_length"),
    )
