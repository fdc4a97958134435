"""Times of planted records become the sentences, tables and figures that they should."""

from pathlib import Path

import pandas as pd
import pytest

from bench.core.records import SpeedRecord
from bench.core.spec import Spec
from bench.report.drawing import DOTTED_AGAIN
from bench.report.page import write_report
from bench.report.runs import horizons
from bench.report.sections import cost
from bench.report.times import headlines, how, leading, plain, state_sizes, step_times, timed_frame
from tests.support.records import (
    BACKEND,
    MACHINE,
    of_processes,
    spec,
    speed_record,
    times,
    yardstick_record,
)
from tests.support.reports import planted, runs_of, source, table


def swept() -> list[SpeedRecord]:
    """A convolutional network that trains faster from T = 100 on, and steps twice as fast."""
    made = []
    for length, tcn_ms, gru_ms in ((10, 4.0, 1.0), (100, 5.0, 10.0), (1000, 20.0, 100.0)):
        tcn = speed_record(
            "tcn",
            length,
            batch_size=64,
            train_ms=tcn_ms,
            step_ms=0.005,
            call_ms=0.018,
            receptive_field=255,
        )
        gru = speed_record(
            "gru", length, batch_size=64, train_ms=gru_ms, step_ms=0.01, call_ms=0.02
        )
        made += [tcn, gru]
    return made


def test_where_training_overtakes_and_what_a_step_takes() -> None:
    assert headlines(leading(timed_frame(swept()))) == [
        "copy_memory, batch 64: tcn trains faster than gru from T = 100 on (5 × as fast at "
        "T = 1,000)",
        "streaming, batch 64: a step of tcn takes 0.5 × a step of gru (tasks and lengths: 3, "
        "T = 10 to 1,000; ratio 0.5)",
    ]


def test_sentences_compare_one_implementation_and_tables_show_all() -> None:
    stock = [
        speed_record("gru", length, batch_size=64, train_ms=1.0, implementation="stock")
        for length in (10, 100, 1000)
    ]
    timed = timed_frame([*stock, *swept()])
    assert len(timed) == 9
    assert headlines(leading(timed)) == headlines(timed_frame(swept()))
    shown = cost.whole_sequences(timed, cost.TRAINING, "train").query("model == 'gru' and T == 10")
    assert list(shown["implementation"]) == ["fastest", "stock"]
    assert list(shown["ms"]) == pytest.approx([1.0, 1.0])
    assert shown["%_of_peak"].notna().all()
    apart, style = cost.by_implementation(timed, {"tcn": {"color": "b"}, "gru": {"color": "r"}})
    assert set(apart["model_label"]) == {"tcn", "gru", "gru, stock"} <= set(style)
    assert style["gru, stock"]["linestyle"] == DOTTED_AGAIN["linestyle"]


def test_times_of_protocol_1_are_never_compared_with_newer_ones() -> None:
    before = [
        speed_record(model, 10, train_ms=1.0, step_ms=0.01, protocol=1) for model in ("tcn", "gru")
    ]
    after = speed_record("tcn", 100, train_ms=1.0, step_ms=0.01)
    alone = leading(timed_frame(before))
    assert set(alone["implementation"]) == {"as measured in protocol 1"}
    assert alone["call_ms"].isna().all()
    assert how(alone, "a cpu") == "as measured in protocol 1, on a cpu"
    # A step of that protocol includes its call, so nothing is said of it.
    assert not any("streaming" in line for line in headlines(alone))
    assert step_times([spec(model="tcn")], alone, [each.spec for each in before]) == {}
    both = timed_frame([*before, after])
    assert list(both["protocol"]) == [1, 1, 2]
    assert list(leading(both)["T"]) == [100]


def test_a_time_that_processes_do_not_repeat_is_not_stable() -> None:
    def row(*ms: float) -> pd.Series:
        made = speed_record(step_ms=1.0)
        assert made.speed is not None
        assert made.speed.streaming is not None
        step = made.speed.streaming.step.model_copy(update={"times": of_processes(*ms)})
        streaming = made.speed.streaming.model_copy(update={"step": step})
        speed = made.speed.model_copy(update={"streaming": streaming})
        timed = timed_frame([made.model_copy(update={"speed": speed})])
        return cost.streaming(timed).iloc[0]

    steady, apart, few = row(7.1, 7.2, 7.5), row(7.1, 7.2, 13.0), row(7.1, 7.2)
    assert (steady["stable"], apart["stable"], few["stable"]) == (True, False, False)
    assert (apart["step_us"], apart["least_us"], apart["most_us"]) == pytest.approx(
        (7200, 7100, 13000)
    )


def test_the_latency_of_each_implementation_has_its_own_panel() -> None:
    one = speed_record("gru", 10, train_ms=1.0, step_ms=0.01)
    other = speed_record("gru", 10, train_ms=1.0, step_ms=0.02, implementation="stock")
    assert set(cost.steps_by_length(timed_frame([one]))["task_label"]) == {"streaming, batch 1"}
    assert set(cost.steps_by_length(timed_frame([one, other]))["task_label"]) == {
        "streaming, batch 1\nfastest",
        "streaming, batch 1\nstock",
    }


def test_sentences_are_of_plain_models_where_there_are_any() -> None:
    timed = timed_frame(swept())
    gated = timed[timed["model"] == "tcn"].assign(variant="gated=True")
    assert set(plain(pd.concat([timed, gated]))["variant"]) == {""}
    assert set(plain(gated)["variant"]) == {"gated=True"}


@pytest.mark.parametrize(
    ("tcn_ms", "said"),
    [
        ((0.5, 5.0), "faster than gru at every T tried (2 × as fast at T = 100)"),
        ((2.0, 20.0), "slower than gru at every T tried (0.5 × as fast at T = 100)"),
        (
            (2.0, 10.0),
            "not clearly faster than gru at the longest T tried (1 × as fast at T = 100)",
        ),
        # Faster once and slower again is not overtaking.
        ((0.5, 20.0), "slower than gru at the longest T tried (0.5 × as fast at T = 100)"),
    ],
)
def test_every_way_to_compare(tcn_ms: tuple[float, float], said: str) -> None:
    records = []
    for length, ours, theirs in zip((10, 100), tcn_ms, (1.0, 10.0), strict=True):
        records += [
            speed_record("tcn", length, train_ms=ours, receptive_field=255),
            speed_record("gru", length, train_ms=theirs),
        ]
    (line,) = headlines(timed_frame(records))
    assert line == f"copy_memory, batch 1: tcn trains {said}"


def test_a_single_length_is_named_as_such() -> None:
    records = [
        speed_record("tcn", 10, train_ms=1.0, receptive_field=255),
        speed_record("gru", 10, train_ms=2.0),
    ]
    (line,) = headlines(timed_frame(records))
    assert line.endswith("tcn trains faster than gru at the only T tried (2 × as fast at T = 10)")


def test_of_several_sizes_the_smallest_is_compared() -> None:
    timed = timed_frame(
        [
            speed_record("tcn", 10, train_ms=1.0, step_ms=0.01, receptive_field=255),
            speed_record("gru", 10, train_ms=2.0, step_ms=0.01),
        ]
    )
    larger = timed.assign(
        parameters=4 * timed["parameters"],
        train_steps_per_s=timed["train_steps_per_s"] / 9,
        step_ms=9 * timed["step_ms"],
    )
    larger = larger[larger["model"] == "tcn"]
    for both in (pd.concat([timed, larger]), pd.concat([larger, timed])):
        assert headlines(both) == headlines(timed)


def test_rows_are_in_units_that_people_read() -> None:
    row = timed_frame(swept()).query("model == 'tcn' and T == 100").iloc[0]
    assert row["train_ms"] == pytest.approx(5.0)
    assert row["train_sequences_per_s"] == pytest.approx(64 / 5e-3)
    assert row["train_steps_per_s"] == pytest.approx(64 * 120 / 5e-3)
    assert row["train_MB"] == pytest.approx(10)
    assert row["train_peak_percent"] == pytest.approx(100 * 1e6 / 5e-3 / 1e9)
    streamed = cost.streaming(timed_frame(swept())).query("model == 'tcn' and T == 100").iloc[0]
    assert streamed["step_us"] == pytest.approx(5.0)
    assert streamed["call_us"] == pytest.approx(18)
    assert streamed["5%_us"] == pytest.approx(4.5)
    assert streamed["95%_us"] == pytest.approx(7.5)
    assert streamed["window_again_us"] == pytest.approx(500)


def test_a_failed_one_is_in_no_table() -> None:
    failed = speed_record("rnn", step_ms=0.01, status="failed", error="no luck", speed=None)
    assert timed_frame([failed]).empty
    assert set(timed_frame([failed, *swept()])["model"]) == {"tcn", "gru"}


def test_networks_that_only_stream_are_in_no_sweep() -> None:
    timed = timed_frame([speed_record(step_ms=0.01)])
    assert cost.by_length(timed, {"train_steps_per_s": "training"}).empty
    assert cost.steps_by_length(timed).empty
    assert cost.whole_sequences(timed, cost.TRAINING, "train").empty
    assert len(cost.streaming(timed)) == 1


def test_the_window_read_again_is_a_line_of_its_own() -> None:
    steps = cost.steps_by_length(timed_frame(swept()))
    assert set(steps["model_label"]) == {"tcn", "gru", f"tcn{cost.AGAIN}"}
    for row in steps.to_dict("records"):
        assert row["low"] <= row["value"] <= row["high"]


def test_a_run_is_given_the_step_of_its_own_network() -> None:
    def found(specs: list[Spec], records: list[SpeedRecord]) -> dict[str, float]:
        return step_times(specs, timed_frame(records), [each.spec for each in records])

    own = [spec(model="tcn", length=10, seed=seed) for seed in range(2)]
    assert found(own, [speed_record("tcn", 10, step_ms=0.005)]) == {
        each.id: pytest.approx(5.0) for each in own
    }
    assert found(own, [speed_record("tcn", 10, step_ms=0.005, batch_size=64)]) == {}
    assert found(own, []) == {}


def test_a_run_without_a_timing_has_that_of_its_network_at_the_nearest_length() -> None:
    timed = [speed_record("tcn", T, step_ms=ms) for T, ms in ((10, 0.005), (100, 0.008))]

    def step(of: Spec) -> float | None:
        return step_times([of], timed_frame(timed), [each.spec for each in timed]).get(of.id)

    assert step(spec(model="tcn", length=25)) == pytest.approx(5.0)
    assert step(spec(model="tcn", length=40)) == pytest.approx(8.0)
    assert step(spec(model="gru", length=25)) is None
    wider = spec(model="tcn", length=25)
    assert step(wider.model_copy(update={"width": wider.width + 1})) is None
    assert step(wider.model_copy(update={"param_budget": None})) is None  # its depth is not known


def test_a_network_has_the_times_of_another_length_unless_its_state_grows() -> None:
    timed = [speed_record(model, 10, step_ms=0.005) for model in ("tcn", "attention")]
    subjects = [each.spec for each in timed]
    for model, number in (("tcn", 2), ("attention", 1)):
        own, other = spec(model=model, length=10), spec(model=model, length=25)
        states = state_sizes([own, other], timed_frame(timed), subjects)
        assert list(states.values()) == [400.0] * number
        steps = step_times([own, other], timed_frame(timed), subjects)
        assert list(steps.values()) == pytest.approx([5.0] * number)
    narrower = spec(model="tcn", length=25).model_copy(update={"width": 1})
    assert state_sizes([narrower], timed_frame(timed), subjects) == {}


def test_a_network_timed_twice_has_one_row_with_the_samples_of_both() -> None:
    once, again = speed_record(step_ms=0.007), speed_record(train_ms=4.0, step_ms=0.013)
    (row,) = timed_frame([once, again]).to_dict("records")
    assert row["timings"] == 2
    assert row["train_ms"] == pytest.approx(4.0)
    assert (row["step_low_ms"], row["step_high_ms"]) == pytest.approx((0.0063, 0.0195))
    # The medians of the two are 7 and 13 µs.
    assert row["step_ms"] == pytest.approx((0.007 + 0.013) / 2)


def test_what_is_paid_for_what_is_remembered() -> None:
    specs, records = planted()
    runs = runs_of(specs, records)
    step_us = {s.id: 5.0 if s.model.name == "tcn" else 10.0 for s in specs}
    reached = cost.reached_at_cost(runs, horizons(runs), step_us)
    rows = {(row["model"], row["cost"]): row for row in reached.to_dict("records")}
    tcn = rows["tcn", "one step of a stream (µs)"]
    assert (tcn["reached"], tcn["horizon"], tcn["value"]) == ("10+", 10, 5.0)
    gru = rows["gru", "one step of a stream (µs)"]
    assert (gru["reached"], gru["horizon"], gru["value"]) == ("not yet at 10", 10, 10.0)
    assert rows["tcn", "one training run (s)"]["value"] == 10.0


def test_the_ratio_is_the_median_over_turns() -> None:
    made = yardstick_record(2.0, 5.0)
    assert made.ratio == pytest.approx(2.5)
    assert made.over_ours("another") == pytest.approx(4)
    shaken = made.model_copy(update={"times": {"ours": times(1, 1, 50), "theirs": times(3, 3, 99)}})
    assert shaken.ratio == pytest.approx(3)
    (row,) = cost.yardstick_table([made]).to_dict("records")
    assert (row["target_ratio"], row["target_met"], row["other_times"]) == (
        "≥ 2",
        "yes",
        "another: 4 × ours",
    )
    skipped = made.model_copy(update={"status": "skipped", "error": "no GPU", "times": {}})
    (row,) = cost.yardstick_table([skipped]).to_dict("records")
    assert row["target_met"] == "no GPU"


@pytest.mark.parametrize(
    ("at_least", "at_most", "ratio", "met"),
    [(2, None, 2.0, True), (2, None, 1.9, False), (None, 1.1, 1.1, True), (None, 1.1, 1.2, False)],
)
def test_an_aim_is_met_or_not(
    at_least: float | None, at_most: float | None, ratio: float, met: bool
) -> None:
    aim = {"at_least": at_least, "at_most": at_most}
    assert yardstick_record().yardstick.model_copy(update=aim).met(ratio) is met


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("report")
    specs, records = planted()
    alone = [
        speed_record(model, length, step_ms=0.005 if model == "tcn" else 0.02)
        for model in ("tcn", "gru")
        for length in (10, 100)
    ]
    more = {"speed": [*swept(), *alone], "yardsticks": [yardstick_record()]}
    return folder, write_report(folder, source(specs, records, **more))


def test_the_report_shows_the_costs(written: tuple[Path, str]) -> None:
    folder, _ = written
    page = (folder / "report.md").read_text()
    for line in headlines(timed_frame(swept())):
        assert line in page
    assert f"What it costs (fastest implementations, on {BACKEND.words}, {MACHINE.cpu}" in page
    for section in (
        "### Training",
        "### Streaming",
        "### Whole sequences",
        "### Compared with other implementations",
    ):
        assert section in page
    for figure in ("throughput", "latency", "memory"):
        assert f"figures/{figure}_vs_length.svg" in page
        assert (folder / "figures" / f"{figure}_vs_length.svg").stat().st_size > 1000
    assert "figures/horizon_vs_cost.svg" in page
    assert len(table(folder, "training_speed")) == 6
    assert len(table(folder, "streaming")) == 10
    assert table(folder, "yardsticks")["theirs_over_ours"].item() == pytest.approx(2.5)
