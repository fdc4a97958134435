"""Sequential MNIST: classify a digit after reading it pixel by pixel.

    x   0 0 .3 .9 .1 0 … 0 | 0 0 0 …      side² pixels row by row, then blanks up to `length`
    y                          7          read at the last step

Source: Le, Jaitly & Hinton 2015 (arXiv:1504.00941); `length=784` without `side` is their task.

Departures: pixels are scaled to [0, 1] and not standardised. Smaller images are area averages. With
`side`, the image is fixed and blank steps lengthen the dependency. The last 5,000 training images
are the validation split.
"""

from dataclasses import dataclass

from tasks._mnist import SequentialMnist


@dataclass(frozen=True, kw_only=True)
class PixelMnist(SequentialMnist):
    version = 1


PixelMnist.__doc__ = SequentialMnist.__doc__
