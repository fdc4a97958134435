"""Intervals against hand-computed cases and scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp, ttest_rel

from bench.core.intervals import (
    Interval,
    mean_interval,
    paired_difference,
    prediction_interval,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (3, 3), (2, 5), (481, 500), (500, 500)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_holds_the_share_in_spite_of_rounding() -> None:
    for n in range(1, 200):
        for k in range(n + 1):
            low, high = wilson(k, n)
            assert 0 <= low <= k / n <= high <= 1


def test_wilson_takes_fractions_and_refuses_what_can_not_be() -> None:
    assert wilson(1.0, 4)[0] < wilson(1.5, 4)[0] < wilson(2.0, 4)[0]
    for successes, n in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match=f"successes {successes} of {n}"):
            wilson(successes, n)


def test_students_interval_by_hand() -> None:
    # 1, 2, 3: s = 1, t of two degrees of freedom 4.302653.
    found = mean_interval([1, 2, 3])
    assert (found.mean, found.n) == (2, 3)
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    further = prediction_interval([1, 2, 3])
    assert further.high == pytest.approx(2 + 4.302653 * (4 / 3) ** 0.5)


def test_students_intervals_are_scipys() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 7))
    expected = ttest_1samp(a, 0).confidence_interval(0.9)
    found = mean_interval(list(a), confidence=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    expected = ttest_rel(a, b).confidence_interval(0.95)
    found = paired_difference(list(a), list(b))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_value_gives_no_interval_and_none_is_refused() -> None:
    assert mean_interval([0.5]) == Interval(mean=0.5, low=None, high=None, n=1)
    assert prediction_interval([0.5]).high is None
    for of_none in (mean_interval, prediction_interval):
        with pytest.raises(ValueError, match="no values"):
            of_none([])


def test_equal_differences_give_an_interval_without_width_and_no_warning() -> None:
    found = paired_difference([0.3, 0.6, 0.9], [0.1, 0.4, 0.7])
    assert (found.low, found.high) == pytest.approx((0.2, 0.2))
    assert paired_difference([1, 1], [1, 1]) == Interval(mean=0, low=0, high=0, n=2)
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1, 2], [1])
