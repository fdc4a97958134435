"""The screen that `show` prints of a record."""

from pathlib import Path

import pytest

from bench.core.records import CurvePoint
from bench.run.show import screen
from tests.support.records import outcome, record, spec

RESULTS = Path("results")


def curve(scores: list[float], losses: list[float]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            step=100 * place,
            seconds=0.1 * place,
            train_loss=loss,
            validation_loss=loss,
            values={"recall": score, "cross_entropy": loss},
        )
        for place, (score, loss) in enumerate(zip(scores, losses, strict=True))
    )


@pytest.mark.parametrize(
    ("scores", "losses", "said"),
    [
        ([0.125] + [0.5] * 12, [2.0 - 0.1 * i for i in range(13)], "and it was still improving"),
        ([0.125] + [0.5] * 12, [2.0, 1.9] * 6 + [2.0], "and it had stopped improving"),
        ([0.125] * 13, [2.0, 1.9] * 6 + [2.0], "and it was at chance"),
    ],
)
def test_a_run_that_failed_says_whether_more_updates_may_help(
    scores: list[float], losses: list[float], said: str
) -> None:
    made = outcome(scores[-1], steps=1200, curve=curve(scores, losses))
    text = screen(record(spec(max_steps=1200), outcome=made), RESULTS)
    assert f"after 1,200 updates: the budget of updates was spent, {said}" in text


def test_a_run_of_older_code_has_no_command_that_would_make_another() -> None:
    made = record(spec())
    assert f"bench run --again {made.spec.id} --results results" in screen(made, RESULTS)
    older = record(made.spec.model_copy(update={"protocol": made.spec.protocol - 1}))
    text = screen(older, RESULTS)
    assert "--again" not in text
    assert f"It cannot be run again: it was made by commit {older.machine.commit}" in text
