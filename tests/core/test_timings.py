"""Times of several processes: how they are merged and what is kept."""

import pytest
from pydantic import ValidationError

from bench.core.records import SpeedRecord
from bench.core.timings import MOST_SAMPLES, Speed, Times, merged, pooled
from tests.support.records import of_processes, speed_record, times


def speed(train_ms: float, **changes: object) -> Speed:
    made = speed_record(train_ms=train_ms, step_ms=0.01, receptive_field=9).speed
    assert made is not None
    return made.model_copy(update=changes)


def test_the_median_is_that_of_the_processes() -> None:
    # The process with most samples is no more important than the others.
    found = pooled([times(1, 1, 1, 1, 1, 1, 1), times(2), times(4)])
    assert found.per_process == pytest.approx((1e-3, 2e-3, 4e-3))
    assert found.median == pytest.approx(2e-3)
    assert times(1, 2, 9).processes == pytest.approx((2e-3,))
    assert times(1, 2, 9).median == pytest.approx(2e-3)


def test_few_samples_are_kept_and_each_process_has_the_same_share() -> None:
    many = times(*range(1, 1001))
    assert len(pooled([many]).samples) == MOST_SAMPLES
    assert pooled([many]).per_process == ()
    assert pooled([many]).median == pytest.approx(many.median, rel=0.02)
    assert pooled([many]).percentile(5) == pytest.approx(many.percentile(5), rel=0.3)
    found = many
    for process in range(2, 6):
        slower = Times(samples=tuple(process * sample for sample in many.samples))
        found = pooled([found, slower])
    assert len(found.processes) == 5
    assert len(found.samples) <= MOST_SAMPLES
    newest = [sample for sample in found.samples if sample > 4.1]
    assert len(newest) == pytest.approx(0.18 * MOST_SAMPLES / 5, abs=1)


def test_a_merged_speed_has_the_times_of_all_and_the_largest_memory_and_peak() -> None:
    first, second = speed(1.0), speed(3.0, peak_flops=2e9)
    assert second.train is not None
    larger = second.train.model_copy(update={"memory_bytes": 2 * 10**7})
    two = merged([first, second.model_copy(update={"train": larger})])
    assert (two.num_processes, two.peak_flops, two.sampling) == (2, 2e9, None)
    assert two.train is not None
    assert two.train.times == of_processes(1.0, 3.0)
    assert (two.train.flops, two.train.memory_bytes) == (10**6, 2 * 10**7)
    assert two.streaming is not None
    assert two.streaming.window == of_processes(1.0, 1.0)
    three = merged([two, speed(5.0)])
    assert three.num_processes == 3
    assert three.train is not None
    assert three.train.times.median == pytest.approx(3e-3)
    assert merged([first]).num_processes == 1


def test_records_of_one_process_stay_readable() -> None:
    written = speed_record(train_ms=1.0, step_ms=0.01).model_dump(mode="json")
    del written["speed"]["num_processes"]
    del written["speed"]["train"]["times"]["per_process"]
    found = SpeedRecord.model_validate(written).speed
    assert found is not None
    assert found.num_processes == 1
    assert found.train is not None
    assert found.train.times.processes == pytest.approx((1e-3,))
    with pytest.raises(ValidationError, match="greater than 0"):
        Times(samples=(1.0,), per_process=(1.0, 0.0))
