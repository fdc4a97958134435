"""The work grows linearly with the runs. Calls are counted, since times depend on the load.

`python -m tests.scale` measures the seconds for 20,000 records.
"""

import cProfile
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import models
from bench.core.records import Record
from bench.plan import profile
from bench.plan.grid import Plan, Selection, make_plan, make_speed_plan, thresholds
from bench.plan.labels import labels
from bench.report import markup, page
from bench.report.page import Source, write_report
from tests.support.records import outcome, record

ROOT = Path(__file__).parent.parent.parent
PROFILE = """
description = "of many seeds"
seeds = {seeds}
param_budget = 12_500
models = ["gru", "tcn", {{ name = "tcn", fields = {{ kernel_size = 3 }} }}]

[training]
max_steps = 100

[[grid]]
task = "copy_memory"
lengths = [5, 50]

[[grid]]
study = "receptive_field"
task = "copy_memory"
lengths = [5, 50]
models = [{{ name = "tcn", fields = {{ num_blocks = 2 }} }}]
"""


@pytest.fixture
def many(tmp_path: Path) -> Callable[[int], tuple[str, Plan]]:
    """Number of seeds → a profile with 8 runs per seed, and its plan."""

    def plan(num_seeds: int) -> tuple[str, Plan]:
        path = tmp_path / f"{num_seeds}.toml"
        path.write_text(PROFILE.format(seeds=list(range(num_seeds))))
        return str(path), make_plan(profile.load(str(path)), Selection())

    return plan


def num_calls(do: Callable[[], object]) -> int:
    """Number of calls of Python and C functions."""
    counter = cProfile.Profile()
    counter.runcall(do)
    return sum(entry.callcount for entry in counter.getstats())


def of_plan(plan: Plan) -> list[Record]:
    """A record of every run; every fourth run failed."""
    outcomes = [outcome(score, receptive_field=40) for score in (1.0, 0.96, 0.2)]
    return [
        record(spec, None) if i % 4 == 3 else record(spec, outcome=outcomes[i % 4])
        for i, spec in enumerate(plan.specs)
    ]


def grows_with_the_runs(calls: dict[int, int], most_a_run: int) -> None:
    """Number of runs → calls: further runs take no more calls each, and at most `most_a_run`."""
    few, more, many = sorted(calls)
    first = (calls[more] - calls[few]) / (more - few)
    then = (calls[many] - calls[more]) / (many - more)
    assert then <= 1.1 * first, calls
    assert then <= most_a_run, then


def test_a_plan_grows_with_its_runs(many: Callable[[int], tuple[str, Plan]]) -> None:
    calls = {}
    for num_seeds in (10, 20, 80):
        name, plan = many(num_seeds)
        chosen = profile.load(name)
        calls[len(plan.specs)] = num_calls(
            lambda chosen=chosen: make_speed_plan(
                chosen, Selection(), make_plan(chosen, Selection()).specs
            )
        )
    grows_with_the_runs(calls, most_a_run=60)


def test_a_plan_builds_no_network(
    many: Callable[[int], tuple[str, Plan]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a network is being built")

    monkeypatch.setattr(models.Network, "__init__", refuse)
    models.fit_width.cache_clear()
    assert many(1)[1].specs


def test_a_report_grows_with_its_runs(
    many: Callable[[int], tuple[str, Plan]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "draw", lambda drawings, num_cores: iter(list(drawings)[:0]))
    monkeypatch.setattr(page, "html", lambda markdown, title, folder: "")
    monkeypatch.setattr(page, "report_html", lambda **contents: "")
    monkeypatch.setattr(markup, "MOST_ROWS", 10)
    monkeypatch.setattr(markup, "FEW_ROWS", 10)
    calls = {}
    for num_seeds in (3, 6, 12):
        _, plan = many(num_seeds)
        records = of_plan(plan)

        def make(plan: Plan = plan, records: list[Record] = records) -> None:
            source = Source(
                profile_name="many",
                profile_description="made up",
                specs=plan.specs,
                labels=labels(plan.specs),
                thresholds=thresholds(plan.specs),
                records=records,
                studies=plan.studies,
            )
            write_report(tmp_path, source)

        make()  # so that imports and caches do not count
        calls[len(plan.specs)] = num_calls(make)
    grows_with_the_runs(calls, most_a_run=450)


@pytest.mark.parametrize("command", ["--help", "list"])
def test_help_and_list_import_nothing_heavy(command: str) -> None:
    heavy = ("torch", "numpy", "pandas", "pydantic", "scipy", "matplotlib", "jinja2")
    code = (
        "import sys\n"
        "from bench.cli import main\n"
        f"main([{command!r}])\n"
        f"print('heavy:', *set({heavy!r}) & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "heavy:"
