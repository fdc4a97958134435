"""One step of one or more streams at a time: the fast path of inference, equal to forward.

Shape letters: B streams, I inputs, C conditions, O outputs.
"""

import copy
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from models._network import Network

COMPILED_DTYPES = (torch.float32, torch.float64)


class Stepper(ABC):
    """A snapshot of a network's weights that reads a step at a time.

    It begins at the start of a sequence, in evaluation mode and without gradients. Its state takes
    memory of the order of the receptive field (or of the hidden units) and a step's work does not
    depend on how many went before.
    """

    batch_size: int
    state_bytes: int
    """Of one stream."""

    @abstractmethod
    def __call__(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        """Outputs (B, O) for a step of ids (B,) or of reals (B, I).

        `condition_t`, (B, C) features, where the network has conditions and the stepper holds no
        class ids; else None. `ValueError` otherwise.
        """

    @abstractmethod
    def reset(self) -> None:
        """Go back to the start of a sequence."""

    @abstractmethod
    def load(self, state: Any) -> None:
        """Go on from a state that `forward` gave for `batch_size` sequences; None: the start."""

    @abstractmethod
    def state(self) -> Any:
        """The state as `forward` takes it."""


class TorchStepper(Stepper):
    """`forward` itself, a step at a time: for any core, device and precision."""

    def __init__(self, network: "Network", batch_size: int, held_BC: Tensor | None = None) -> None:
        self.batch_size = batch_size
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._held_BC = held_BC
        self._state: Any = None
        self.state_bytes = self._measured_state_bytes()

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
    def _measured_state_bytes(self) -> int:
        """Once the state has grown to its full size."""
        num_steps = _steps_to_fill(self._network)
        x = blank(self._network, 1, num_steps)
        condition = blank_condition(self._network, 1, num_steps)
        return sum(part.nbytes for part in tensors(self._network(x, condition=condition)[1]))


class CapturedStepper(Stepper):
    """`forward` on buffers that stay where they are, replayed as a CUDA graph on a GPU.

    For cores whose start is a state of zeros and whose state, once full, keeps its size;
    `ValueError` for others. On a CPU the same step runs uncaptured.
    """

    @torch.inference_mode()
    def __init__(self, network: "Network", batch_size: int, held_BC: Tensor | None = None) -> None:
        self.batch_size = batch_size
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        num_steps = _steps_to_fill(network)
        _, self._like = self._network(
            blank(self._network, batch_size, num_steps),
            condition=blank_condition(self._network, batch_size, num_steps),
        )
        self._state = [torch.zeros_like(part) for part in tensors(self._like)]
        self.state_bytes = sum(part.nbytes for part in self._state) // batch_size
        self._x = blank(self._network, batch_size, 1)
        self._held_BC = held_BC
        self._condition = blank_condition(self._network, batch_size, 1)
        self._y = torch.zeros_like(self._forward(None)[0][:, 0])
        self._graph: torch.cuda.CUDAGraph | None = None
        self._require_a_start_of_zeros()
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
            # A state that is not full yet: what is missing are the oldest entries.
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

    def _require_a_start_of_zeros(self) -> None:
        """Two steps from no state and from zeros are the same, and leave a state of one size."""
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
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._graph = graph


class Kernel(ABC):
    """A core and its head, compiled for the CPU: what a `CompiledStepper` drives."""

    state_bytes: int
    """Of one stream."""

    @abstractmethod
    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None:
        """Outputs of a step into `y_BO`; the condition is the last of a step's inputs."""

    @abstractmethod
    def reset(self) -> None: ...

    @abstractmethod
    def load(self, state: Any) -> None: ...

    @abstractmethod
    def state(self) -> Any: ...


class CompiledStepper(Stepper):
    """A kernel behind torch's tensors."""

    def __init__(
        self,
        network: "Network",
        kernel: Kernel,
        batch_size: int,
        held_BC: Tensor | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.state_bytes = kernel.state_bytes
        self._kernel = kernel
        self._tokens = network.tokens
        self._shape = (batch_size,) if network.tokens else (batch_size, network.num_inputs)
        dtype = torch.empty(0, dtype=network.head.weight.dtype).numpy().dtype
        self._input_BI = np.zeros((batch_size, network.num_inputs + network.num_conditions), dtype)
        self._x_BI = self._input_BI[:, : network.num_inputs]
        self._condition_BC = self._input_BI[:, network.num_inputs :]
        self._held_BC = held_BC
        if held_BC is not None:
            self._condition_BC[:] = held_BC.numpy()
        self._num_outputs = network.head.out_features
        self._streams = np.arange(batch_size)
        self._last_ids = np.zeros(batch_size, np.int64)
        self._dtype = network.head.weight.dtype

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


def can_compile(network: "Network") -> bool:
    """Whether kernels run here: on the CPU, in single or double precision, with Numba installed."""
    weight = network.head.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype in COMPILED_DTYPES
        and importlib.util.find_spec("numba") is not None
    )


def blank(network: "Network", batch_size: int, num_steps: int) -> Tensor:
    """Inputs of nothing but zeros."""
    weight = network.head.weight
    if network.tokens:
        return torch.zeros(batch_size, num_steps, dtype=torch.long, device=weight.device)
    return torch.zeros(batch_size, num_steps, network.num_inputs).to(weight)


def blank_condition(network: "Network", batch_size: int, num_steps: int) -> Tensor | None:
    """Features of nothing but zeros; None where the network has no conditions."""
    if network.num_conditions == 0:
        return None
    return torch.zeros(batch_size, num_steps, network.num_conditions).to(network.head.weight)


def _condition_of_step(
    shape: tuple[int, ...], held_BC: Tensor | None, condition_t: Tensor | None
) -> Tensor | None:
    """What a stepper holds, or this step's (B, C) features; `ValueError` where one is missing."""
    missing = shape[1] > 0 and held_BC is None
    if condition_t is None and not missing:
        return held_BC
    if condition_t is None or not missing or condition_t.shape != shape:
        given = "None" if condition_t is None else tuple(condition_t.shape)
        valid = f"{shape} features of the step" if missing else "None"
        raise ValueError(f"a step's condition of {given}; valid: {valid}")
    return condition_t


def _steps_to_fill(network: "Network") -> int:
    field = network.receptive_field
    return 1 if field == float("inf") else int(field)


def _nested(like: Any, parts: Iterator[Tensor]) -> Any:
    """These tensors in the nesting of another state."""
    if isinstance(like, Tensor):
        return next(parts)
    return None if like is None else tuple(_nested(part, parts) for part in like)


def _copied(like: Any, parts: list[Tensor]) -> Any:
    """The caller's own, and outside of inference mode fit for training as well."""
    return _nested(like, iter([part.clone() for part in parts]))


def tensors(state: Any) -> list[Tensor]:
    """Every tensor of a nested state."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state or () for tensor in tensors(part)]
