"""The choice of learning rates, on planted records."""

import tomllib
from pathlib import Path

import pytest

from bench import plan, profile, tune
from bench.store import Store
from tests.records import outcome, record, spec

ROOT = Path(__file__).parent.parent


def planted(scores: dict[float, list[tuple[float, int]]]) -> list:
    """Rate → (best validation score, updates) a seed."""
    return [
        record(
            of := spec(learning_rate=rate, seed=seed),
            outcome=outcome(score, steps=steps, label=of.model.name),
        )
        for rate, runs in scores.items()
        for seed, (score, steps) in enumerate(runs)
    ]


def test_most_seeds_solved_wins() -> None:
    (choice,) = tune.choose(
        planted(
            {0.001: [(1.0, 9), (0.9, 9)], 0.003: [(0.96, 99), (0.96, 99)], 0.01: [(0.94, 9)] * 2}
        )
    )
    assert (choice.rate, choice.num_solved, choice.num_runs) == (0.003, 2, 2)


def test_among_rates_that_solve_all_the_fewest_updates_win() -> None:
    (choice,) = tune.choose(planted({0.001: [(1.0, 50)] * 2, 0.003: [(0.96, 40)] * 2}))
    assert choice.rate == 0.003


def test_otherwise_the_score_decides() -> None:
    (choice,) = tune.choose(planted({0.001: [(0.5, 50)] * 2, 0.003: [(0.4, 40)] * 2}))
    assert (choice.rate, choice.score) == (0.001, 0.5)


def test_a_rate_with_a_failed_run_is_not_chosen() -> None:
    records = planted({0.001: [(0.2, 50)] * 2, 0.003: [(0.4, 50)]})
    failed = record(spec(learning_rate=0.003, seed=1), None)
    assert tune.choose([*records, failed])[0].rate == 0.001


def test_the_test_stream_has_no_part_in_it() -> None:
    records = planted({0.001: [(0.5, 50)], 0.003: [(0.4, 50)]})
    tempting = [
        r.model_copy(
            update={
                "outcome": r.outcome.model_copy(
                    update={"test": {"recall": 1.0 - r.outcome.test_score, "cross_entropy": 0.0}}
                )
            }
        )
        for r in records
    ]
    assert tune.choose(tempting)[0].rate == tune.choose(records)[0].rate == 0.001


def test_a_choice_at_the_edge_extends_the_grid() -> None:
    specs = [spec(learning_rate=rate, seed=s) for rate in (0.001, 0.003, 0.01) for s in (0, 1)]
    inside = tune.choose(planted({0.001: [(0.2, 9)], 0.003: [(0.5, 9)], 0.01: [(0.3, 9)]}))
    assert tune.beyond_the_edge(specs, inside) == []
    above = tune.choose(planted({0.001: [(0.2, 9)], 0.003: [(0.3, 9)], 0.01: [(0.5, 9)]}))
    further = tune.beyond_the_edge(specs, above)
    assert [(s.training.learning_rate, s.seed) for s in further] == [(0.03, 0), (0.03, 1)]
    below = tune.choose(planted({0.001: [(0.6, 9)], 0.003: [(0.3, 9)], 0.01: [(0.5, 9)]}))
    assert {s.training.learning_rate for s in tune.beyond_the_edge(specs, below)} == {0.0003}


@pytest.mark.parametrize(("rate", "up", "down"), [(0.001, 0.003, 0.0003), (0.03, 0.1, 0.01)])
def test_rungs(rate: float, up: float, down: float) -> None:
    assert tune.next_rung(rate, up=True) == up
    assert tune.next_rung(rate, up=False) == down


def test_rates_are_written_as_toml(tmp_path: Path) -> None:
    choices = tune.choose(planted({0.001: [(0.5, 9)], 0.003: [(0.2, 9)]}))
    path = tune.write_rates(tmp_path / "new" / "rates.toml", choices, "somewhere")
    assert plan.load_rates(path) == {"copy_memory": {"tcn": 0.001}}
    assert tomllib.loads(path.read_text())["records"] == "somewhere"


def test_the_committed_rates_follow_from_the_committed_records(tmp_path: Path) -> None:
    records, damaged = Store(ROOT / "results/reference/tuning").read_all()
    assert not damaged
    chosen = tune.choose(records)
    again = tune.write_rates(tmp_path / "rates.toml", chosen, "results/reference/tuning")
    assert again.read_text() == plan.RATES.read_text()
    assert not any(choice.at_edge for choice in chosen)
    planned = plan.make_plan(profile.load("tuning"), plan.Selection()).specs
    assert {s.id for s in planned} <= {r.spec.id for r in records}
