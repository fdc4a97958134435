"""Pictures, sounds and texts that sequences of ids stand for."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Pictures in shades of grey."""

    ink: Tensor
    """(B, height, width) floats from 0 (paper) to 1 (ink)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sounds:
    """Sounds with one channel."""

    samples: Tensor
    """(B, T) floats from −1 to 1."""
    rate: int
    """Samples per second."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, one per sequence."""

    texts: tuple[str, ...]


Media = Pictures | Sounds | Texts
