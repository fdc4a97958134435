"""Steppers read one step at a time, of one or more streams. Their outputs equal `forward`'s.

Shape letters: B streams, I inputs, C conditions, O outputs.
"""

import copy
import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from models._contract import Kernel

COMPILED_DTYPES = (torch.float32, torch.float64)


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
    receptive field or by the number of hidden units.
    """

    batch_size: int
    state_bytes: int
    """Memory that one stream's state takes."""

    @abstractmethod
    def __call__(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        """Outputs (B, O) for one step of ids (B,) or of reals (B, I).

        `condition_t` is (B, C) features. It is required if the network has conditions and the
        stepper was not given class ids; otherwise it must be None. `ValueError` if it is not so.
        """

    @abstractmethod
    def reset(self) -> None:
        """Return to the start of a sequence."""

    @abstractmethod
    def load(self, state: Any) -> None:
        """Continue from a state that `forward` returned for `batch_size` sequences.

        None stands for the start of a sequence.
        """

    @abstractmethod
    def state(self) -> Any:
        """The state in the form that `forward` takes."""


class TorchStepper(Stepper):
    """Calls `forward` with one step. Works for any core, device and precision."""

    def __init__(self, network: Steppable, batch_size: int, held_BC: Tensor | None = None) -> None:
        self.batch_size = batch_size
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._held_BC = held_BC
        self._state: Any = None
        self.state_bytes = self._full_state_bytes()

    @torch.inference_mode()
    def __call__(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        shape = (self.batch_size, self._network.num_conditions)
        condition_BC = _condition_of_step(shape, self._held_BC, condition_t)
        condition_B1C = None if condition_BC is None else condition_BC.unsqueeze(1)
        y, self._state = self._network(x_t.unsqueeze(1), self._state, condition=condition_B1C)
        return y.squeeze(1)

    def reset(self) -> None:
        self._state = None

    def load(self, state: Any) -> None:
        self._state = state

    def state(self) -> Any:
        return _copied(self._state, tensors(self._state))

    @torch.inference_mode()
    def _full_state_bytes(self) -> int:
        """Size of one stream's state after enough steps to fill the receptive field."""
        _, state = _forward_zeros(self._network, 1)
        return sum(part.nbytes for part in tensors(state))


class CapturedStepper(Stepper):
    """`forward` on buffers that keep their addresses, replayed as a CUDA graph on a GPU.

    It works for cores that start from a state of zeros and whose full state keeps its size;
    `ValueError` for other cores. On a CPU the same step runs without a graph.
    """

    @torch.inference_mode()
    def __init__(self, network: Steppable, batch_size: int, held_BC: Tensor | None = None) -> None:
        self.batch_size = batch_size
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        _, self._like = _forward_zeros(self._network, batch_size)
        self._state = [torch.zeros_like(part) for part in tensors(self._like)]
        self.state_bytes = sum(part.nbytes for part in self._state) // batch_size
        self._x, self._condition = _zero_inputs(self._network, batch_size, 1)
        self._held_BC = held_BC
        self._y = torch.zeros_like(self._forward(None)[0][:, 0])
        self._graph: torch.cuda.CUDAGraph | None = None
        self._check_start_is_zeros()
        if self._x.is_cuda:
            self._capture()
        self.reset()

    @torch.inference_mode()
    def __call__(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        shape = (self.batch_size, self._network.num_conditions)
        condition_BC = _condition_of_step(shape, self._held_BC, condition_t)
        if self._condition is not None and condition_BC is not None:
            self._condition.copy_(condition_BC.unsqueeze(1))
        self._x.copy_(x_t.unsqueeze(1))
        if self._graph is None:
            self._step()
        else:
            self._graph.replay()
        return self._y.clone()

    @torch.inference_mode()
    def reset(self) -> None:
        for part in self._state:
            part.zero_()

    @torch.inference_mode()
    def load(self, state: Any) -> None:
        self.reset()
        for part, given in zip(self._state, tensors(state), strict=False):
            # A state that is not full yet lacks its oldest entries; those stay zero.
            part[tuple(slice(-n if n else 0, None) for n in given.shape)] = given

    def state(self) -> Any:
        return _copied(self._like, self._state)

    def _forward(self, state: Any) -> tuple[Tensor, Any]:
        return self._network(self._x, state, condition=self._condition)

    def _step(self) -> None:
        y, state = self._forward(_nested(self._like, iter(self._state)))
        for part, new in zip(self._state, tensors(state), strict=True):
            part.copy_(new)
        self._y.copy_(y[:, 0])

    def _check_start_is_zeros(self) -> None:
        """Take two steps from None and two from zeros; outputs and state sizes must agree."""
        fresh: Any = None
        for _ in range(2):
            y, fresh = self._forward(fresh)
            full = self._forward(_nested(self._like, iter(self._state)))[1]
            if [part.shape for part in tensors(full)] != [part.shape for part in self._state]:
                raise ValueError("a state that does not keep its size can't be captured")
            self._step()
            if not torch.allclose(self._y, y[:, 0], rtol=1e-2, atol=1e-3):
                raise ValueError("a start that is not a state of zeros can't be captured")

    def _capture(self) -> None:
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._graph = graph


class CompiledStepper(Stepper):
    """A compiled kernel that takes and returns torch tensors."""

    def __init__(
        self, network: Steppable, kernel: Kernel, batch_size: int, held_BC: Tensor | None = None
    ) -> None:
        self.batch_size = batch_size
        self.state_bytes = kernel.state_bytes
        self._kernel = kernel
        self._tokens = network.tokens
        self._shape = (batch_size,) if network.tokens else (batch_size, network.num_inputs)
        self._dtype = network.head.weight.dtype
        dtype = torch.empty(0, dtype=self._dtype).numpy().dtype
        self._input_BI = np.zeros((batch_size, network.num_inputs + network.num_conditions), dtype)
        self._x_BI = self._input_BI[:, : network.num_inputs]
        self._condition_BC = self._input_BI[:, network.num_inputs :]
        self._held_BC = held_BC
        if held_BC is not None:
            self._condition_BC[:] = held_BC.numpy()
        self._num_outputs = network.head.out_features
        self._streams = np.arange(batch_size)
        self._last_ids = np.zeros(batch_size, np.int64)

    def __call__(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        if x_t.shape != self._shape:
            raise ValueError(f"a step of shape {tuple(x_t.shape)}; valid: {self._shape}")
        _condition_of_step(self._condition_BC.shape, self._held_BC, condition_t)
        if condition_t is not None:
            self._condition_BC[:] = condition_t.detach().numpy()
        if self._tokens:
            self._x_BI[self._streams, self._last_ids] = 0
            self._last_ids[:] = x_t.numpy()
            self._x_BI[self._streams, self._last_ids] = 1
        else:
            self._x_BI[:] = x_t.detach().numpy()
        y_BO = torch.empty(self.batch_size, self._num_outputs, dtype=self._dtype)
        self._kernel.step(self._input_BI, y_BO.numpy())
        return y_BO

    def reset(self) -> None:
        self._kernel.reset()

    def load(self, state: Any) -> None:
        self._kernel.reset()
        if state is not None:
            self._kernel.load(state)

    def state(self) -> Any:
        return self._kernel.state()


def can_compile(network: Steppable) -> bool:
    """Whether kernels run here: on the CPU, in single or double precision, with Numba installed."""
    weight = network.head.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype in COMPILED_DTYPES
        and importlib.util.find_spec("numba") is not None
    )


def _zero_inputs(
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


def _forward_zeros(network: Steppable, batch_size: int) -> tuple[Tensor, Any]:
    """`forward` on enough steps of zeros to fill the state."""
    field = network.receptive_field
    x, condition = _zero_inputs(network, batch_size, 1 if field == math.inf else int(field))
    return network(x, condition=condition)


def _condition_of_step(
    shape: tuple[int, ...], held_BC: Tensor | None, condition_t: Tensor | None
) -> Tensor | None:
    """The stepper's own condition or else this step's; `ValueError` if one is missing or extra."""
    required = shape[1] > 0 and held_BC is None
    if condition_t is None and not required:
        return held_BC
    if condition_t is None or not required or condition_t.shape != shape:
        given = "None" if condition_t is None else tuple(condition_t.shape)
        valid = f"{shape} features of the step" if required else "None"
        raise ValueError(f"a step's condition of {given}; valid: {valid}")
    return condition_t


def _nested(like: Any, parts: Iterator[Tensor]) -> Any:
    """These tensors in the nesting of another state."""
    if isinstance(like, Tensor):
        return next(parts)
    return None if like is None else tuple(_nested(part, parts) for part in like)


def _copied(like: Any, parts: list[Tensor]) -> Any:
    """Copies of these tensors, nested: outside of inference mode they can be trained on."""
    return _nested(like, iter([part.clone() for part in parts]))


def tensors(state: Any) -> list[Tensor]:
    """Every tensor of a nested state."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state or () for tensor in tensors(part)]
