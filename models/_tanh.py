"""tanh for compiled functions: vectorised in single precision, exact in double."""

import math

import numpy as np
from numba import types
from numba.extending import overload

F = np.float32


def tanh(x: float) -> float:
    """tanh: in single precision a ratio of polynomials, within 4e-7, that compiles to vectors."""
    raise AssertionError("only compiled code calls this")


@overload(tanh)
def _compiled(x):
    if x != types.float32:
        return lambda x: math.tanh(x)

    def ratio(x):
        # Beyond ±7.9, tanh is ±1 in single precision. The coefficients are those of Eigen's
        # `generic_fast_tanh_float`.
        x = F(7.90531110763549805) if x > F(7.90531110763549805) else x
        x = F(-7.90531110763549805) if x < F(-7.90531110763549805) else x
        s = x * x
        p = s * F(-2.76076847742355e-16) + F(2.00018790482477e-13)
        p = s * p + F(-8.60467152213735e-11)
        p = s * p + F(5.12229709037114e-08)
        p = s * p + F(1.48572235717979e-05)
        p = s * p + F(6.37261928875436e-04)
        p = s * p + F(4.89352455891786e-03)
        q = s * F(1.19825839466702e-06) + F(1.18534705686654e-04)
        q = s * q + F(2.26843463243900e-03)
        q = s * q + F(4.89352518554385e-03)
        return x * p / q

    return ratio
