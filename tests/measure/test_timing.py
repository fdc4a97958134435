"""The timer: real seconds, enough samples, sides that alternate."""

import time

import pytest

from bench.measure import timing
from tests.support.records import times


def test_times_are_seconds_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def call() -> None:
        time.sleep(2e-3)

    monkeypatch.setattr(timing, "BLOCK_SECONDS", 0.05)
    for taken in (
        timing.throughput(call, "cpu", min_seconds=0.02),
        timing.latency(call, "cpu", min_seconds=0.02),
        timing.turns({"call": call}, "cpu", rounds=5)["call"],
    ):
        assert len(taken.samples) >= timing.LEAST_SAMPLES
        assert 2e-3 < taken.median < 10e-3
    assert 4e-3 < timing.seconds_of(call, 2, "cpu") < 20e-3


def test_latency_keeps_single_calls_that_span_the_whole_time() -> None:
    began = time.perf_counter()
    taken = timing.latency(lambda: None, "cpu", min_seconds=0.1)
    assert time.perf_counter() - began > 0.1
    assert 300 < len(taken.samples) <= timing.MOST_SAMPLES


@pytest.mark.parametrize(
    ("min_seconds", "least", "most", "expected"),
    [(0.0, 7, None, 7), (60.0, 1, 4, 4), (0.0, 1, 4, 1)],
)
def test_latency_warms_up_and_repeats_until_enough(
    min_seconds: float, least: int, most: int | None, expected: int
) -> None:
    calls: list[int] = []
    taken = timing.latency(
        lambda: calls.append(0),
        "cpu",
        min_seconds=min_seconds,
        warm_up=2,
        least=least,
        most=most,
    )
    assert len(taken.samples) == expected
    assert len(calls) == 2 + expected


def test_sides_alternate() -> None:
    order: list[str] = []
    taken = timing.turns(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        "cpu",
        rounds=3,
        before={"b": lambda: order.append("-")},
    )
    assert [len(each.samples) for each in taken.values()] == [3, 3]
    blocks = "".join(order).split("-")
    assert len(blocks) == 4
    assert all(block[0] == "b" for block in blocks[1:])


def test_percentiles() -> None:
    taken = times(*range(1, 101))
    assert taken.median == pytest.approx(50.5e-3)
    assert taken.percentile(5) == pytest.approx(6e-3)
    assert taken.percentile(95) == pytest.approx(96e-3)
    assert times(7).percentile(95) == times(7).median == pytest.approx(7e-3)
