"""What every model is: a frozen configuration that builds a core of a given width.

Shape letters: B sequences, T steps, I inputs, H features.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from models._stepper import Kernel


class Signature(Protocol):
    """The plain values of a task's signature, a dataclass, that a network is sized for."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def input(self) -> str: ...
    @property
    def num_inputs(self) -> int: ...
    @property
    def num_outputs(self) -> int: ...
    @property
    def reach(self) -> int: ...
    @property
    def grid(self) -> tuple[int, int] | None: ...
    @property
    def num_conditions(self) -> int: ...


class Core(nn.Module, ABC):
    """A causal map from sequences to sequences that carries a state."""

    num_features: int
    """H, the size of an output."""
    receptive_field: float
    """How many of the last inputs an output depends on, itself included; `math.inf` without end."""
    period: int = 1
    """What is older than the receptive field may be left out, in multiples of so many steps."""

    @abstractmethod
    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        """Features (B, T, H) and the state after the last step; a state of None is the start.

        Cutting a sequence into chunks, handing the state on, changes nothing. With `last_only`
        the features of the last step alone, (B, 1, H), and a state of None: a core may then leave
        out what the last step does not need.
        """

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel | None:
        """This core and its head compiled for the CPU; None where there is no such thing."""
        return None


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """A configuration. Its name is the file's name; its fields are what can be chosen."""

    version: ClassVar[int]
    """Raised whenever the same fields give another function; part of every spec's id."""
    family: ClassVar[str] = "other"
    """What kind of network it is where kinds are compared: `convolutional`, `recurrent`, …"""

    @classmethod
    def model_name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @property
    def fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def supports(self, signature: Signature) -> str | None:
        """Why this model can't do a task of this signature; None where it can."""
        return None

    def num_extra(self, signature: Signature) -> int:
        """How many values of `extra_width`, from 0, lie between one width and the next."""
        return 1

    def core_size(
        self, signature: Signature, width: int, extra_width: int
    ) -> tuple[int, int] | None:
        """Parameters and features of the core that `build_core` gives for the same arguments.

        By arithmetic, so that finding a width builds no networks; None where there is no formula.
        """
        return None

    @abstractmethod
    def build_core(self, signature: Signature, width: int, extra_width: int) -> Core:
        """A core of `width` units a layer and `extra_width` < `num_extra` units more in all.

        The extra units fill the steps between integer widths, to meet a parameter budget. Where a
        task has conditions, `signature.num_inputs` counts them, and the last `num_conditions` of a
        step's inputs are the condition.
        """
