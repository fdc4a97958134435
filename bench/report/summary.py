"""What a command prints at its end: the answer and where the report is, on one screen.

The text has ANSI styles. `click.echo` removes them where the output is no terminal.
"""

import math
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pandas as pd

from bench.core.errors import one_line
from bench.core.wording import counted
from bench.report.data import Data
from bench.report.front import DEMONSTRATION, SIDES, answer
from bench.report.runs import COUNTED

WIDTH, HEIGHT = 80, 24
"""Columns and lines of a terminal."""
OTHER = "other"
"""Column of the families that the question is not about."""
MOST_OF_THE_ANSWER, MOST_OF_A_SENTENCE, MOST_OF_AN_ERROR = 7, 4, 3
"""Lines of each."""
LEAST_OF_A_TASK = 12
"""Columns that the name of a task gets at least."""


def summary(folder: Path, data: Data) -> str:
    """At most 24 lines of 80 columns: the answer, what each family solves, verdicts, the report."""
    above = [_demonstration(data), [_bold(line) for line in _answer(data)]]
    below = [_verdicts(data), [*_problems(folder, data.runs), *_runs(data), *_places(folder)]]
    blocks = [block for block in (*above, *below) if block]
    room = HEIGHT - sum(map(_height, blocks)) - len(blocks)  # with an empty line between blocks
    table = _solved(data, room)
    return "\n\n".join("\n".join(block) for block in (*above, table, *below) if block)


def _wrapped(*sentences: str, most: int = MOST_OF_A_SENTENCE) -> list[str]:
    """Lines of a paragraph; what is more than `most` lines is cut."""
    text = " ".join(map(one_line, sentences))
    return textwrap.wrap(text, WIDTH, max_lines=most, placeholder=" …", break_on_hyphens=False)


def _bold(line: str) -> str:
    return click.style(line, bold=True)


def _height(block: Sequence[str]) -> int:
    """Lines on the terminal, where a path may be longer than one line."""
    return sum(max(math.ceil(len(click.unstyle(line)) / WIDTH), 1) for line in block)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _demonstration(data: Data) -> list[str]:
    return _wrapped(DEMONSTRATION) if data.source.demonstration else []


def _answer(data: Data) -> list[str]:
    sentences = answer(data)
    if not sentences:
        made = data.runs["status"].isin(COUNTED).any()
        sentences = [
            "These runs solve no task and no network was timed, so they give no answer."
            if made
            else "No run of this profile is recorded."
        ]
    return _wrapped(*sentences, most=MOST_OF_THE_ANSWER)


def _solved(data: Data, room: int) -> list[str]:
    """The largest T that a network of each family solves, per task; at most `room` lines."""
    best: dict[str, dict[str, tuple[int, str]]] = {}
    for network, found in data.horizons_at_equal_size:
        family = network["family"] if network["family"] in SIDES else OTHER
        of_task = best.setdefault(one_line(network["task_label"]), {})
        entry = (found.length or 0, f"{one_line(network['model_label'])} {found.reached}")
        if found.length and entry[0] > of_task.get(family, (0, ""))[0]:
            of_task[family] = entry
    columns = [
        side for side in (*SIDES, OTHER) if any(side in of_task for of_task in best.values())
    ]
    if room < 3 or not columns:
        return []
    tasks = sorted(best, key=lambda task: not best[task])
    rows = [[task, *(best[task].get(each, (0, "–"))[1] for each in columns)] for task in tasks]
    fits = len(rows) < room
    shown = rows if fits else rows[: room - 2]
    lines = _aligned([["solved up to T =", *columns], *shown])
    lines[0] = _bold(lines[0])
    return lines if fits else [*lines, f"… and {counted(len(rows) - len(shown), 'more task')}"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of at most 80 columns; the names of tasks are cut first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gaps = 2 * (len(widths) - 1)
    most = max((WIDTH - LEAST_OF_A_TASK - gaps) // (len(widths) - 1), 1)
    widths[1:] = [min(width, most) for width in widths[1:]]
    widths[0] = min(widths[0], WIDTH - gaps - sum(widths[1:]))
    return [
        "  ".join(
            f"{_cut(cell, width):{width}}" for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _verdicts(data: Data) -> list[str]:
    """The words of the verdicts, each with the keys of its claims."""
    keys: dict[str, list[str]] = {}
    for verdict in data.verdicts:
        keys.setdefault(verdict.word, []).append(verdict.key)
    judged = "; ".join(f"{', '.join(of_word)} {word}" for word, of_word in keys.items())
    return _wrapped(f"Claims: {judged}", most=2)


def _problems(folder: Path, runs: pd.DataFrame) -> Iterator[str]:
    """The most frequent reason why runs failed or were skipped, and how to see more."""
    problems = runs[runs["status"].isin(("failed", "skipped"))]
    if problems.empty:
        return
    pairs = zip(problems["status"], problems["error"].astype(str), strict=True)
    reasons = Counter(pairs).most_common()
    (status, error), number = min(reasons, key=lambda entry: entry[0][0] != "failed")
    more = f"; {counted(len(reasons) - 1, 'more reason')} in the report" if len(reasons) > 1 else ""
    for line in _wrapped(f"{status} ({number}{more}): {error}", most=MOST_OF_AN_ERROR):
        yield click.style(line, fg="red") if status == "failed" else line
    if status == "failed":
        first = problems[problems["status"] == "failed"]["id"].iloc[0]
        show = shlex.join(["show", first, "--results", str(folder)])
        yield f"  for its traceback: python -m bench {one_line(show)}"


def _runs(data: Data) -> list[str]:
    """How many runs ended how."""
    runs = data.runs
    statuses = _counts(runs["status"])
    ended = f" ({ended})" if (ended := _counts(runs["ended"].dropna())) else ""
    return _wrapped(
        f"{counted(len(runs), 'run')}: {statuses}{ended}; profile {data.source.profile_name}",
        most=2,
    )


def _counts(values: pd.Series) -> str:
    return ", ".join(f"{number:,} {value}" for value, number in Counter(values).most_common())


def _places(folder: Path) -> list[str]:
    return [f"Report: {one_line(str(folder / 'report.html'))}"]
