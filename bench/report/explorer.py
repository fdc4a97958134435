"""What the explorer of the page draws, as JSON: points, the runs behind them, and looks.

The page holds it as text of a script element that is never executed.
"""

import math
import shlex
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bench.core.records import Record
from bench.core.spec import Spec
from bench.plan.again import command, outdated
from bench.plan.labels import Label
from bench.report.data import Data
from bench.report.frame import first
from bench.report.markup import embedded, file_name
from bench.report.points import Measure
from bench.report.sections.rates import TITLE as RATES

FOLDER, RUN = "RESULTS", "RUN"
"""Stand in a command for the results folder, which is that of the page, and for a seed or an id."""
MOST_RUNS = 5000
"""Most runs that the page holds; tables/runs.csv has all."""
DIGITS = 6
SYMBOLS = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond"},
    **{"P": "cross", "X": "x", "*": "star", "<": "triangle-left", ">": "triangle-right"},
    **{"d": "diamond-tall", "p": "pentagon", "h": "hexagon", "H": "hexagon2", "8": "octagon"},
}
"""Marker of matplotlib → that of the explorer."""
DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
RUN_COLUMNS = (
    *("seed", "status", "ended", "error", "score", "solved", "steps", "max_steps"),
    *("solved_after", "total_s", "rate", "protocol", "backend", "commit", "id"),
)
"""Columns of the runs that a point shows."""
LINE_WIDTH = 2


def content(data: Data, measures: Sequence[Measure], found: Sequence[Mapping[str, Any]]) -> str:
    """The JSON of the explorer."""
    records = {record.spec.id: record for record in data.source.records}
    runs, behind, commands = _runs(data, records)
    names = list(dict.fromkeys(point["task_label"] for point in found))
    return embedded(
        {
            "measures": [asdict(measure) for measure in measures],
            "tasks": [_task(data, name) for name in names],
            "models": list(_models(data, found)),
            "points": [_point(point, measures, behind) for point in found],
            "runs": runs,
            "commands": commands,
            "columns": [*(name for name in RUN_COLUMNS if name in data.runs), "command"],
            "rates": file_name(RATES),
            "left_out": max(len(data.runs) - MOST_RUNS, 0),
        }
    )


def _task(data: Data, label: str) -> dict[str, Any]:
    """How the score of a task reads; a task that was only timed has none."""
    rows = data.runs[data.runs["task_label"] == label]
    rows = rows[rows["score_name"].notna()]
    if rows.empty:
        return {"label": label}
    names = ("score_name", "unit", "chance", "solved_at")
    known = {name: _plain(first(rows, name)) for name in names}
    return {"label": label, **known}


def _models(data: Data, found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Label, family and look of each model, in the order of all figures."""
    families = {point["model_label"]: (point["family"], point["variant"] == "") for point in found}
    for label in (label for label in data.style if label in families):
        look = data.style[label]
        family, plain = families[label]
        yield {
            "label": label,
            "family": family,
            "plain": plain,
            "color": look["color"],
            "symbol": SYMBOLS.get(look["marker"], "circle"),
            "dash": _dash(look["linestyle"]),
        }


def _dash(line: object) -> str:
    """A dash of matplotlib, whose lengths count in widths of the line."""
    if isinstance(line, tuple):
        return ",".join(f"{LINE_WIDTH * length:g}px" for length in line[1])
    return DASHES.get(str(line), "solid")


def _point(
    point: Mapping[str, Any], measures: Sequence[Measure], behind: Mapping[str, list[int]]
) -> dict[str, Any]:
    """A point with the numbers of its runs in the list of runs."""
    kept = {name: point[name] for name in ("T", "seeds", "solved", "improving") if name in point}
    for measure in measures:
        for end in ("", "_low", "_high"):
            value = point.get(f"{measure.name}{end}")
            if value is not None:
                kept[f"{measure.name}{end}"] = _rounded(value)
    return {
        **kept,
        "task": point["task_label"],
        "model": point["model_label"],
        "size": _plain(point["budget"]),
        "runs": behind.get(point["network"], []),
    }


def _runs(
    data: Data, records: Mapping[str, Record]
) -> tuple[list[list[Any]], dict[str, list[int]], list[str]]:
    """The columns of the runs, network → places in this list, and the commands.

    The last column is the place of the run's command, which the seeds of a network share.
    """
    runs = data.runs.head(MOST_RUNS)
    columns = [_values(runs[name]) for name in RUN_COLUMNS if name in runs]
    specs = {spec.id: spec for spec in data.source.specs}
    behind, commands = dict[str, list[int]](), dict[Hashable, str]()
    number, places = dict[Hashable, int](), list[int]()
    for place, spec_id in enumerate(runs["id"]):
        spec, record = specs[spec_id], records.get(spec_id)
        behind.setdefault(spec.network, []).append(place)
        key = (spec.network, record and outdated(record), record and record.backend)
        if key not in commands:
            label = data.source.labels[spec_id]
            number[key] = len(commands)
            commands[key] = again(spec, record, label, data.source.profile_name)
        places.append(number[key])
    return [list(run) for run in zip(*columns, places, strict=True)], behind, [*commands.values()]


def _values(column: pd.Series) -> list[Any]:
    """The values for JSON, which has no number that is not finite; missing ones are None."""
    if column.dtype.kind == "f":
        column = column.where(np.isfinite(column))
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(column.abs().where(column != 0, 1.0))))
        column = (column * scale).round() / scale
    return column.astype(object).where(column.notna(), None).tolist()


def _plain(value: Any) -> Any:
    """One value for JSON."""
    return _values(pd.Series([value]))[0]


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def again(spec: Spec, record: Record | None, label: Label, profile: str) -> str:
    """The command that makes a run, or makes it again; `RUN` stands for its id or its seed.

    A recorded run is repeated by its id, and a missing one is selected from the profile. For a run
    of an older protocol it is a comment that names the commit that made it.
    """
    if record is not None:
        why_not = outdated(record)
        return f"# {why_not}" if why_not else command(record, FOLDER).replace(spec.id, RUN, 1)
    words = ["python", "-m", "bench", "run", "--seed", RUN, "--results", FOLDER]
    words += ["--profile", profile, "--task", label.task, "--model", label.model_label]
    return shlex.join([*words, "--length", str(spec.length)])
