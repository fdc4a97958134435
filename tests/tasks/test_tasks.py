"""The contract over every task found by name, and what is particular to each."""

import dataclasses
import hashlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tasks
from tasks import Task
from tasks._mnist import area_average, permutation
from tests.support.fingerprints import draw, fingerprint_of

pytestmark = pytest.mark.usefixtures("stand_in_mnist")


def instances(name: str) -> list[Task]:
    """The smallest, and one of the lengths that a profile takes by default."""
    cls = tasks.task_class(name)
    return [cls(**cls.smallest), cls(length=cls.lengths[0])]


def every_task() -> list[Task]:
    return [task for name in tasks.names() for task in instances(name)]


@pytest.fixture(params=every_task(), ids=lambda task: f"{task.task_name()}-{task.length}")
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


def test_a_batch_is_what_the_signature_says(task: Task) -> None:
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


def outputs(task: Task, n: int) -> torch.Tensor:
    steps = task.signature.num_steps if task.signature.per == "step" else 1
    return torch.randn(n, steps, task.signature.num_outputs, generator=torch.Generator())


def test_loss_is_a_scalar_and_metrics_are_per_sequence(task: Task) -> None:
    batch, output = draw(task), outputs(task, 4).requires_grad_()
    loss = task.objective.loss(output, batch)
    assert loss.shape == ()
    loss.backward()
    assert output.grad is not None
    for metric in task.objective.all_metrics:
        values = metric.values(output, batch)
        assert values.shape == (4,)
        assert values.isfinite().all()


def test_where_there_is_a_horizon_chance_does_not_reach_it(task: Task) -> None:
    score = task.objective.score
    if task.solved is not None:
        better = task.solved > task.chance
        assert better == score.higher_is_better
        assert task.solved != task.chance


def test_a_unit_of_shares_is_that_of_values_from_0_to_1(task: Task) -> None:
    for metric in task.objective.all_metrics:
        values = metric.values(outputs(task, 4), draw(task))
        assert metric.unit.startswith("share of") == metric.higher_is_better
        if metric.higher_is_better:
            assert ((values >= 0) & (values <= 1)).all()


def test_baselines_are_scores_and_the_same_each_time(task: Task) -> None:
    found = task.baselines()
    assert found == task.baselines()
    assert all(map(math.isfinite, found.values()))


def test_the_seed_alone_decides_the_data(task: Task) -> None:
    torch.manual_seed(1)
    first, state = draw(task), torch.random.get_rng_state()
    assert torch.equal(state, torch.random.get_rng_state())  # nothing global was drawn from
    torch.manual_seed(2)
    second = draw(task)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.y, second.y)
    assert not torch.equal(first.x, draw(task, seed=1).x)


def test_splits_and_fields_have_streams_of_their_own(task: Task) -> None:
    seeds = {task.generator(split, 0).initial_seed() for split in ("train", "validation", "test")}
    longer = dataclasses.replace(task, length=4 * task.length)
    seeds.add(longer.generator("train", 0).initial_seed())
    assert len(seeds) == 4


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_does_not_depend_on_the_batch_size(task: Task, split: tasks.Split) -> None:
    def together(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = list(task.evaluation(split, 0, batch_size))
        return torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])

    (x, y), (other_x, other_y) = together(64), together(1000)
    assert torch.equal(x, other_x)
    assert torch.equal(y, other_y)
    assert x.device.type == "cpu"
    assert len(x) == len(y) > 0


def test_a_task_can_not_be_changed(task: Task) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.length = 5  # pyright: ignore


def test_an_unknown_task_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'nothing'.*copy_memory"):
        tasks.load("nothing")


# Copy memory


def test_copy_memory_by_hand() -> None:
    task = tasks.load("copy_memory", length=3)
    batch = draw(task, n=1)
    message = batch.x[0, :10]
    assert ((message >= 1) & (message <= 8)).all()
    assert batch.x[0, 10:].tolist() == [0, 0] + [9] * 11
    assert batch.y[0].tolist() == [0] * 13 + message.tolist()
    assert task.signature.num_steps == 23


def test_copy_memory_reaches_back_t_plus_11_steps() -> None:
    for length in (1, 7):
        task = tasks.load("copy_memory", length=length)
        heard, due = 0, task.signature.num_steps - 10  # of the first symbol
        assert draw(task).y[0, due] == draw(task).x[0, heard]
        assert task.signature.reach == due - heard + 1 == length + 11


def test_copy_memory_chance_is_what_a_forgetful_predictor_gets() -> None:
    task = tasks.load("copy_memory", length=30)
    batch = draw(task, n=2000)
    output = torch.full((2000, 50, 10), -1e4)
    output[:, :40, 0] = 0.0  # blanks for certain
    output[:, 40:, 1:9] = 0.0  # each symbol alike
    recall, faultless, entropy = (m.values(output, batch) for m in task.objective.all_metrics)
    assert recall.mean().item() == pytest.approx(task.chance, abs=0.01)  # 4 standard errors
    assert faultless.mean() == 0
    assert entropy.mean().item() == pytest.approx(10 * math.log(8) / 50, rel=1e-5)
    assert task.objective.metrics[1].chance == pytest.approx(10 * math.log(8) / 50)


def test_copy_memory_scores_the_recalled_symbols_alone() -> None:
    task = tasks.load("copy_memory", length=5)
    batch = draw(task, n=1)
    output = F.one_hot(batch.y, 10).float()
    assert [m.values(output, batch).item() for m in task.objective.all_metrics[:2]] == [1, 1]
    output[0, -1] = F.one_hot(9 - batch.y[0, -1], 10)  # one symbol wrong
    output[0, :-10] = F.one_hot(torch.tensor(5), 10).float()  # and no blank right
    recall, faultless = (m.values(output, batch).item() for m in task.objective.all_metrics[:2])
    assert recall == pytest.approx(0.9)
    assert faultless == 0


@pytest.mark.parametrize("length", [0, -3])
def test_copy_memory_refuses_a_length_that_can_not_be(length: int) -> None:
    with pytest.raises(ValueError, match=f"length {length} of copy_memory; valid: 1 or more"):
        tasks.load("copy_memory", length=length)


# Adding


def test_adding_sums_two_different_marked_values() -> None:
    batch = draw(tasks.load("adding", length=2), n=100)
    values, marks = batch.x[..., 0], batch.x[..., 1]
    assert (marks.sum(1) == 2).all()
    assert torch.allclose((values * marks).sum(1, keepdim=True), batch.y)


def test_adding_marks_every_pair_alike() -> None:
    marks = draw(tasks.load("adding", length=4), n=6000).x[..., 1]
    pairs = (marks @ torch.tensor([1.0, 2.0, 4.0, 8.0])).long()
    counts = torch.bincount(pairs, minlength=16)
    assert (counts > 0).sum() == 6
    # Six equal cells of 1000: a standard deviation is 29.
    assert (counts[counts > 0] - 1000).abs().max() < 150


def test_adding_halves_marks_one_step_in_each() -> None:
    marks = draw(tasks.load("adding", length=7, markers="halves"), n=500).x[..., 1]
    assert (marks[:, :3].sum(1) == 1).all()
    assert (marks[:, 3:].sum(1) == 1).all()
    assert (marks.sum(0) > 0).all()


def test_adding_chance_is_what_always_answering_one_gets() -> None:
    task = tasks.load("adding", length=5)
    batch = draw(task, n=200_000)
    share, squared = (
        m.values(torch.ones(200_000, 1, 1), batch).mean().item() for m in task.objective.all_metrics
    )
    assert share == pytest.approx(task.chance, abs=0.003)  # 5 standard errors
    assert squared == pytest.approx(task.objective.metrics[0].chance, abs=0.003)


def test_variable_adding_sums_two_marks_within_each_sequence() -> None:
    task = tasks.load("variable_adding", length=9, shortest=2)
    batch = draw(task, n=3000)
    assert batch.lengths is not None
    assert batch.lengths.unique().tolist() == list(range(2, 10))
    shares = batch.lengths.bincount(minlength=10)[2:] / 3000
    assert (shares - 1 / 8).abs().max() < 0.03  # four standard errors
    values, marks = batch.x.unbind(-1)
    torch.testing.assert_close((values * marks).sum(1, keepdim=True), batch.y)
    assert torch.equal(marks.sum(1), torch.full((3000,), 2.0))
    outside = torch.arange(9) >= batch.lengths[:, None]
    assert not values[outside].any()
    assert not marks[outside].any()


def test_variable_adding_is_tested_beyond_its_length() -> None:
    task = tasks.load("variable_adding", length=20)
    beyond = task.beyond()
    assert [other.length for other in beyond] == [20, 40, 80]
    for other in beyond:
        lengths = draw(other).lengths
        assert lengths is not None
        assert set(lengths.tolist()) == {other.length}
    assert tasks.load("adding", length=20).beyond() == ()


def test_variable_adding_refuses_bad_fields() -> None:
    with pytest.raises(ValueError, match="length 1 of variable_adding; valid: 2 or more"):
        tasks.load("variable_adding", length=1)
    with pytest.raises(ValueError, match="shortest 9 of variable_adding; valid: 2 to length 8"):
        tasks.load("variable_adding", length=8, shortest=9)


def test_a_part_of_a_batch_keeps_its_lengths() -> None:
    batch = draw(tasks.load("variable_adding", length=9), n=6)
    part = batch.part(2, 5).to("cpu")
    assert batch.lengths is not None
    assert part.lengths is not None
    assert torch.equal(part.lengths, batch.lengths[2:5])
    assert torch.equal(part.x, batch.x[2:5])
    assert len(part) == 3


def test_adding_refuses_bad_fields() -> None:
    with pytest.raises(ValueError, match="length 1 of adding; valid: 2 or more"):
        tasks.load("adding", length=1)
    with pytest.raises(ValueError, match=r"markers 'near'.*anywhere, halves"):
        tasks.load("adding", length=9, markers="near")


# MNIST


def test_area_average_is_the_share_of_overlap() -> None:
    random = np.random.default_rng(0)
    image = random.random((28, 28))
    for side in (1, 3, 10, 28):
        slow = np.zeros((side, side))
        fine = np.kron(image, np.ones((side, side)))  # each pixel cut into side × side pieces
        for i in range(side):
            for j in range(side):
                slow[i, j] = fine[28 * i : 28 * (i + 1), 28 * j : 28 * (j + 1)].mean()
        average = area_average(side).numpy()
        np.testing.assert_allclose(average @ image @ average.T, slow, atol=1e-12)


def test_blank_steps_follow_a_fixed_image() -> None:
    for name in ("pixel_mnist", "permuted_mnist"):
        short = draw(tasks.load(name, length=49, side=7), n=3)
        generator = tasks.load(name, length=49, side=7).generator("train", 0)
        long = tasks.load(name, length=60, side=7).sample(3, generator)
        assert torch.equal(long.x[:, :49], short.x)
        assert (long.x[:, 49:] == 0).all()
        assert torch.equal(long.y, short.y)


def test_permuted_is_pixel_mnist_in_another_order() -> None:
    fields = {"length": 49, "side": 7}
    generator = torch.Generator().manual_seed(3)
    plain = tasks.load("pixel_mnist", **fields).sample(5, generator)
    generator.manual_seed(3)
    permuted = tasks.load("permuted_mnist", **fields).sample(5, generator)
    order = permutation(49)
    assert sorted(order.tolist()) == list(range(49))
    assert torch.equal(plain.x[:, order], permuted.x)


def test_the_permutation_is_fixed() -> None:
    digest = hashlib.sha256(str(permutation(784).tolist()).encode()).hexdigest()
    assert digest[:16] == "0fa65e0eac402469"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 50}, "squares 1, 4, 9"),
        ({"length": 841}, "up to 784"),
        ({"length": 49, "side": 8}, "side 8 of pixel_mnist; valid: 7, 14, 28"),
        ({"length": 48, "side": 7}, "49 or more"),
    ],
)
def test_pixel_mnist_refuses_bad_fields(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tasks.load("pixel_mnist", **fields)


def test_without_side_there_is_no_score_to_reach() -> None:
    assert tasks.load("pixel_mnist", length=784).solved is None
    assert tasks.load("pixel_mnist", length=784, side=28).solved is not None


@pytest.mark.parametrize(
    ("name", "fields", "fingerprint"),
    [
        ("copy_memory", {}, "v1 b957bcf6b9d2efe0"),
        ("adding", {}, "v1 02612f8e27329d25"),
        ("adding", {"markers": "halves"}, "v1 f776f18e77dd8465"),
    ],
)
def test_the_first_batch_is_pinned(name: str, fields: dict[str, str], fingerprint: str) -> None:
    assert fingerprint_of(tasks.load(name, length=20, **fields)) == fingerprint
