"""How long a run takes: a rule of thumb, corrected by records."""

import random
from pathlib import Path

import pytest

from bench.core.backend import Backend
from bench.core.records import Record
from bench.core.store import Store
from bench.plan.grid import network_of
from bench.run.estimate import PROCESS_BYTES, Estimator, rule_of_thumb
from models import num_parameters
from tests.support.records import BACKEND, outcome, record, spec
from tests.support.replay import forecasts


def test_a_network_of_a_given_width_is_counted() -> None:
    wide = spec(max_steps=1000).model_copy(update={"param_budget": None, "width": 40})
    same = wide.model_copy(update={"param_budget": num_parameters(network_of(wide))})
    assert rule_of_thumb(wide, "cpu") == pytest.approx(rule_of_thumb(same, "cpu"))
    narrow = wide.model_copy(update={"width": 10})
    assert rule_of_thumb(narrow, "cpu") < rule_of_thumb(wide, "cpu")


def test_records_correct_the_rule() -> None:
    run = spec(length=10)
    rule = rule_of_thumb(run, "cpu")
    slow = outcome().model_copy(update={"total_seconds": 3 * rule})
    estimator = Estimator(BACKEND, [record(run, outcome=slow)])
    assert estimator.seconds(spec(length=10, seed=1)) == pytest.approx(3 * rule)
    longer = spec(length=40)
    assert estimator.seconds(longer) == pytest.approx(3 * rule_of_thumb(longer, "cpu"))
    other = spec(model="gru")  # the machine is as slow for it, as far as is known
    assert estimator.seconds(other) == pytest.approx(3 * rule_of_thumb(other, "cpu"))
    on_gpu = Estimator(Backend(device="cuda"), [record(run, outcome=slow)])
    assert on_gpu.seconds(run) == rule_of_thumb(run, "cuda")


def test_a_run_that_is_solved_soon_says_so_of_its_like() -> None:
    early = outcome(steps=20).model_copy(update={"total_seconds": 1.0})
    records = [record(spec(seed=seed), outcome=early) for seed in range(20)]
    estimator = Estimator(BACKEND, records)
    assert estimator.share(spec(seed=99)) == pytest.approx(0.2, rel=0.1)
    assert estimator.share(spec(seed=99, stop_when_solved=False)) == 1.0
    assert estimator.seconds(spec(seed=99)) == pytest.approx(1.0, rel=0.1)


def test_a_short_run_of_what_is_not_known_goes_first() -> None:
    specs = [spec(model=model, length=T) for model in ("tcn", "gru") for T in (10, 40)]
    assert Estimator(BACKEND).scouts(specs) == {specs[0].id, specs[2].id}
    assert Estimator(BACKEND, [record(specs[1])]).scouts(specs) == {specs[2].id}


def test_memory_is_known_from_the_largest_that_was_taken() -> None:
    assert Estimator(BACKEND).memory_bytes(spec()) == 0
    gpu = Backend(device="cuda")
    guess = Estimator(gpu).memory_bytes(spec())
    most = outcome().model_copy(update={"peak_memory_bytes": 10 * guess})
    learned = Estimator(gpu, [record(spec(seed=1), backend=gpu, outcome=most)])
    assert learned.memory_bytes(spec()) == PROCESS_BYTES + 10 * guess
    assert learned.memory_bytes(spec(length=100)) > learned.memory_bytes(spec())


@pytest.fixture(scope="module")
def reference() -> list[Record]:
    """The committed run but for generation, which was made at another time."""
    folder = Path(__file__).parent.parent.parent / "results" / "reference" / "cpu"
    records, damaged = Store(folder).read_all()
    assert not damaged
    return [r for r in records if r.outcome and not r.outcome.baselines]


@pytest.mark.parametrize(
    ("num_workers", "known", "slower"),
    [(2, 0, 1.0), (4, 0, 1.0), (2, 200, 1.0), (2, 200, 2.0)],
    ids=["nothing known", "four workers", "a third known", "a machine that is shared"],
)
def test_the_time_left_is_told_within_30_percent_from_a_quarter_of_the_way(
    num_workers: int, known: int, slower: float, reference: list[Record]
) -> None:
    shuffled = random.Random(0).sample(reference, len(reference))
    made = forecasts(
        shuffled[known:], num_workers=num_workers, known=shuffled[:known], slower=slower
    )
    # The last moments, where a second is a large part of what is left, are left out.
    judged = {passed: ratio for passed, ratio in made if 0.25 <= passed <= 0.97}
    assert len(judged) > 200
    wrong = {passed: ratio for passed, ratio in judged.items() if not 0.7 <= ratio <= 1.3}
    assert not wrong
