"""The largest dependency length that a model still solves, with an interval over seeds."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000
"""Resamples of the seeds that are drawn. Up to seven seeds have fewer different resamples (1,716);
then each of them is taken once, with its probability."""

NEWTON_STEPS = 50

LONGEST_STEP = 2.0
"""Largest step of Newton's method, in log odds over one standard deviation of log T."""

GRID_STEP = 0.01
"""Distance between the horizons tried, in log T: 1%."""


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far a model solves a task, with an interval for the T that half of all seeds solve.

    `200 (100–300; 4/5 seeds)` means: 200 is the largest T that at least half of the seeds solve,
    4 of 5 seeds solve it, and the interval goes from 100 to 300. An end of the interval that lies
    beyond the lengths tested is left out: `≥ 300 (200–; 4/5 seeds)`. An interval that only repeats
    the mark is left out too: `≥ 300 (5/5 seeds)`, `< 5 (0/5 seeds)`. A star means that some
    smaller T was not solved.
    """

    length: int | None
    """The largest T solved by at least half of the seeds; None: not even the shortest tested."""
    low: int | None
    """None: it may lie below the smallest T tested."""
    high: int | None
    """None: it may lie above the largest T tested."""
    num_solved: int
    """Seeds that solve it: at the horizon, or at the shortest T where there is none."""
    num_seeds: int
    shortest: int
    """The smallest T tested."""
    at_least: bool
    """Whether the horizon is the largest T tested, so that the sweep ended first."""
    gap: bool
    """Whether some smaller T was not solved."""

    @property
    def reached(self) -> str:
        """The horizon alone: `200`, `20*`, `≥ 300`, `< 5`."""
        if self.length is None:
            return f"< {self.shortest}"
        return f"{'≥ ' if self.at_least else ''}{self.length}{'*' if self.gap else ''}"

    def __str__(self) -> str:
        count = f"{self.num_solved}/{self.num_seeds} seeds"
        open_ended = self.length is None or self.at_least
        known = (None, self.shortest) if self.length is None else (self.length, None)
        if open_ended and (self.low, self.high) == known:
            return f"{self.reached} ({count})"
        ends = ("" if end is None else str(end) for end in (self.low, self.high))
        return f"{self.reached} ({'–'.join(ends)}; {count})"


def horizon(
    solved: Mapping[int, Mapping[int, bool]],
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Horizon:
    """The horizon of one model on one task; `solved` maps T → seed → whether it solved T.

    Where success is not monotone in T, the largest solved T counts and `gap` is true. A seed may be
    missing at some T.

    The interval is for the T at which P(solved) = 1/2 on a logistic curve in log T. It is the hull
    of three intervals, cut off at the lengths tested:

    - from the horizon to the next T tested, since nothing was tested in between;
    - the bootstrap over seeds (`_resampled`), which allows for correlated runs of one seed;
    - the profile likelihood (`_likely`), which allows for seeds that agree by chance.

    A single seed gives no interval.
    """
    lengths = sorted(solved)
    seeds = sorted({seed for by_seed in solved.values() for seed in by_seed})
    ran_SL = np.array([[seed in solved[T] for T in lengths] for seed in seeds], float)
    solved_SL = np.array([[solved[T].get(seed, False) for T in lengths] for seed in seeds], float)
    num_solved, num_seeds = solved_SL.sum(axis=0), ran_SL.sum(axis=0)
    half = np.flatnonzero(2 * num_solved >= num_seeds)
    at = int(half[-1]) if len(half) else 0

    x_L = np.log(lengths)
    first, last = float(x_L[0]), float(x_L[-1])
    ends = [
        _likely(num_solved, num_seeds, x_L, confidence),
        _resampled(solved_SL, ran_SL, x_L, confidence, num_resamples),
    ]
    # Round outwards to whole steps; exp(log(length)) must give the length itself.
    lows = [math.floor(math.exp(min(low, last)) + 1e-6) for low, _ in ends if low >= first]
    highs = [math.ceil(math.exp(max(high, first)) - 1e-6) for _, high in ends if high <= last]
    beyond = at + 1 if len(half) else 0
    open_below, open_above = len(lows) < len(ends), len(highs) < len(ends)
    return Horizon(
        length=lengths[at] if len(half) else None,
        low=None if open_below or not len(half) else min(lengths[at], *lows),
        high=None if open_above or beyond == len(lengths) else max(lengths[beyond], *highs),
        num_solved=int(num_solved[at]),
        num_seeds=int(num_seeds[at]),
        shortest=lengths[0],
        at_least=bool(len(half)) and at == len(lengths) - 1,
        gap=len(half) <= at,
    )


def _likely(
    solved_L: np.ndarray, runs_L: np.ndarray, x_L: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Lowest and highest log T that the profile likelihood allows for the horizon; ±inf: open.

    P(solved) = 1 / (1 + exp(a·(x − h))), a ≥ 0. A horizon h is allowed where, with the best-fitting
    slope a, twice the log likelihood lies within t² of its largest. t has two degrees of
    freedom less than there are runs, in place of the normal quantile of large samples. Unlike
    the standard error of the curve, this stays finite and exact if all outcomes fit a step.
    """
    from scipy.stats import t

    degrees = int(runs_L.sum()) - 2
    if degrees < 1:
        return -math.inf, math.inf
    span = float(x_L[-1] - x_L[0]) or 1.0
    inside = np.linspace(x_L[0], x_L[-1], math.ceil(span / GRID_STEP) + 1)
    outside = span * np.geomspace(GRID_STEP, 30, 30)
    h_H = np.concatenate([x_L[0] - outside[::-1], inside, x_L[-1] + outside])
    closest = float(np.diff(x_L).min()) if len(x_L) > 1 else span
    a_A = np.concatenate([[0.0], np.geomspace(0.1 / span, 40 / closest, 40)])  # flat … a step
    odds_HAL = np.clip(a_A[:, None] * (h_H[:, None, None] - x_L), -30, 30)  # beyond: 0 or 1
    likelihood_HA = odds_HAL @ solved_L - np.log1p(np.exp(odds_HAL)) @ runs_L
    profile_H = likelihood_HA.max(axis=1)
    within = t.ppf(0.5 + confidence / 2, degrees) ** 2 / 2
    allowed = h_H[profile_H >= profile_H.max() - within]
    return float(allowed[0]), float(allowed[-1])


def _resampled(
    solved_SL: np.ndarray,
    ran_SL: np.ndarray,
    x_L: np.ndarray,
    confidence: float,
    num_resamples: int,
) -> tuple[float, float]:
    """Percentile interval of the fitted horizon over resamples of the seeds, in log T.

    With few seeds that is too narrow. The expanded percentiles of Hesterberg (The American
    Statistician 2015) go further out: to the share Φ(−√(n/(n − 1))·t) on either side, with t of
    n − 1 degrees of freedom, so that for a mean the interval is as wide as Student's.
    """
    from scipy.stats import norm, t

    num_seeds = len(solved_SL)
    if num_seeds == 1:
        return -math.inf, math.inf
    resamples_RS, weights_R = _resamples(num_seeds, num_resamples)
    h_R = _fitted_horizons(resamples_RS @ solved_SL, resamples_RS @ ran_SL, x_L)
    quantile = t.ppf(0.5 + confidence / 2, num_seeds - 1)
    tail = float(norm.cdf(-math.sqrt(num_seeds / (num_seeds - 1)) * quantile))
    return _lower_quantile(h_R, weights_R, tail), -_lower_quantile(-h_R, weights_R, tail)


def _resamples(num_seeds: int, num_resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each resample has each seed, (R, S), and the resamples' probabilities, (R,)."""
    # Not scipy.stats.bootstrap: five seeds have 126 resamples in all. Taking each with its
    # probability costs less than drawing thousands, and the tails are exact.
    from scipy.stats import multinomial

    even = np.full(num_seeds, 1 / num_seeds)
    if math.comb(2 * num_seeds - 1, num_seeds) > num_resamples:
        drawn = np.random.default_rng(0).multinomial(num_seeds, even, size=num_resamples)
        return drawn, np.full(num_resamples, 1 / num_resamples)
    chosen = itertools.combinations_with_replacement(range(num_seeds), num_seeds)
    every = (np.array(list(chosen))[:, :, None] == np.arange(num_seeds)).sum(axis=1)
    return every, multinomial.pmf(every, num_seeds, even)


def _lower_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The smallest value that, with all below it, has at least this share of the weight."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1])])


def _fitted_horizons(solved_RL: np.ndarray, runs_RL: np.ndarray, x_L: np.ndarray) -> np.ndarray:
    """Where a logistic curve in x = log T passes 1/2, per resample, (R,); ±inf: nowhere.

    Fitted by Firth's penalised likelihood (Biometrika 1993; for logistic curves Heinze & Schemper
    2002), by Newton's method with the expected information. Like a ridge penalty on the slope,
    it gives a finite answer if solved and unsolved lengths are separated. Unlike a ridge penalty,
    it has no strength to choose and does not depend on the scale of x. A curve that does not fall
    is taken to be flat.
    """
    from scipy.special import expit

    scale = float(x_L.std()) or 1.0
    z_L = (x_L - x_L.mean()) / scale
    level_R, slope_R, determinant_R = (np.zeros(len(solved_RL)) for _ in range(3))
    for _ in range(NEWTON_STEPS):
        p_RL = expit(level_R[:, None] + slope_R[:, None] * z_L)
        weight_RL = runs_RL * p_RL * (1 - p_RL)
        i00_R, i01_R, i11_R = (weight_RL @ power for power in (z_L**0, z_L, z_L**2))
        determinant_R = np.maximum(i00_R * i11_R - i01_R**2, 1e-9)
        spread_RL = i11_R[:, None] - 2 * i01_R[:, None] * z_L + i00_R[:, None] * z_L**2
        leverage_RL = weight_RL * spread_RL / determinant_R[:, None]
        score_RL = solved_RL - runs_RL * p_RL + leverage_RL * (0.5 - p_RL)
        s0_R, s1_R = score_RL.sum(axis=1), score_RL @ z_L
        step_R2 = np.stack([i11_R * s0_R - i01_R * s1_R, i00_R * s1_R - i01_R * s0_R], axis=1)
        step_R2 /= determinant_R[:, None]
        length_R = np.hypot(*step_R2.T)
        step_R2 *= np.minimum(1, LONGEST_STEP / np.maximum(length_R, 1e-12))[:, None]
        level_R, slope_R = level_R + step_R2[:, 0], slope_R + step_R2[:, 1]
        if length_R.max() < 1e-6:
            break
    # A resample with runs at a single T has no slope.
    falls_R = (slope_R < -1e-9) & (determinant_R > 1e-9)
    nowhere_R = np.where(2 * solved_RL.sum(axis=1) >= runs_RL.sum(axis=1), math.inf, -math.inf)
    passed_R = x_L.mean() - scale * level_R / np.where(falls_R, slope_R, -1.0)
    return np.where(falls_R, passed_R, nowhere_R)
