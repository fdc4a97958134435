"""The contract over every task that is found by name."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

import tasks
from tasks import Batch, Metric, Objective, Signature, Split, Task
from tests.support.task_contract import CHECKS

pytestmark = pytest.mark.usefixtures("stand_in_mnist")


def instances(name: str) -> list[Task]:
    """The smallest, and one of the lengths that a profile takes by default."""
    cls = tasks.task_class(name)
    return [cls(**cls.smallest), cls(length=cls.lengths[0])]


every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)


@every_check
@pytest.mark.parametrize(
    "task",
    [task for name in tasks.names() for task in instances(name)],
    ids=lambda task: f"{task.task_name()}-{task.length}",
)
def test_every_task_keeps_the_contract(task: Task, check: Callable[[Task], None]) -> None:
    check(task)


@dataclass(frozen=True, kw_only=True)
class FirstValue(Task):
    """A task of the user's whose score is not a share: name the first value, in decibels."""

    version = 1
    smallest = {"length": 6}
    lengths = (6, 9)

    @property
    def signature(self) -> Signature:
        return Signature(
            input="real",
            num_inputs=1,
            num_outputs=1,
            per="sequence",
            num_steps=self.length,
            reach=self.length,
        )

    @property
    def solved(self) -> float:
        return 30.0

    @property
    def objective(self) -> Objective:
        def squared(output: torch.Tensor, batch: Batch) -> torch.Tensor:
            return (output[:, -1] - batch.y).square().mean(-1)

        return Objective(
            loss=lambda output, batch: squared(output, batch).mean(),
            score=Metric(
                name="psnr",
                unit="dB",
                higher_is_better=True,
                chance=14.7,
                values=lambda output, batch: 10 * (4 / squared(output, batch)).log10(),
            ),
        )

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        x_BT = 2 * torch.rand(n, self.length, generator=generator, device=generator.device) - 1
        return Batch(x=x_BT.unsqueeze(-1), y=x_BT[:, :1])


@every_check
@pytest.mark.usefixtures("plugins")
def test_a_plug_in_scored_in_decibels_keeps_the_contract(check: Callable[[Task], None]) -> None:
    tasks.register(FirstValue)
    assert "test_contract" in tasks.names()
    for task in instances("test_contract"):
        check(task)


def test_an_unknown_kind_of_problem_is_an_error_when_the_task_is_defined() -> None:
    with pytest.raises(ValueError, match=r"Odd\.kind is 'varying'; valid: fixed-lag, varying-pl"):
        type("Odd", (Task,), {"kind": "varying"})
