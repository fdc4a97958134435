"""Which records a report covers, and to which study each of them belongs."""

from pathlib import Path

import pytest

from bench.core.records import Record
from bench.plan import profile
from bench.plan.grid import Plan, Selection, make_plan
from bench.plan.profile import Profile
from bench.run import coverage
from bench.run.coverage import covered
from tests.support.records import record

PROFILE = """
description = "runs of {steps} updates"
seeds = [0]
param_budget = 12_500
models = {models}

[training]
max_steps = {steps}
learning_rate = 0.001

[[grid]]
task = "{task}"
lengths = [5]

[[grid]]
study = "receptive_field"
task = "copy_memory"
lengths = [5]
models = [{{ name = "tcn", fields = {{ num_blocks = 2 }} }}]
"""


def planned(folder: Path, steps: int, models: str, task: str) -> tuple[Profile, Plan]:
    path = folder / f"{task}.{steps}.toml"
    path.write_text(PROFILE.format(steps=steps, models=models, task=task))
    chosen = profile.load(str(path))
    return chosen, make_plan(chosen, Selection())


@pytest.fixture
def report(tmp_path: Path) -> tuple[Profile, Plan]:
    """The profile and the plan that a report is asked for."""
    return planned(tmp_path, 4, '["gru"]', "copy_memory")


@pytest.fixture
def others(tmp_path: Path) -> list[Record]:
    """Records of other profiles, with another number of updates."""
    models = '["gru", { name = "gru", fields = { chrono = true } }]'
    _, memory = planned(tmp_path, 6, models, "copy_memory")
    _, adding = planned(tmp_path, 8, '["rnn"]', "adding")
    return [record(spec) for spec in {s.id: s for s in (*memory.specs, *adding.specs)}.values()]


def studies(plan: Plan, records: list[Record]) -> dict[tuple[str, str, bool], frozenset[str]]:
    return {
        (each.spec.task.name, each.spec.model.name, bool(each.spec.model.fields.get("chrono"))): (
            frozenset(plan.studies[each.spec.id])
        )
        for each in records
    }


@pytest.mark.parametrize("selection", [Selection(), Selection(models=("gru",))])
def test_runs_outside_the_plan_take_the_study_of_their_task_and_model(
    selection: Selection, report: tuple[Profile, Plan], others: list[Record]
) -> None:
    chosen, _ = report
    plan = covered(make_plan(chosen, selection), chosen, selection, others)
    assert {each.spec.id for each in others} <= {spec.id for spec in plan.specs}
    assert studies(plan, others) == {
        ("copy_memory", "gru", False): {"main"},
        ("copy_memory", "gru", True): {"variants"},
        ("copy_memory", "tcn", False): {"receptive_field"},
        ("adding", "rnn", False): {"main"},
    }


def test_a_whole_plan_that_is_impossible_leaves_the_studies_to_the_fields(
    report: tuple[Profile, Plan], others: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise SystemExit("a plug-in")

    chosen, plan = report
    monkeypatch.setattr(coverage, "make_plan", refuse)
    found = studies(covered(plan, chosen, Selection(seeds=(0,)), others), others)
    assert found["copy_memory", "gru", True] == {"variants"}
    assert found["adding", "rnn", False] == {"main"}


def test_only_what_was_asked_for_can_be_missing(
    report: tuple[Profile, Plan], others: list[Record]
) -> None:
    chosen, plan = report
    recorded = {each.spec.id for each in others}
    everything = covered(plan, chosen, Selection(), others)
    assert {spec.id for spec in everything.specs} == recorded
    assert everything.left_out == (
        f"no run of the profile is recorded; the report covers {len(others)} other runs",
    )
    asked = {spec.id for spec in plan.specs}
    selected = covered(plan, chosen, Selection(seeds=(0,)), others)
    assert {spec.id for spec in selected.specs} == asked | recorded
    begun = covered(plan, chosen, Selection(), [*others, record(plan.specs[0])])
    assert {spec.id for spec in begun.specs} == asked | recorded
    assert covered(plan, chosen, Selection(), []).specs == plan.specs
