"""Sequential MNIST: name the digit after reading it pixel by pixel.

    x   0 0 .3 .9 .1 0 … 0 | 0 0 0 …      side² pixels row by row, then blanks up to `length`
    y                          7          read at the last step

Source: Le, Jaitly & Hinton 2015 (arXiv:1504.00941); `length=784` without `side` is the task of
the literature. Departures: pixels are scaled to [0, 1] and not standardised; smaller images by
area averaging; blank steps lengthen the dependency at a fixed image (`side`); the last 5,000
training images are the validation split.
"""

from dataclasses import dataclass

from tasks._mnist import SequentialMnist


@dataclass(frozen=True, kw_only=True)
class PixelMnist(SequentialMnist):
    version = 1


PixelMnist.__doc__ = SequentialMnist.__doc__
