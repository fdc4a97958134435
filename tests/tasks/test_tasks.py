"""Copy memory, adding and MNIST: by hand, by counting, or against a slow version."""

import hashlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tasks
from tasks._mnist import area_average, permutation
from tests.support.fingerprints import draw

pytestmark = pytest.mark.usefixtures("stand_in_mnist")


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


def test_a_part_of_a_batch_keeps_its_lengths() -> None:
    batch = draw(tasks.load("variable_adding", length=9), n=6)
    part = batch.part(2, 5).to("cpu")
    assert batch.lengths is not None
    assert part.lengths is not None
    assert torch.equal(part.lengths, batch.lengths[2:5])
    assert torch.equal(part.x, batch.x[2:5])
    assert len(part) == 3


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
