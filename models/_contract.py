"""The parts every model has: a frozen configuration, the core it builds, the core's CPU kernel.

Shape letters: B sequences, T steps, I inputs, O outputs, H features.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

if TYPE_CHECKING:
    from models._onnx import Graph


class Signature(Protocol):
    """What a network must know about a task. Any dataclass with these attributes will do."""

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


class Kernel(ABC):
    """A core and its head compiled for the CPU. It holds a copy of the weights and a state."""

    state_bytes: int
    """Memory that one sequence's state takes; of a state that grows, for each step."""

    @abstractmethod
    def reads(self, *, tokens: bool, num_conditions: int, held: bool) -> None:
        """Set what inputs are: ids or reals, and conditions of each step or of each stream."""

    @abstractmethod
    def run(self, x: int, condition: int, y: int, num_steps: int) -> bool:
        """Read steps and write their outputs. False, and nothing done, if an id is not a token.

        Arguments are addresses of contiguous arrays: ids (B, T) in 64 bits or reals (B, T, I),
        conditions (B, T, C) or, if held, (B, C), and outputs (B, T, O).
        """

    @abstractmethod
    def reset(self, mask_B: np.ndarray | None = None) -> None:
        """Return to the start of a sequence, in all streams or where the mask is true."""

    @abstractmethod
    def load(self, state: Any) -> None:
        """Continue from a state that the core's `forward` returned. Called after `reset`."""

    @abstractmethod
    def state(self) -> Any:
        """The state in the form that the core's `forward` takes."""


class Core(nn.Module, ABC):
    """A causal map from sequences to sequences that carries a state."""

    num_features: int
    """H, the number of features of an output step."""
    receptive_field: float
    """How many of the last inputs an output depends on, its own included; `math.inf` if all."""
    keeps_state: bool = True
    """Whether `forward` returns a state and goes on from one."""
    state_grows: bool = False
    """Whether every step makes the state larger, and with it the time of the next step."""
    period: int = 1
    """Inputs older than the receptive field may be dropped, but only in multiples of this."""

    @abstractmethod
    def forward(
        self, x_BTI: Tensor, state: Any = None, *, last_only: bool = False
    ) -> tuple[Tensor, Any]:
        """Features (B, T, H) and the state after the last step.

        A state of None is the start of a sequence. Cutting a sequence into chunks and passing the
        state on must not change the features. With `last_only` the result is the last step's
        features (B, 1, H) and None; a core may then skip whatever that step does not need.
        """

    def stock(self) -> "Core":
        """The same function computed by PyTorch's own layers, as textbooks write it.

        It may share the parameters of this core. By default it is this core.
        """
        return self

    def onnx_step(self, graph: "Graph", x_BI: str) -> str:
        """Add the nodes of one streaming step; returns the name of the features (B, H).

        `x_BI` is the name of the step's inputs. Only cores of models with `has_onnx_step` have it.
        """
        raise ValueError("no ONNX step has been written for this core")

    def kernel(self, head: nn.Linear, batch_size: int) -> Kernel | None:
        """This core and its head compiled for the CPU; None if no kernel has been written."""
        return None


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """A configuration. The file's name is the model's name; the fields are its options."""

    version: ClassVar[int]
    """Part of every spec's id. Raise it whenever the same fields give a different function, or a
    default changes."""
    unchanged_since: ClassVar[int | None] = None
    """The oldest version in which the same fields gave the same function. Its records are still
    reported. None: the present version."""
    has_stock: ClassVar[bool] = False
    """Whether `Core.stock` of this model is another implementation, to be timed beside this one."""
    has_onnx_step: ClassVar[bool] = False
    """Whether `Core.onnx_step` of this model is written, so that `onnx_step` can export it."""
    state_grows: ClassVar[bool] = False
    """The `state_grows` of its cores: a step is timed at the length at which it is used."""
    family: ClassVar[str] = "other"
    """Models are compared by family: `convolutional`, `recurrent` or a name of your own."""

    @classmethod
    def model_name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def is_same_in(cls, version: int) -> bool:
        """Whether the same fields gave the same function in this version."""
        oldest = cls.version if cls.unchanged_since is None else cls.unchanged_since
        return oldest <= version <= cls.version

    @property
    def fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def supports(self, signature: Signature) -> str | None:
        """The reason why this model cannot do a task of this signature; None if it can."""
        return None

    def rate_scale(self, parameter_name: str) -> float:
        """The factor of the learning rate of a parameter of the core, for every optimizer.

        The name is the one that `named_parameters` of the core gives, for example
        `blocks.0.mixer.log_step`. A change of the factors is a new `version`.
        """
        return 1.0

    def num_extra(self, signature: Signature) -> int:
        """The number of values that `extra_width` can take at each width: 0 to `num_extra` − 1."""
        return 1

    def core_size(
        self, signature: Signature, width: int, extra_width: int
    ) -> tuple[int, int] | None:
        """Number of parameters and of features of the core that `build_core` would return.

        With such a formula, finding a width builds no network. None if there is no formula.
        """
        return None

    @abstractmethod
    def build_core(self, signature: Signature, width: int, extra_width: int) -> Core:
        """A core with `width` units per layer and `extra_width` additional units in total.

        The additional units, fewer than `num_extra`, make steps between integer widths, so that a
        parameter budget can be met. If a task has conditions, they are the last `num_conditions`
        of the inputs of every step, and `signature.num_inputs` counts them.
        """
