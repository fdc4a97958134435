"""Profiles: what they say, what overrides them, what they refuse."""

import hashlib
import re
from pathlib import Path
from typing import get_args

import pytest

import models
import tasks
from bench.core.errors import RequestError
from bench.core.spec import Spec
from bench.plan import catalogue, profile, rates
from bench.plan.grid import (
    Plan,
    Selection,
    make_plan,
    make_speed_plan,
    model_of,
    network_of,
    task_of,
)
from bench.plan.labels import label, labels
from models import num_parameters

SMALL = """
description = "small"
seeds = [0, 1]
param_budget = 10_000

[training]
max_steps = 5
learning_rate = 0.01

[[grid]]
task = "copy_memory"
lengths = [2, 3]
models = ["gru", { name = "tcn", fields = { kernel_size = 3 } }]
"""


MEMORY = {"adding", "copy_memory", "permuted_mnist", "pixel_mnist", "variable_adding"}
"""Tasks whose dependency length is the question."""


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


def plan_of(name: str, *settings: str, **selection: tuple) -> Plan:
    return make_plan(profile.load(name, settings), Selection(**selection))


def paper_spec(task: str, length: int, model: str) -> Spec:
    """The one configuration of the paper's profile, at its first seed."""
    (spec,) = (
        spec
        for spec in plan_of("paper").specs
        if (spec.task.name, spec.length, spec.model.name, spec.seed) == (task, length, model, 0)
    )
    return spec


@pytest.mark.parametrize("name", profile.names())
def test_every_profile_of_the_project_plans(name: str) -> None:
    plan = plan_of(name)
    assert plan.specs
    assert len({spec.id for spec in plan.specs}) == len(plan.specs)
    assert catalogue.profiles()[name]
    for spec in plan.specs[:: max(1, len(plan.specs) // 5)]:
        count = num_parameters(network_of(spec))
        if spec.param_budget is None:
            assert spec.extra_width == 0
        else:
            assert abs(count - spec.param_budget) <= 0.03 * spec.param_budget


@pytest.mark.parametrize(
    ("task", "length", "kernel_size", "num_blocks", "width", "thousands"),
    [
        ("adding", 200, 6, 7, 27, None),
        ("adding", 400, 7, 7, 27, None),
        ("adding", 600, 8, 8, 24, 70),
        ("pixel_mnist", 784, 7, 8, 25, 66),
        ("permuted_mnist", 784, 7, 8, 25, 66),
        ("copy_memory", 500, 6, 9, 10, None),
        ("copy_memory", 1000, 8, 8, 10, 13),
        ("copy_memory", 2000, 8, 9, 10, None),
    ],
)
def test_the_papers_tcn_is_the_printed_one(
    task: str, length: int, kernel_size: int, num_blocks: int, width: int, thousands: int | None
) -> None:
    spec = paper_spec(task, length, "tcn")
    fields = spec.model.fields
    assert (fields["kernel_size"], fields["num_blocks"], spec.width) == (
        kernel_size,
        num_blocks,
        width,
    )
    assert (spec.param_budget, spec.extra_width) == (None, 0)
    # Figures 2 to 4 print the sizes, for input of one number a step.
    assert thousands is None or num_parameters(network_of(spec)) // 1000 == thousands
    training = spec.training
    copying = task == "copy_memory"
    assert fields["dropout"] == (0.05 if copying else 0.0)
    assert training.clip_norm == (1.0 if copying else None)
    assert (training.optimizer, training.learning_rate) == (
        ("rmsprop", 5e-4) if copying else ("adam", 2e-3)
    )
    assert (training.cooldown, training.stop_when_solved) == (0, False)


@pytest.mark.parametrize(
    ("task", "length", "num_layers", "width", "clip_norm", "forget_bias", "optimizer", "rate"),
    [
        ("adding", 200, 2, 77, 50, 5, "sgd", 1e-3),
        ("adding", 400, 2, 77, 50, 10, "adam", 2e-3),
        ("adding", 600, 1, 130, 5, 1, "adam", 2e-3),
        ("pixel_mnist", 784, 1, 130, 1, 1, "rmsprop", 1e-3),
        ("permuted_mnist", 784, 1, 130, 1, 10, "rmsprop", 1e-3),
        ("copy_memory", 500, 1, 50, 0.25, None, "rmsprop", 5e-4),
        ("copy_memory", 1000, 1, 50, 1, None, "rmsprop", 5e-4),
        ("copy_memory", 2000, 3, 28, 1, None, "rmsprop", 5e-4),
    ],
)
def test_the_papers_lstm_is_the_printed_one_and_gru_and_rnn_are_as_large(
    task: str,
    length: int,
    num_layers: int,
    width: int,
    clip_norm: float,
    forget_bias: float | None,
    optimizer: str,
    rate: float,
) -> None:
    spec = paper_spec(task, length, "lstm")
    assert spec.model.fields["num_layers"] == num_layers
    assert spec.model.fields["forget_bias"] == forget_bias
    assert (spec.width, spec.param_budget) == (width, None)
    training = spec.training
    assert (training.clip_norm, training.optimizer, training.learning_rate) == (
        clip_norm,
        optimizer,
        rate,
    )
    for name in ("gru", "rnn"):
        other = paper_spec(task, length, name)
        assert other.model.fields["num_layers"] == num_layers
        assert other.training == training
        assert other.param_budget == num_parameters(network_of(spec))


def test_the_quick_runs_have_the_references_settings() -> None:
    def settings(name: str) -> set[tuple[str, str]]:
        return {
            (label(model_of(spec), f"{spec.task.name} {spec.model.name}"), str(spec.training))
            for spec in plan_of(name).specs
        }

    assert settings("quick") <= settings("reference")


def test_profiles_hold_what_they_promise() -> None:
    for name, num_seeds in (("quick", 3), ("reference", 5)):
        plan = plan_of(name)
        compared = [s for s in plan.specs if plan.studies[s.id] != {"generation"}]
        assert {spec.task.name for spec in compared} == MEMORY
        assert {spec.model.name for spec in compared} == {"gru", "lstm", "rnn", "tcn"}
        assert {spec.seed for spec in compared} == set(range(num_seeds))
        generating = [s for s in plan.specs if plan.studies[s.id] == {"generation"}]
        assert {"gru", "tcn", "pixelcnn"} <= {spec.model.name for spec in generating}
        for spec in generating:
            tuned = rates.load().rates[spec.task.name][spec.model.name]
            assert spec.training.learning_rate == tuned.rate
        assert set[str]().union(*plan.studies.values()) == set(get_args(profile.Study))
    lengths: dict[str, set[int]] = {}
    for spec in plan.specs:  # of the reference
        if plan.studies[spec.id] & {"main"}:
            lengths.setdefault(spec.task.name, set()).add(spec.length)
    assert all(max(each) > 100 for each in lengths.values())


def test_a_file_of_ones_own(small: str) -> None:
    plan = plan_of(small)
    assert len(plan.specs) == 2 * 2 * 2
    assert {spec.training.max_steps for spec in plan.specs} == {5}
    tcn = next(spec for spec in plan.specs if spec.model.name == "tcn")
    assert tcn.model.fields == {**models.load("tcn").fields, "kernel_size": 3}
    assert label(model_of(tcn), "tcn") == "tcn kernel_size=3"
    assert label(task_of(tcn), "copy_memory") == "copy_memory"


def test_settings_override_the_profile_and_its_grids() -> None:
    plain = {spec.training.max_steps for spec in plan_of("quick").specs}
    assert len(plain) > 1
    plan = plan_of("quick", "max_steps=7", "training.clip_norm=none", "seeds=[5]")
    assert {spec.training.max_steps for spec in plan.specs} == {7}
    assert {spec.training.clip_norm for spec in plan.specs} == {None}
    assert {spec.seed for spec in plan.specs} == {5}


OWN = """
[[grid]]
task = "adding"
lengths = [10]
param_budget = 8000
training = { optimizer = "sgd", clip_norm = 2 }
models = [
    "lstm",
    { name = "gru", width = 20, training = { optimizer = "rmsprop", learning_rate = 0.5 } },
    { name = "rnn", param_budget = 6000, training = { clip_norm = "none" } },
]
"""


def test_a_models_own_size_and_training_come_before_its_grids(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(SMALL + OWN)
    specs = {s.model.name: s for s in plan_of(str(path), tasks=("adding",)).specs}
    lstm, gru, rnn = (specs[name] for name in ("lstm", "gru", "rnn"))
    assert (lstm.param_budget, rnn.param_budget) == (8000, 6000)
    assert (gru.param_budget, gru.width, gru.extra_width) == (None, 20, 0)
    said = {
        name: (s.training.optimizer, s.training.clip_norm, s.training.learning_rate)
        for name, s in specs.items()
    }
    assert said == {
        "lstm": ("sgd", 2.0, 0.01),
        "gru": ("rmsprop", 2.0, 0.5),
        "rnn": ("sgd", None, 0.01),
    }


def test_a_models_own_values_give_way_to_settings(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(SMALL + OWN)
    settings = ("optimizer=adam", "clip_norm=3", "learning_rate=0.2", "param_budget=5000")
    specs = plan_of(str(path), *settings).specs
    assert {s.model.name for s in specs} == {"lstm", "gru", "rnn", "tcn"}
    assert {
        (s.training.optimizer, s.training.clip_norm, s.training.learning_rate, s.param_budget)
        for s in specs
    } == {("adam", 3.0, 0.2, 5000)}


def test_a_width_counts_in_what_is_timed_as_well(tmp_path: Path) -> None:
    path = tmp_path / "timed.toml"
    choice = '[[speed]]\ntask = "adding"\nlengths = [10]\nmodels = [{ name = "gru", width = 20 }]'
    path.write_text(f"{SMALL}\n{choice}\n")
    (spec,) = make_speed_plan(profile.load(str(path)), Selection(), [])[::2]
    assert (spec.width, spec.extra_width, spec.param_budget) == (20, 0, None)


def test_runs_belong_to_the_study_of_every_grid_that_names_them(tmp_path: Path) -> None:
    path = tmp_path / "studies.toml"
    variants = '[[grid]]\ntask = "copy_memory"\nlengths = [3, 4]\nmodels = ["gru", "rnn"]'
    path.write_text(f'{SMALL}\n{variants}\nstudy = "variants"\n')
    plan = plan_of(str(path))
    assert set(plan.studies) == {spec.id for spec in plan.specs}
    found = {(s.model.name, s.length): plan.studies[s.id] for s in plan.specs}
    assert found == {
        ("gru", 2): {"main"},
        ("gru", 3): {"main", "variants"},
        ("gru", 4): {"variants"},
        ("rnn", 3): {"variants"},
        ("rnn", 4): {"variants"},
        ("tcn", 2): {"main"},
        ("tcn", 3): {"main"},
    }


def test_networks_of_two_widths_have_two_labels(tmp_path: Path) -> None:
    path = tmp_path / "widths.toml"
    path.write_text(SMALL.replace('"gru"', '"gru", { name = "gru", width = 9 }'))
    found = labels(plan_of(str(path), models=("gru",)).specs)
    names = {each.model_label for each in found.values()}
    assert names == {"gru param_budget=10000", "gru width=9"}


def test_a_list_of_rates_is_swept(small: str) -> None:
    specs = plan_of(small, "learning_rate=[0.1, 0.2]").specs
    assert len(specs) == 16
    assert {spec.training.learning_rate for spec in specs} == {0.1, 0.2}


def test_tuned_rates_are_taken_by_task_and_model() -> None:
    committed = rates.load().rates
    plan = plan_of("quick")
    for spec in plan.specs:
        if plan.studies[spec.id] == {"generation"}:
            continue
        variant = label(model_of(spec), spec.model.name)
        expected = rates.tuned_rate(committed, spec.task.name, variant, spec.model.name)
        assert spec.training.learning_rate == expected


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
    specs = plan_of(str(path), models=("lstm", "tcn")).specs
    assert {(s.task.name, s.model.name) for s in specs} == {
        ("copy_memory", "lstm"),
        ("copy_memory", "tcn"),
    }


def test_a_length_belongs_to_the_grids_that_list_it() -> None:
    one = plan_of("paper", tasks=("adding",), models=("tcn",), lengths=(200,), seeds=(0,))
    (spec,) = one.specs
    assert spec.model.fields["kernel_size"] == 6  # printed for 200; 400 and 600 have 7 and 8
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
    plan = plan_of("quick", lengths=(200,))
    tasks_run = {spec.task.name for spec in plan.specs}
    assert "adding" in tasks_run
    assert "variable_adding" not in tasks_run
    assert any("variable_adding at T = 200 is left out" in each for each in plan.left_out)
    with pytest.raises(RequestError, match="variable_adding at T = 200"):
        plan_of("quick", tasks=("variable_adding",), lengths=(200,))


def test_a_name_selects_the_plain_model_and_a_label_its_variant() -> None:
    def fields(*names: str) -> set[tuple[str, bool]]:
        specs = plan_of("reference", tasks=("adding",), models=names).specs
        return {(spec.model.name, spec.model.fields["chrono"]) for spec in specs}

    assert fields("gru") == {("gru", False)}
    assert fields("gru chrono=true") == fields("gru chrono=True") == {("gru", True)}
    assert fields("gru", "lstm chrono=true") == {("gru", False), ("lstm", True)}


def test_a_label_may_name_a_variant_that_the_profile_does_not_list(small: str) -> None:
    specs = plan_of(small, models=("lstm num_layers=2 forget_bias=1.0",)).specs
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


def test_a_profile_without_training_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "bare.toml"
    path.write_text(
        'description = "bare"\nseeds = [0]\nparam_budget = 500\n[[grid]]\ntask = "adding"'
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # the mark that some editors write
    training = {spec.training.max_steps for spec in plan_of(str(path), models=("rnn",)).specs}
    assert training == {profile.DEFAULT_MAX_STEPS}


def test_fields_of_tasks_and_keeping_weights_can_be_set(small: str) -> None:
    plan = plan_of(small, "keep_weights=true", "task_fields.noise=0.2", tasks=("markov_source",))
    assert {spec.task.fields["noise"] for spec in plan.specs} == {0.2}
    kept = plan_of(small, "keep_weights=true")
    assert kept.kept == {spec.id for spec in kept.specs}
    assert not plan_of(small).kept


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("noise=0.1", "noise is a field of markov_source; write --set task_fields.noise=0.1"),
        ("task_fields.nose=0.1", "did you mean 'noise'"),
        ("learning_rate=abc", "learning_rate = 'abc'; valid: a positive number, a list of them"),
        ("max_step=3", "did you mean 'max_steps'"),
    ],
)
def test_a_bad_setting_is_refused(small: str, setting: str, said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        plan_of(small, setting)


def test_ids_of_the_projects_profiles_are_pinned() -> None:
    """A change of an id makes every record of it useless: it needs a raised version."""
    found = {}
    for name in profile.names():
        ids = "\n".join(sorted(spec.id for spec in plan_of(name).specs))
        found[name] = hashlib.sha256(ids.encode()).hexdigest()[:16]
    assert found == {
        "full": "9b91e30712d71367",
        "generation": "c6af3e6452dfb723",
        "paper": "2a582fcd15a323c8",
        "quick": "399fb8cb85df7766",
        "reference": "508b9577b3019c65",
        "smoke": "5daf0b6ed67c9b4d",
        "tuning": "81d599ee3fdc09d5",
    }


def test_a_length_that_suits_one_grid_of_a_task_is_enough() -> None:
    specs = plan_of("reference", tasks=("pixel_mnist",), lengths=(120,)).specs
    assert {s.task.fields["side"] for s in specs} == {7}  # 120 is no square


def test_smallest_takes_each_task_at_its_smallest() -> None:
    lengths = {spec.task.name: spec.length for spec in plan_of("smoke").specs}
    assert lengths == {name: tasks.task_class(name).smallest["length"] for name in tasks.names()}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [0, 1]", "seeds = [0", "malformed TOML"),
        ("seeds = [0, 1]", "", "seeds is missing"),
        ("seeds = [0, 1]", "seeds = []", "seeds = []"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds.0 = -1"),
        ("max_steps = 5", 'max_steps = "many"', "training.max_steps = 'many'"),
        ("max_steps = 5", "max_step = 5", "did you mean 'max_steps'"),
        ("learning_rate = 0.01", "learning_rate = -1", "learning_rate"),
        ("learning_rate = 0.01", 'learning_rate = "tunde"', "valid: a positive number, a list"),
        ('"copy_memory"', '"copy_memry"', "'copy_memry'; did you mean 'copy_memory'"),
        ("lengths = [2, 3]", "lengths = [0]", "length 0 of copy_memory; valid: 1 or more"),
        ("lengths = [2, 3]", "lengths = []", "lengths"),
        ("lengths = [2, 3]", "length = [2]", "did you mean 'lengths'"),
        ('"gru"', '"grue"', "unknown model 'grue'; did you mean 'gru'"),
        ("kernel_size = 3", "kernel = 3", "did you mean 'kernel_size'"),
        ("kernel_size = 3", 'kernel_size = "big"', "kernel_size = 'big' of tcn"),
        ("kernel_size = 3", "kernel_size = 0", "kernel_size 0 of tcn; valid: 1 or more"),
        ("param_budget = 10_000", "param_budget = 30", "the nearest is"),
        ("kernel_size = 3 }", "kernel_size = 3 }, wide = 3", "did you mean 'width'"),
        ("kernel_size = 3 }", "kernel_size = 3 }, width = 0", "models.1.width = 0"),
        ("kernel_size = 3 }", "kernel_size = 3 }, param_budget = 30", "the nearest is"),
        ("kernel_size = 3 }", "kernel_size = 3 }, training = { max_step = 2 }", "'max_steps'"),
        (
            "kernel_size = 3 }",
            "kernel_size = 3 }, width = 10, param_budget = 10_000",
            "give width or param_budget, not both",
        ),
        ("lengths = [2, 3]", 'lengths = [2]\nstudy = "side"', "grid.0.study = 'side'"),
        (
            "[[grid]]",
            '[[speed]]\ntask = "adding"\nmodels = [{ name = "gru", '
            "training = { max_steps = 2 } }]\n[[grid]]",
            "training of gru: a speed grid trains nothing",
        ),
        (
            "lengths = [2, 3]",
            "lengths = [2]\ntask_fields.color = 1",
            "unknown field of copy_memory",
        ),
    ],
)
def test_an_error_names_the_place_in_the_profile(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in SMALL
    path = tmp_path / "bad.toml"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(RequestError) as error:
        make_plan(profile.load(str(path)), Selection(), source=str(path))
    assert said in str(error.value)
    assert "bad.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_profile_of_the_documents_plans(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "extending.md").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0])
    specs = plan_of(str(path)).specs
    signature = tasks.load("adding", length=400).signature
    every = [name for name in models.names() if models.load(name).supports(signature) is None]
    assert len(specs) == 5 * (3 * 3 + len(every))
    assert {s.model.fields["kernel_size"] for s in specs if s.model.name == "tcn"} == {3, 8, 16}
