"""Permuted sequential MNIST: as pixel_mnist, the pixels in one fixed random order.

    x   .0 .9 .0 .0 .4 .1 … .8 | 0 0 …    side² pixels, shuffled alike in every image, then blanks
    y                              7      read at the last step

Source: Le, Jaitly & Hinton 2015 (arXiv:1504.00941). The order destroys what is local in an image.
Departures are pixel_mnist's; the order sorts the pixels by the SHA-256 of their index, since the
literature's is whatever a paper's random generator gave. It is part of the version.
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
