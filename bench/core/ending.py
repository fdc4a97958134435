"""How a run ended: solved, improving, converged, at chance or diverged."""

import math
from collections.abc import Sequence
from statistics import mean, variance
from typing import Literal

from bench.core.records import CurvePoint, MetricInfo, Outcome, is_share
from bench.core.spec import Training

Ending = Literal["solved", "improving", "converged", "at chance", "diverged"]

PARTS = 6
"""The last part of this many of the constant phase is compared with the part before it."""
STANDARD_ERRORS = 2.0
"""A loss has fallen if its mean is lower by more than this many standard errors."""
FROM_CHANCE = 0.1
"""Below this share of the way from chance to the goal a score counts as chance."""


def ending(outcome: Outcome, training: Training, solved_at: float | None) -> Ending:
    """How a run ended; the first of these that applies.

    - `solved`: the test score reaches `solved_at`.
    - `diverged`: training ended with a value that was not finite.
    - `improving`: the mean validation loss over the last sixth of the constant phase is below the
      mean over the sixth before by more than two standard errors of the difference. The constant
      phase is the part of the budget before the learning rate falls. A run that stopped early,
      because its validation scores passed the threshold, and then failed its test counts as
      improving too: its budget was not used up.
    - `at chance`: the mean validation score over that last sixth has come less than a tenth of the
      way from chance to the goal. The goal is `solved_at`; without one it is the best possible
      score, which is 1 for a share and 0 where lower is better.
    - `converged`: everything else.
    """
    score = outcome.score
    if solved_at is not None and score.reaches(outcome.test_score, solved_at):
        return "solved"
    if outcome.stopped == "diverged":
        return "diverged"
    before, last = _parts(outcome, training)
    if outcome.stopped == "solved" or _fell(_losses(before, score), _losses(last, score)):
        return "improving"
    return "at chance" if _at_chance(last, score, solved_at) else "converged"


def _parts(
    outcome: Outcome, training: Training
) -> tuple[Sequence[CurvePoint], Sequence[CurvePoint]]:
    """The validations of the last sixth of the constant phase, after those of the sixth before.

    If a sixth holds fewer than two, they are the last two of the phase and the two before. If the
    phase has two or three, they are the last one and the one before it.
    """
    share = 1 - training.cooldown
    end = round(share * training.max_steps, 6) or training.max_steps
    phase = [point for point in outcome.curve if point.step <= end]
    before, last = (
        [point for point in phase if after * end / PARTS < point.step <= (after + 1) * end / PARTS]
        for after in (PARTS - 2, PARTS - 1)
    )
    if min(len(before), len(last)) >= 2:
        return before, last
    size = min(2, len(phase) // 2)
    return phase[-2 * size : len(phase) - size], phase[len(phase) - size :]


def _losses(points: Sequence[CurvePoint], score: MetricInfo) -> list[float]:
    """The validation losses; where none was recorded, the scores with the sign of a loss."""
    losses = [point.validation_loss for point in points if point.validation_loss is not None]
    sign = -1 if score.higher_is_better else 1
    return losses or [sign * value for value in _scores(points, score)]


def _scores(points: Sequence[CurvePoint], score: MetricInfo) -> list[float]:
    values = (point.values[score.name] for point in points)
    return [value for value in values if value is not None]


def _fell(before: Sequence[float], last: Sequence[float]) -> bool:
    """Whether the mean fell by more than two standard errors of the difference.

    The spread of a single value is unknown; then any fall counts, since a run that may be improving
    must not be taken for one that is not.
    """
    if not before or not last:
        return False
    errors = [variance(values) / len(values) if len(values) > 1 else 0 for values in (before, last)]
    return mean(before) - mean(last) > STANDARD_ERRORS * math.sqrt(sum(errors))


def _at_chance(points: Sequence[CurvePoint], score: MetricInfo, solved_at: float | None) -> bool:
    goal = solved_at
    if goal is None and not score.higher_is_better:
        goal = 0.0
    elif goal is None and is_share(score.unit):
        goal = 1.0
    values = _scores(points, score)
    gained = mean(values) - score.chance if values else 0.0
    if goal is None or goal == score.chance:
        return gained <= 0 if score.higher_is_better else gained >= 0
    return gained / (goal - score.chance) < FROM_CHANCE
