"""The answer of `python -m bench choose` as text."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from bench.core.machine import fingerprint
from bench.core.wording import counted
from bench.plan import needed
from bench.plan.needed import Folder
from bench.report.choosing import NOT_MEASURED, NOT_TIMED, Answer, Need, Problem, choose
from bench.report.claims.against import (
    LONG_RUNS,
    MORE_UPDATES,
    STABLE_SETTINGS,
    TUNED_RATE,
    WIDER_GRID,
)
from bench.report.data import Data, Source
from bench.report.evidence import Bounds, Evidence, evidence_of
from bench.report.horizon import LONG_BUDGET
from bench.report.times import how
from tasks import KINDS

MORE = 4
"""Seeds that were still improving get so many times the updates that they had."""
MOST_CELLS = 12
"""Rows of evidence that are shown."""
HEADER = (
    *("task", "T", "model", "score [95%]", "seeds [95%]", "evidence"),
    *("updates", "step µs", "bytes", "train min"),
)


def advise(problem: Problem, source: Source, folder: Folder) -> str:
    """The answer from the records of a results folder."""
    data = Data(source)
    return text(choose(problem, evidence_of(data)), folder, times=times_of(data))


def times_of(data: Data) -> str:
    """Where the costs in the table come from."""
    said = "Step and state: batch 1, "
    if not data.source.speed:
        said = "No network was timed. "
    else:
        machine = data.source.speed[0].machine
        same = machine.slug == fingerprint().slug
        where = machine.gpu or machine.cpu
        said += f"{how(data.leading, data.device)}, {where}"
        said += "" if same else ", another machine than this one"
        said += ". ≤, ≥: bounds from other T. "
    alone = (
        "Training: updates × the time of one timed alone; *: time of runs that shared the machine."
    )
    return said + alone


def text(answer: Answer, folder: Folder, *, times: str) -> str:
    """The answer, the evidence and the commands that would make what is missing.

    `times` says where the times come from.
    """
    lines = [_question(answer.problem), ""]
    lines += [f"pick       {answer.pick or 'none'}", f"runner-up  {answer.runner_up or 'none'}"]
    lacking = open_questions(answer)
    lines += [f"how sure   {answer.sure}{f', since {lacking}' if lacking else ''}"]
    lines += [f"{'why' if i == 0 else '':10} {reason}" for i, reason in enumerate(answer.why)]
    if answer.cells:
        shown, left = answer.cells[:MOST_CELLS], len(answer.cells[MOST_CELLS:])
        lines += ["", tested(answer), *_table([HEADER, *map(row, shown)])]
        if left:
            lines.append(f"… and {counted(left, 'further row')}")
        lines.append(times)
    found = steps(answer, folder)
    if found:
        lines += ["", "These commands produce the missing evidence:"]
    if found and folder.copy_of:
        lines.append(
            f"- Copy the results first. Then `choose --results {folder.results}` reads the copy."
        )
        lines.append(f"  cp -r {shlex.join([folder.copy_of, folder.results])}")
    for step in found:
        lines += [*([f"- {step.said}"] if step.said else []), f"  {step.command}"]
    return "\n".join(lines)


def open_questions(answer: Answer) -> str | None:
    """What is missing, in short; None: nothing is."""
    reasons = dict.fromkeys(reason for need in answer.needs for reason in need.reasons)
    return f"this is missing: {'; '.join(reasons)}" if reasons else None


def tested(answer: Answer) -> str:
    """Which lengths stand for T."""
    places = [f"{task} at T = {length:,}" for task, length in (answer.places or {}).items()]
    return f"Tested at the lengths nearest to T: {', '.join(places)}."


def _question(problem: Problem) -> str:
    budgets = (
        (problem.step_us, "a step of at most {:,g} µs"),
        (problem.state_bytes, "a state of at most {:,g} bytes"),
        (problem.minutes, "training of at most {:,g} min"),
    )
    limits = [said.format(value) for value, said in budgets if value < inf]
    kind = f"{problem.kind} ({KINDS[problem.kind]})"
    return "; ".join([f"{kind}, T = {problem.length:,}", *limits])


def row(each: Evidence) -> tuple[str, ...]:
    """A row of the table of evidence, under `HEADER`."""
    score, cost = each.score, each.cost
    low, high = each.share or (None, None)
    return (
        *(each.task, f"{each.length:,}", each.model),
        f"{score.mean:.3f}{_interval(score.low, score.high, '.3f')}",
        f"{each.decision or score.n}{_interval(low, high, '.2f')}",
        each.state if each.decision is not None else "not judged",
        f"{each.updates:,.0f}" if each.updates < inf else f"> {each.allowed:,}",
        _bounded(cost.step_us, cost.step_bounds, ".3g"),
        _bounded(cost.state_bytes, cost.state_bounds, ",.0f"),
        _number(cost.minutes, ".3g") + ("" if cost.timed_alone or cost.minutes is None else "*"),
    )


def _interval(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _bounded(value: float | None, bounds: Bounds, form: str) -> str:
    """The value, or else the bound that other T give: `≤ 17`."""
    least, most = bounds
    if value is None and most < inf:
        return f"≤ {most:{form}}"
    if value is None and least > 0:
        return f"≥ {least:{form}}"
    return _number(value, form)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


@dataclass(frozen=True)
class Step:
    """A command that makes missing evidence."""

    command: str
    said: str = ""
    """What is missing."""


def steps(answer: Answer, folder: Folder) -> list[Step]:
    """The commands that make what is missing."""
    if answer.sure == "no evidence here":
        command = needed.of_kind(answer.problem.kind, answer.problem.length, folder)
        return [Step(command)] if command else []
    found: dict[tuple[Work, str, int], dict[str, list[Need]]] = {}
    for need in answer.needs:
        for reason in need.reasons:
            key = work_for(need, reason), need.cell.task, need.length
            found.setdefault(key, {}).setdefault(reason, []).append(need)
    made = []
    for (work, task, length), by_reason in found.items():
        said = "; ".join(f"{reason} ({_models(by_reason[reason])})" for reason in by_reason)
        specs = {need.cell.model: need.cell.spec for each in by_reason.values() for need in each}
        command = needed.command(work.verb, [*specs.values()], length, folder, *work.settings)
        made.append(Step(command, f"{task} at T = {length:,}: {said}"))
    return made


def _models(needs: Iterable[Need]) -> str:
    return ", ".join(need.cell.model for need in needs)


@dataclass(frozen=True)
class Work:
    """What a command does."""

    verb: needed.Verb
    settings: tuple[str, ...] = ()


def work_for(need: Need, reason: str) -> Work:
    """The work that makes what this reason says is missing."""
    cell = need.cell
    if reason in (NOT_TIMED, NOT_MEASURED):
        return Work("speed")
    if reason in (TUNED_RATE, WIDER_GRID, STABLE_SETTINGS):
        return Work("tune")
    size = (
        ()
        if cell.model == needed.name_of(cell.spec)
        else (f"param_budget={cell.spec.param_budget}",)
    )
    if reason not in (MORE_UPDATES, LONG_RUNS):
        return Work("run", size)
    if cell.decision is None:  # without a score that counts as solved there is no ladder
        return Work("run", (*size, f"max_steps={MORE * cell.allowed}"))
    budget = LONG_BUDGET if cell.allowed < LONG_BUDGET else MORE * cell.allowed
    return Work("run", (*size, "ladder=true", "extended=true", f"extend={budget}"))
