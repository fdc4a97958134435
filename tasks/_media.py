"""What sequences of ids look or sound like, and how a person names a prompt or a condition."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """(B, height, width) floats, ink from 0 to 1."""

    ink: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Sounds:
    """(B, T) floats from −1 to 1, so many samples a second."""

    samples: Tensor
    rate: int


@dataclass(frozen=True, kw_only=True)
class Texts:
    """One a sequence."""

    texts: tuple[str, ...]


Media = Pictures | Sounds | Texts
