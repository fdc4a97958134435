"""Signatures and inputs for tests of models that need no task."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import models


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The attributes of a task's signature that a network is sized for."""

    input: str = "real"
    num_inputs: int = 3
    num_outputs: int = 2
    reach: int = 20
    grid: tuple[int, int] | None = (6, 7)
    num_conditions: int = 0


TOKENS = Signature(input="token", num_inputs=5, num_outputs=4)
REALS = Signature()
BUILT_IN = (
    *("gru", "lstm", "rnn", "lru", "mamba", "mingru", "minlstm", "s4d"),
    *("attention", "pixelcnn", "tcn", "wavenet"),
)
"""Models with a kernel for the CPU. A model that a user adds need not have one."""


def skip_unless_supported(name: str, signature: Any) -> None:
    """Skip the test with the reason that the report would show."""
    reason = models.load(name).supports(signature)
    if reason is not None:
        pytest.skip(f"{name}: {reason}")


def sequences(signature: Signature, n: int, steps: int) -> Tensor:
    """Random ids (n, steps) or reals (n, steps, I)."""
    generator = torch.Generator().manual_seed(1)
    if signature.input == "token":
        return torch.randint(signature.num_inputs, (n, steps), generator=generator)
    return torch.randn(n, steps, signature.num_inputs, generator=generator, dtype=torch.double)
