"""Confidence intervals of means, shares and ratios, as pure functions on arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

NUM_MEDIANS = 10_000
"""Resamples of times."""


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927): lower and upper bound in [0, 1].

    `successes` may be fractional: a mean over sequences of shares within them. That makes the
    interval too wide and never too narrow, since such values vary less than zeros and ones.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes {successes} of {n}; valid: n from 1, successes from 0 to n")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    half_width = z * spread / (1 + z**2 / n)
    # Rounding must not put the share itself outside, nor a bound beyond 0 or 1.
    return max(min(centre - half_width, share), 0.0), min(max(centre + half_width, share), 1.0)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds, and what lies between `low` and `high`."""

    mean: float
    low: float | None
    """None, as is `high`, where one value alone says nothing of the spread."""
    high: float | None
    n: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean: mean ± t·s/√n, with t of n − 1 degrees of freedom.

    Equal values give an interval without width.
    """
    return _student(values, confidence, 1 / math.sqrt(max(len(values), 1)))


def mean_intervals(
    values: np.ndarray, sizes: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high of `mean_interval` for groups of consecutive values, so many in each.

    NaN in the place of None.
    """
    starts = np.cumsum(sizes) - sizes
    mean, half_width = np.empty(len(sizes)), np.full(len(sizes), np.nan)
    for n in np.unique(sizes):
        of_n = np.flatnonzero(sizes == n)
        group_GN = values[starts[of_n, None] + np.arange(n)]
        mean[of_n] = group_GN.mean(axis=1)
        if n > 1:
            quantile = _student_quantile(0.5 + confidence / 2, int(n) - 1)
            half_width[of_n] = quantile * group_GN.std(axis=1, ddof=1) * (1 / math.sqrt(n))
    return mean, mean - half_width, mean + half_width


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Where one further run falls: mean ± t·s·√(1 + 1/n)."""
    return _student(values, confidence, math.sqrt(1 + 1 / max(len(values), 1)))


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of a − b; `a[i]` and `b[i]` are of the same seed.

    It is that of `scipy.stats.ttest_rel`, which warns where the differences are equal.
    """
    return mean_interval([x - y for x, y in zip(a, b, strict=True)], confidence)


def share_difference(a: int, b: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Newcombe's score interval of the share a/n minus b/n.

    Statistics in Medicine 17 (1998) 873, method 10: for samples that are independent. Outcomes of
    shared seeds go together, if anything, which makes it rather too wide.
    """
    (a_low, a_high), (b_low, b_high) = wilson(a, n, confidence), wilson(b, n, confidence)
    share_a, share_b = a / n, b / n
    low = math.hypot(share_a - a_low, b_high - share_b)
    high = math.hypot(a_high - share_a, share_b - b_low)
    return share_a - share_b - low, share_a - share_b + high


def ratio_of_medians(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Bootstrap percentile interval of median(a) / median(b); None where one has a single value.

    Both are resampled by themselves. It tells how well these samples fix their medians, and nothing
    of what would change if they were taken again.
    """
    if min(len(a), len(b)) < 2:
        return None
    generator = np.random.default_rng(0)
    ratio_R = _resampled_medians(a, generator) / _resampled_medians(b, generator)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratio_R, (tail, 1 - tail))
    return float(low), float(high)


def _resampled_medians(values: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Medians of resamples, (R,), drawn by their ranks: what `scipy.stats.bootstrap` gives.

    A resample takes x[⌊nU⌋] of the sorted values for n uniform U, so that its median is at the
    middle one of the U, whose distribution is Beta; thousands of samples need not be drawn.
    """
    x, n = np.sort(values), len(values)
    middle = (n + 1) // 2
    lower_R = generator.beta(middle, n - middle + 1, NUM_MEDIANS)
    upper_R = lower_R
    if n % 2 == 0:  # the next one is the least of the n − middle that lie above
        upper_R = lower_R + (1 - lower_R) * generator.beta(1, n - middle, NUM_MEDIANS)
    rank = [np.minimum((n * u_R).astype(int), n - 1) for u_R in (lower_R, upper_R)]
    return (x[rank[0]] + x[rank[1]]) / 2


@cache
def _student_quantile(probability: float, degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf(probability, degrees))


def _student(values: Sequence[float], confidence: float, widening: float) -> Interval:
    n = len(values)
    if n == 0:
        raise ValueError("no values; valid: one or more")
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean=mean, low=None, high=None, n=n)
    quantile = _student_quantile(0.5 + confidence / 2, n - 1)
    half_width = float(quantile * np.std(values, ddof=1) * widening)
    return Interval(mean=mean, low=mean - half_width, high=mean + half_width, n=n)
