"""MNIST generation: the probability of a handwritten digit, pixel by pixel.

    y   0 0 1 1 0 …      the pixels of an image, row by row: T = `length` = side²
    x   S 0 0 1 1 …      the start token S, then the pixels one step late

The score is bits per pixel (bits per dimension), the mean of −log₂ p(y_t | y_<t) over the test
images. Nats per image, which the literature on binarised MNIST reports, are a further metric. There
is no horizon, since T is the number of pixels.

With `levels=2` and `binarised="threshold"`, a pixel is 1 where its grey value is at least one half.
With `"stochastic"`, it is 1 with probability equal to its grey value, in a draw that is fixed. The
edges of strokes then are noise that no model can predict, and nats are higher.

Source: stochastic binarisation as in Salakhutdinov & Murray 2008, and in the files of Larochelle &
Murray 2011 (NADE), which most papers use.

Departures: the stochastic draw is our own, from the same distribution as those files. Smaller
images are area averages, as in pixel_mnist. The last 5,000 training images are the validation
split.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tasks._contract import Batch, Split
from tasks._likelihood import LikelihoodTask
from tasks._media import Pictures
from tasks._mnist import NUM_CLASSES, SIDES, SOURCES, drawn, find_files, levels


@dataclass(frozen=True, kw_only=True)
class MnistGeneration(LikelihoodTask):
    """y: (B, length) ids below `levels`; x: the id `levels`, then the same one step late;
    condition: (B,) digits where `conditional`; output: (B, length, levels) logits.

    The score is bits per pixel; lower is better. Chance is the score of the `unigram` baseline. No
    score counts as solved.
    """

    version = 1
    kind = "local"
    smallest: ClassVar = {"length": 49}
    lengths: ClassVar = (49, 196)

    levels: Literal[2, 256] = 2
    """Number of values of a pixel: 2 for ink or paper, 256 for shades of grey."""
    binarised: Literal["threshold", "stochastic"] = "threshold"
    """How a grey value becomes a pixel of 2 levels."""
    conditional: bool = False
    """Whether the network knows the digit."""

    def __post_init__(self) -> None:
        if self.length not in [side**2 for side in SIDES]:
            raise ValueError(f"length {self.length} of mnist_generation; valid: 49, 196, 784")
        if self.levels not in (2, 256):
            raise ValueError(f"levels {self.levels} of mnist_generation; valid: 2, 256")
        if self.binarised not in ("threshold", "stochastic"):
            raise ValueError(
                f"binarised {self.binarised!r} of mnist_generation; valid: threshold, stochastic"
            )
        if self.binarised == "stochastic" and self.levels != 2:
            raise ValueError("binarised stochastic of mnist_generation; valid with levels 2")

    @property
    def side(self) -> int:
        return math.isqrt(self.length)

    @property
    def num_levels(self) -> int:
        return self.levels

    @property
    def num_conditions(self) -> int:
        return NUM_CLASSES if self.conditional else 0

    @property
    def grid(self) -> tuple[int, int]:
        return self.side, self.side

    @property
    def sources(self) -> str:
        return SOURCES

    def prepare(self) -> None:
        find_files()

    @property
    def condition_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(NUM_CLASSES))) if self.conditional else ()

    def shown(self, y: Tensor) -> Pictures:
        ink = y.float() / (self.levels - 1)
        return Pictures(ink=ink.unflatten(1, self.grid))

    def prompt(self, text: str) -> Tensor:
        """`3/10` names the first 10 rows of test image 3, counted from 0."""
        pixels, _ = self._images("test", torch.device("cpu"))
        index, _, rows = text.partition("/")
        numbers = [int(part) if part.isdecimal() else -1 for part in (index, rows)]
        if not (0 <= numbers[0] < len(pixels) and 1 <= numbers[1] <= self.side):
            raise ValueError(
                f"{text!r}; valid: IMAGE/ROWS, an image of the test set from 0 to "
                f"{len(pixels) - 1} and its first rows, 1 to {self.side}"
            )
        return pixels[numbers[0], : numbers[1] * self.side].long()

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        pixels, digits = self._images(split, device)
        index = torch.randint(len(pixels), (n,), generator=generator, device=device)
        condition = digits[index] if self.conditional else None
        return self.batch_of(pixels[index].long(), condition)

    def evaluation(self, split: Split, seed: int, batch_size: int) -> Iterator[Batch]:
        """The whole split in its own order, for every seed."""
        pixels, digits = self._images(split, torch.device("cpu"))
        for start in range(0, len(pixels), batch_size):
            part = slice(start, start + batch_size)
            condition = digits[part] if self.conditional else None
            yield self.batch_of(pixels[part].long(), condition)

    def _images(self, split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids (N, length) as bytes, digits (N,)."""
        if self.binarised == "stochastic":
            return drawn(split, self.side, device)
        return levels(split, self.side, self.levels, device)
