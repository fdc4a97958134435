"""Properties that only the real files of MNIST show."""

from typing import Any

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
    ("name", "fields", "fingerprint"),
    [
        ("pixel_mnist", {"length": 64, "side": 7}, "v1 81dc3935f365c6ac"),
        ("permuted_mnist", {"length": 64, "side": 7}, "v1 17d1a0927e7540bd"),
        ("mnist_generation", {"length": 49}, "v1 dde5aa024c0497c3"),
        (
            "mnist_generation",
            {"length": 49, "binarised": "stochastic", "conditional": True},
            "v1 dd91d093a8621263",
        ),
    ],
)
def test_the_first_batch_is_pinned(name: str, fields: dict[str, Any], fingerprint: str) -> None:
    assert fingerprint_of(tasks.load(name, **fields)) == fingerprint
