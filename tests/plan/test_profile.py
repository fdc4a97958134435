"""Profiles: their content, the settings that change them, and their errors."""

import hashlib
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

import models
import tasks
from bench.core.errors import RequestError
from bench.plan import catalogue, profile, rates
from bench.plan.grid import Selection, make_plan, make_speed_plan, model_of, network_of, task_of
from bench.plan.labels import changed_fields, label, labels
from models import num_parameters
from tests.support.plans import SMALL, plan_of

MEMORY = {
    "adding",
    "associative_recall",
    "copy_memory",
    "group_product",
    "pixel_mnist",
    "selective_copy",
}
"""Tasks that are climbed in ladders."""
PINNED = MEMORY | {
    "audio",
    "char_text",
    "markov_source",
    "mnist_generation",
    "permuted_mnist",
    "variable_adding",
}
"""Tasks whose ids are pinned. Some profiles run every task, and a file may add one at any time."""


@pytest.mark.parametrize("name", profile.names())
def test_every_profile_of_the_project_plans(name: str) -> None:
    plan = plan_of(name)
    assert plan.specs
    assert len({spec.id for spec in plan.specs}) == len(plan.specs)
    assert catalogue.profiles()[name]
    for spec in plan.specs[:: max(1, len(plan.specs) // 5)]:
        if spec.param_budget is None:
            assert spec.extra_width == 0
        else:
            assert num_parameters(network_of(spec)) == pytest.approx(spec.param_budget, rel=0.03)


def test_the_quick_runs_have_a_counterpart_in_the_reference() -> None:
    """The report of `quick` shows the reference's answers beside its own."""

    def networks(name: str) -> set[tuple[str, float]]:
        return {(spec.network, spec.training.learning_rate) for spec in plan_of(name).specs}

    assert networks("quick") <= networks("reference")


@pytest.mark.parametrize("name", ["quick", "reference"])
def test_profiles_hold_what_they_promise(name: str) -> None:
    plan = plan_of(name)
    climbed = {spec.id for ladder in plan.ladders for spec in ladder.specs}
    main = [spec for spec in plan.specs if plan.studies[spec.id] & {"main"}]
    assert {spec.task.name for spec in main} >= MEMORY
    assert {spec.model.name for spec in main} >= {"gru", "lstm", "rnn", "tcn"}
    assert len({spec.seed for spec in main}) == 5
    for spec in main:
        # Where the accuracy is what is compared, every seed runs to its end.
        assert spec.training.stop_when_solved == (spec.id in climbed)
        if name == "reference":
            images = spec.task.name.endswith("mnist")
            epochs = spec.training.max_steps * spec.training.batch_size / 55_000
            assert epochs == 20 if images else spec.training.max_steps == 15_600
    for ladder in plan.ladders:
        lengths = [cell[0].length for cell in ladder.cells]
        if {"main"} & plan.studies[ladder.specs[0].id] and name == "reference":
            assert all(above == 2 * below for below, above in pairwise(lengths))
            assert lengths[-1] > 100
            assert ladder.extend == 4 * 15_600
    generating = [s for s in plan.specs if plan.studies[s.id] == {"generation"}]
    assert {"gru", "tcn", "pixelcnn"} <= {spec.model.name for spec in generating}


def test_the_reference_has_every_study() -> None:
    plan = plan_of("reference")
    assert set[str]().union(*plan.studies.values()) == set(get_args(profile.Study))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Writes a profile and returns its path."""

    def written(text: str) -> str:
        path = tmp_path / "written.toml"
        path.write_text(text)
        return str(path)

    return written


@pytest.fixture
def small(write: Callable[[str], str]) -> str:
    return write(SMALL)


def test_a_profile_may_be_a_file_anywhere(small: str) -> None:
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


def test_a_models_own_size_and_training_come_before_its_grids(write: Callable[[str], str]) -> None:
    path = write(SMALL + OWN)
    specs = {s.model.name: s for s in plan_of(path, tasks=("adding",)).specs}
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


def test_a_models_own_values_give_way_to_settings(write: Callable[[str], str]) -> None:
    path = write(SMALL + OWN)
    settings = ("optimizer=adam", "clip_norm=3", "learning_rate=0.2", "param_budget=5000")
    specs = plan_of(path, *settings).specs
    assert {s.model.name for s in specs} == {"lstm", "gru", "rnn", "tcn"}
    assert {
        (s.training.optimizer, s.training.clip_norm, s.training.learning_rate, s.param_budget)
        for s in specs
    } == {("adam", 3.0, 0.2, 5000)}


def test_a_width_counts_in_what_is_timed_as_well(write: Callable[[str], str]) -> None:
    choice = '[[speed]]\ntask = "adding"\nlengths = [10]\nmodels = [{ name = "gru", width = 20 }]'
    path = write(f"{SMALL}\n{choice}\n")
    spec, *_ = make_speed_plan(profile.load(path), Selection(), [])
    assert (spec.width, spec.extra_width, spec.param_budget) == (20, 0, None)


def test_runs_belong_to_the_study_of_every_grid_that_names_them(
    write: Callable[[str], str],
) -> None:
    variants = '[[grid]]\ntask = "copy_memory"\nlengths = [3, 4]\nmodels = ["gru", "rnn"]'
    path = write(f'{SMALL}\n{variants}\nstudy = "variants"\n')
    plan = plan_of(path)
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


def test_a_field_that_a_task_names_is_shown_with_its_default_value_too() -> None:
    for group in ("S3", "Z2"):
        task = tasks.load("group_product", length=4, group=group)
        assert label(task, "group_product") == f"group_product group={group}"
        assert changed_fields(task) == ([] if group == "S3" else ["group=Z2"])


def test_networks_of_two_widths_have_two_labels(write: Callable[[str], str]) -> None:
    path = write(SMALL.replace('"gru"', '"gru", { name = "gru", width = 9 }'))
    found = labels(plan_of(path, models=("gru",)).specs)
    names = {each.model_label for each in found.values()}
    assert names == {"gru param_budget=10000", "gru width=9"}


def test_only_the_networks_of_an_unusual_size_say_so(write: Callable[[str], str]) -> None:
    large = '[[grid]]\ntask = "copy_memory"\nlengths = [2]\nmodels = ["gru"]\nparam_budget = 20_000'
    plan = plan_of(write(f"{SMALL}\n{large}\n"), models=("gru",))
    found = {(spec.param_budget, labels(plan.specs)[spec.id].variant) for spec in plan.specs}
    assert found == {(10_000, ""), (20_000, "param_budget=20000")}


def test_a_list_of_rates_is_swept(small: str) -> None:
    specs = plan_of(small, "learning_rate=[0.1, 0.2]").specs
    assert len(specs) == 16
    assert {spec.training.learning_rate for spec in specs} == {0.1, 0.2}


def test_no_run_of_the_reference_chose_its_own_rate() -> None:
    tuning, reference = plan_of("tuning").specs, plan_of("reference").specs
    assert len(reference) > 1000
    assert not {spec.seed for spec in tuning} & {spec.seed for spec in reference}


def test_tuned_rates_are_taken_by_task_and_model() -> None:
    committed = rates.load().rates
    for spec in plan_of("quick").specs:
        variant = label(model_of(spec), spec.model.name)
        expected = rates.tuned_rate(committed, spec.task.name, variant, spec.model.name)
        assert spec.training.learning_rate == expected


def test_a_profile_without_training_has_defaults(write: Callable[[str], str]) -> None:
    bare = 'description = "bare"\nseeds = [0]\nparam_budget = 500\n[[grid]]\ntask = "adding"'
    path = write(f"\ufeff{bare}")  # some editors write a byte-order mark
    training = {spec.training.max_steps for spec in plan_of(path, models=("rnn",)).specs}
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
        ids = "\n".join(sorted(spec.id for spec in plan_of(name).specs if spec.task.name in PINNED))
        found[name] = hashlib.sha256(ids.encode()).hexdigest()[:16]
    assert found == {
        "full": "59a3f5847c1e7682",
        "generation": "9508ff574ba2e9fe",
        "paper": "a792ca03222d07ae",
        "quick": "f034f98951bacd29",
        "reference": "d9936540fb088cce",
        "smoke": "f1aaa1b0f1de53d0",
        "tuning": "1df2cb2c0f0b5865",
    }


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
    write: Callable[[str], str], old: str, new: str, said: str
) -> None:
    assert old in SMALL
    path = write(SMALL.replace(old, new))
    with pytest.raises(RequestError) as error:
        make_plan(profile.load(path), Selection(), source=path)
    assert said in str(error.value)
    assert "written.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_profile_of_the_documents_plans(write: Callable[[str], str]) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "extending.md").read_text()
    path = write(page.partition("```toml\n")[2].partition("```")[0])
    specs = plan_of(path).specs
    signature = tasks.load("adding", length=400).signature
    every = [name for name in models.names() if models.load(name).supports(signature) is None]
    assert len(specs) == 5 * (3 * 3 + len(every))
    assert {s.model.fields["kernel_size"] for s in specs if s.model.name == "tcn"} == {3, 8, 16}
