"""What a command selects of a profile: tasks, models, lengths and seeds."""

import re
from pathlib import Path

import pytest

import tasks
from bench.core.errors import RequestError
from bench.plan.labels import labels
from tests.support.plans import SMALL, plan_of


def test_a_selection_narrows_and_adds_what_is_asked_for() -> None:
    specs = plan_of("quick", tasks=("adding",), models=("gru",), lengths=(33,), seeds=(9,)).specs
    assert {(s.task.name, s.model.name, s.length, s.seed) for s in specs} == {
        ("adding", "gru", 33, 9)
    }


def test_a_selected_task_that_the_profile_does_not_name_is_run() -> None:
    for name, task in (("quick", "markov_source"), ("paper", "variable_adding")):
        specs = plan_of(name, tasks=(task,)).specs
        assert {s.length for s in specs} == set(tasks.task_class(task).lengths)
        assert len({s.training.max_steps for s in specs}) == 1


def test_a_selected_model_that_the_profile_does_not_name_is_run(tmp_path: Path) -> None:
    path = tmp_path / "named.toml"
    variants = '[[grid]]\nstudy = "variants"\ntask = "adding"\nmodels = ["gru"]'
    path.write_text(f"{SMALL}\n{variants}\n")
    specs = plan_of(path, models=("lstm", "tcn")).specs
    assert {(s.task.name, s.model.name) for s in specs} == {
        ("copy_memory", "lstm"),
        ("copy_memory", "tcn"),
    }


def test_a_length_belongs_to_the_grids_that_list_it() -> None:
    one = plan_of("paper", tasks=("adding",), models=("tcn",), lengths=(200,), seeds=(0,))
    (spec,) = one.specs
    assert spec.model.fields["kernel_size"] == 6  # at T = 400 and 600 it is 7 and 8
    listed = plan_of("quick", tasks=("copy_memory",), models=("tcn",), lengths=(5,))
    assert {study for each in listed.studies.values() for study in each} <= {"main", "variants"}
    assert {spec.model.fields["num_blocks"] for spec in listed.specs} == {None}


def test_a_length_that_no_grid_lists_runs_in_the_main_study_alone() -> None:
    plan = plan_of("quick", tasks=("copy_memory",), lengths=(7,))
    assert set(plan.studies.values()) == {frozenset({"main"})}
    assert {spec.length for spec in plan.specs} == {7}


def test_a_length_that_a_task_can_not_have_is_reported() -> None:
    plan = plan_of("quick", tasks=("copy_memory", "pixel_mnist"), lengths=(7,))
    assert {spec.task.name for spec in plan.specs} == {"copy_memory"}
    assert any("pixel_mnist at T = 7 is left out" in sentence for sentence in plan.left_out)
    with pytest.raises(RequestError, match="pixel_mnist at T = 7"):
        plan_of("quick", tasks=("pixel_mnist",), lengths=(7,))


def test_a_task_without_a_main_study_is_reported_at_lengths_that_no_grid_lists() -> None:
    plan = plan_of("reference", lengths=(200,))
    tasks_run = {spec.task.name for spec in plan.specs}
    assert "adding" in tasks_run
    assert "variable_adding" not in tasks_run
    assert any("variable_adding at T = 200 is left out" in each for each in plan.left_out)
    with pytest.raises(RequestError, match="variable_adding at T = 200"):
        plan_of("reference", tasks=("variable_adding",), lengths=(200,))


def test_a_length_that_suits_one_grid_of_a_task_is_enough() -> None:
    specs = plan_of("reference", tasks=("pixel_mnist",), lengths=(120,)).specs
    assert {s.task.fields["side"] for s in specs} == {7}  # 120 is not a square


def test_a_name_selects_the_plain_model_and_a_label_its_variant() -> None:
    def fields(*names: str) -> set[tuple[str, bool]]:
        specs = plan_of("reference", tasks=("adding",), models=names).specs
        return {(spec.model.name, spec.model.fields["chrono"]) for spec in specs}

    assert fields("gru") == {("gru", False)}
    assert fields("gru chrono=true") == fields("gru chrono=True") == {("gru", True)}
    assert fields("gru", "lstm chrono=true") == {("gru", False), ("lstm", True)}


@pytest.mark.parametrize("text", ["none", "None"])
def test_none_in_a_label_is_the_value_none(text: str) -> None:
    specs = plan_of("quick", tasks=("adding",), models=(f"lstm forget_bias={text}",)).specs
    assert {s.model.fields["forget_bias"] for s in specs} == {None}
    assert {label.model_label for label in labels(specs).values()} == {"lstm forget_bias=none"}


def test_a_label_may_name_a_variant_that_the_profile_does_not_list() -> None:
    specs = plan_of("quick", models=("lstm num_layers=2 forget_bias=1.0",)).specs
    assert {(s.model.fields["num_layers"], s.model.fields["forget_bias"]) for s in specs} == {
        (2, 1.0)
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gru chrono", "not of the form field=value"),
        ("gru crono=true", "did you mean 'chrono'"),
        ("gru chrono=maybe", "chrono = 'maybe' of gru"),
        ("gru num_layers=0", "num_layers 0 of gru; valid: 1 or more"),
        ("grue chrono=true", "did you mean 'gru'"),
    ],
)
def test_a_bad_label_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        plan_of("quick", models=(text,))
