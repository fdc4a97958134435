"""Learning rates: the rates that a sweep tried and chose, and the rate that a plan uses."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from bench.core.files import write_whole
from bench.core.spec import Frozen

RATES = Path(__file__).parent / "rates.toml"


class Tried(Frozen):
    """One rate of a sweep. A run's score is its best validation score."""

    rate: float
    num_runs: int
    """Number of trials: runs with this rate, over lengths and seeds."""
    num_solved: int
    """Number of runs whose score reached `solved`."""
    score: float | None = None
    """Mean over runs (lengths and seeds). None if a run failed. Such a rate ranks below
    all rates at which as many runs solve the task."""
    low: float | None = None
    """Smallest score of a run."""
    high: float | None = None
    """Largest score of a run."""
    updates: float
    """Mean number of updates per run."""
    solved_after: float | None = None
    """Median number of updates to solve, over all runs. None if fewer than half of them solved."""
    seconds: float
    """Computing time of all runs together."""


class Tuned(Frozen):
    """The rate chosen for a task and model, and the sweep it was chosen from."""

    rate: float
    tried: tuple[Tried, ...]
    """All rates that were tried, in ascending order."""

    @property
    def chosen(self) -> Tried:
        return next(tried for tried in self.tried if tried.rate == self.rate)

    @property
    def at_edge(self) -> bool:
        return self.rate in (self.tried[0].rate, self.tried[-1].rate)

    @property
    def seconds(self) -> float:
        """Computing time of the whole sweep."""
        return sum(tried.seconds for tried in self.tried)


Rates = Mapping[str, Mapping[str, Tuned]]
"""Name of a task → label of a model → its rate."""


class Sweep(Frozen):
    """The rates chosen from the records of one sweep."""

    records: str
    """Folder of the records."""
    rates: dict[str, dict[str, Tuned]]


def load(path: Path = RATES) -> Sweep:
    """Read a file that `python -m bench tune` wrote."""
    return Sweep.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def find(rates: Rates, task: str, label: str, model: str) -> Tuned | None:
    """The rate tuned for this variant of the model on this task, or else for the plain model."""
    of_task = rates.get(task, {})
    return of_task.get(label) or of_task.get(model)


def tuned_rate(rates: Rates, task: str, label: str, model: str) -> float:
    """The rate that `find` gives, or else the median of all tuned rates."""
    found = find(rates, task, label, model)
    if found is not None:
        return found.rate
    every = sorted(tuned.rate for of_task in rates.values() for tuned in of_task.values())
    return every[len(every) // 2]


def write(path: Path, sweep: Sweep) -> Path:
    """Write the sweep as TOML, with one table per task and model."""
    lines = [
        "# Learning rates by task and model, chosen on validation by `python -m bench tune`.",
        f"records = {_quoted(sweep.records)}",
    ]
    for task, of_task in sorted(sweep.rates.items()):
        for model, tuned in sorted(of_task.items()):
            lines += ["", f"[rates.{task}.{_quoted(model)}]", f"rate = {tuned.rate}", "tried = ["]
            for tried in tuned.tried:
                content = tried.model_dump(exclude_none=True).items()
                lines.append(
                    f"    {{ {', '.join(f'{key} = {value}' for key, value in content)} }},"
                )
            lines.append("]")
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def _quoted(text: str) -> str:
    """The text as a TOML string. TOML has the same escapes as JSON."""
    return json.dumps(text, ensure_ascii=False)
