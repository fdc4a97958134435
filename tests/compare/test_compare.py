"""Planted differences between two folders are found, named and decide the exit status."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from bench.cli import main
from bench.compare import Comparison, compare, read, write_comparison
from bench.core.intervals import (
    difference,
    ratio_intervals,
    share_difference,
    simultaneous_confidence,
)
from bench.core.machine import Machine
from bench.core.records import Record, SpeedRecord
from bench.core.store import Store
from bench.core.timings import Work
from tests.support.records import (
    MACHINE,
    cost_outcome,
    of_processes,
    outcome,
    record,
    spec,
    speed_record,
)

ANOTHER = MACHINE.model_copy(update={"cpu": "Abacus 4000"})
CHANCE = 0.125
LABEL = "gru chrono=True"
NEWER = MACHINE.model_copy(update={"torch": "2.14.0"})


def runs(
    scores: Sequence[float | None], *, model: str = "tcn", length: int = 10, **training: Any
) -> list[Record]:
    """One run per seed; None stands for a failed run."""
    return [
        record(spec(model=model, length=length, seed=seed, **training), score)
        for seed, score in enumerate(scores)
    ]


def timed(*train_ms: float, model: str = "tcn", **changes: Any) -> SpeedRecord:
    """A timing whose training step has these medians, one per process."""
    made = speed_record(model, train_ms=1.0, step_ms=0.01, **changes)
    assert made.speed is not None
    train = Work(times=of_processes(*train_ms), flops=1)
    return made.model_copy(update={"speed": made.speed.model_copy(update={"train": train})})


def put(folder: Path, records: Sequence[Record | SpeedRecord]) -> Path:
    for each in records:
        Store(folder).write(each)
    return folder


def compared(
    tmp_path: Path,
    a: Sequence[Record | SpeedRecord],
    b: Sequence[Record | SpeedRecord],
    models: tuple[str, str] | None = None,
) -> Comparison:
    folders = [put(tmp_path / name, records) for name, records in (("a", a), ("b", b))]
    sides = [read(folder, name) for folder, name in zip(folders, "AB", strict=True)]
    return compare(*sides, models=models)


def only(table: pd.DataFrame) -> dict:
    (row,) = table.to_dict("records")
    return row


def status(tmp_path: Path, *arguments: str) -> int:
    return main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), *arguments])


def test_a_folder_compared_with_itself_is_identical(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [*runs([1.0, 0.5, 0.9]), *runs([0.2, 0.2], model="gru"), timed(1.0, 1.1, 1.2)]
    found = compared(tmp_path, same, same)
    assert list(found.scores["verdict"]) == ["identical", "identical"]
    assert found.left.empty
    assert found.num_regressions == 0
    assert status(tmp_path, "--fail-on-regression") == 0
    said = capsys.readouterr().out
    assert "2 in both: 2 identical" in said
    for name in ("compare.md", "compare.html", "scores.csv", "times.csv", "left.csv"):
        assert (tmp_path / "b" / "comparison" / name).is_file()
    assert not (tmp_path / "a" / "comparison").exists()


def test_only_times_may_differ_between_identical_runs(tmp_path: Path) -> None:
    first, last = outcome(1.0).curve

    def verdict(name: str, score: float = 1.0, **changes: float) -> str:
        made = outcome(score, curve=(first.model_copy(update=changes), last))
        after = [record(spec(seed=seed), outcome=made) for seed in range(3)]
        return only(compared(tmp_path / name, runs([1.0] * 3), after).scores)["verdict"]

    assert verdict("times", seconds=7.0) == "identical"
    assert verdict("loss", validation_loss=0.2) == "no clear difference"
    assert verdict("bit", 1.0 - 2**-50) != "identical"


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((0.90, 0.92, 0.91), (0.80, 0.82, 0.81), "worse"),
        ((0.80, 0.82, 0.81), (0.90, 0.92, 0.91), "better"),
        ((0.90, 0.80, 0.70), (0.70, 0.80, 0.80), "no clear difference"),
        ((0.90,), (0.10,), "one seed"),
        # The means do not differ clearly, but the numbers of seeds that solve do.
        ((0.95, 0.95, 0.95, 0.95, 0.95), (0.94, 0.94, 0.94, 0.94, 1.0), "worse"),
        ((0.94, 0.94, 0.94, 0.94, 1.0), (0.95, 0.95, 0.95, 0.95, 0.95), "better"),
        # A failed run is at chance and does not solve.
        ((1.0, 1.0, 1.0), (None, None, None), "worse"),
    ],
)
def test_a_score_is_judged_by_its_interval_and_by_the_seeds_that_solve(
    before: tuple[float, ...], after: tuple[float | None, ...], verdict: str, tmp_path: Path
) -> None:
    row = only(compared(tmp_path, runs(before), runs(after)).scores)
    scores = [CHANCE if score is None else score for score in after]
    assert row["verdict"] == verdict
    assert row["b"] == pytest.approx(np.mean(scores))
    assert row["difference"] == pytest.approx(np.mean(scores) - np.mean(before))
    assert row["solved_b"] == sum(score >= 0.95 for score in scores)
    assert row["seeds"] == str(len(before))
    assert status(tmp_path, "--fail-on-regression") == (verdict == "worse")
    assert status(tmp_path) == 0


def test_where_lower_is_better_a_rise_is_worse(tmp_path: Path) -> None:
    def costs(*values: float, **changes: Any) -> list[Record]:
        made = [cost_outcome(value, **changes) for value in values]
        return [record(spec(seed=seed), outcome=each) for seed, each in enumerate(made)]

    row = only(compared(tmp_path / "few", costs(0.1, 0.15, 0.19), costs(0.5, 0.4, 0.1)).scores)
    assert (row["solved_a"], row["solved_b"]) == (3, 1)
    assert row["verdict"] == "no clear difference"
    row = only(compared(tmp_path / "wide", costs(0.1, 0.1), costs(0.3, 0.9)).scores)
    assert row["high"] > 1  # the interval of a cost is not cut at 1
    before, after = costs(0.1, 0.11, 0.12, solved_at=None), costs(0.2, 0.21, 0.22, solved_at=None)
    found = compared(tmp_path / "no threshold", before, after)
    row = only(found.scores)
    assert (row["verdict"], pd.isna(row["solved_a"])) == ("worse", True)
    assert "solved by" not in write_comparison(tmp_path / "page", found)


def test_records_without_counterpart_are_listed_with_their_number(tmp_path: Path) -> None:
    skipped = record(spec(model="rnn"), None, status="skipped", error="no data")
    before = [*runs([1.0, 1.0, 1.0]), *runs([1.0, 1.0], model="gru"), skipped]
    after = [*runs([1.0, 1.0]), *runs([0.3], length=20), timed(1.0)]
    found = compared(tmp_path, before, after)
    assert only(found.scores)["seeds"] == "2"
    columns = ["side", "what", "model", "T", "count", "reason"]
    assert found.left[columns].to_numpy().tolist() == [
        ["A", "run", "gru", "10", 2, "no counterpart in B"],
        ["A", "run", "rnn", "10", 1, "skipped: no data"],
        ["A", "run", "tcn", "10", 1, "no counterpart in B"],
        ["B", "run", "tcn", "20", 1, "no counterpart in A"],
        ["B", "times", "tcn", "10", 1, "no times of this machine and backend in A"],
    ]


def test_other_training_or_data_is_another_configuration(tmp_path: Path) -> None:
    found = compared(tmp_path, runs([1.0] * 2), runs([1.0] * 2, learning_rate=0.01))
    assert found.scores.empty
    assert list(found.left["model_label"]) == ["tcn learning_rate=0.001", "tcn learning_rate=0.01"]
    made = spec()
    newer = made.model_copy(update={"task": made.task.model_copy(update={"version": 2})})
    assert compared(tmp_path / "data", [record(made)], [record(newer)]).scores.empty


def test_a_raised_version_is_compared_and_shown(tmp_path: Path) -> None:
    def of_version(version: int, score: float, day: int) -> list[Record]:
        part = spec().model.model_copy(update={"version": version})
        made = [spec(seed=seed).model_copy(update={"model": part}) for seed in range(3)]
        return [record(each, score, created=f"2026-01-0{day}T00:00:00Z") for each in made]

    # B still has the older records.
    both = [*of_version(1, 0.9, 1), *of_version(2, 0.3, 2)]
    found = compared(tmp_path, of_version(1, 0.9, 1), both)
    row = only(found.scores)
    assert row["changed"] == "model version 1 → 2"
    assert row["b"] == pytest.approx(0.3)
    assert only(found.left)["count"] == 3


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ((1.2, 1.3, 1.4), "slower"),
        ((0.6, 0.7, 0.8), "faster"),
        ((1.05, 1.06, 1.07), "no clear difference"),  # slower, but within the tolerance
        ((1.0, 1.5, 2.0), "no clear difference"),  # slower, but not clearly
        ((2.0,), "one process"),
    ],
)
def test_a_time_is_judged_by_the_medians_of_its_processes(
    after: tuple[float, ...], verdict: str, tmp_path: Path
) -> None:
    table = compared(tmp_path, [timed(1.0, 1.0, 1.0)], [timed(*after)]).times
    assert list(table["timed"]) == ["streaming step", "training step", "whole sequence"]
    assert table["verdict"][1] == verdict
    assert table["ratio"][1] == pytest.approx(np.median(after))
    assert status(tmp_path, "--fail-on-regression") == (verdict == "slower")
    assert status(tmp_path, "--fail-on-regression", "--tolerance", "150") == 0


@pytest.mark.parametrize(
    ("machine", "shown", "is_regression"),
    [(ANOTHER, "another", False), (NEWER, "same, other versions", True)],
)
def test_times_of_another_machine_are_shown_and_are_not_a_regression(
    machine: Machine, shown: str, is_regression: bool, tmp_path: Path
) -> None:
    found = compared(tmp_path, [timed(1.0, 1.0)], [timed(9.0, 9.0, machine=machine)])
    row = only(found.times.query("timed == 'training step'"))
    assert (row["machine"], row["verdict"]) == (shown, "slower")
    assert status(tmp_path, "--fail-on-regression") == is_regression
    page = (tmp_path / "b/comparison/compare.md").read_text()
    assert ("3 times are from two machines or backends" in page) != is_regression
    assert f"| {machine.cpu} " in page


def test_times_of_two_machines_are_not_pooled(tmp_path: Path) -> None:
    """B's times from A's machine are used, even if B has more times from another machine."""
    others = [timed(9.0, 9.0, model=model, machine=ANOTHER) for model in ("tcn", "gru")]
    found = compared(tmp_path, [timed(1.0, 1.0)], [timed(1.0, 1.0), *others])
    assert set(found.times["machine"]) == {"same"}
    assert set(found.times["ratio"]) == {1.0}
    assert set(found.left["reason"]) == {"no times of this machine and backend in A"}


def test_two_models_are_matched_by_task_length_and_seed(tmp_path: Path) -> None:
    every = [*runs([0.9, 0.91, 0.92]), *runs([0.5, 0.51, 0.52], model="gru")]
    every += [*runs([1.0, 1.0], length=20), timed(1.0, 1.0), timed(3.0, 3.0, model="gru")]
    found = compared(tmp_path, every, every, models=("tcn", "gru"))
    row = only(found.scores)
    assert (row["model"], row["T"], row["seeds"]) == ("tcn → gru", 10, "3")
    assert row["difference"] == pytest.approx(-0.4)
    assert row["verdict"] == "worse"
    assert only(found.times.query("timed == 'training step'"))["ratio"] == pytest.approx(3)
    assert only(found.left)["count"] == 2  # only the TCN has T = 20
    # The same folder twice, from the command line.
    one = str(tmp_path / "a")
    wanted = ["--fail-on-regression", "--models"]
    assert main(["compare", one, one, *wanted, "tcn", "gru"]) == 1
    assert main(["compare", one, one, *wanted, "tcn", "tcn"]) == 0


def test_a_model_is_named_by_its_full_label_or_its_plain_name(tmp_path: Path) -> None:
    both = runs([0.1, 0.1], model="gru")
    variant = both[0].spec.model.model_copy(update={"fields": {"chrono": True}})
    specs = [run.spec.model_copy(update={"model": variant}) for run in both]
    both += [record(each, outcome=outcome(1.0, label=LABEL)) for each in specs]
    for named in (LABEL, "gru chrono=true"):
        found = compared(tmp_path, both, both, models=("gru", named))
        row = only(found.scores)
        assert (row["a"], row["b"], row["seeds"]) == (0.1, 1.0, "2")
        assert (row["model"], row["model_label"]) == ("gru", f"gru → {LABEL}")
    swept = runs([0.2], model="gru", learning_rate=0.01)
    rate = ("gru learning_rate=0.01", "gru learning_rate=0.01")
    found = compared(tmp_path / "swept", [*both, *swept], swept, models=rate)
    assert only(found.scores)["verdict"] == "identical"


def test_the_summary_is_short_however_much_differs(tmp_path: Path) -> None:
    def folder(score: float, time: float) -> list[Record | SpeedRecord]:
        scores = [score, score + 0.01, score + 0.02]
        every = [run for length in range(10, 20) for run in runs(scores, length=length)]
        return [
            *every,
            *(timed(time, time, model=model) for model in ("tcn", "gru", "lstm", "rnn")),
        ]

    found = compared(tmp_path, folder(0.9, 1.0), folder(0.1, 2.0))
    assert found.num_regressions == 14
    said = write_comparison(tmp_path / "page", found)
    assert said.count("\n") < 15
    assert "and 8 more like these" in said
    assert (tmp_path / "page" / "compare.md").read_text().count("| worse") == 10  # all of them
    assert len(pd.read_csv(tmp_path / "page" / "scores.csv")) == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", "none"), "B: {tmp}/none is not a folder"),
        (("empty", "a"), "A: {tmp}/empty holds no record"),
        (("a", "a", "--models", "tcm", "tcn"), "--models: A: unknown model 'tcm'; did you mean"),
        (("a", "a", "--output", "{tmp}/file"), "--output: cannot make {tmp}/file"),
        (("a", "c", "--fail-on-regression"), "nothing in common"),
    ],
)
def test_a_wrong_request_ends_with_status_2(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "a", runs([1.0]))
    put(tmp_path / "c", runs([1.0], length=77))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    folders = [str(tmp_path / name) for name in arguments[:2]]
    options = [each.format(tmp=tmp_path) for each in arguments[2:]]
    assert main(["compare", *folders, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said.format(tmp=tmp_path) in error


def test_runs_with_other_seeds_are_compared_as_independent_ones(tmp_path: Path) -> None:
    def seeds(first: int, *scores: float) -> list[Record]:
        return [record(spec(seed=first + i), score) for i, score in enumerate(scores)]

    row = only(compared(tmp_path, seeds(0, 0.8, 0.81, 0.82), seeds(7, 0.2, 0.21)).scores)
    assert (row["seeds"], row["verdict"]) == ("3 → 2 others", "worse")
    # The solved share is judged as well, so that each of the two intervals has 97.5%.
    expected = ttest_ind([0.2, 0.21], [0.8, 0.81, 0.82], equal_var=False)
    interval = expected.confidence_interval(simultaneous_confidence(2))
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert difference([0.5, 0.5], [0.2, 0.2]).low == pytest.approx(0.3)
    assert difference([0.5], [0.2, 0.2]).low is None


def test_newcombes_interval_combines_wilsons_bounds() -> None:
    low, high = share_difference((56, 80), (48, 80))
    # By hand from Wilson's bounds of 56/80 (0.5922, 0.7894) and of 48/80 (0.4904, 0.7004).
    assert low == pytest.approx(0.1 - np.hypot(0.7 - 0.5922, 0.7004 - 0.6), abs=2e-4)
    assert high == pytest.approx(0.1 + np.hypot(0.7894 - 0.7, 0.6 - 0.4904), abs=2e-4)
    same = share_difference((5, 5), (5, 5))
    assert same[0] == -same[1]


def test_the_interval_of_one_ratio_is_that_of_the_t_test_on_logarithms() -> None:
    random = np.random.default_rng(1)
    a, b = random.lognormal(size=5), random.lognormal(size=4)
    (found,) = ratio_intervals([(a.tolist(), b.tolist())])
    interval = ttest_ind(np.log(a), np.log(b)).confidence_interval(0.95)
    assert found == pytest.approx((np.exp(interval.low), np.exp(interval.high)))


def test_the_scatter_of_other_times_widens_an_interval_and_their_number_too() -> None:
    def width(*others: tuple[list[float], list[float]]) -> float:
        found = ratio_intervals([([1.0, 1.01, 1.02], [1.0, 1.01, 1.02]), *others])[0]
        assert found is not None
        return found[1] / found[0]

    some, many = [1.0, 1.01, 1.02], [1.0, 2.0, 3.0]
    calm, wild = (some, some), (many, many)
    one_process = ([1.0], [1.0, 2.0])
    assert width() == width(one_process)  # it can't be judged, so it does not count
    assert width(*[calm] * 50) > width(calm)
    assert width(wild) > 2 * width(calm)
