"""Which model is picked for a problem, how sure that is, and the commands for what is missing."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

import tasks
from bench.cli import main
from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec
from bench.core.store import Store
from bench.plan import needed, profile
from bench.plan.grid import Selection, make_plan
from bench.plan.ladder import Ladder
from bench.plan.needed import Folder
from bench.plan.rates import Sweep
from bench.report import choosing
from bench.report.advice import HEADER, advise, row, work_for
from bench.report.choosing import NOT_RUN, NOT_TIMED, Answer, Problem, choose
from bench.report.claims.against import LONG_RUNS, MORE_UPDATES, TUNED_RATE
from bench.report.data import Data
from bench.report.evidence import FEW, evidence_of
from bench.report.points import points
from tests.support.claims import tuned
from tests.support.evidence import failing, scoring, solving
from tests.support.records import outcome, record, spec, speed_record
from tests.support.reports import source

FAST, SLOW = [90, 100, 100, 110, 100], [300, 310, 290, 300, 300]
FOLDER = Folder(profile="reference", results="mine")


def at(length: int = 100, **budgets: float) -> Problem:
    return Problem(kind="fixed-lag", length=length, **budgets)  # pyright: ignore


def named(answer: Answer) -> tuple[str | None, str | None, str]:
    return answer.pick, answer.runner_up, answer.sure


def reasons(answer: Answer) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(need.cell.model, need.length, need.reasons) for need in answer.needs]


def test_the_pick_needs_the_fewest_updates() -> None:
    answer = choose(at(), [solving("gru", 100, SLOW), solving("tcn", 100, FAST)])
    assert named(answer) == ("tcn", "gru", "decided")
    assert any("gru needs 3 times as many updates as tcn" in reason for reason in answer.why)
    assert [each.model for each in answer.cells] == ["tcn", "gru"]


def test_models_that_need_about_as_many_updates_are_close() -> None:
    alike = [[100, 300, 90, 250, 120], [110, 280, 100, 240, 130]]
    answer = choose(at(), [solving(m, 100, n) for m, n in zip(("tcn", "gru"), alike, strict=True)])
    assert named(answer) == ("tcn", "gru", "close")


def test_equal_updates_are_settled_by_the_step_and_a_runner_up_is_no_variant() -> None:
    cells = [
        solving("tcn", 100, FAST, step_us=9.0),
        solving("tcn gated=True", 100, FAST, step_us=5.0),
        solving("gru", 100, SLOW, step_us=1.0),
    ]
    assert named(choose(at(), cells)) == ("tcn gated=True", "gru", "decided")


@pytest.mark.parametrize(
    "budget", [{"step_us": 10.0}, {"state_bytes": 1_000.0}, {"minutes": 2.0}], ids=str
)
def test_a_model_beyond_a_budget_is_left_out(budget: dict[str, Any]) -> None:
    large: dict[str, Any] = {"step_us": 30.0, "state_bytes": 5_000.0, "minutes": 3.0}
    small: dict[str, Any] = {name: value / 10 for name, value in large.items()}
    cells = [solving("tcn", 100, FAST, **large), solving("gru", 100, SLOW, **small)]
    answer = choose(at(**budget), cells)
    assert named(answer) == ("gru", None, "decided")
    assert any(reason.startswith("tcn is left out") for reason in answer.why)
    assert named(choose(at(), cells))[0] == "tcn"
    assert choose(at(**budget), cells[:1]).pick is None


def test_a_step_that_was_not_timed_is_missing_where_it_could_change_the_pick() -> None:
    cells = [solving("tcn", 100, FAST), solving("gru", 100, SLOW, step_us=3.0)]
    answer = choose(at(step_us=10), cells)
    assert named(answer) == ("gru", None, "undecided")
    assert reasons(answer) == [("tcn", 100, (NOT_TIMED,))]
    slower = [solving("tcn", 100, SLOW), solving("gru", 100, FAST, step_us=3.0)]
    assert named(choose(at(step_us=10), slower)) == ("gru", None, "decided")


@pytest.mark.parametrize(
    ("bounds", "pick", "sure"),
    [
        ((2.0, 9.0), "tcn", "decided"),
        ((2.0, inf), "gru", "undecided"),
        ((0.0, 20.0), "gru", "undecided"),
        ((12.0, inf), "gru", "decided"),
    ],
)
def test_bounds_stand_for_a_step_that_was_not_timed(
    bounds: tuple[float, float], pick: str, sure: str
) -> None:
    tcn = solving("tcn", 100, FAST)
    tcn = replace(tcn, cost=replace(tcn.cost, step_from_others=bounds))
    answer = choose(at(step_us=10), [tcn, solving("gru", 100, SLOW, step_us=3.0)])
    assert (answer.pick, answer.sure) == (pick, sure)
    said = "tcn is left out: a step takes at least 12 µs on copy_memory at T = 100"
    assert (said in answer.why) == (bounds[0] > 10)


def test_a_seed_that_was_improving_matters_only_if_it_could_still_be_better() -> None:
    late = failing("gru", 100, allowed=2_000, missing=(MORE_UPDATES,))
    pick = solving("tcn", 100, FAST)
    assert named(choose(at(), [pick, late])) == ("tcn", None, "decided")
    early = replace(late, allowed=50)
    answer = choose(at(), [pick, early])
    assert named(answer) == ("tcn", None, "undecided")
    assert reasons(answer) == [("gru", 100, (MORE_UPDATES,))]
    untuned = failing("gru", 100, missing=(TUNED_RATE,))  # other rates may need fewer
    assert choose(at(), [pick, untuned]).sure == "undecided"


def test_without_a_solved_cell_the_answer_is_undecided_until_nothing_may_change_it() -> None:
    short = failing("gru", 100, allowed=15_600, missing=(LONG_RUNS,))
    answer = choose(at(), [short, failing("tcn", 100)])
    assert named(answer) == (None, None, "undecided")
    assert reasons(answer) == [("gru", 100, (LONG_RUNS,))]
    answer = choose(at(), [failing("gru", 100), failing("tcn", 100)])
    assert named(answer) == (None, None, "decided")
    assert answer.why == ("no model solved it within 62,400 updates",)


def test_too_few_seeds_decide_nothing() -> None:
    few = replace(solving("tcn", 100, FAST[:2]), missing=(FEW,))
    answer = choose(at(), [few])
    assert named(answer) == ("tcn", None, "undecided")
    assert reasons(answer) == [("tcn", 100, (FEW,))]


@pytest.mark.parametrize(
    ("tested", "length", "near"),
    [
        ((256, 512), 400, {"copy_memory": 512}),
        ((256, 512), 300, {"copy_memory": 256}),
        ((50, 200), 100, {"copy_memory": 200}),  # as far in both directions: the harder one
        ((8, 49), 100, {}),
        ((201,), 100, {}),
    ],
)
def test_the_nearest_length_within_a_factor_of_two_stands_for_it(
    tested: tuple[int, ...], length: int, near: dict[str, int]
) -> None:
    assert choosing.near(choosing.tested([solving("tcn", T, FAST) for T in tested]), length) == near


def test_without_a_task_of_the_kind_near_the_length_there_is_no_evidence() -> None:
    answer = choose(at(1_000), [solving("tcn", 100, FAST)])
    assert named(answer) == (None, None, "no evidence here")
    assert "T = 100" in answer.why[0]
    other = Problem(kind="recall", length=100)
    assert choose(other, [solving("tcn", 100, FAST)]).sure == "no evidence here"


def test_a_ladder_that_ended_below_counts_as_not_solved() -> None:
    cells = [solving("tcn", 128, SLOW), solving("gru", 16, FAST), failing("gru", 32)]
    answer = choose(at(128), cells)
    assert named(answer) == ("tcn", None, "decided")
    assert {(each.model, each.length) for each in answer.cells} == {("tcn", 128), ("gru", 32)}


def test_a_planned_length_that_was_not_run_is_missing() -> None:
    solved = solving("gru", 32, FAST)
    planned = replace(solved, planned=(64, 128))
    answer = choose(at(128), [solving("tcn", 128, SLOW), planned])
    assert named(answer) == ("tcn", None, "undecided")
    assert reasons(answer) == [("gru", 128, (NOT_RUN,))]
    assert choose(at(128), [solving("tcn", 128, SLOW), solved]).sure == "decided"


def test_a_model_that_solves_all_that_is_planned_for_it_is_named() -> None:
    solved = solving("gru", 32, FAST)
    text = (
        "gru is not compared on copy_memory: it solves T = 32, the longest T that is planned for it"
    )
    assert choose(at(128), [solving("tcn", 128, SLOW), solved]).why[-1] == text
    tcn, variant = solving("tcn", 128, SLOW), solving("tcn gated=True", 32, FAST)
    assert choose(at(128), [tcn, variant]).why == choose(at(128), [tcn]).why
    others = [failing("gru", 64)], [replace(solved, planned=(128,))], [solving("gru", 256, SLOW)]
    for cells in others:
        answer = choose(at(128), [solving("tcn", 128, SLOW), solving("gru", 32, FAST), *cells])
        assert text not in answer.why


def test_a_model_that_solves_more_tasks_of_the_kind_comes_first() -> None:
    cells = [
        solving("tcn", 100, FAST),
        failing("tcn", 100, task="markov_source"),
        solving("gru", 100, SLOW),
        solving("gru", 100, SLOW, task="markov_source"),
    ]
    assert named(choose(at(), cells)) == ("gru", "tcn", "decided")
    open_cell = failing("tcn", 100, task="markov_source", allowed=500, missing=(MORE_UPDATES,))
    answer = choose(at(), [cells[0], open_cell, *cells[2:]])
    assert answer.sure == "decided"  # it would need more than 500 updates there
    early = replace(open_cell, allowed=200)
    assert choose(at(), [cells[0], early, *cells[2:]]).sure == "undecided"


def test_without_a_threshold_the_best_score_is_picked() -> None:
    problem = Problem(kind="local", length=64)
    cells = [scoring("gru", 64, [2.4, 2.41, 2.42]), scoring("tcn", 64, [2.8, 2.82, 2.81])]
    assert named(choose(problem, cells)) == ("gru", "tcn", "decided")
    alike = [cells[0], scoring("tcn", 64, [2.3, 2.41, 2.6])]
    assert named(choose(problem, alike)) == ("gru", "tcn", "close")
    mixed = [*cells, scoring("gru", 64, [2.5, 2.51], task="audio")]
    mixed.append(scoring("tcn", 64, [2.4, 2.41], task="audio"))
    assert choose(problem, mixed).sure == "close"  # each is better on one of the tasks
    improving = [cells[0], replace(cells[1], missing=(MORE_UPDATES,))]
    answer = choose(problem, improving)
    assert named(answer) == ("gru", "tcn", "undecided")
    assert reasons(answer) == [("tcn", 64, (MORE_UPDATES,))]
    assert work_for(answer.needs[0], MORE_UPDATES).settings == ("max_steps=8000",)


def planted() -> list[Record]:
    """Five seeds of a tcn that solve copy memory, and two of a gru that were at chance."""
    solved = outcome(1.0, steps=150)
    made = [record(spec(length=64, seed=seed, max_steps=150), outcome=solved) for seed in range(5)]
    at_chance = outcome(0.125, label="gru")
    return made + [
        record(spec(model="gru", length=64, seed=seed), outcome=at_chance) for seed in range(2)
    ]


def data_of(
    records: list[Record], speed: Sequence[SpeedRecord] = (), planned: Sequence[Spec] = ()
) -> Data:
    rates = {"copy_memory": {"gru": tuned(0.001, (0.0003, 0.001, 0.003))}}
    sweep = Sweep(records="made up", rates=rates)
    specs = [*(each.spec for each in records), *planned]
    return Data(source(specs, records, sweep=sweep, speed=speed))


def test_evidence_comes_from_the_frames_of_the_report() -> None:
    timed = speed_record(length=64, step_ms=0.02)
    data = data_of(planted(), speed=[timed])
    tcn, gru = evidence_of(data)
    assert (tcn.model, tcn.kind) == ("tcn", "fixed-lag")
    assert (tcn.state, str(tcn.decision)) == ("solves", "5/5")
    assert (tcn.score.mean, tcn.score.low, tcn.updates) == (1.0, 1.0, 150.0)
    assert tcn.share == pytest.approx((0.5655, 1.0), abs=1e-4)
    assert tcn.cost.step_us == pytest.approx(20.0)
    assert tcn.cost.state_bytes == 400
    assert tcn.cost.minutes == pytest.approx(10 / 60)
    assert not tcn.cost.timed_alone
    assert (gru.state, gru.missing, gru.only_updates) == ("undecided", (LONG_RUNS,), True)
    assert evidence_of(data_of([])) == []


def test_a_planned_model_without_any_run_leaves_the_pick_undecided() -> None:
    made = [each for each in planted() if each.spec.model.name == "tcn"]
    planned = [spec(model="lstm", length=64, seed=seed) for seed in range(5)]
    assert named(choose(at(64), evidence_of(data_of(made)))) == ("tcn", None, "decided")
    answer = choose(at(64), evidence_of(data_of(made, planned=planned)))
    assert named(answer) == ("tcn", None, "undecided")
    assert reasons(answer) == [("lstm", 64, (NOT_RUN,))]
    assert [each.model for each in answer.cells] == ["tcn"]  # no row without runs


def test_other_lengths_give_bounds_for_costs_that_were_not_measured() -> None:
    records = [
        record(
            spec(model="attention", length=length, seed=seed),
            outcome=outcome(1.0, label="attention", steps=150),
        )
        for length in (8, 64, 256)
        for seed in range(5)
    ]
    timed = [
        speed_record(model="attention", length=length, step_ms=step)
        for length, step in ((8, 0.01), (256, 0.03))
    ]
    first, middle, _ = evidence_of(data_of(records, speed=timed))
    assert middle.cost.step_us is None
    assert middle.cost.step_bounds == pytest.approx((10.0, 30.0))
    assert first.cost.step_bounds == pytest.approx((10.0, 10.0))
    _, _, last = evidence_of(data_of(records, speed=timed[:1]))
    assert last.cost.step_bounds == pytest.approx((10.0, inf))
    step = HEADER.index("step µs")
    assert (row(first)[step], row(middle)[step], row(last)[step]) == ("10", "≤ 30", "≥ 10")
    first, _, _ = evidence_of(data_of(records, speed=timed[1:]))
    assert first.cost.step_bounds == pytest.approx((0.0, 30.0))
    assert first.cost.state_bounds == (0.0, 400.0)
    falling = [timed[0], speed_record(model="attention", length=256, step_ms=0.004)]
    _, middle, _ = evidence_of(data_of(records, speed=falling))
    assert middle.cost.step_bounds == pytest.approx((4.0, 10.0))
    larger = timed[0].model_copy(
        update={"spec": timed[0].spec.model_copy(update={"param_budget": 50_000})}
    )
    _, middle, _ = evidence_of(data_of(records, speed=[larger, timed[1]]))
    assert middle.cost.step_bounds == pytest.approx((0.0, 30.0))


def test_a_cell_whose_seeds_did_not_all_run_has_no_interval() -> None:
    records = [record(spec(length=64, seed=seed), outcome=outcome(1.0)) for seed in range(5)]
    specs = [each.spec for each in records]
    whole, part = (Data(source(specs, records[:number])) for number in (5, 4))
    assert evidence_of(whole)[0].score.low is not None
    assert evidence_of(part)[0].score.low is None
    ladder = Ladder(cells=(tuple(specs),))
    on_ladder = replace(whole.source, ladders=(ladder,))
    assert evidence_of(Data(on_ladder))[0].score.low is None
    (shown,) = points(whole)[1]
    assert (shown["share"], shown["score_low"]) == (1.0, 1.0)
    (shown,) = points(part)[1]
    assert (shown["share"], shown["solved"]) == (1.0, 4)
    assert not {"score_low", "share_low"} & shown.keys()


def test_two_networks_of_one_label_are_two_points() -> None:
    small = [record(spec(seed=seed), outcome=outcome(1.0)) for seed in range(4)]
    large = record(spec(seed=4).model_copy(update={"param_budget": 50_000}), outcome=outcome(0.2))
    records = [*small, large]
    found = points(Data(source([each.spec for each in records], records)))[1]
    assert [(each["seeds"], each["solved"], each["share"]) for each in found] == [
        (4, 4, 1.0),
        (1, 0, 0.0),
    ]


def test_two_solving_seeds_are_too_few() -> None:
    tcn = evidence_of(data_of(planted()[:2]))[0]
    assert (tcn.state, str(tcn.decision), tcn.missing) == ("solves", "2/2", (FEW,))


def test_training_time_is_updates_times_an_update_timed_alone() -> None:
    timed = speed_record(length=64, train_ms=400.0, batch_size=32)
    tcn = evidence_of(data_of(planted(), speed=[timed]))[0]
    assert tcn.cost.minutes == pytest.approx(150 * 0.4 / 60)
    assert tcn.cost.timed_alone


def test_an_untuned_rate_leaves_a_failing_cell_undecided() -> None:
    records = planted()
    without = Data(source([each.spec for each in records], records))
    gru = evidence_of(without)[1]
    assert gru.missing == (LONG_RUNS, TUNED_RATE)
    assert not gru.only_updates


def test_every_command_selects_the_runs_that_are_missing() -> None:
    (gru,) = (each for each in evidence_of(data_of(planted())) if each.model == "gru")
    need = choosing.Need(cell=gru, length=64, reasons=gru.missing)
    work = work_for(need, LONG_RUNS)
    words = shlex.split(needed.command(work.verb, [gru.spec], 64, FOLDER, *work.settings))
    assert words[2:8] == ["bench", "run", "--profile", "reference", "--results", "mine"]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    asked = Selection(tasks=("copy_memory",), models=("gru",), lengths=(64,))
    plan = make_plan(profile.load("reference", settings), asked)
    (ladder,) = plan.ladders
    assert {each.length for each in ladder.specs} == {64}
    assert {each.training.max_steps for each in ladder.longer.values()} == {62_400}


def test_a_command_names_the_fields_of_the_task_and_the_models() -> None:
    of = spec(task="group_product", length=64)
    fields = {"length": 64, "group": "Z2", "read": "every"}
    of = of.model_copy(update={"task": of.task.model_copy(update={"fields": fields})})
    said = needed.command("speed", [of], 64, FOLDER)
    assert said.endswith("--task group_product --model tcn --length 64 --set task_fields.group=Z2")
    assert "--results results/tuning" in needed.command("tune", [of], 64, FOLDER)


def test_the_command_for_a_kind_takes_the_tasks_that_have_the_length() -> None:
    said = needed.of_kind("accumulation", 100, FOLDER)
    assert said is not None
    assert "--task adding" in said
    assert "copy_memory" not in said
    assert needed.of_kind("recall", 3, FOLDER) is None  # too short for its pairs


def test_every_task_of_the_project_states_its_kind() -> None:
    for name in tasks.names():
        assert tasks.task_class(name).kind in tasks.KINDS, name


def test_the_answer_is_one_screen() -> None:
    said = advise(at(64), data_of(planted()).source, FOLDER)
    lines = said.splitlines()
    assert "pick       tcn" in lines
    missing = "how sure   undecided, since this is missing: a larger budget"
    assert any(line.startswith(missing) for line in lines)
    assert "Tested at the lengths nearest to T: copy_memory at T = 64." in lines
    assert lines[-1].lstrip().startswith("python -m bench run --profile reference --results mine")
    assert len(lines) <= 24
    nothing = advise(at(1_000), data_of(planted()).source, FOLDER).splitlines()
    assert "how sure   no evidence here" in nothing
    assert nothing[-1].endswith("--task copy_memory --task markov_source --length 1000")


def test_evidence_for_the_committed_reference_goes_to_a_copy() -> None:
    folder = replace(FOLDER, results="results/mine", copy_of="results/reference/cpu")
    lines = advise(at(64), data_of(planted()).source, folder).splitlines()
    assert "  cp -r results/reference/cpu results/mine" in lines
    assert all("--results results/mine" in line for line in lines if "bench run" in line)


def test_the_command_answers_from_any_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Selection(tasks=("copy_memory",), models=("tcn",), lengths=(64,))
    for of in make_plan(profile.load("reference"), asked).specs:
        Store(tmp_path).write(record(of))
    arguments = ["choose", "--kind", "fixed-lag", "--length", "64", "--results", str(tmp_path)]
    assert main(arguments) == 0
    assert "pick       tcn" in capsys.readouterr().out
    assert main([*arguments[:-1], str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    assert main(["choose", "--kind", "riddle", "--length", "64"]) == 2
    assert "valid: fixed-lag, varying-places" in capsys.readouterr().err
    assert main(["choose", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(kind in text for kind in tasks.KINDS)
