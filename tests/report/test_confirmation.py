"""Failures that verdicts rest on are trained again: which, how, and what is concluded."""

from pathlib import Path

import pytest

from bench.cli import main
from bench.core.records import Record
from bench.core.store import Store
from bench.plan import profile, rates
from bench.plan.grid import Selection, make_plan
from bench.plan.rates import Sweep
from bench.report import horizon
from bench.report.confirmation import counting, draw
from bench.report.data import Data
from bench.report.horizon import LONG_BUDGET
from tests.support.claims import tuned
from tests.support.commands import PROFILE
from tests.support.records import outcome, record, spec
from tests.support.reports import source

SWEEP = Sweep(
    records="planted",
    rates={task: {"gru": tuned(), "rnn": tuned()} for task in ("copy_memory", "adding")},
)


def failure(task: str = "copy_memory", steps: int = LONG_BUDGET) -> list[Record]:
    """A GRU that solves T = 10 with five seeds and levels off above chance at T = 20."""
    return [
        record(
            spec(task=task, model="gru", length=T, seed=seed, max_steps=steps, learning_rate=0.01),
            outcome=outcome(score, label="gru", task_label=task, steps=steps),
        )
        for T, score in ((10, 1.0), (20, 0.3))
        for seed in range(2, 7)
    ]


def data_of(records: list[Record], sweep: Sweep | None = SWEEP) -> Data:
    return Data(source([each.spec for each in records], records, sweep=sweep))


def test_only_cells_that_count_against_a_family_are_drawn() -> None:
    data = data_of([*failure(), *failure("adding")])
    assert [cell.place for cell in counting(data)] == ["copy_memory at T = 20", "adding at T = 20"]
    assert list(counting(data_of(failure(), None))) == []  # without a tuned rate
    drawn, total = draw(data, 1, seed=0, num_seeds=2, factor=4)
    assert (len(drawn), total) == (1, 2)
    others = {draw(data, 1, seed=n, num_seeds=2, factor=4)[0][0].cell.task for n in range(20)}
    assert others == {"copy_memory", "adding"}


@pytest.mark.parametrize(
    ("tuned_for_it", "drawn"), [(True, ["tcn num_blocks=2 on copy_memory at T = 20"]), (False, [])]
)
def test_a_cell_that_contradicts_d2_is_drawn_too(tuned_for_it: bool, drawn: list[str]) -> None:
    # The TCN of the default depth solves T = 20, so nothing counts against the family.
    deep = {(None, 10): 1.0, (None, 20): 1.0, (2, 10): 1.0, (2, 20): 0.3}
    records = []
    for (num_blocks, length), score in deep.items():
        for seed in range(2, 7):
            of = spec(length=length, seed=seed, max_steps=LONG_BUDGET, learning_rate=0.01)
            fields = {"num_blocks": num_blocks} if num_blocks else {}
            of = of.model_copy(update={"model": of.model.model_copy(update={"fields": fields})})
            records.append(record(of, outcome=outcome(score, steps=LONG_BUDGET)))
    models = ["tcn", *(["tcn num_blocks=2"] if tuned_for_it else [])]
    sweep = Sweep(records="planted", rates={"copy_memory": {each: tuned() for each in models}})
    found = [f"{cell.model} on {cell.place}" for cell in counting(data_of(records, sweep))]
    assert found == drawn


def test_a_refuted_failure_needs_a_larger_budget_on_the_whole_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(horizon.LONGER_BUDGETS, "copy_memory", 4 * LONG_BUDGET)
    found = counting(data_of([*failure(), *failure("adding")]))
    assert [cell.place for cell in found] == ["adding at T = 20"]
    larger = failure(steps=4 * LONG_BUDGET)
    assert [cell.place for cell in counting(data_of(larger))] == ["copy_memory at T = 20"]


def test_a_cell_that_counts_twice_is_drawn_once() -> None:
    sweep = Sweep(records="planted", rates={"copy_memory": {"tcn": tuned()}})
    records = []
    for length, score in ((10, 1.0), (20, 0.3)):
        for seed in range(2, 7):
            of = spec(length=length, seed=seed, max_steps=LONG_BUDGET, learning_rate=0.01)
            records.append(record(of, outcome=outcome(score, steps=LONG_BUDGET)))
    # It counts against convolution and contradicts (d2).
    assert [cell.length for cell in counting(data_of(records, sweep))] == [20]


def test_new_runs_have_new_seeds_and_a_larger_budget_and_are_otherwise_the_same() -> None:
    (drawn,), _ = draw(data_of(failure()), 5, seed=0, num_seeds=2, factor=4)
    assert [each.seed for each in drawn.specs] == [7, 8]
    old = failure()[-1].spec
    for each in drawn.specs:
        assert each.training.max_steps == 4 * LONG_BUDGET
        training = each.training.model_copy(update={"max_steps": LONG_BUDGET})
        assert each.model_copy(update={"seed": old.seed, "training": training}) == old


@pytest.mark.parametrize(
    ("scores", "stands", "why"),
    [
        ((0.3, 0.3), True, "none of 2 new seeds solves it"),
        ((0.3, 1.0), False, "1 of 2 new seeds solve it"),
        ((1.0,), False, "1 of 2 new seeds solve it"),
        ((0.3,), None, "1 of 2 new seeds have a result"),
        ((0.3, None), None, "1 of 2 new seeds have a result"),
    ],
)
def test_a_cell_stands_if_no_new_seed_solves_it(
    scores: tuple[float | None, ...], stands: bool | None, why: str
) -> None:
    (drawn,), _ = draw(data_of(failure()), 5, seed=0, num_seeds=2, factor=4)
    made = [record(of, score) for of, score in zip(drawn.specs, scores, strict=False)]
    found, said = drawn.verdict(made)
    assert found is stands
    assert said.startswith(why)


def test_the_command_trains_the_cells_again_and_says_whether_they_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rates, "load", lambda: SWEEP)
    monkeypatch.setattr(horizon, "LONG_BUDGET", 4)
    path, folder, into = tmp_path / "p.toml", tmp_path / "results", tmp_path / "new"
    of_five = PROFILE.format(steps=4).replace("[0, 1]", "[2, 3, 4, 5, 6]")
    path.write_text(of_five.replace("[training]", "[training]\ncooldown = 0"))
    store = Store(folder)
    for of in make_plan(profile.load(str(path)), Selection()).specs:
        if of.model.name == "rnn":
            score = 1.0 if of.length == 3 else 0.3
            store.write(record(of, outcome=outcome(score, label="rnn", steps=4)))
    command = ["confirm", str(folder), "--into", str(into), "--profile", str(path), "--factor", "2"]
    assert main([*command, "--plan"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 cells that verdicts rest on, drawn with --seed 0:" in said
    assert "2 runs, 0 recorded" in said
    assert not into.exists()
    assert main([*command, "--workers", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "stands: rnn on copy_memory at T = 4: 0/5 within 4 updates; "
        "none of 2 new seeds solves it within 8 updates"
    )
    made, _ = Store(into).read_all()
    assert {(each.spec.seed, each.spec.training.max_steps) for each in made} == {(7, 8), (8, 8)}
    for each in made:
        assert each.outcome is not None
        store = Store(into)
        store.write(each.model_copy(update={"outcome": outcome(1.0, label="rnn", steps=8)}))
    assert main([*command, "--workers", "1"]) == 1
    assert "no longer stands: rnn on copy_memory" in capsys.readouterr().out


def test_a_folder_without_such_cells_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["confirm", str(tmp_path / "none")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main(["confirm", str(tmp_path)]) == 2
    assert "no cell of" in capsys.readouterr().err
