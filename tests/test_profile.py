"""Profiles: what they say, what overrides them, what they refuse."""

from pathlib import Path

import pytest

from bench import profile
from bench.errors import RequestError
from bench.plan import (
    Plan,
    Selection,
    label,
    load_rates,
    make_plan,
    model_of,
    network_of,
    task_of,
    tuned_rate,
)
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


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


def plan_of(name: str, *settings: str, **selection: tuple) -> Plan:
    return make_plan(profile.load(name, settings), Selection(**selection))


@pytest.mark.parametrize("name", profile.names())
def test_every_profile_of_the_project_plans(name: str) -> None:
    plan = plan_of(name)
    assert plan.specs
    assert len({spec.id for spec in plan.specs}) == len(plan.specs)
    assert profile.description(profile.FOLDER / f"{name}.toml")
    for spec in plan.specs[:: max(1, len(plan.specs) // 5)]:
        count = num_parameters(network_of(spec))
        assert spec.param_budget is not None
        assert abs(count - spec.param_budget) <= 0.03 * spec.param_budget


def test_the_quick_runs_are_reference_runs() -> None:
    quick, reference = plan_of("quick").specs, plan_of("reference").specs
    assert {spec.id for spec in quick} < {spec.id for spec in reference}


def test_profiles_hold_what_they_promise() -> None:
    for name, num_lengths, num_seeds in (("quick", 3, 3), ("reference", 5, 5)):
        lengths: dict[str, set[int]] = {}
        for spec in plan_of(name).specs:
            lengths.setdefault(spec.task.name, set()).add(spec.length)
        assert all(len(each) >= num_lengths for each in lengths.values())
        assert len({spec.seed for spec in plan_of(name).specs}) >= num_seeds
        assert len({spec.model.name for spec in plan_of(name).specs}) == 4
        if name == "reference":
            assert all(max(each) > 100 for each in lengths.values())


def test_a_file_of_ones_own(small: str) -> None:
    plan = plan_of(small)
    assert len(plan.specs) == 2 * 2 * 2
    assert {spec.training.max_steps for spec in plan.specs} == {5}
    tcn = next(spec for spec in plan.specs if spec.model.name == "tcn")
    assert tcn.model.fields == {"kernel_size": 3, "num_blocks": None, "dropout": 0.0}
    assert label(model_of(tcn), "tcn") == "tcn kernel_size=3"
    assert label(task_of(tcn), "copy_memory") == "copy_memory"


def test_settings_override_the_profile_and_its_grids() -> None:
    plain = {spec.training.max_steps for spec in plan_of("quick").specs}
    assert len(plain) > 1
    plan = plan_of("quick", "max_steps=7", "training.clip_norm=none", "seeds=[5]")
    assert {spec.training.max_steps for spec in plan.specs} == {7}
    assert {spec.training.clip_norm for spec in plan.specs} == {None}
    assert {spec.seed for spec in plan.specs} == {5}


def test_a_list_of_rates_is_swept(small: str) -> None:
    specs = plan_of(small, "learning_rate=[0.1, 0.2]").specs
    assert len(specs) == 16
    assert {spec.training.learning_rate for spec in specs} == {0.1, 0.2}


def test_tuned_rates_are_taken_by_task_and_model() -> None:
    rates = {"copy_memory": {"tcn": 0.01, "gru": 0.1}, "adding": {"tcn": 0.001}}
    assert tuned_rate(rates, "copy_memory", "gru") == 0.1
    assert tuned_rate(rates, "copy_memory", "new") == 0.01  # the middle of all
    for spec in plan_of("quick").specs:
        expected = load_rates(Path(profile.__file__).parent / "rates.toml")
        assert spec.training.learning_rate == expected[spec.task.name][spec.model.name]


def test_a_selection_narrows_and_adds_what_is_asked_for() -> None:
    specs = plan_of("quick", tasks=("adding",), models=("gru",), lengths=(33,), seeds=(9,)).specs
    assert [(s.task.name, s.model.name, s.length, s.seed) for s in specs] == [
        ("adding", "gru", 33, 9)
    ]


def test_a_length_that_suits_one_grid_of_a_task_is_enough() -> None:
    specs = plan_of("reference", tasks=("pixel_mnist",), lengths=(120,)).specs
    assert {s.task.fields["side"] for s in specs} == {7}  # 120 is no square


def test_smallest_takes_each_task_at_its_smallest() -> None:
    lengths = {spec.task.name: spec.length for spec in plan_of("smoke").specs}
    assert lengths == {"adding": 8, "copy_memory": 3, "permuted_mnist": 49, "pixel_mnist": 49}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [0, 1]", "seeds = [0", "malformed TOML"),
        ("seeds = [0, 1]", "", "seeds is missing"),
        ("seeds = [0, 1]", "seeds = []", "seeds = []"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds.0 = -1"),
        ("max_steps = 5", 'max_steps = "many"', "training.max_steps = 'many'"),
        ("max_steps = 5", "max_step = 5", "did you mean 'max_steps'"),
        ("max_steps = 5", "", "max_steps"),
        ("learning_rate = 0.01", "learning_rate = -1", "learning_rate"),
        ("learning_rate = 0.01", 'learning_rate = "tunde"', "learning_rate"),
        ('"copy_memory"', '"copy_memry"', "'copy_memry'; did you mean 'copy_memory'"),
        ("lengths = [2, 3]", "lengths = [0]", "length 0 of copy_memory; valid: 1 or more"),
        ("lengths = [2, 3]", "lengths = []", "lengths"),
        ("lengths = [2, 3]", "length = [2]", "did you mean 'lengths'"),
        ('"gru"', '"grue"', "unknown model 'grue'; did you mean 'gru'"),
        ("kernel_size = 3", "kernel = 3", "did you mean 'kernel_size'"),
        ("kernel_size = 3", 'kernel_size = "big"', "kernel_size = 'big' of tcn"),
        ("kernel_size = 3", "kernel_size = 0", "kernel_size 0 of tcn; valid: 1 or more"),
        ("param_budget = 10_000", "param_budget = 30", "the nearest is"),
        (
            "lengths = [2, 3]",
            "lengths = [2]\ntask_fields.color = 1",
            "unknown field of copy_memory",
        ),
    ],
)
def test_a_bad_profile_is_told_with_its_place(
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
    page = (Path(__file__).parent.parent / "docs" / "extending.md").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0])
    specs = plan_of(str(path)).specs
    assert len(specs) == 5 * (3 * 3 + 4)
    assert {s.model.fields["kernel_size"] for s in specs if s.model.name == "tcn"} == {3, 8, 16}
