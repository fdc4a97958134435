"""Intervals and horizons against hand-computed cases, scipy, and simulations of known truth."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest, ttest_1samp, ttest_rel

from bench.core.intervals import (
    Interval,
    mean_interval,
    paired_difference,
    prediction_interval,
    wilson,
)
from bench.report import horizon as curves
from bench.report.horizon import horizon

LENGTHS = np.array([25, 50, 100, 200, 300])


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


def within(value: float, low: float | None, high: float | None) -> bool:
    """Whether an interval holds the value; an end that is not known holds everything."""
    return (low is None or low <= value) and (high is None or value <= high)


def first_solve(counts: Mapping[int, int], num_seeds: int) -> dict[int, dict[int, bool]]:
    """T → seed → solved, the first seeds being the ones that solve."""
    return {T: {seed: seed < k for seed in range(num_seeds)} for T, k in counts.items()}


def by_length(outcomes: np.ndarray) -> dict[int, dict[int, bool]]:
    """T → seed → solved, of an array (seeds, lengths)."""
    return {int(T): dict(enumerate(map(bool, outcomes[:, i]))) for i, T in enumerate(LENGTHS)}


@pytest.mark.parametrize(
    ("counts", "num_seeds", "said"),
    [
        # Cleanly apart: as far as the lengths tested tell.
        ((5, 5, 5, 0, 0), 5, "100 (100–200; 5/5 seeds)"),
        ((5, 0, 0, 0, 0), 5, "25 (25–50; 5/5 seeds)"),
        # The sweep ended first, or began too late.
        ((5, 5, 5, 5, 5), 5, "≥ 300 (5/5 seeds)"),
        ((0, 0, 0, 0, 0), 5, "< 25 (0/5 seeds)"),
        # Seeds that differ.
        ((5, 5, 4, 1, 0), 5, "100 (81–227; 4/5 seeds)"),
        ((5, 5, 5, 5, 3), 5, "≥ 300 (244–; 3/5 seeds)"),
        ((5, 5, 4, 4, 0), 5, "200 (92–; 4/5 seeds)"),
        ((2, 0, 0, 0, 0), 5, "< 25 (–36; 2/5 seeds)"),
        # Not monotone.
        ((5, 0, 3, 1, 0), 5, "100* (–200; 3/5 seeds)"),
        ((0, 0, 0, 0, 5), 5, "≥ 300* (–; 5/5 seeds)"),
        # Three agree by chance in one of four cases, one always does.
        ((3, 3, 3, 0, 0), 3, "100 (99–202; 3/3 seeds)"),
        ((1, 1, 1, 0, 0), 1, "100 (–; 1/1 seeds)"),
        ((0, 0, 0, 0, 0), 1, "< 25 (–; 0/1 seeds)"),
    ],
)
def test_a_horizon_and_how_it_reads(counts: tuple[int, ...], num_seeds: int, said: str) -> None:
    found = horizon(first_solve(dict(zip(LENGTHS.tolist(), counts, strict=True)), num_seeds))
    assert str(found) == said
    assert str(found).startswith(found.reached)


def test_half_of_the_seeds_is_enough() -> None:
    assert horizon(first_solve({20: 2, 10: 4, 40: 1}, 4)).length == 20
    assert horizon(first_solve({10: 3, 20: 2}, 5)).length == 10


def test_one_length_tells_a_side_and_no_more() -> None:
    assert str(horizon(first_solve({7: 1}, 2))) == "≥ 7 (–; 1/2 seeds)"
    # Five of five come of an even chance in one of sixteen cases, both sides counted; ten do not.
    assert str(horizon(first_solve({7: 5}, 5))) == "≥ 7 (–; 5/5 seeds)"
    assert str(horizon(first_solve({7: 10}, 10))) == "≥ 7 (10/10 seeds)"
    assert str(horizon(first_solve({7: 0}, 10))) == "< 7 (0/10 seeds)"


def test_seeds_may_be_missing_at_some_lengths() -> None:
    solved = first_solve({25: 5, 50: 5, 100: 5, 200: 0, 300: 0}, 5)
    whole = horizon(solved)
    for length, seed in ((25, 0), (100, 1), (200, 2), (300, 0), (300, 1)):
        del solved[length][seed]
    found = horizon(solved)
    assert (found.length, found.num_solved, found.num_seeds) == (100, 4, 4)
    assert within(whole.length or 0, found.low, found.high)
    apart = {10: {0: True}, 20: {1: True, 2: True}, 40: {3: False}}
    assert (horizon(apart).length, horizon(apart).high) == (20, None)


def test_the_order_of_seeds_says_nothing() -> None:
    outcomes = np.random.default_rng(4).random((9, 5)) < expit(2 * np.log(90 / LENGTHS))
    for some in (outcomes[:5], outcomes):
        solved = by_length(some)
        mixed = {T: dict(reversed(solved[T].items())) for T in reversed(solved)}
        assert horizon(mixed) == horizon(solved)
    assert horizon(by_length(outcomes[4::-1])) == horizon(by_length(outcomes[:5]))


def test_all_resamples_of_a_few_seeds_and_their_probabilities() -> None:
    resamples, weights = curves._resamples(2, 2000)
    assert {tuple(r): w for r, w in zip(resamples, weights, strict=True)} == pytest.approx(
        {(2, 0): 0.25, (1, 1): 0.5, (0, 2): 0.25}
    )
    for num_seeds, size in ((5, 126), (7, 1716), (8, 2000)):
        resamples, weights = curves._resamples(num_seeds, 2000)
        assert resamples.shape == (size, num_seeds)
        assert set(resamples.sum(axis=1)) == {num_seeds}
        assert weights.sum() == pytest.approx(1)


def firth_by_search(solved: np.ndarray, runs: np.ndarray, x: np.ndarray) -> float:
    """Where the fitted curve passes 1/2: the penalised likelihood's largest value, looked for."""
    from scipy.optimize import minimize

    def loss(at: np.ndarray) -> float:
        odds = at[0] + at[1] * x
        weight = runs * expit(odds) * expit(-odds)
        information = [[(weight * x**i * x**j).sum() for j in (0, 1)] for i in (0, 1)]
        likelihood = solved * odds - runs * np.logaddexp(0, odds)
        return -likelihood.sum() - 0.5 * math.log(np.linalg.det(information))

    best = minimize(
        loss, [0.0, -0.1], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}
    )
    return -best.x[0] / best.x[1]


@pytest.mark.parametrize(
    "counts", [(5, 5, 4, 1, 0), (5, 5, 5, 0, 0), (5, 3, 3, 3, 1), (5, 5, 5, 5, 2), (1, 0, 0, 0, 0)]
)
def test_the_fit_maximises_firths_likelihood(counts: tuple[int, ...]) -> None:
    x, solved, runs = np.arange(5.0), np.array([counts], float), np.full((1, 5), 5.0)
    expected = firth_by_search(solved[0], runs[0], x)
    assert curves._fitted_horizons(solved, runs, x) == pytest.approx(expected, abs=1e-3)
    # Another unit and origin of x change nothing else.
    assert curves._fitted_horizons(solved, runs, 3 + 10 * x) == pytest.approx(
        3 + 10 * expected, abs=1e-2
    )


def test_a_curve_that_does_not_fall_passes_nowhere() -> None:
    solved = np.array([[3, 3, 3], [5, 5, 5], [0, 0, 0], [2, 2, 2], [0, 3, 5], [0, 1, 2]], float)
    found = curves._fitted_horizons(solved, np.full((6, 3), 5.0), np.arange(3.0))
    assert list(np.sign(found)) == [1, 1, -1, -1, 1, -1]
    assert np.isinf(found).all()
    of_one_length = curves._fitted_horizons(
        np.array([[0, 4.0]]), np.array([[0, 5.0]]), np.arange(2.0)
    )
    assert of_one_length == math.inf


def test_the_profile_likelihood_of_a_step_by_hand() -> None:
    x = np.log(LENGTHS)
    # A step just below 100 makes P(100) one half: five successes there then cost 10·log 2 = 6.93,
    # more than t² = 4.28 allows. Three cost 4.16, less than the 4.67 of three seeds.
    low, high = curves._likely(np.array([5, 5, 5, 0, 0.0]), np.full(5, 5.0), x, 0.95)
    assert math.log(100) < low < math.log(102)
    assert math.log(196) < high < math.log(200)
    low, high = curves._likely(np.array([3, 3, 3, 0, 0.0]), np.full(5, 3.0), x, 0.95)
    assert math.log(98) < low < math.log(100)
    assert math.log(200) < high < math.log(204)
    assert curves._likely(np.array([1.0, 0]), np.ones(2), x[:2], 0.95) == (-math.inf, math.inf)


def test_many_seeds_find_the_true_horizon_as_closely_as_theory_says() -> None:
    steepness, truth, num_seeds, x = 2, math.log(100), 400, np.log([10, 20, 40, 80, 160, 320])
    p = expit(steepness * (truth - x))
    solved = np.random.default_rng(5).binomial(num_seeds, p).astype(float)
    # The delta method: the variance of −level / slope, from the information of the true curve.
    weight, away = num_seeds * p * (1 - p), x - truth
    mean = (weight * away).sum() / weight.sum()
    variance = 1 / weight.sum() + mean**2 / (weight * (away - mean) ** 2).sum()
    error = math.sqrt(variance) / steepness

    low, high = curves._likely(solved, np.full(6, 400.0), x, 0.95)
    assert low < truth < high
    assert high - low == pytest.approx(2 * 1.96 * error, abs=2 * curves.GRID_STEP)
    (fitted,) = curves._fitted_horizons(solved[None], np.full((1, 6), 400.0), x)
    assert fitted == pytest.approx(truth, abs=3 * error)


@pytest.mark.parametrize(
    ("steepness", "of_seed"), [(1, 0.0), (2, 0.0), (4, 0.0), (16, 0.0), (4, 0.5)]
)
def test_the_interval_holds_the_true_horizon(steepness: float, of_seed: float) -> None:
    """Five seeds, five lengths, P(solved) = σ(a·log(H/T)), log H of a seed spread by `of_seed`."""
    rng = np.random.default_rng(6)
    covered = []
    for truth in (36, 55, 141, 240):
        for _ in range(60):
            own = rng.normal(0, of_seed, size=(5, 1))
            outcomes = rng.random((5, 5)) < expit(steepness * (np.log(truth / LENGTHS) + own))
            found = horizon(by_length(outcomes))
            covered.append(within(truth, found.low, found.high))
    assert np.mean(covered) >= 0.93
