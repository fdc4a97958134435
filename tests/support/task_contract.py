"""The contract of a task: checks that every task must pass, those of users included."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import pytest
import torch

from tasks import Batch, Metric, Split, Task
from tests.support.fingerprints import draw

CHECKS: list[Callable[[Task], None]] = []


def contract(check: Callable[[Task], None]) -> Callable[[Task], None]:
    """Add a check to `CHECKS`."""
    CHECKS.append(check)
    return check


def scored(task: Task) -> Iterator[tuple[Metric, Batch, torch.Tensor]]:
    """Each metric with a batch and the values of random outputs."""
    batch, output = draw(task), random_output(task, 4)
    for metric in task.objective.all_metrics:
        yield metric, batch, metric.values(output, batch)


def random_output(task: Task, n: int) -> torch.Tensor:
    steps = task.signature.num_steps if task.signature.per == "step" else 1
    return torch.randn(n, steps, task.signature.num_outputs, generator=torch.Generator())


@contract
def a_batch_is_what_the_signature_says(task: Task) -> None:
    signature, batch = task.signature, draw(task)
    if signature.input == "token":
        assert batch.x.shape == (4, signature.num_steps)
        assert batch.x.dtype == torch.int64
        assert 0 <= batch.x.min() <= batch.x.max() < signature.num_inputs
    else:
        assert batch.x.shape == (4, signature.num_steps, signature.num_inputs)
        assert batch.x.dtype == torch.float32
    assert len(batch.y) == 4
    assert 1 <= signature.reach <= signature.num_steps


@contract
def the_loss_is_a_scalar_and_metrics_are_per_sequence(task: Task) -> None:
    output = random_output(task, 4).requires_grad_()
    loss = task.objective.loss(output, draw(task))
    assert loss.shape == ()
    loss.backward()
    assert output.grad is not None
    for _, _, values in scored(task):
        assert values.shape == (4,)
        assert values.isfinite().all()


@contract
def chance_is_worse_than_the_score_that_counts_as_solved(task: Task) -> None:
    if task.solved is not None:
        assert task.solved != task.chance
        assert (task.solved > task.chance) == task.objective.score.higher_is_better


@contract
def a_share_lies_between_0_and_1(task: Task) -> None:
    for metric, _, values in scored(task):
        if metric.unit.startswith("share of"):
            assert ((values >= 0) & (values <= 1)).all()
            assert 0 <= metric.chance <= 1


@contract
def baselines_are_finite_and_the_same_each_time(task: Task) -> None:
    found = task.baselines()
    assert found == task.baselines()
    assert all(map(math.isfinite, found.values()))


@contract
def the_seed_alone_decides_the_data(task: Task) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = draw(task)
    assert torch.equal(state, torch.random.get_rng_state())  # the global generator is not used
    second = draw(task)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.y, second.y)
    assert not torch.equal(first.x, draw(task, seed=1).x)


@contract
def splits_and_lengths_have_streams_of_their_own(task: Task) -> None:
    seeds = [task.generator(split, 0).initial_seed() for split in ("train", "validation", "test")]
    others = {*task.lengths, task.smallest["length"]} - {task.length}
    for other in others:
        try:
            variant = dataclasses.replace(task, length=other)
        except ValueError:  # some fields do not allow every length
            continue
        seeds.append(variant.generator("train", 0).initial_seed())
    assert len(set(seeds)) == len(seeds)


def everything(task: Task, split: Split, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(task.evaluation(split, 0, batch_size))
    return torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])


@contract
def evaluation_does_not_depend_on_the_batch_size(task: Task) -> None:
    for split in ("validation", "test"):
        (x, y), (other_x, other_y) = everything(task, split, 64), everything(task, split, 1000)
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
        assert x.device.type == "cpu"
        assert len(x) == len(y) > 0


@contract
def fields_cannot_be_changed(task: Task) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(task, "length", 5)  # noqa: B010
