"""Shards of a plan: disjoint, complete, balanced."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cli import main
from bench.core.spec import Spec
from bench.plan.grid import Plan
from bench.plan.ladder import Ladder
from bench.run.estimate import rule_of_thumb
from bench.run.shard import Shard, part
from tests.support.commands import PROFILE, records, selectors
from tests.support.records import spec

PLANS = st.lists(
    st.builds(
        lambda length, seed, steps: spec(length=length, seed=seed, max_steps=steps),
        st.integers(1, 2_000),
        st.integers(0, 3),
        st.sampled_from([1, 100, 100_000]),
    ),
    max_size=40,
    unique_by=lambda each: each.id,
)


def parts(specs: Sequence[Spec], count: int, *ladders: Ladder) -> list[Plan]:
    plan = Plan(specs=tuple(specs), unsupported=(), studies={}, ladders=ladders)
    return [part(plan, Shard(number=i, count=count)) for i in range(1, count + 1)]


def shards(specs: list[Spec], count: int) -> list[tuple[Spec, ...]]:
    return [one.specs for one in parts(specs, count)]


def cost(specs: tuple[Spec, ...]) -> float:
    return sum(rule_of_thumb(each, "cpu") for each in specs)


@settings(deadline=None, derandomize=True)
@given(PLANS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_shards_are_disjoint_complete_balanced_and_independent_of_the_order(
    specs: list[Spec], count: int, order: random.Random
) -> None:
    dealt = shards(specs, count)
    assert sorted(each.id for one in dealt for each in one) == sorted(each.id for each in specs)
    numbers, costs = [len(one) for one in dealt], [cost(one) for one in dealt]
    assert max(numbers) - min(numbers) <= 1
    most = max((cost((each,)) for each in specs), default=0.0)
    assert max(costs) - min(costs) <= most * (1 + 1e-9)  # sums of floats
    mixed = shards(order.sample(specs, len(specs)), count)
    assert [{each.id for each in one} for one in mixed] == [{e.id for e in one} for one in dealt]


def test_the_most_expensive_run_of_a_round_goes_to_the_cheapest_shard() -> None:
    dealt = shards([spec(max_steps=steps) for steps in (100, 200, 300, 400, 50)], 2)
    # 400 and 300; then 200 to the one that has 300, 100 to the other; then 50, both having 500.
    assert sorted(sorted(each.training.max_steps for each in one) for one in dealt) == [
        [50, 100, 400],
        [200, 300],
    ]


def test_a_shard_owns_whole_ladders() -> None:
    ladders = [
        Ladder(tuple(tuple(spec(length=n, seed=s, model=m) for s in range(2)) for n in (1, 2, 4)))
        for m in ("gru", "lstm", "tcn")
    ]
    others = [spec(model="rnn", seed=seed) for seed in range(4)]
    every = [each for one in ladders for each in one.specs] + others
    dealt = parts(every, 3, *ladders)
    assert sorted(e.id for one in dealt for e in one.specs) == sorted(each.id for each in every)
    assert [len(one.ladders) for one in dealt] == [1, 1, 1]
    assert max(len(one.specs) for one in dealt) - min(len(one.specs) for one in dealt) == 1
    for one in dealt:
        assert {each.id for each in one.ladders[0].specs} <= {each.id for each in one.specs}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0/8", "valid: 1/8 to 8/8"),
        ("9/8", "valid: 1/8 to 8/8"),
        ("1/0", "valid: 1/1 to 1/1"),
        ("3", "valid: a part and their number, such as 1/8"),
        ("1/8/2", "valid: a part"),
        ("-1/8", "valid: a part"),
        ("1/1e3", "valid: a part"),
        ("", "valid: a part"),
        ("¹/8", "valid: a part"),
    ],
)
def test_an_invalid_shard_is_refused_with_the_valid_ones(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", f"--shard={text}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: Invalid value for '--shard': ")
    assert error.count("\n") == 1
    assert said in error


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "few.toml"
    path.write_text(PROFILE.format(steps=2))
    return str(path)


def test_shards_together_make_the_plan_without_a_report(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    selected = selectors(profile, results)
    second = ["run", *selected, "--shard", "2/2", "--workers", "1"]
    assert main(second) == 0
    made = set(records(results))
    assert len(made) == 4
    said = capsys.readouterr().err
    assert "shard 2/2: 4 runs, 0 recorded" in said
    assert "shard 2/2 has ended. When all shards have ended, write the report" in said

    next(iter(results.rglob("runs/**/*.json"))).unlink()
    assert main(second) == 0
    assert "shard 2/2: 4 runs, 3 recorded" in capsys.readouterr().err
    assert set(records(results)) == made

    # Records of the other shard do not change the division.
    assert main(["plan", *selected, "--shard", "1/2"]) == 0
    assert "shard 1/2: 4 runs, 0 recorded" in capsys.readouterr().out
    assert main(["run", *selected, "--shard", "1/2", "--workers", "1"]) == 0
    assert main(["plan", *selected]) == 0
    assert "8 runs, 8 recorded" in capsys.readouterr().out
    assert {path.name for path in results.iterdir()} == {"runs"}
    assert main(["run", *selected, "--shard", "9/9"]) == 0
    assert "shard 9/9: 0 runs, 0 recorded; nothing to do" in capsys.readouterr().err
