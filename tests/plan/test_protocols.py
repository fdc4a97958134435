"""Records of older protocols count where nothing newer was recorded, and never beside it."""

from bench.core.records import Record
from bench.core.spec import PROTOCOL, SPEED_PROTOCOL, Spec
from bench.plan.grid import Plan
from bench.plan.protocols import is_older, newest, with_stand_ins
from tests.support.records import record, spec, speed_record


def of_protocol(made: Spec, protocol: int) -> Spec:
    return made.model_copy(update={"protocol": protocol})


def older(made: Spec) -> Record:
    return record(of_protocol(made, PROTOCOL - 1))


def test_one_new_run_replaces_all_older_runs_of_its_cell_and_no_others() -> None:
    seeds, longer = [spec(seed=seed) for seed in range(3)], spec(length=20)
    other_rate = spec(learning_rate=0.01)
    before = [older(each) for each in (*seeds, longer, other_rate)]
    new = record(seeds[1])
    assert newest(before) == before
    assert newest([*before, new]) == [before[3], before[4], new]


def test_each_implementation_of_a_timing_has_its_own_newest_protocol() -> None:
    before = SPEED_PROTOCOL - 1
    alone, many = (speed_record(batch_size=size, step_ms=1, protocol=before) for size in (1, 64))
    stock = speed_record(step_ms=1, implementation="stock")
    fast = speed_record(train_ms=1, step_ms=1)
    assert newest([alone, many, stock]) == [alone, many, stock]
    assert newest([alone, many, stock, fast]) == [many, stock, fast]


def test_an_older_run_stands_for_the_planned_run_of_its_seed_and_settings() -> None:
    specs = (spec(seed=0), spec(seed=1), spec(seed=0, learning_rate=0.01))
    plan = Plan(
        specs=specs, unsupported=(), studies={each.id: frozenset({"variants"}) for each in specs}
    )
    old = of_protocol(specs[1], PROTOCOL - 1)
    found = with_stand_ins(plan, [old, specs[2]])
    assert found.specs == (specs[0], old, specs[2])
    assert found.studies.keys() == {each.id for each in found.specs}
    assert with_stand_ins(plan, specs) is plan


def test_only_lower_versions_are_older() -> None:
    assert [is_older(of_protocol(spec(), PROTOCOL + change)) for change in (-1, 0, 1)] == [
        True,
        False,
        False,
    ]
    assert is_older(speed_record(protocol=SPEED_PROTOCOL - 1).spec)
    assert not is_older(speed_record().spec)
