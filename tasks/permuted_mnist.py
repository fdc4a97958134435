"""Permuted sequential MNIST: pixel_mnist with the pixels in one fixed random order.

    x   .0 .9 .0 .0 .4 .1 … .8 | 0 0 …    side² pixels in the same order for every image, blanks
    y                              7      read at the last step

Source: Le, Jaitly & Hinton 2015 (arXiv:1504.00941). The order destroys the local structure of an
image.

Departures: those of pixel_mnist. The order sorts the pixels by the SHA-256 of their index, since
papers used whatever order their random generator gave. A new order would need a new `version`.
"""

from dataclasses import dataclass

from torch import Tensor

from tasks._mnist import SequentialMnist, permutation


@dataclass(frozen=True, kw_only=True)
class PermutedMnist(SequentialMnist):
    version = 1

    def ordered(self, pixels_BN: Tensor) -> Tensor:
        return pixels_BN[:, permutation(self.num_pixels).to(pixels_BN.device)]


PermutedMnist.__doc__ = SequentialMnist.__doc__
