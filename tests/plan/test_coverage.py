"""Which records a report covers, and to which study each of them belongs."""

from pathlib import Path

import pytest

from bench.core.records import Record, SpeedRecord
from bench.core.spec import PROTOCOL, SPEED_PROTOCOL, Spec, Subject
from bench.plan import coverage, profile
from bench.plan.coverage import covered, is_current, newest_timings, usable
from bench.plan.grid import Plan, Selection, make_plan
from bench.plan.labels import labels
from bench.plan.profile import Profile
from tests.support.records import record, speed_record

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


def older(spec: Spec) -> Record:
    """A record of the run as an older protocol made it."""
    return record(spec.model_copy(update={"protocol": PROTOCOL - 1}))


def test_older_runs_stand_for_planned_ones_with_their_studies(
    report: tuple[Profile, Plan],
) -> None:
    chosen, plan = report
    made = [older(spec) for spec in plan.specs]
    found = covered(plan, chosen, Selection(), made)
    assert [spec.id for spec in found.specs] == [each.spec.id for each in made]
    assert list(map(found.studies.get, (s.id for s in found.specs))) == [
        plan.studies[spec.id] for spec in plan.specs
    ]
    assert found.left_out == ()


def test_older_runs_outside_a_selection_keep_the_studies_of_the_profile(
    report: tuple[Profile, Plan],
) -> None:
    chosen, plan = report
    made = [older(spec) for spec in plan.specs]
    selected = make_plan(chosen, Selection(models=("gru",)))
    assert studies(covered(selected, chosen, Selection(models=("gru",)), made), made) == {
        ("copy_memory", "gru", False): {"main"},
        ("copy_memory", "tcn", False): {"receptive_field"},
    }


def test_a_cell_with_a_new_run_leaves_its_older_runs_out_and_counts_them(
    tmp_path: Path,
) -> None:
    chosen, _ = planned(tmp_path, 4, '["gru"]', "copy_memory")
    plan = make_plan(chosen, Selection(seeds=(0, 1)))
    gru = [spec for spec in plan.specs if spec.model.name == "gru"]
    tcn = [spec for spec in plan.specs if spec.model.name == "tcn"]
    made = [record(gru[0]), *map(older, plan.specs)]
    found = covered(plan, chosen, Selection(seeds=(0, 1)), made)
    assert {spec.id for spec in found.specs} == {
        *(spec.id for spec in gru),  # the run of the second seed is missing
        *(older(spec).spec.id for spec in tcn),
    }
    assert found.left_out == (
        "the report leaves out 2 runs of an older protocol, since the same networks have runs "
        "of a newer one",
    )


def test_runs_of_older_code_and_of_a_later_protocol_cannot_be_reported(
    report: tuple[Profile, Plan],
) -> None:
    (spec, _) = report[1].specs
    part = spec.model.model_copy(update={"version": spec.model.version + 1})
    wrong = [spec.model_copy(update=u) for u in ({"model": part}, {"protocol": PROTOCOL + 1})]
    assert [is_current(each) for each in (older(spec).spec, *wrong)] == [True, False, False]
    found, sentences = usable([older(spec), *map(record, wrong)])
    assert [each.spec.protocol for each in found] == [PROTOCOL - 1]
    assert sentences == [
        "the report leaves out 2 runs of gru on copy_memory that another version of the code made"
    ]


def test_runs_of_a_model_whose_default_alone_has_changed_are_reported(tmp_path: Path) -> None:
    chosen, _ = planned(tmp_path, 4, '["lstm"]', "copy_memory")
    models = ("lstm forget_bias=none", "lstm chrono=true forget_bias=none", "lstm")
    plan = make_plan(chosen, Selection(models=models))
    lstm = [spec for spec in plan.specs if spec.model.name == "lstm"]
    made = []
    for each in map(older, lstm):
        model = each.spec.model.model_copy(update={"version": 1})
        made.append(each.model_copy(update={"spec": each.spec.model_copy(update={"model": model})}))
    assert usable(made) == (made, [])
    found = covered(plan, chosen, Selection(models=models), made)
    assert [spec.id for spec in found.specs] == [each.spec.id for each in made]
    assert {label.model_label for label in labels(found.specs).values()} == {
        *("lstm", "lstm forget_bias=none", "lstm forget_bias=none chrono=True")
    }
    mixed = covered(plan, chosen, Selection(models=models), [record(lstm[0]), *made])
    assert [spec.protocol for spec in mixed.specs][:2] == [PROTOCOL, PROTOCOL - 1]
    assert len(mixed.specs) == len(lstm)


def test_older_timings_count_until_their_network_is_timed_anew(
    report: tuple[Profile, Plan],
) -> None:
    def timing(batch_size: int, protocol: int) -> SpeedRecord:
        made = speed_record(batch_size=batch_size, step_ms=1, protocol=protocol)
        (spec, _) = report[1].specs
        subject = {name: getattr(spec, name) for name in Subject.model_fields}
        return made.model_copy(update={"spec": made.spec.model_copy(update=subject)})

    before = [timing(size, SPEED_PROTOCOL - 1) for size in (1, 64)]
    assert newest_timings(before, "cpu-float32-1thread") == (before, [])
    new = timing(64, SPEED_PROTOCOL)
    kept, sentences = newest_timings([*before, new], "cpu-float32-1thread")
    assert kept == [before[0], new]
    assert sentences == [
        "the report leaves out 1 timing of an older protocol, since the same networks have "
        "newer ones"
    ]
