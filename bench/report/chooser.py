"""What the page's form "Choose a model" answers, as JSON: an answer for everything one can enter.

The rules are those of `python -m bench choose`. Lengths that have the same evidence share a range,
and equal answers are kept once.
"""

import itertools
from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

from bench.plan.needed import Folder
from bench.report import advice
from bench.report.choosing import Answer, Problem, choose, near, tested
from bench.report.evidence import Evidence
from bench.report.markup import embedded
from tasks import KINDS, Kind

RESULTS, LENGTH = "RESULTS", "LENGTH"
"""Stand in a command for the results folder, which is that of the page, and for T."""
LONGEST = 4096
"""Largest T with a range of its own; longer ones have the answer of this one."""
LATENCIES_US = (1, 2, 5, 10, 20, 50, 100)
STATES_BYTES = (256, 1024, 4096, 16_384, 65_536)
MINUTES = (1, 5, 15, 60)
"""Budgets that the form offers, beside none at all."""
MOST_CELLS = 6
"""Rows of evidence per answer."""


def content(evidence: Sequence[Evidence], times: str, profile: str) -> str:
    """The JSON of the form. `times` says where the times come from."""
    pages = _Pages(Folder(profile=profile, results=RESULTS))
    kinds = [
        {"name": kind, "text": said, "ranges": list(_ranges(evidence, kind, pages))}
        for kind, said in KINDS.items()
    ]
    return embedded(
        {
            "kinds": kinds,
            "latencies": LATENCIES_US,
            "states": STATES_BYTES,
            "minutes": MINUTES,
            "header": advice.HEADER,
            "answers": pages.answers,
            "rows": pages.rows,
            "times": times,
        }
    )


class _Pages:
    """Answers as the page shows them; equal ones, and equal rows of evidence, are kept once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._answers: dict[Any, int] = {}
        self._rows: dict[tuple[str, ...], int] = {}

    def place(self, answer: Answer) -> int:
        """The place of this answer among `answers`."""
        shown = answer.cells[:MOST_CELLS]
        rows = (self._rows.setdefault(advice.row(each), len(self._rows)) for each in shown)
        lacking = advice.open_questions(answer)
        why = (*answer.why, f"{answer.sure}, since {lacking}") if lacking else answer.why
        content = (
            *(answer.pick, answer.runner_up, answer.sure, why),
            advice.tested(answer) if answer.places else None,
            *(tuple(rows), len(answer.cells) - len(shown), self.commands(answer)),
        )
        return self._answers.setdefault(content, len(self._answers))

    def commands(self, answer: Answer) -> tuple[tuple[str, str], ...]:
        """What is missing, and the command that makes it."""
        steps = advice.steps(answer, self._folder)
        if answer.sure != "no evidence here":
            return tuple((step.said, step.command) for step in steps)
        length = str(answer.problem.length)
        return tuple(("", step.command.removesuffix(length) + LENGTH) for step in steps)

    @property
    def answers(self) -> list[tuple[Any, ...]]:
        """Pick, runner-up, how sure, why, what was tested, places of rows, number of further rows,
        and commands."""
        return list(self._answers)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(self._rows)


def _ranges(evidence: Sequence[Evidence], kind: Kind, pages: _Pages) -> Iterator[dict[str, Any]]:
    """The ranges of T with the same evidence: the last T of each, and the places of its answers."""
    of_kind = [each for each in evidence if each.kind == kind]
    lengths = tested(of_kind)

    def alike(length: int) -> object:
        """What the answers for T depend on: lengths with evidence, or tasks that accept T."""
        nothing = Answer(problem=Problem(kind=kind, length=length), sure="no evidence here")
        return near(lengths, length) or pages.commands(nothing)

    for _, group in itertools.groupby(range(1, LONGEST + 1), alike):
        *_, last = group
        yield {"to": last, "answers": _answers(of_kind, kind, last, pages)}


def _answers(evidence: Sequence[Evidence], kind: Kind, length: int, pages: _Pages) -> list[int]:
    """The places of the answers for all budgets.

    Their order is that of latency, then state, then minutes, each from none to the largest.
    """
    columns = [
        [end for each in evidence for end in each.cost.step_bounds],
        [end for each in evidence for end in each.cost.state_bounds],
        [each.cost.minutes for each in evidence if each.cost.minutes is not None],
    ]
    known: dict[tuple[float, ...], int] = {}
    places = []
    for budgets in itertools.product((inf, *LATENCIES_US), (inf, *STATES_BYTES), (inf, *MINUTES)):
        # Budgets that the same networks keep have the same answer.
        within = tuple(
            most if most == inf else sum(cost <= most for cost in column)
            for most, column in zip(budgets, columns, strict=True)
        )
        if within not in known:
            step_us, state_bytes, minutes = budgets
            problem = Problem(
                kind=kind,
                length=length,
                step_us=step_us,
                state_bytes=state_bytes,
                minutes=minutes,
            )
            known[within] = pages.place(choose(problem, evidence))
        places.append(known[within])
    return places
