"""Residual stacks of mixers, the part that the linear recurrent models share.

    x ─ Linear ─┬─────────────────── + ─┬── … ── norm ─ features
                └ norm ─ mixer ─ Linear ┘

Before and behind the second linear layer may stand a GELU and a gated linear unit.

A mixer carries information along time; everything else works on one step. A model's file holds its
mixer and the formula of its size.

Shape letters: B sequences, T steps, I inputs, H channels of the stack, N units of a mixer.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._contract import Core, Kernel, Model, Signature
from models._conv_training import LateState, can_compile
from models._scan import linear_scan
from models._stack_training import Layout, stack


class Mixer(nn.Module, ABC):
    """Mixes the steps of a sequence: (B, T, H) → (B, T, N), with a state from step to step."""

    compiled_as: ClassVar[str | None] = None
    """Name of the compiled step in `_kernels_stack`; None if there is none."""

    @abstractmethod
    def forward(self, x_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Outputs and the state after the last step. A state of None is the start of a sequence."""


class GatedMixer(Mixer):
    """A linear scan whose gates and candidate depend on the inputs of their own step alone."""

    @abstractmethod
    def projections(self) -> list[nn.Linear]:
        """The layers, (B, T, H) → (B, T, N), of the gates and, as the last, of the candidate."""

    @abstractmethod
    def factors(self, *outputs_BTN: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of h_t = a_t ⊙ h_{t−1} + b_t, from the outputs of `projections`."""

    def forward(self, x_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        factors = self.factors(*(layer(x_BTH) for layer in self.projections()))
        h_BTN = linear_scan(*factors, state)
        return h_BTN, h_BTN[:, -1]


class Block(nn.Module):
    """Norm, mixer and a linear layer back to the stack's width, added to the input.

    With `gated` the linear layer has a GELU before it and a gated linear unit behind it.
    """

    def __init__(self, width: int, num_units: int, mixer: Mixer, gated: bool = False) -> None:
        super().__init__()
        self.norm, self.mixer, self.gated = nn.RMSNorm(width), mixer, gated
        self.out = nn.Linear(num_units, 2 * width if gated else width)

    def forward(self, x_BTH: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BTN, state = self.mixer(self.norm(x_BTH), state)
        if self.gated:
            return x_BTH + F.glu(self.out(F.gelu(y_BTN, approximate="tanh")), -1), state
        return x_BTH + self.out(y_BTN), state


class StackCore(Core):
    """A linear layer, blocks and a norm. The state is a tuple of the mixers' states."""

    def __init__(self, num_inputs: int, width: int, blocks: list[Block]) -> None:
        super().__init__()
        self.input = nn.Linear(num_inputs, width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(width)
        self.num_features = width
        self.receptive_field = math.inf
        self._layouts: dict[tuple[int, bool, bool], Layout] = {}

    def forward(
        self,
        x_BTI: Tensor,
        state: Any = None,
        *,
        last_only: bool = False,
        compiled: bool = True,
    ) -> tuple[Tensor, Any]:
        """Compiled kernels compute gated mixers on the CPU, if there are enough sequences."""
        if compiled and state is None and self._can_compile(x_BTI):
            return self._compiled(x_BTI, last_only)
        h_BTH, new_states = self.input(x_BTI), []
        states = [None] * len(self.blocks) if state is None else state
        for block, block_state in zip(self.blocks, states, strict=True):
            h_BTH, block_state = block(h_BTH, block_state)
            new_states.append(block_state)
        if last_only:
            return self.norm(h_BTH[:, -1:]), None
        return self.norm(h_BTH), tuple(new_states)

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel | None:
        if self.blocks[0].mixer.compiled_as is None:  # pyright: ignore[reportAttributeAccessIssue]
            return None
        from models._kernels_stack import StackKernel  # Numba is imported only when it is used

        return StackKernel(self, head, batch_size)

    def _can_compile(self, x_BTI: Tensor) -> bool:
        mixers: Any = (block.mixer for block in self.blocks)
        gated = all(isinstance(mixer, GatedMixer) for mixer in mixers)
        return gated and can_compile(x_BTI, self.input.weight)

    def _compiled(self, x_BTI: Tensor, last_only: bool) -> tuple[Tensor, Any]:
        key = x_BTI.shape[1], last_only, torch.is_grad_enabled()
        if key not in self._layouts:
            self._layouts[key] = Layout(self, *key)
        y_BTH = stack(self._layouts[key], self, x_BTI)
        return y_BTH, None if last_only else LateState(lambda: self(x_BTI, compiled=False)[1])


@dataclass(frozen=True, kw_only=True)
class Stack(Model):
    """A residual stack of one kind of mixer."""

    family: ClassVar[str] = "linear_recurrent"
    gated_output: ClassVar[bool] = False
    """Whether a mixer has `width` outputs, and a gated linear unit behind it."""

    num_layers: int = 2
    """Number of blocks."""

    def __post_init__(self) -> None:
        if self.num_layers < 1:
            raise ValueError(
                f"num_layers {self.num_layers} of {self.model_name()}; valid: 1 or more"
            )

    @abstractmethod
    def mixer(self, width: int, num_units: int, signature: Signature) -> Mixer:
        """A mixer of `width` inputs with `num_units` units."""

    @abstractmethod
    def mixer_size(self, width: int, num_units: int) -> int:
        """Number of parameters of such a mixer."""

    def num_extra(self, signature: Signature) -> int:
        # A unit more in every layer changes the size less than a channel more does.
        return 2 * self.num_layers

    def num_units(self, width: int, extra_width: int) -> list[int]:
        """Number of units in the mixer of each block."""
        each, rest = divmod(extra_width, self.num_layers)
        return [width + each + (layer < rest) for layer in range(self.num_layers)]

    def core_size(self, signature: Signature, width: int, extra_width: int) -> tuple[int, int]:
        size = width * (signature.num_inputs + 1) + width
        for num_units in self.num_units(width, extra_width):
            size += width + self.mixer_size(width, num_units)
            size += 2 * width * (width + 1) if self.gated_output else width * (num_units + 1)
        return size, width

    def build_core(self, signature: Signature, width: int, extra_width: int) -> StackCore:
        blocks = []
        for num_units in self.num_units(width, extra_width):
            mixer = self.mixer(width, num_units, signature)
            num_outputs = width if self.gated_output else num_units
            blocks.append(Block(width, num_outputs, mixer, self.gated_output))
        return StackCore(signature.num_inputs, width, blocks)


def positive(x: Tensor) -> Tensor:
    """x + ½ where x ≥ 0, else σ(x): continuous, positive and without a bound above."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))
