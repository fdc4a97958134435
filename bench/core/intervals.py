"""Confidence intervals of means, shares and ratios, as pure functions on arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

NUM_MEDIANS = 10_000
"""Number of bootstrap resamples."""


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (1927): lower and upper bound in [0, 1].

    `successes` may be fractional: a sum of shares, one per sequence. The interval is then
    conservative, since shares vary less than zeros and ones.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes {successes} of {n}; valid: n from 1, successes from 0 to n")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    half_width = z * spread / (1 + z**2 / n)
    # Rounding must not exclude the share itself, nor move a bound beyond 0 or 1.
    return max(min(centre - half_width, share), 0.0), min(max(centre + half_width, share), 1.0)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over `n` seeds with its interval."""

    mean: float
    low: float | None
    """`low` and `high` are None if there is only one value."""
    high: float | None
    n: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean: mean ± t·s/√n, with t of n − 1 degrees of freedom.

    Equal values give an interval without width.
    """
    return _student(values, confidence, 1 / math.sqrt(max(len(values), 1)))


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Interval that holds one further value: mean ± t·s·√(1 + 1/n)."""
    return _student(values, confidence, math.sqrt(1 + 1 / max(len(values), 1)))


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of a − b, where `a[i]` and `b[i]` have the same seed.

    `scipy.stats.ttest_rel` gives the same, but warns if all differences are equal.
    """
    return mean_interval([x - y for x, y in zip(a, b, strict=True)], confidence)


def share_difference(a: int, b: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Newcombe's score interval of the share a/n minus b/n.

    Statistics in Medicine 17 (1998) 873, method 10, for independent samples. Outcomes that share
    seeds tend to agree, so the interval is conservative.
    """
    (a_low, a_high), (b_low, b_high) = wilson(a, n, confidence), wilson(b, n, confidence)
    share_a, share_b = a / n, b / n
    low = math.hypot(share_a - a_low, b_high - share_b)
    high = math.hypot(a_high - share_a, share_b - b_low)
    return share_a - share_b - low, share_a - share_b + high


def ratio_of_medians(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Bootstrap percentile interval of median(a) / median(b); None if one has a single value.

    Both are resampled independently. The interval says how well these samples determine their
    medians. It does not cover what would change if the samples were taken again.
    """
    if min(len(a), len(b)) < 2:
        return None
    generator = np.random.default_rng(0)
    ratio_R = _resampled_medians(a, generator) / _resampled_medians(b, generator)
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratio_R, (tail, 1 - tail))
    return float(low), float(high)


def _resampled_medians(values: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Medians of resamples, (R,), with the distribution that `scipy.stats.bootstrap` gives.

    A resample is x[⌊nU⌋] of the sorted values for n uniform numbers U. Its median belongs to the
    middle one of these numbers, which has a Beta distribution. Drawing only this one is much
    faster, since there are thousands of samples.
    """
    x, n = np.sort(values), len(values)
    middle = (n + 1) // 2
    lower_R = generator.beta(middle, n - middle + 1, NUM_MEDIANS)
    upper_R = lower_R
    if n % 2 == 0:  # the next order statistic is the smallest of the n − middle larger numbers
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


def censored_median(ended: Sequence[float], censored: Sequence[float]) -> tuple[float, bool]:
    """The time by which half of all cases ended, and whether it is known.

    `ended` are times at which a case ended; `censored` are times up to which one did not. If fewer
    than half ended, the median is not known, and the value is a bound that it exceeds.
    """
    num_half = -(-(len(ended) + len(censored)) // 2)
    if len(ended) >= num_half:
        return sorted(ended)[num_half - 1], True
    return sorted([*ended, *censored])[num_half - 1], False
