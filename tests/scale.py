"""What 20,000 records take: `python -m tests.scale`.

Fills a folder with made-up records of every run that `scale.toml` plans and of the streaming step
of every network in it, then times four commands beside their aims, each in a process of its own.
The exit status is 1 where an aim is missed.
"""

import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from bench.core.records import Outcome, Probes, Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Store
from bench.plan import profile
from bench.plan.grid import Selection, label, make_plan, make_speed_plan, model_of, task_of
from models.tcn import Tcn, receptive_field

ROOT = Path(__file__).parent.parent
PATTERNS = ROOT / "results" / "reference" / "cpu"
PROFILE = Path(__file__).parent / "scale.toml"
NUM_RUNS = 20_000
AIMS_S = {"--help": 0.5, "list": 0.5, "plan": 15.0, "report": 30.0}
"""Wall time of a command on two cores of a server, importing torch included."""

Pattern = TypeVar("Pattern", Record, SpeedRecord)


def main() -> int:
    """Time every command; returns the exit status."""
    selected = ["--profile", str(PROFILE), "--device", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        specs = make_plan(profile.load(str(PROFILE)), Selection()).specs
        assert len(specs) == NUM_RUNS
        print(f"{make_results(Path(folder), specs)} records are being read", flush=True)
        missed = False
        for command, aim_s in AIMS_S.items():
            arguments = [] if aim_s < 1 else [*selected, "--results", folder]
            wall_s, cpu_s = timed([command, *arguments])
            missed |= wall_s > aim_s
            print(f"{command:8} {wall_s:6.2f} s, aim {aim_s:g} s; {cpu_s:.2f} s of CPU", flush=True)
    return int(missed)


def timed(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command, that of processes it starts included."""
    before, begin = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "bench", *arguments]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after, wall_s = os.times(), time.perf_counter() - begin
    user_s = after.children_user - before.children_user
    return wall_s, user_s + after.children_system - before.children_system


def make_results(folder: Path, specs: Sequence[Spec]) -> int:
    """Write a record of each run, and of each network's streaming step; returns their number."""
    patterns = Store(PATTERNS)
    made: list[Record | SpeedRecord] = []
    runs = _by_kind(patterns.read_all()[0])
    made += (_record(spec, _nearest(runs, spec)) for spec in specs)
    timed = patterns.read_speed()[0]
    steps = _by_kind(record for record in timed if record.spec.measures == ("step",))
    speed_plan = make_speed_plan(profile.load(str(PROFILE)), Selection(), specs)
    made += (_speed_record(spec, _nearest(steps, spec)) for spec in speed_plan)
    for record in made:
        path = folder / record.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(indent=1) + "\n")
    return len(made)


def _by_kind(records: Iterable[Pattern]) -> dict[tuple[str, str], list[Pattern]]:
    """Task and model name → the records of them."""
    found: dict[tuple[str, str], list[Pattern]] = {}
    for record in records:
        found.setdefault((record.spec.task.name, record.spec.model.name), []).append(record)
    return found


def _nearest(patterns: dict[tuple[str, str], list[Pattern]], spec: Spec | SpeedSpec) -> Pattern:
    """The pattern of the same task and model nearest in length; of equals, seed by seed."""
    every = patterns[spec.task.name, spec.model.name]
    distance = [abs(math.log(each.spec.length / spec.length)) for each in every]
    nearest = [each for each, far in zip(every, distance, strict=True) if far == min(distance)]
    return nearest[spec.seed % len(nearest) if isinstance(spec, Spec) else 0]


def _record(spec: Spec, pattern: Record) -> Record:
    """The pattern under another spec, of another test score and another receptive field."""
    if pattern.outcome is None:
        return pattern.model_copy(update={"spec": spec})
    outcome, task = pattern.outcome, task_of(spec)
    spread = random.Random(spec.id).uniform(-0.02, 0.02)
    score = min(max(outcome.test_score + spread, 0.0), 1.0)
    field = _receptive_field(spec)
    changed = {
        "label": label(model_of(spec), spec.model.name),
        "task_label": label(task, spec.task.name),
        "receptive_field": field,
        "num_steps": task.signature.num_steps,
        "solved_at": task.solved,
        "test": {**outcome.test, outcome.score.name: score},
        "probes": _probes(outcome, field, task.signature.num_steps),
        "beyond": tuple(
            each.model_copy(update={"length": each.length * spec.length // pattern.spec.length})
            for each in outcome.beyond
        ),
    }
    return pattern.model_copy(update={"spec": spec, "outcome": outcome.model_copy(update=changed)})


def _probes(outcome: Outcome, field: int | None, num_steps: int) -> Probes | None:
    if outcome.probes is None:
        return None
    measured = num_steps if field is None else min(field, num_steps)
    return outcome.probes.model_copy(update={"measured_field": measured, "seen_steps": num_steps})


def _receptive_field(spec: Spec | SpeedSpec) -> int | None:
    model = model_of(spec)
    if not isinstance(model, Tcn):
        return None
    return receptive_field(model.kernel_size, model.depth(task_of(spec).signature.reach))


def _speed_record(spec: SpeedSpec, pattern: SpeedRecord) -> SpeedRecord:
    assert pattern.speed is not None
    changed = {
        "label": label(model_of(spec), spec.model.name),
        "task_label": label(task_of(spec), spec.task.name),
        "receptive_field": _receptive_field(spec),
    }
    return pattern.model_copy(
        update={"spec": spec, "speed": pattern.speed.model_copy(update=changed)}
    )


if __name__ == "__main__":
    sys.exit(main())
