"""exp for compiled functions: vectorised in single precision, exact in double."""

import math

import numpy as np
from numba import types
from numba.extending import overload

F, N = np.float32, np.int32


def exp(x: float) -> float:
    """exp: in single precision 2ᵏ times a polynomial, within 2e-7 of it, that compiles to vectors.

    Results below 1e-38 or above 1e38 are replaced by these bounds.
    """
    raise AssertionError("only compiled code calls this")


@overload(exp)
def _compiled(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    def powers(x):
        x = F(87.5) if x > F(87.5) else x  # what is not a number stays so
        x = F(-87.3) if x < F(-87.3) else x
        k = np.floor(x * F(1.44269504088896341) + F(0.5))
        # ln 2 in two parts, so that r keeps all its digits. The coefficients are Cephes's `expf`.
        r = x - k * F(0.693359375) + k * F(2.12194440e-4)
        p = r * F(1.9875691500e-4) + F(1.3981999507e-3)
        p = r * p + F(8.3334519073e-3)
        p = r * p + F(4.1665795894e-2)
        p = r * p + F(1.6666665459e-1)
        p = r * p + F(5.0000001201e-1)
        p = r * r * p + r + F(1)
        return p * N((N(k) + N(127)) << N(23)).view(F)

    return powers


def softplus(x: float) -> float:
    """log(1 + eˣ), as exact as `exp`."""
    raise AssertionError("only compiled code calls this")


@overload(softplus)
def _compiled_softplus(x):
    if x != types.float32:
        return lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x)))

    def series(x):
        # log(1 + e) = 2 artanh(s) for s = e / (2 + e), which is at most 1/3.
        e = exp(-abs(x))
        s = e / (F(2) + e)
        q = s * s
        p = q * F(2 / 13) + F(2 / 11)
        p = q * p + F(2 / 9)
        p = q * p + F(2 / 7)
        p = q * p + F(2 / 5)
        p = q * p + F(2 / 3)
        p = q * p + F(2)
        return s * p + (F(0) if x < F(0) else x)

    return series
