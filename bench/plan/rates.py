"""Learning rates: what a sweep tried, what was chosen of it, and which one a plan takes."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from bench.core.files import write_whole
from bench.core.spec import Frozen

RATES = Path(__file__).parent / "rates.toml"


class Tried(Frozen):
    """One rate of a grid. Scores are best validation scores of runs over lengths and seeds."""

    rate: float
    num_runs: int
    num_solved: int
    """Runs whose score reached `solved`."""
    score: float | None = None
    """Mean over runs; None where one failed, which takes the rate out of the choice."""
    low: float | None = None
    high: float | None = None
    """Least and greatest over runs."""
    updates: float
    """Mean of a run."""
    seconds: float
    """Computing time of all runs."""


class Tuned(Frozen):
    """The rate of a task and model, and what speaks for it."""

    rate: float
    tried: tuple[Tried, ...]
    """The whole grid, rising."""

    @property
    def chosen(self) -> Tried:
        return next(tried for tried in self.tried if tried.rate == self.rate)

    @property
    def at_edge(self) -> bool:
        return self.rate in (self.tried[0].rate, self.tried[-1].rate)

    @property
    def seconds(self) -> float:
        """What the choice cost."""
        return sum(tried.seconds for tried in self.tried)


Rates = Mapping[str, Mapping[str, Tuned]]
"""Task name → model label → its rate."""


class Sweep(Frozen):
    """The rates chosen from one sweep."""

    records: str
    """Where its records are."""
    rates: dict[str, dict[str, Tuned]]


def load(path: Path = RATES) -> Sweep:
    """As `python -m bench tune` wrote it."""
    return Sweep.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def find(rates: Rates, task: str, label: str, model: str) -> Tuned | None:
    """What was tuned for this variant of the model on this task; else for the plain model."""
    of_task = rates.get(task, {})
    return of_task.get(label) or of_task.get(model)


def tuned_rate(rates: Rates, task: str, label: str, model: str) -> float:
    """The rate that was found; where none was tuned, the middle of all tuned ones."""
    found = find(rates, task, label, model)
    if found is not None:
        return found.rate
    every = sorted(tuned.rate for of_task in rates.values() for tuned in of_task.values())
    return every[len(every) // 2]


def write(path: Path, sweep: Sweep) -> Path:
    """As TOML, a table a task and model."""
    lines = [
        "# Learning rates by task and model, chosen on validation by `python -m bench tune`.",
        f"records = {_quoted(sweep.records)}",
    ]
    for task, of_task in sorted(sweep.rates.items()):
        for model, tuned in sorted(of_task.items()):
            lines += ["", f"[rates.{task}.{_quoted(model)}]", f"rate = {tuned.rate}", "tried = ["]
            for tried in tuned.tried:
                content = ", ".join(
                    f"{key} = {value}"
                    for key, value in tried.model_dump().items()
                    if value is not None
                )
                lines.append(f"    {{ {content} }},")
            lines.append("]")
    write_whole(path, ("\n".join(lines) + "\n").encode())
    return path


def _quoted(text: str) -> str:
    """As a basic string of TOML, which has the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False)
