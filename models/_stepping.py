"""What steppers of every kind share: their interface, checks and nested states.

Shape letters: B streams, T steps, I inputs, C conditions, O outputs.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, Self, overload

import numpy as np
import torch
from torch import Tensor, nn


class Steppable(Protocol):
    """What a stepper uses of a network."""

    tokens: bool
    num_inputs: int
    num_conditions: int
    head: nn.Linear

    @property
    def receptive_field(self) -> float: ...
    def eval(self) -> Self: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...
    def __call__(
        self, x: Tensor, state: Any = None, *, condition: Tensor | None = None
    ) -> tuple[Tensor, Any]: ...


class Stepper(ABC):
    """A copy of a network's weights that reads one step at a time.

    It begins at the start of a sequence, in evaluation mode and without gradients. The time and
    memory of a step do not depend on how many steps came before: the state is bounded by the
    receptive field or by the number of hidden units. Only a state that grows (`Core.state_grows`)
    makes later steps slower; its memory is limited by the memory of the machine.
    """

    batch_size: int
    state_bytes: int
    """Memory that one stream's state takes; of a state that grows, for each step."""

    @overload
    def __call__(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor: ...
    @overload
    def __call__(self, x_t: np.ndarray, condition_t: np.ndarray | None = None) -> np.ndarray: ...
    def __call__(self, x_t: Any, condition_t: Any = None) -> Any:
        """Outputs (B, O) for one step of ids (B,) or of reals (B, I).

        `condition_t` is (B, C) features. It is required if the network has conditions and the
        stepper was not given class ids; otherwise it must be None. `ValueError` if it is not so.
        Outputs of NumPy arrays are NumPy arrays.
        """
        if isinstance(x_t, np.ndarray):
            return self._step(torch.from_numpy(x_t), _tensor(condition_t)).numpy()
        return self._step(x_t, condition_t)

    @overload
    def run(self, x: Tensor, condition: Tensor | None = None) -> Tensor: ...
    @overload
    def run(self, x: np.ndarray, condition: np.ndarray | None = None) -> np.ndarray: ...
    def run(self, x: Any, condition: Any = None) -> Any:
        """Outputs (B, T, O) of T steps of ids (B, T) or of reals (B, T, I), one after the other.

        They equal those of T calls. `condition`, (B, T, C) features, is as in a call.
        """
        if isinstance(x, np.ndarray):
            return self._steps(torch.from_numpy(x), _tensor(condition)).numpy()
        return self._steps(x, condition)

    @abstractmethod
    def _step(self, x_t: Tensor, condition_t: Tensor | None) -> Tensor:
        """A call with tensors."""

    def _steps(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """`run` with tensors."""
        if x.shape[1:2] == (0,):
            raise ValueError("a run over 0 steps; valid: 1 or more")
        conditions = [None] * x.shape[1] if condition is None else condition.unbind(1)
        return torch.stack(list(map(self._step, x.unbind(1), conditions)), 1)

    @abstractmethod
    def reset(self, mask: Tensor | np.ndarray | None = None) -> None:
        """Return to the start of a sequence, in all streams or where `mask` (B,) is true.

        The other streams go on as if nothing had happened.
        """

    @abstractmethod
    def load(self, state: Any) -> None:
        """Continue from a state that `forward` returned for `batch_size` sequences.

        None stands for the start of a sequence.
        """

    @abstractmethod
    def state(self) -> Any:
        """The state in the form that `forward` takes.

        `ValueError` if some streams were reset alone and no such state holds all of them.
        """


def zero_inputs(
    network: Steppable, batch_size: int, num_steps: int
) -> tuple[Tensor, Tensor | None]:
    """Ids or reals of zeros, and a condition of zeros if the network has conditions."""
    weight = network.head.weight

    def zeros(size: int) -> Tensor:
        return torch.zeros(batch_size, num_steps, size).to(weight)

    if network.tokens:
        x = torch.zeros(batch_size, num_steps, dtype=torch.long, device=weight.device)
    else:
        x = zeros(network.num_inputs)
    return x, zeros(network.num_conditions) if network.num_conditions else None


def forward_zeros(network: Steppable, batch_size: int) -> tuple[Tensor, Any]:
    """`forward` on enough steps of zeros to fill the state."""
    field = network.receptive_field
    x, condition = zero_inputs(network, batch_size, 1 if field == math.inf else int(field))
    return network(x, condition=condition)


def condition_of_step(
    shape: tuple[int, ...],
    held_BC: Tensor | None,
    condition_t: Tensor | None,
    of: str = "the step",
) -> Tensor | None:
    """The stepper's own condition or else this step's; `ValueError` if one is missing or extra."""
    required = shape[-1] > 0 and held_BC is None
    if condition_t is None and not required:
        return held_BC
    if condition_t is None or not required or condition_t.shape != shape:
        given = "None" if condition_t is None else tuple(condition_t.shape)
        valid = f"{shape} features of {of}" if required else "None"
        raise ValueError(f"{of}'s condition of {given}; valid: {valid}")
    return condition_t


def _tensor(array: np.ndarray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)


def checked_mask(mask: Tensor | np.ndarray, batch_size: int) -> Tensor:
    """The mask as a tensor on the CPU; `ValueError` for another shape or type."""
    mask_B = torch.as_tensor(mask).cpu()
    if mask_B.dtype is not torch.bool or mask_B.shape != (batch_size,):
        raise ValueError(
            f"a mask of {tuple(mask_B.shape)} {mask_B.dtype}; valid: ({batch_size},) booleans"
        )
    return mask_B


def nested(like: Any, parts: Iterator[Tensor]) -> Any:
    """These tensors in the nesting of another state."""
    if isinstance(like, Tensor):
        return next(parts)
    return None if like is None else tuple(nested(part, parts) for part in like)


def copied(like: Any, parts: list[Tensor]) -> Any:
    """Copies of these tensors, nested: outside of inference mode they can be trained on."""
    return nested(like, iter([part.clone() for part in parts]))


def tensors(state: Any) -> list[Tensor]:
    """Every tensor of a nested state."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state or () for tensor in tensors(part)]
