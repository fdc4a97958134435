"""How a run ended follows from planted curves."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from bench.core.ending import Ending, ending
from bench.core.records import CurvePoint, MetricInfo, Outcome
from bench.core.spec import Training
from tests.support.records import outcome

UNSOLVED = 0.3
Curve = Callable[[float], float]
"""Share of the constant phase → a value."""


def trained(max_steps: int = 10_000, cooldown: float = 0.1, **settings: Any) -> Training:
    return Training(learning_rate=1e-3, max_steps=max_steps, cooldown=cooldown, **settings)


def planted(
    loss: Curve | None,
    score: Curve = lambda _: 0.5,
    *,
    test: float = UNSOLVED,
    training: Training | None = None,
    every: int = 100,
    noise: float = 0.0,
    **changes: Any,
) -> Outcome:
    """A run whose validation loss and recall follow these curves."""
    training = training or trained()
    draw, end = random.Random(0), training.max_steps * (1 - training.cooldown)
    curve = tuple(
        CurvePoint(
            step=step,
            seconds=1.0,
            train_loss=0.1,
            validation_loss=None if loss is None else loss(step / end) + draw.gauss(0, noise),
            values={"recall": score(step / end), "cross_entropy": 0.1},
        )
        for step in range(0, training.max_steps + 1, every)
    )
    return outcome(
        test, steps=training.max_steps, **{"curve": curve, "stopped": "budget"} | changes
    )


def level(value: float) -> Curve:
    return lambda _: value


def ended(run: Outcome, training: Training | None = None, solved_at: float | None = 0.95) -> Ending:
    return ending(run, training or trained(), solved_at)


def test_a_test_score_at_the_threshold_is_solved_however_the_run_stopped() -> None:
    assert ended(planted(level(1.0), test=0.95)) == "solved"
    assert ended(planted(level(1.0), test=0.97, stopped="diverged")) == "solved"


def test_the_threshold_is_the_present_one_and_not_that_of_the_record() -> None:
    assert ended(planted(level(1.0), test=0.9), solved_at=0.9) == "solved"
    assert ended(planted(level(1.0), test=0.99), solved_at=0.999) == "converged"


def test_a_value_that_is_not_finite_is_divergence() -> None:
    assert ended(planted(lambda at: 2 - at, stopped="diverged")) == "diverged"


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_loss_that_falls_to_the_end_of_the_constant_phase_is_improving(noise: float) -> None:
    assert ended(planted(lambda at: 2 - at, noise=noise)) == "improving"


def test_a_fall_counts_beyond_two_standard_errors() -> None:
    # 20 validations in a sixth, at ± 0.1: two standard errors of the difference are 0.065.
    def step(size: float) -> Outcome:
        return planted(lambda at: 1 + 0.1 * (-1) ** round(120 * at) - size * (at > 5 / 6), every=75)

    assert ended(step(0.06)) == "converged"
    assert ended(step(0.07)) == "improving"


@pytest.mark.parametrize(("correlation", "expected"), [(0.0, 0.03), (0.5, 0.12)])
def test_a_plateau_looks_like_a_fall_as_rarely_as_the_method_says(
    correlation: float, expected: float
) -> None:
    draw, number = random.Random(1), 500

    def plateau() -> Outcome:
        value = 0.0

        def loss(_: float) -> float:
            nonlocal value
            value = correlation * value + draw.gauss(0, 1)
            return value

        return planted(loss, training=trained(15_600))

    improving = sum(ended(plateau(), trained(15_600)) == "improving" for _ in range(number))
    # Four standard errors of a share.
    assert improving / number == pytest.approx(expected, abs=4 * (expected / number) ** 0.5)


def test_a_level_or_rising_loss_above_chance_has_converged() -> None:
    assert ended(planted(level(1.0))) == "converged"
    assert ended(planted(lambda at: 1 + at)) == "converged"


def test_a_fall_that_was_over_before_the_last_third_has_converged() -> None:
    assert ended(planted(lambda at: max(2 - at, 1.4), noise=0.001)) == "converged"


def test_a_fall_that_comes_with_the_falling_rate_alone_is_not_improving() -> None:
    assert ended(planted(lambda at: 2.0 if at <= 1 else 1.0)) == "converged"


def test_a_breakthrough_near_the_end_of_the_constant_phase_is_improving() -> None:
    run = planted(lambda at: 2.0 if at < 0.9 else 2 - 5 * (at - 0.9), level(0.125), noise=1e-3)
    assert ended(run) == "improving"


def test_the_constant_phase_depends_on_the_cooldown() -> None:
    training = trained(cooldown=0.5)
    run = planted(lambda at: 2 - min(at, 1.0), training=training)
    assert ended(run, training) == "improving"
    assert ended(run, trained(cooldown=0.0)) == "converged"
    all_cooling = trained(cooldown=1.0)
    falling = planted(lambda at: 2 - at, training=trained(cooldown=0))
    assert ended(falling, all_cooling) == "improving"


def test_a_level_loss_near_the_chance_score_is_at_chance() -> None:
    a_tenth = 0.125 + 0.1 * (0.95 - 0.125)
    assert ended(planted(level(1.0), level(0.125))) == "at chance"
    assert ended(planted(level(1.0), level(0.05))) == "at chance"
    assert ended(planted(level(1.0), level(a_tenth - 0.001))) == "at chance"
    assert ended(planted(level(1.0), level(a_tenth + 0.001))) == "converged"


def test_chance_is_judged_on_the_last_sixth_alone() -> None:
    late = planted(level(1.0), lambda at: 0.9 if at > 5 / 6 else 0.125)
    assert ended(late) == "converged"
    lost = planted(level(1.0), lambda at: 0.125 if at > 5 / 6 else 0.9)
    assert ended(lost) == "at chance"


GAP = MetricInfo(name="recall", unit="bits", higher_is_better=False, chance=2.0)
LOSS = MetricInfo(name="cross_entropy", unit="nats", higher_is_better=False, chance=0.5)


def test_lower_scores_may_be_better() -> None:
    def gap(value: float, solved_at: float | None) -> Ending:
        run = planted(level(1.0), level(value), test=value, metrics=(GAP, LOSS))
        return ended(run, solved_at=solved_at)

    assert [gap(value, 0.1) for value in (0.1, 1.5, 1.9, 2.5)] == [
        *("solved", "converged", "at chance", "at chance")
    ]
    # Without a threshold the way leads to 0.
    assert [gap(value, None) for value in (0.1, 1.79, 1.81)] == [
        *("converged", "converged", "at chance")
    ]


def test_a_task_without_a_threshold_is_never_solved() -> None:
    assert ended(planted(level(1.0), level(0.99), test=1.0), solved_at=None) == "converged"
    # A tenth of the way from 0.125 to 1 is 0.2125.
    assert ended(planted(level(1.0), level(0.21)), solved_at=None) == "at chance"
    assert ended(planted(level(1.0), level(0.22)), solved_at=None) == "converged"


def test_a_score_without_a_best_value_is_at_chance_up_to_chance() -> None:
    points = MetricInfo(name="recall", unit="points", higher_is_better=True, chance=3.0)
    for value, expected in ((3.0, "at chance"), (3.1, "converged")):
        run = planted(level(1.0), level(value), metrics=(points, LOSS))
        assert ended(run, solved_at=None) == expected


def test_scores_stand_in_for_losses_that_were_not_recorded() -> None:
    assert ended(planted(None, lambda at: at / 2)) == "improving"
    assert ended(planted(None, level(0.5))) == "converged"
    falling_gap = planted(None, lambda at: 2 - at / 2, test=1.0, metrics=(GAP, LOSS))
    assert ended(falling_gap, solved_at=0.1) == "improving"


def test_few_validations_are_compared_in_pairs_and_then_in_halves() -> None:
    def of(every: int, curve: Curve) -> Ending:
        return ended(planted(curve, every=every, training=trained(cooldown=0)), trained(cooldown=0))

    assert of(2_000, lambda at: 2 - at) == "improving"  # one validation in a sixth
    assert of(2_000, level(1.0)) == "converged"
    assert of(5_000, lambda at: 2 - at) == "improving"  # three validations: any fall counts
    assert of(10_000, lambda at: 2 - 0.001 * at) == "improving"
    assert of(10_000, level(1.0)) == "converged"
    assert of(20_000, lambda at: 2 - at) == "at chance"  # before the first update alone


def test_a_run_that_stopped_early_and_failed_its_test_did_not_use_its_budget() -> None:
    assert ended(planted(level(1.0), level(0.99), stopped="solved", test=0.9)) == "improving"
