"""The score and the signature that adding and variable_adding share.

Shape letters: B sequences.
"""

from dataclasses import dataclass

from torch import Tensor

from tasks._contract import Batch, Metric, Objective, Signature, Task

TOLERANCE = 0.04
"""Largest error, exclusive, of an answer that counts as right."""


def squared_error(output: Tensor, batch: Batch) -> Tensor:
    """Squared error of each sum: (B,)."""
    return (output[:, -1] - batch.y).square().mean(-1)


@dataclass(frozen=True, kw_only=True)
class AddingProblem(Task):
    """The input is values and marks; the target is the sum of the two marked values.

    The score is the share of sequences with |error| < 0.04. Chance is 0.0784 and comes from always
    answering 1, which has a mean squared error of 1/6. The task is solved at 0.95.
    """

    kind = "accumulation"

    @property
    def signature(self) -> Signature:
        return Signature(
            input="real",
            num_inputs=2,
            num_outputs=1,
            per="sequence",
            num_steps=self.length,
            reach=self.length,
        )

    @property
    def solved(self) -> float:
        return 0.95

    @property
    def objective(self) -> Objective:
        return Objective(
            loss=lambda output, batch: squared_error(output, batch).mean(),
            score=Metric(
                name="within_tolerance",
                unit="share of sequences",
                higher_is_better=True,
                # The sum of two uniforms has density 1 − |s − 1|: P(|s − 1| < e) = 2e − e².
                chance=2 * TOLERANCE - TOLERANCE**2,
                values=lambda output, batch: (
                    ((output[:, -1] - batch.y).abs() < TOLERANCE).all(-1).float()
                ),
            ),
            metrics=(
                Metric(
                    name="mean_squared_error",
                    unit="squared units",
                    higher_is_better=False,
                    chance=1 / 6,
                    values=squared_error,
                ),
            ),
        )
