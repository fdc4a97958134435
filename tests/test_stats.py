"""Intervals and horizons against hand-computed cases and scipy."""

import pytest
from scipy.stats import binomtest

from bench.stats import horizon, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 1), (3, 3), (2, 5), (481, 500), (500, 500)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_holds_the_share_in_spite_of_rounding() -> None:
    for n in range(1, 200):
        for k in range(n + 1):
            low, high = wilson(k, n)
            assert 0 <= low <= k / n <= high <= 1


def test_three_of_three_says_little() -> None:
    assert wilson(3, 3)[0] == pytest.approx(0.4385, abs=1e-4)


def test_wilson_takes_fractions_and_refuses_what_can_not_be() -> None:
    assert wilson(1.0, 4)[0] < wilson(1.5, 4)[0] < wilson(2.0, 4)[0]
    for successes, n in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match=f"successes {successes} of {n}"):
            wilson(successes, n)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({5: (5, 5), 10: (3, 5), 20: (2, 5)}, "10 (3/5 seeds)"),
        ({5: (5, 5), 10: (5, 5)}, "≥ 10 (5/5 seeds)"),
        ({10: (0, 5), 5: (1, 5)}, "< 5 (1/5 seeds)"),
        ({5: (4, 4), 10: (0, 4), 20: (2, 4), 40: (1, 4)}, "20* (2/4 seeds)"),
        ({7: (1, 2)}, "≥ 7 (1/2 seeds)"),
    ],
)
def test_horizon(outcomes: dict[int, tuple[int, int]], said: str) -> None:
    assert str(horizon(outcomes)) == said
