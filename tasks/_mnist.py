"""MNIST as sequences of pixels: the part that the tasks on it share.

Shape letters: N images, n pixels a side.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks._contract import Batch, Metric, Objective, Signature, Split, Task
from tasks._files import load_mnist, mnist_files

NUM_CLASSES = 10
NUM_VALIDATION = 5_000
SIDES = (7, 14, 28)
SOURCES = "MNIST"


def find_files() -> None:
    """Fetch and check the four files of MNIST; raises `DataUnavailable`."""
    mnist_files()


def area_average(side: int) -> Tensor:
    """Weights that average 28 pixels on a line into `side` cells of equal width: (side, 28)."""
    edges = torch.arange(side + 1, dtype=torch.double) * (28 / side)
    pixel = torch.arange(28, dtype=torch.double)
    right = torch.minimum(edges[1:, None], pixel + 1)
    left = torch.maximum(edges[:-1, None], pixel)
    return (right - left).clamp(min=0) * (side / 28)


@lru_cache(maxsize=6)
def images(split: Split, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images area-averaged to `side` × `side`, in raster order: (N, side²) in [0, 1]; labels (N,).

    The validation split is the last 5,000 of the 60,000 training images, whose order is random.
    """
    pixels, labels = _split_of(split)
    return torch.cat(list(_averaged(pixels, side))).to(device), labels.to(device)


@lru_cache(maxsize=6)
def levels(split: Split, side: int, num_levels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same images as ids below `num_levels`, spaced evenly from 0 to 1: (N, side²) uint8."""
    # A half is rounded up; torch.round would round to the nearest even number.
    return _ids(split, side, lambda grey: ((num_levels - 1) * grey + 0.5).floor(), device)


@lru_cache(maxsize=6)
def drawn(split: Split, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same images in black and white: a pixel is 1 with the probability of its grey value.

    The ids are (N, side²) uint8. The draw is fixed, so that every run reads the same images.
    """
    generator = torch.Generator().manual_seed(["train", "validation", "test"].index(split))
    return _ids(
        split, side, lambda grey: torch.rand(grey.shape, generator=generator) < grey, device
    )


def _ids(
    split: Split, side: int, of_grey: Callable[[Tensor], Tensor], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The bytes that `of_grey` makes of grey values, (N, side²); labels (N,)."""
    pixels, labels = _split_of(split)
    blocks = [of_grey(block).to(torch.uint8) for block in _averaged(pixels, side)]
    return torch.cat(blocks).to(device), labels.to(device)


def _split_of(split: Split) -> tuple[np.ndarray, Tensor]:
    """Images (N, 28, 28) of bytes, labels (N,)."""
    mnist = load_mnist()
    pixels, labels = {
        "train": (mnist.train_images[:-NUM_VALIDATION], mnist.train_labels[:-NUM_VALIDATION]),
        "validation": (mnist.train_images[-NUM_VALIDATION:], mnist.train_labels[-NUM_VALIDATION:]),
        "test": (mnist.test_images, mnist.test_labels),
    }[split]
    return pixels, torch.from_numpy(labels).long()


def _averaged(pixels: np.ndarray, side: int) -> Iterator[Tensor]:
    """Images area-averaged to `side` × `side`, from 0 to 1: (n, side²) at a time.

    This works in blocks, since 55,000 images in double precision take 345 MB.
    """
    average = area_average(side)
    for block in (pixels[i : i + 5_000] for i in range(0, len(pixels), 5_000)):
        yield (average @ (torch.from_numpy(block).double() / 255) @ average.T).flatten(1).float()


@lru_cache(maxsize=6)
def permutation(num_pixels: int) -> Tensor:
    """A fixed order of the pixels, (num_pixels,): sorted by the SHA-256 of their index.

    It uses no random generator, so that no release of a library can change it.
    """
    order = sorted(
        range(num_pixels), key=lambda index: hashlib.sha256(str(index).encode()).digest()
    )
    return torch.tensor(order)


@dataclass(frozen=True, kw_only=True)
class SequentialMnist(Task):
    """x: (B, length, 1) pixels in [0, 1], then blanks of 0; y: (B,) digits; output: (B, 1, 10).

    The score is the accuracy; chance is 0.1135, the share of the commonest digit in the test set.

    With `side`, the task is solved at 0.50. This is about midway between chance and 0.97, the
    accuracy of a network that sees 7 × 7 pixels at once. A higher threshold would measure training
    rather than memory. Without `side`, the resolution and with it the best accuracy change with
    `length`, so that no single score is a threshold and the task has no horizon.
    """

    kind = "accumulation"
    smallest: ClassVar = {"length": 49, "side": 7}
    lengths: ClassVar = (49, 100, 196)

    side: int | None = None
    """Width of a fixed image in pixels (7, 14 or 28), followed by `length` − side² blank steps."""

    def __post_init__(self) -> None:
        name = self.task_name()
        if self.side is None:
            if not (1 <= self.length <= 784 and math.isqrt(self.length) ** 2 == self.length):
                raise ValueError(
                    f"length {self.length} of {name}; valid without `side`: "
                    "the squares 1, 4, 9, … up to 784"
                )
        elif self.side not in SIDES:
            raise ValueError(f"side {self.side} of {name}; valid: 7, 14, 28")
        elif self.length < self.side**2:
            raise ValueError(
                f"length {self.length} of {name} with side {self.side}; "
                f"valid: {self.side**2} or more"
            )

    @property
    def num_pixels(self) -> int:
        return self.length if self.side is None else self.side**2

    def ordered(self, pixels_BN: Tensor) -> Tensor:
        """The pixels in the order in which a network reads them."""
        return pixels_BN

    @property
    def signature(self) -> Signature:
        return Signature(
            input="real",
            num_inputs=1,
            num_outputs=NUM_CLASSES,
            per="sequence",
            num_steps=self.length,
            reach=self.length,
        )

    @property
    def needed_memory(self) -> int:
        """The blank steps: half of the images may be classified by the last pixels alone."""
        return self.length - self.num_pixels

    @property
    def length_is(self) -> str:
        return "sequence length T"

    @property
    def solved(self) -> float | None:
        return None if self.side is None else 0.50

    @property
    def objective(self) -> Objective:
        return Objective(
            loss=lambda output, batch: F.cross_entropy(output[:, -1], batch.y),
            score=Metric(
                name="accuracy",
                unit="share of images",
                higher_is_better=True,
                chance=0.1135,
                values=lambda output, batch: (output[:, -1].argmax(-1) == batch.y).float(),
            ),
            metrics=(
                Metric(
                    name="cross_entropy",
                    unit="nats per image",
                    higher_is_better=False,
                    chance=math.log(NUM_CLASSES),
                    values=lambda output, batch: F.cross_entropy(
                        output[:, -1], batch.y, reduction="none"
                    ),
                ),
            ),
        )

    @property
    def sources(self) -> str:
        return SOURCES

    def prepare(self) -> None:
        find_files()

    def _batch(self, pixels_BN: Tensor, labels_B: Tensor) -> Batch:
        x_BT = F.pad(self.ordered(pixels_BN), (0, self.length - self.num_pixels))
        return Batch(x=x_BT.unsqueeze(-1), y=labels_B)

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        pixels, labels = images(split, math.isqrt(self.num_pixels), device)
        index = torch.randint(len(pixels), (n,), generator=generator, device=device)
        return self._batch(pixels[index], labels[index])

    def evaluation(self, split: Split, seed: int, batch_size: int) -> Iterator[Batch]:
        """The whole split in its own order, for every seed."""
        pixels, labels = images(split, math.isqrt(self.num_pixels), torch.device("cpu"))
        for start in range(0, len(pixels), batch_size):
            stop = start + batch_size
            yield self._batch(pixels[start:stop], labels[start:stop])
