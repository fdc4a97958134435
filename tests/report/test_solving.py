"""How long a model needs to solve a task, and what a stream of it carries."""

import pytest

from bench.core.intervals import censored_median
from bench.core.records import Record
from bench.report.data import Data
from bench.report.sections import solving, state
from bench.report.times import timed_frame
from tests.support.records import outcome, record, spec, speed_record
from tests.support.reports import runs_of, source


@pytest.mark.parametrize(
    ("ended", "censored", "median"),
    [
        ([30, 10, 20], [], (20, True)),
        ([40, 10, 30, 20], [], (25, True)),
        ([10, 20], [50, 50], (35, False)),  # one of the two in the middle went beyond 50
        ([10, 20, 90], [50, 50], (90, True)),
        ([10], [50, 50], (50, False)),
        ([10, 20], [50, 60, 70], (50, False)),
        ([70], [20, 30, 40], (35, False)),  # the two in the middle went beyond 30 and 40
        ([], [50], (50, False)),
    ],
)
def test_the_median_counts_cases_that_did_not_end(
    ended: list[float], censored: list[float], median: tuple[float, bool]
) -> None:
    assert censored_median(ended, censored) == median


def runs_that_need(*updates: int | None, status: str = "ok") -> list[Record]:
    """Runs of 9 s that solve the task after these updates of 100, or never."""
    made = []
    for seed, number in enumerate(updates):
        score = 0.3 if number is None else 1.0
        result = outcome(score, steps=100 if number is None else number)
        made.append(record(spec(seed=seed), score, outcome=result, status=status))
    return made


def row_of(records: list[Record], update_times: dict[str, solving.Update] | None = None) -> dict:
    runs = runs_of([each.spec for each in records], records)
    (row,) = solving.solving(runs, update_times or {}).to_dict("records")
    return row


def test_the_table_has_the_median_and_who_solved() -> None:
    row = row_of(runs_that_need(40, 20, None))
    assert (row["solved"], row["seeds"], row["updates_to_solve"]) == (2, 3, "40")
    # The runs took 9 s for 40, 20 and 100 updates: the median update is 225 ms.
    assert (row["clock"], row["update_ms"], row["seconds"]) == ("runs", 225.0, "9")
    assert row_of(runs_that_need(20, None, None))["updates_to_solve"] == "> 100"


def test_runs_that_solve_only_while_the_rate_falls_are_counted() -> None:
    # Of 100 updates, the last ten have a falling rate.
    assert row_of(runs_that_need(20, 90, None))["while_falling"] == 0
    assert row_of(runs_that_need(20, 91, 95, None))["while_falling"] == 2


def test_runs_that_diverged_or_failed_never_solve() -> None:
    short = outcome(0.3, steps=5)
    diverged = record(spec(seed=1), 0.3, outcome=short, status="diverged")
    row = row_of([*runs_that_need(40), diverged, record(spec(seed=2), None)])
    assert (row["solved"], row["seeds"], row["updates_to_solve"]) == (1, 3, "> 100")


def test_tasks_without_a_threshold_are_left_out() -> None:
    records = runs_that_need(40)
    runs = runs_of([each.spec for each in records], records, threshold=None)
    assert solving.solving(runs, {}).empty


def test_seconds_are_those_of_speed_if_the_network_and_the_batch_are_the_same() -> None:
    records = runs_that_need(40, 20, None)
    specs = [each.spec for each in records]
    timed = [speed_record(length=10, batch_size=size, train_ms=size / 10) for size in (1, 32)]
    found = solving.update_times(Data(source(specs, records, speed=timed)))
    assert found == {each.id: (pytest.approx(3.2), "fastest") for each in specs}
    row = row_of(records, found)
    assert (row["clock"], row["implementation"]) == ("speed", "fastest")
    assert row["seconds"] == "0.128"  # 40 updates of 3.2 ms
    other = solving.update_times(Data(source(specs, records, speed=timed[:1])))
    assert other == {}


def test_the_state_has_one_row_per_network_and_its_largest_in_the_title() -> None:
    timed = timed_frame(
        [
            speed_record(model, length, batch_size=size, train_ms=1.0, step_ms=0.01)
            for model in ("tcn", "gru")
            for length in (10, 1000)
            for size in (1, 64)
        ]
    )
    timed.loc[timed["model"] == "tcn", "state_bytes"] = 30 * timed["T"]
    found = state.states(timed)
    assert len(found) == 4
    said = "At T = 1,000 a stream carries 30,000 bytes (tcn), 400 bytes (gru)"
    assert state.message(found) == said
    style = {"tcn": {"color": "b", "linestyle": "-"}, "gru": {"color": "r", "linestyle": "-"}}
    assert state.state_figure(found, style).get_suptitle() == said
