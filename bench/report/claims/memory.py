"""Claims on learning: (a), (b), and (d), which is about the receptive field."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.plan.rates import Rates
from bench.report.claims.against import did_not, front_of, missing_for, standing_for
from bench.report.claims.cells import (
    FEWEST_FAILED,
    FEWEST_SOLVED,
    Cell,
    best_of,
    by_place,
    by_task,
    of_family,
)
from bench.report.claims.verdict import LONG, Verdict, answered, missing, named

TOO_FEW = f"{FEWEST_SOLVED} seeds that solve a T, or {FEWEST_FAILED} that do not"
HARD = 2.0
"""Training is hard beyond this multiple of the updates of the best convolutional model."""
MOSTLY = 0.8
"""Share of the cells of a task that must be hard, or easy, to call the task so."""
FEWEST_LENGTHS = 3
"""Lengths at which both families must count for a task to be called hard or easy."""
TOO_FEW_LENGTHS = f"a task with {FEWEST_LENGTHS} lengths at which both families count"


def long_dependencies(cells: Sequence[Cell], rates: Rates) -> Verdict:
    rows: list[dict[str, Any]] = []
    solving: list[str] = []
    failing: list[str] = []
    reasons: list[Sequence[str]] = []
    for task, of_task in by_task(cells):
        recurrent = of_family(of_task, "recurrent")
        far = _beyond_short_fields(of_task)
        if not recurrent or not any(cell.memory > LONG for cell in of_task):
            continue
        solved = of_family(far, "recurrent")
        front = front_of(recurrent, rates)
        others = [cell for cell in far if cell.family != "recurrent"]
        needed = list(front.missing)
        if not others:
            needed.append(f"another family that solves the task beyond {LONG} steps")
        row: dict[str, Any] = {"task": task, "result": "undecided"}
        if solved:
            longest = max(solved, key=lambda cell: (cell.length, -cell.updates))
            solving.append(f"{longest.model} solves {longest.place}")
            row["result"] = "contradicts it"
        elif not needed and front.failing is not None:
            failing.append(did_not(front.failing, _solver_of(front.failing, of_task, others)))
            row["result"] = "supports it"
        else:
            reasons.append(needed)
            row["missing"] = "; ".join(needed)
        last, first = front.solved, front.failing
        row["longest solved by a recurrent model"] = (
            f"{last} at T = {last.length:,}" if last else None
        )
        row["not solved"] = f"{first} at T = {first.length:,}" if first else None
        row["others beyond 100"] = _longest(others)
        rows.append(row)
    word = answered(bool(failing), bool(solving), bool(rows))
    sentences = {
        "supported": "; ".join(failing[:1]),
        "contradicted": "; ".join(solving[:1] + failing[:1]),
        "undecided": missing(reasons),
        "not tested": f"no recurrent network has runs on a task that needs more than {LONG} steps",
    }
    return Verdict(
        key="a",
        claim="Recurrent networks can't learn dependencies longer than 100 steps.",
        verdict=word,
        sentence=sentences[word],
        table=rows,
        figure="solved_vs_length",
    )


def _beyond_short_fields(of_task: Sequence[Cell]) -> list[Cell]:
    """Solved cells beyond 100 steps, without lengths that a field of 100 steps is enough for."""
    solved = [cell for cell in of_task if cell.solves and cell.memory > LONG]
    near = {cell.length for cell in solved if cell.field <= LONG}
    return [cell for cell in solved if cell.length not in near]


def _solver_of(failing: Cell, of_task: Sequence[Cell], others: Sequence[Cell]) -> Cell:
    """The best cell of another family at the failing T, or else at the next T that one solves."""
    solving = [cell for cell in of_task if cell.solves and cell.family != failing.family]
    later = [cell for cell in solving if cell.length >= failing.length] or list(others)
    return best_of(cell for cell in later if cell.length == min(each.length for each in later))


def _longest(cells: Sequence[Cell]) -> str | None:
    if not cells:
        return None
    length = max(cell.length for cell in cells)
    return f"{best_of(cell for cell in cells if cell.length == length)} at T = {length:,}"


def hard_to_train(cells: Sequence[Cell], rates: Rates) -> Verdict:
    rows: list[dict[str, Any]] = []
    found: dict[str, list[tuple[str, str]]] = {}
    reasons: list[Sequence[str]] = []
    tested = False
    of_task = dict(by_task(cells))
    for task, length, here in by_place(cells):
        tested |= {"recurrent", "convolutional"} <= {cell.family for cell in here}
        judged = [cell for cell in here if cell.solves or cell.fails]
        if not any(cell.solves for cell in judged):
            continue
        ours, theirs, needed = _sides(judged, of_task[task], length, rates)
        if ours is None or theirs is None:
            continue
        reasons += [needed] if needed else []
        hard = "undecided" if needed else "yes" if _is_hard(ours, theirs) else "no"
        solver = best_of(cell for cell in judged if cell.solves)
        said = _compared(ours, theirs) if ours.solves else did_not(ours, solver)
        found.setdefault(task, []).append((hard, said))
        row = {"task": task, "T": length, "best recurrent": _effort(ours, length)}
        row |= {"best convolutional": _effort(theirs, length), "hard": hard}
        rows.append({**row, "missing": "; ".join(needed) or None})
    # An undecided cell may be hard or easy; a verdict must hold either way.
    enough = {task: each for task, each in found.items() if len(each) >= FEWEST_LENGTHS}
    hard, easy = (
        {task: _share(each, wanted) for task, each in enough.items()} for wanted in ("yes", "no")
    )
    word = answered(
        bool(hard) and min(hard.values()) >= MOSTLY,
        bool(easy) and max(easy.values()) >= MOSTLY,
        tested,
    )
    against, support = _example(easy, found, "no"), _example(hard, found, "yes")
    sentences = {
        "supported": support,
        "contradicted": "; in favour of the claim: ".join(filter(None, (against, support))),
        "undecided": _counts(rows, reasons if enough else [[TOO_FEW_LENGTHS], *reasons]),
        "not tested": "no task and length has runs of both families",
    }
    return Verdict(
        key="b",
        claim="Recurrent networks are hard to train.",
        verdict=word,
        sentence=sentences[word],
        table=rows,
        figure="rate_sensitivity",
    )


def _example(
    shares: Mapping[str, float], found: Mapping[str, Sequence[tuple[str, str]]], wanted: str
) -> str:
    """The longest such cell of the task with the largest share of them; empty: there is none."""
    task = max(shares, key=lambda task: shares[task], default=None)
    said = [said for word, said in found[task] if word == wanted] if task else []
    return said[-1] if said else ""


def _counts(rows: Sequence[Mapping[str, Any]], reasons: Sequence[Sequence[str]]) -> str:
    """How many cells are hard and easy, and why this decides nothing."""
    if not rows:
        return missing([[TOO_FEW]])
    hard, easy = (sum(row["hard"] == each for row in rows) for each in ("yes", "no"))
    why = missing(reasons) if reasons else "no task is clearly easy, and not all are hard"
    return f"{hard} of {len(rows)} cells are hard and {easy} are not; {why}"


def _share(cells: Sequence[tuple[str, str]], wanted: str) -> float:
    return sum(word == wanted for word, _ in cells) / len(cells)


def _sides(
    here: Sequence[Cell], of_task: Sequence[Cell], length: int, rates: Rates
) -> tuple[Cell | None, Cell | None, Sequence[str]]:
    """The recurrent and the convolutional cell to compare at one length, and what is missing.

    If a family has no cell there because its ladder ended below, the cell that it failed stands for
    it. Otherwise the side is None.
    """
    sides: list[Cell | None] = []
    needed: Sequence[str] = ()
    for family in ("recurrent", "convolutional"):
        own, every = of_family(here, family), of_family(of_task, family)
        below = [cell for cell in every if cell.solves or cell.length < length]
        failing = front_of(below, rates).failing if below and not own else None
        if own:
            sides.append(standing_for(own, every) if family == "recurrent" else best_of(own))
        else:
            sides.append(failing)
        if family == "recurrent" and sides[0] is not None and not sides[0].solves:
            needed = missing_for(sides[0], every, rates)
    return sides[0], sides[1], needed


def _is_hard(ours: Cell, theirs: Cell) -> bool:
    """Whether the best recurrent network needs far more updates than the best convolutional one."""
    return not ours.solves or (theirs.solves and ours.updates > HARD * theirs.updates)


def _compared(ours: Cell, theirs: Cell) -> str:
    beside = (
        f"{theirs.model} needs {theirs.updates:,.0f}"
        if theirs.solves
        else f"{theirs.model} does not solve it"
    )
    return f"{ours.model} solves {ours.place} after {ours.updates:,.0f} updates ({beside})"


def _effort(cell: Cell, length: int) -> str:
    at = "" if cell.length == length else f" at T = {cell.length:,}"
    if not cell.solves:
        return f"{cell}{at}: not within {cell.allowed:,} updates"
    return f"{cell}: {cell.updates:,.0f} updates"


def _field_row(cell: Cell) -> dict[str, Any]:
    return {
        "task": cell.task,
        "T": cell.length,
        "model": cell.model,
        "field": cell.field,
        "reach": cell.reach,
        "seeds": str(cell.decision),
        "solves": "yes" if cell.solves else "no",
    }


def field_necessary(cells: Sequence[Cell]) -> Verdict:
    """Arithmetic: an output can't depend on inputs outside the field. The runs only check it."""
    short = [cell for cell in cells if cell.field < cell.reach and (cell.solves or cell.fails)]
    solving = [f"{cell.model} solves {cell.place}" for cell in short if cell.solves]
    num_run = sum(cell.decision.num_run for cell in short)
    num_failed = sum(cell.decision.num_failed for cell in short)
    agree = f"; {num_failed} of {num_run} runs with a shorter field failed" if short else ""
    sentences = {
        True: f"a field that is shorter than the reach is enough: {named(solving)}",
        False: "no output can depend on an input outside its receptive field, so a shorter field "
        f"can't solve a task whose answer needs the oldest input{agree}",
    }
    return Verdict(
        key="d1",
        claim="A receptive field that covers the dependency is necessary.",
        verdict="contradicted" if solving else "supported",
        sentence=sentences[bool(solving)],
        arithmetic=True,
        table=[_field_row(cell) for cell in short],
        figure="cliff",
    )


def covered(cells: Sequence[Cell], rates: Rates) -> Iterator[tuple[Cell, Sequence[str]]]:
    """The convolutional cells whose field covers the reach.

    Each comes with what is missing for its failure to contradict claim (d2); empty: it does, if the
    cell fails.
    """
    for _, of_task in by_task(cells):
        family = of_family(of_task, "convolutional")
        for cell in family:
            if cell.field >= cell.reach:
                yield cell, () if cell.solves else missing_for(cell, family, rates, alone=True)


def field_sufficient(cells: Sequence[Cell], rates: Rates) -> Verdict:
    rows: list[dict[str, Any]] = []
    solving: list[str] = []
    failing: list[str] = []
    reasons: list[Sequence[str]] = []
    few: list[Sequence[str]] = []
    for cell, needed in covered(cells, rates):
        row = _field_row(cell)
        if not cell.solves and not cell.fails:
            few.append([TOO_FEW])
            row |= {"solves": "undecided", "missing": TOO_FEW}
        elif cell.solves:
            solving.append(f"{cell.model} on {cell.place}")
        elif needed:
            reasons.append(needed)
            row |= {"solves": "undecided", "missing": "; ".join(needed)}
        else:
            failing.append(
                f"{cell.model} did not solve {cell.place} within {cell.allowed:,} updates, "
                f"with a field of {cell.field:,.0f} for a reach of {cell.reach:,}"
            )
        rows.append(row)
    word = answered(bool(solving) and not reasons, bool(failing), bool(rows))
    sentences = {
        "supported": f"it was enough in all {len(solving)} cells",
        "contradicted": named(failing, "further cells", 1),
        "undecided": missing(reasons or few),
        "not tested": "no convolutional network that covers the reach has runs",
    }
    return Verdict(
        key="d2",
        claim="A receptive field that covers the dependency is sufficient.",
        verdict=word,
        sentence=sentences[word],
        table=rows,
        figure="solved_vs_length",
    )
