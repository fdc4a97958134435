"""The choice of learning rates, on planted records."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.core.backend import Backend
from bench.core.records import Record
from bench.core.spec import Spec
from bench.core.store import Store
from bench.plan import grid, profile, protocols, rates
from bench.plan.rates import Sweep, Tried, Tuned
from bench.run import inventory, tune
from bench.run.execute import Manner
from bench.run.request import Request, make_request
from tests.support.records import cost_outcome, outcome, record, spec

ROOT = Path(__file__).parent.parent.parent


Scores = dict[float, list[tuple[float, int]]]
"""Learning rate → (best validation score, updates) of each seed."""


def planted(found: Scores, *, cost: bool = False, **training: Any) -> list[Record]:
    """Records with these scores; with `cost`, lower scores are better."""
    records = []
    for rate, runs in found.items():
        for seed, (score, steps) in enumerate(runs):
            made = cost_outcome if cost else outcome
            of = spec(learning_rate=rate, seed=seed, **training)
            records.append(record(of, outcome=made(score, steps=steps)))
    return records


def chosen(records: list[Record]) -> Tuned:
    return tune.choose(records)["copy_memory"]["tcn"]


@pytest.mark.parametrize(
    ("found", "rate"),
    [
        # Most solved seeds win.
        ({0.001: [(1.0, 9), (0.9, 9)], 0.003: [(0.96, 99)] * 2, 0.01: [(0.94, 9)] * 2}, 0.003),
        # Among rates that solve as many seeds, the score of the others decides.
        ({0.001: [(0.5, 50), (0.3, 50)], 0.003: [(0.35, 40)] * 2}, 0.001),
        ({0.001: [(1.0, 9), (0.2, 50)], 0.003: [(0.96, 99), (0.3, 50)]}, 0.003),
        # Among rates that solve all seeds, the fewest updates win.
        ({0.001: [(1.0, 500)] * 2, 0.003: [(0.96, 400)] * 2}, 0.003),
        # Updates that no validation tells apart count as equal, and the smallest rate wins.
        ({0.001: [(1.0, 499)] * 2, 0.003: [(0.96, 400)] * 2}, 0.001),
        ({0.001: [(1.0, 900)] * 2, 0.003: [(1.0, 480)] * 2, 0.01: [(1.0, 400)] * 2}, 0.003),
        # A rate below one at which most runs fail is not chosen if another one solves all seeds.
        ({0.001: [(1.0, 900)] * 2, 0.003: [(1.0, 400)] * 2, 0.01: [(0.2, 999)] * 2}, 0.001),
        ({0.001: [(0.3, 900)] * 2, 0.003: [(1.0, 400)] * 2, 0.01: [(0.2, 999)] * 2}, 0.003),
        (
            {
                0.001: [(1.0, 900)] * 2,
                0.003: [(1.0, 400)] * 2,
                0.01: [(1.0, 500), (0.2, 999)],
            },
            0.003,
        ),
    ],
)
def test_solved_seeds_then_the_score_then_updates_decide(found: Scores, rate: float) -> None:
    choice = chosen(planted(found))
    scores = [score for score, _ in found[rate]]
    assert (choice.rate, choice.chosen.num_runs) == (rate, 2)
    assert (choice.chosen.low, choice.chosen.high) == (min(scores), max(scores))
    assert choice.chosen.num_solved == sum(score >= 0.95 for score in scores)


def test_a_rate_that_solves_early_but_does_not_stay_solved_loses_a_tie() -> None:
    first, late = planted({0.003: [(1.0, 200)], 0.01: [(1.0, 600)]})
    assert late.outcome is not None
    unstable = outcome(1.0, steps=50).curve + late.outcome.curve[1:]
    late = late.model_copy(update={"outcome": late.outcome.model_copy(update={"curve": unstable})})
    choice = chosen([first, late])
    assert choice.rate == 0.003
    assert [tried.solved_after for tried in choice.tried] == [200, 50]


def test_the_score_counts_above_the_threshold_where_runs_go_on() -> None:
    scores: Scores = {0.001: [(0.99, 500)] * 2, 0.003: [(0.96, 400)] * 2}
    assert chosen(planted(scores)).rate == 0.003
    assert chosen(planted(scores, stop_when_solved=False)).rate == 0.001


def test_the_median_number_of_updates_to_solve_counts_runs_that_do_not() -> None:
    found = chosen(planted({0.001: [(1.0, 50), (1.0, 70), (0.5, 9)], 0.003: [(0.5, 40)] * 3}))
    assert [tried.solved_after for tried in found.tried] == [70, None]
    assert [tried.num_runs for tried in found.tried] == [3, 3]


@pytest.mark.parametrize(
    ("found", "rate"),
    [
        ({0.001: [(0.3, 50), (0.5, 50)], 0.003: [(0.45, 40)] * 2}, 0.001),
        ({0.001: [(0.3, 9)] * 2, 0.003: [(0.2, 50), (0.4, 50)]}, 0.003),
        ({0.001: [(0.1, 500)] * 2, 0.003: [(0.19, 400)] * 2}, 0.003),
    ],
)
def test_where_lower_is_better_the_least_cost_wins(found: Scores, rate: float) -> None:
    choice = chosen(planted(found, cost=True))
    assert choice.rate == rate
    scores = [score for score, _ in found[rate]]
    assert (choice.chosen.low, choice.chosen.high) == (min(scores), max(scores))


def test_each_variant_has_a_rate_of_its_own() -> None:
    records = planted({0.001: [(0.5, 50)], 0.003: [(0.4, 50)]})
    for each in planted({0.001: [(0.2, 50)], 0.003: [(0.4, 50)]}):
        model = each.spec.model.model_copy(update={"fields": {"gated": True}})
        of = each.spec.model_copy(update={"model": model})
        records.append(each.model_copy(update={"spec": of}))
    found = tune.choose(records)["copy_memory"]
    rates = {label: tuned.rate for label, tuned in found.items()}
    assert rates == {"tcn": 0.001, "tcn gated=True": 0.003}


def test_a_rate_with_a_failed_run_is_not_chosen() -> None:
    records = planted({0.001: [(0.2, 50)] * 2, 0.003: [(0.4, 50)]})
    failed = record(spec(learning_rate=0.003, seed=1), None)
    assert chosen([*records, failed]).rate == 0.001


def test_test_scores_are_not_used() -> None:
    records = planted({0.001: [(0.5, 50)], 0.003: [(0.4, 50)]})
    tempting = []
    for each in records:
        assert each.outcome is not None
        test = {"recall": 1.0 - each.outcome.test_score, "cross_entropy": 0.0}
        better = each.outcome.model_copy(update={"test": test})
        tempting.append(each.model_copy(update={"outcome": better}))
    assert chosen(tempting).rate == chosen(records).rate == 0.001


def test_a_choice_at_the_edge_extends_the_grid() -> None:
    specs = [spec(learning_rate=rate, seed=s) for rate in (0.001, 0.003, 0.01) for s in (0, 1)]
    inside = tune.choose(planted({0.001: [(0.2, 9)], 0.003: [(0.5, 9)], 0.01: [(0.3, 9)]}))
    assert tune.beyond_the_edge(specs, inside) == []
    above = tune.choose(planted({0.001: [(0.2, 9)], 0.003: [(0.3, 9)], 0.01: [(0.5, 9)]}))
    further = tune.beyond_the_edge(specs, above)
    assert [(s.training.learning_rate, s.seed) for s in further] == [(0.03, 0), (0.03, 1)]
    below = tune.choose(planted({0.001: [(0.6, 9)], 0.003: [(0.3, 9)], 0.01: [(0.5, 9)]}))
    assert {s.training.learning_rate for s in tune.beyond_the_edge(specs, below)} == {0.0003}


def test_the_best_rate_of_a_family_is_refined() -> None:
    grid = (0.001, 0.003, 0.01)
    specs = [
        spec(model=m, learning_rate=r, seed=s) for m in ("gru", "tcn") for r in grid for s in (0, 1)
    ]
    records = [record(each, 0.5 if each.training.learning_rate == 0.003 else 0.2) for each in specs]
    finer = tune.refined(specs, tune.choose(records), {"recurrent": 1.8})
    found = [(s.model.name, s.training.learning_rate, s.seed) for s in finer]
    assert found == [("gru", rate, seed) for rate in (0.0017, 0.0054) for seed in (0, 1)]


def test_rates_with_one_seed_are_noticed() -> None:
    both = [spec(learning_rate=rate, seed=seed) for rate in (0.001, 0.003) for seed in (0, 1)]
    assert tune.with_one_seed(both) == set()
    assert tune.with_one_seed([*both, spec(length=60)]) == {("copy_memory", "tcn")}


@pytest.mark.parametrize(("rate", "up", "down"), [(0.001, 0.003, 0.0003), (0.03, 0.1, 0.01)])
def test_rungs(rate: float, up: float, down: float) -> None:
    assert tune.next_rung(rate, up=True) == up
    assert tune.next_rung(rate, up=False) == down


PROFILE = """
description = "a sweep"
seeds = [0, 1]
param_budget = 2_000
refine = { recurrent = 1.8 }

[training]
learning_rate = [0.001, 0.003]
max_steps = 10

[[grid]]
task = "copy_memory"
lengths = [5]
models = ["gru", "tcn"]
"""


def test_a_sweep_extends_its_grid_and_then_refines_it_and_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep.toml").write_text(PROFILE)
    request = make_request(
        results=tmp_path / "results",
        selection=grid.Selection(),
        device="cpu",
        profile_name=str(tmp_path / "sweep.toml"),
    )
    made: list[list[tuple[str, float]]] = []

    def execute(request: Request, specs: Sequence[Spec], manner: Manner) -> bool:
        """A recurrent network is best at 0.0054, and a convolutional one at 0.003."""
        missing = inventory.waiting_specs(request, inventory.read(request), specs)
        made.append(sorted({(s.model.name, s.training.learning_rate) for s in missing}))
        for each in missing:
            best = 0.0054 if each.model.name == "gru" else 0.003
            distance = abs(math.log(each.training.learning_rate / best))
            request.store.write(record(each, 0.9 - 0.1 * distance, backend=request.backend))
        return True

    monkeypatch.setattr(tune, "execute", execute)
    assert tune.sweep(request, Manner())
    first, edge, fine = made
    assert first == [(model, rate) for model in ("gru", "tcn") for rate in (0.001, 0.003)]
    assert edge == [("gru", 0.01), ("tcn", 0.01)]
    assert fine == [("gru", 0.0017), ("gru", 0.0054)]
    chosen = rates.load(tmp_path / "results" / "rates.toml").rates["copy_memory"]
    assert {name: each.rate for name, each in chosen.items()} == {"gru": 0.0054, "tcn": 0.003}
    assert {name: len(each.tried) for name, each in chosen.items()} == {"gru": 5, "tcn": 3}
    assert {tried.num_runs for each in chosen.values() for tried in each.tried} == {2}
    written = (tmp_path / "results" / "rates.toml").read_bytes()
    made.clear()
    assert tune.sweep(request, Manner())
    assert made == [[], [], []]
    assert (tmp_path / "results" / "rates.toml").read_bytes() == written
    assert "noise" not in capsys.readouterr().err


def test_a_sweep_continues_one_of_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweep.toml").write_text(PROFILE.replace("refine = { recurrent = 1.8 }", ""))
    request = make_request(
        results=tmp_path / "results",
        selection=grid.Selection(),
        device="cpu",
        profile_name=str(tmp_path / "sweep.toml"),
    )
    best = {"gru": 0.003, "tcn": 0.001}

    def write(each: Spec, backend: Backend, status: str = "ok") -> None:
        score = 0.5 - abs(each.training.learning_rate - best[each.model.name])
        changes = {} if status == "ok" else {"status": status, "error": "lost", "outcome": None}
        request.store.write(record(each, score, backend=backend, **changes))

    made: list[Spec] = []

    def execute(request: Request, specs: Sequence[Spec], manner: Manner) -> bool:
        made.extend(specs)
        for each in specs:
            write(each, request.backend)
        return True

    gpu = Backend(device="cuda", capture=True)
    for number, each in enumerate(request.plan.specs):
        write(each, gpu, "failed" if number == 0 else "ok")
    monkeypatch.setattr(tune, "execute", execute)
    assert tune.sweep(request, Manner())
    first, *edges = made
    assert first == request.plan.specs[0]
    assert {(s.model.name, s.training.learning_rate) for s in edges} == {
        ("gru", 0.01), ("tcn", 0.0003)
    }  # fmt: skip
    chosen = rates.load(tmp_path / "results" / "rates.toml").rates["copy_memory"]
    assert {name: each.rate for name, each in chosen.items()} == best


def tuned(rate: float) -> Tuned:
    each: dict[str, Any] = {"num_runs": 3, "num_solved": 1, "updates": 9.0, "seconds": 60.0}
    grid = (Tried(rate=rate / 3, **each), Tried(rate=rate, score=0.5, low=0.1, high=1.0, **each))
    return Tuned(rate=rate, tried=grid)


def test_rates_are_read_as_they_were_written(tmp_path: Path) -> None:
    sweep = Sweep(
        records="somewhere", rates={"adding": {"lstm chrono=True": tuned(0.03), "tcn": tuned(0.1)}}
    )
    assert rates.load(rates.write(tmp_path / "new" / "rates.toml", sweep)) == sweep
    assert tuned(0.03).seconds == 120


def test_a_rate_is_found_by_variant_then_by_model_then_in_the_middle() -> None:
    known = {"adding": {"lstm": tuned(0.01), "lstm chrono=True": tuned(0.03), "tcn": tuned(0.1)}}
    assert rates.tuned_rate(known, "adding", "lstm chrono=True", "lstm") == 0.03
    assert rates.tuned_rate(known, "adding", "lstm forget_bias=1.0", "lstm") == 0.01
    assert rates.tuned_rate(known, "adding", "gru", "gru") == 0.03
    assert rates.tuned_rate(known, "copy_memory", "tcn", "tcn") == 0.03


def test_the_committed_rates_follow_from_the_committed_records(tmp_path: Path) -> None:
    records, damaged = Store(ROOT / "results/reference/tuning").read_all()
    assert not damaged
    sweep = Sweep(records="results/reference/tuning", rates=tune.choose(records))
    again = rates.write(tmp_path / "rates.toml", sweep)
    assert again.read_text() == rates.RATES.read_text()
    if not any(protocols.is_older(r.spec) for r in records):
        grown = [t for of_task in sweep.rates.values() for t in of_task.values() if t.at_edge]
        assert all(len(t.tried) >= tune.MOST_RUNGS for t in grown)
        planned = grid.make_plan(profile.load("tuning"), grid.Selection()).specs
        recorded = {(protocols.comparison_key(r.spec), r.spec.seed) for r in records}
        assert {(protocols.comparison_key(spec), spec.seed) for spec in planned} <= recorded
