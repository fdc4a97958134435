"""One step of one or more streams at a time: the fast path of inference, equal to forward.

Shape letters: B streams, I inputs, O outputs.
"""

import copy
import importlib.util
from abc import ABC, abstractmethod
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
    def __call__(self, x_t: Tensor) -> Tensor:
        """Outputs (B, O) for a step of ids (B,) or of reals (B, I)."""

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

    def __init__(self, network: "Network", batch_size: int) -> None:
        self.batch_size = batch_size
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._state: Any = None
        self.state_bytes = self._measured_state_bytes()

    @torch.inference_mode()
    def __call__(self, x_t: Tensor) -> Tensor:
        y, self._state = self._network(x_t.unsqueeze(1), self._state)
        return y.squeeze(1)

    def reset(self) -> None:
        self._state = None

    def load(self, state: Any) -> None:
        self._state = state

    def state(self) -> Any:
        return self._state

    def _measured_state_bytes(self) -> int:
        """Once the state has grown to its full size."""
        field = self._network.receptive_field
        steps = 1 if field == float("inf") else int(field)
        weight = self._network.head.weight
        if self._network.tokens:
            x = torch.zeros(1, steps, dtype=torch.long, device=weight.device)
        else:
            x = torch.zeros(1, steps, self._network.num_inputs).to(weight)
        with torch.inference_mode():
            return sum(part.numel() * part.element_size() for part in tensors(self._network(x)[1]))


class Kernel(ABC):
    """A core and its head, compiled for the CPU: what a `CompiledStepper` drives."""

    state_bytes: int
    """Of one stream."""

    @abstractmethod
    def step(self, x_BI: np.ndarray, y_BO: np.ndarray) -> None: ...

    @abstractmethod
    def reset(self) -> None: ...

    @abstractmethod
    def load(self, state: Any) -> None: ...

    @abstractmethod
    def state(self) -> Any: ...


class CompiledStepper(Stepper):
    """A kernel behind torch's tensors."""

    def __init__(self, network: "Network", kernel: Kernel, batch_size: int) -> None:
        self.batch_size = batch_size
        self.state_bytes = kernel.state_bytes
        self._kernel = kernel
        self._tokens = network.tokens
        self._shape = (batch_size,) if network.tokens else (batch_size, network.num_inputs)
        dtype = torch.empty(0, dtype=network.head.weight.dtype).numpy().dtype
        self._x_BI = np.zeros((batch_size, network.num_inputs), dtype)
        self._num_outputs = network.head.out_features
        self._streams = np.arange(batch_size)
        self._last_ids = np.zeros(batch_size, np.int64)
        self._dtype = network.head.weight.dtype

    def __call__(self, x_t: Tensor) -> Tensor:
        if x_t.shape != self._shape:
            raise ValueError(f"a step of shape {tuple(x_t.shape)}; valid: {self._shape}")
        if self._tokens:
            self._x_BI[self._streams, self._last_ids] = 0
            self._last_ids[:] = x_t.numpy()
            self._x_BI[self._streams, self._last_ids] = 1
        else:
            self._x_BI[:] = x_t.detach().numpy()
        y_BO = torch.empty(self.batch_size, self._num_outputs, dtype=self._dtype)
        self._kernel.step(self._x_BI, y_BO.numpy())
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


def tensors(state: Any) -> list[Tensor]:
    """Every tensor of a nested state."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state or () for tensor in tensors(part)]
