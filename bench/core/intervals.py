"""Confidence intervals of means, shares and ratios, as pure functions on arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

FEWEST_SEEDS = 3
"""Seeds that a reported interval needs; that of two would hold almost any value."""
PRIOR_DEGREES = 4
"""Degrees of freedom with which the scatter of other times counts in that of one time."""


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


def difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Welch's interval of the mean of a minus the mean of b, for independent values."""
    mean, sizes = float(np.mean(a) - np.mean(b)), (len(a), len(b))
    if min(sizes) < 2:
        return Interval(mean=mean, low=None, high=None, n=min(sizes))
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (a, b)]
    half_width = 0.0
    if sum(parts) > 0:
        spread = sum(part**2 / (n - 1) for part, n in zip(parts, sizes, strict=True))
        quantile = _student_quantile(0.5 + confidence / 2, sum(parts) ** 2 / spread)
        half_width = quantile * math.sqrt(sum(parts))
    return Interval(mean=mean, low=mean - half_width, high=mean + half_width, n=min(sizes))


def share_difference(
    a: tuple[int, int], b: tuple[int, int], confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's score interval of share a minus share b; each is successes and their total.

    Statistics in Medicine 17 (1998) 873, method 10, for independent samples. Outcomes that share
    seeds tend to agree, so the interval is conservative.
    """
    (a_low, a_high), (b_low, b_high) = wilson(*a, confidence), wilson(*b, confidence)
    share_a, share_b = a[0] / a[1], b[0] / b[1]
    low = math.hypot(share_a - a_low, b_high - share_b)
    high = math.hypot(a_high - share_a, share_b - b_low)
    return share_a - share_b - low, share_a - share_b + high


def simultaneous_confidence(number: int, confidence: float = 0.95) -> float:
    """Bonferroni's confidence of each of so many intervals that all hold with `confidence`."""
    return 1 - (1 - confidence) / max(number, 1)


def ratio_intervals(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]], confidence: float = 0.95
) -> list[tuple[float, float] | None]:
    """Intervals of the ratios a over b of times, all of which hold together with `confidence`.

    Each side holds one value per process; None if one side has a single value. The logarithms are
    compared by Student's interval with the variance of both sides. Few processes may look alike by
    chance, so the variance of a ratio is averaged with that of all other ratios, which counts like
    `PRIOR_DEGREES` further processes (a moderated t statistic: Smyth, Statistical Applications in
    Genetics and Molecular Biology 3 (2004) 3, with fixed prior degrees).
    """
    logs = [tuple(np.log(np.asarray(side)) for side in pair) for pair in pairs]
    degrees = [len(a) + len(b) - 2 if min(len(a), len(b)) > 1 else 0 for a, b in pairs]
    squares = [
        sum(float(np.sum((side - side.mean()) ** 2)) for side in pair) if of_pair else 0.0
        for pair, of_pair in zip(logs, degrees, strict=True)
    ]
    level = simultaneous_confidence(sum(of_pair > 0 for of_pair in degrees), confidence)
    found: list[tuple[float, float] | None] = []
    for (a, b), of_pair, square in zip(logs, degrees, squares, strict=True):
        if of_pair == 0:
            found.append(None)
            continue
        of_others = sum(degrees) - of_pair
        prior = min(PRIOR_DEGREES, of_others)
        others = (sum(squares) - square) / max(of_others, 1)
        variance = (square + prior * others) / (of_pair + prior)
        error = math.sqrt(max(variance, 0.0) * (1 / len(a) + 1 / len(b)))
        half_width = _student_quantile(0.5 + level / 2, of_pair + prior) * error
        mean = float(a.mean() - b.mean())
        found.append((math.exp(mean - half_width), math.exp(mean + half_width)))
    return found


@cache
def _student_quantile(probability: float, degrees: float) -> float:
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
    """The median of the times at which cases ended, and whether it is known.

    `ended` are times at which a case ended; `censored` are times up to which one did not. Of an
    even number of cases, the median is the mean of the two in the middle. It is not known if one of
    these did not end; then the value is a bound below it.
    """
    median = float(np.median([*ended, *(math.inf for _ in censored)]))
    if math.isfinite(median):
        return median, True
    return float(np.median([*ended, *censored])), False
