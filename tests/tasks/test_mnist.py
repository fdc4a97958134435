"""What only the real files of MNIST show."""

import pytest
import torch

import tasks
from tasks._mnist import images
from tests.support.fingerprints import fingerprint_of

pytestmark = pytest.mark.usefixtures("real_mnist")


def labels(split: tasks.Split) -> torch.Tensor:
    task = tasks.load("pixel_mnist", length=49, side=7)
    return torch.cat([batch.y for batch in task.evaluation(split, 0, 999)])


def test_each_image_is_in_one_split() -> None:
    num_train = len(images("train", 7, torch.device("cpu"))[0])
    assert (num_train, len(labels("validation")), len(labels("test"))) == (55_000, 5_000, 10_000)


def test_chance_is_the_share_of_the_commonest_digit() -> None:
    commonest = labels("test").bincount().max().item()
    assert commonest / 10_000 == tasks.load("pixel_mnist", length=49).chance


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [("pixel_mnist", "v1 81dc3935f365c6ac"), ("permuted_mnist", "v1 17d1a0927e7540bd")],
)
def test_the_first_batch_is_pinned(name: str, fingerprint: str) -> None:
    assert fingerprint_of(tasks.load(name, length=64, side=7)) == fingerprint
