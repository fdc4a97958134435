"""Steppers: by `forward`, by a captured graph, by a compiled kernel. All outputs are `forward`'s.

Shape letters: B streams, T steps, I inputs, C conditions, O outputs.
"""

import copy
import importlib.util
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models._contract import Kernel
from models._stepping import (
    Steppable,
    Stepper,
    checked_mask,
    condition_of_step,
    copied,
    forward_zeros,
    nested,
    tensors,
    zero_inputs,
)

COMPILED_DTYPES = (torch.float32, torch.float64)


class TorchStepper(Stepper):
    """Calls `forward` with one step. Works for any core, device and precision."""

    def __init__(self, network: Steppable, batch_size: int, held_BC: Tensor | None = None) -> None:
        self.batch_size = batch_size
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._held_BC = held_BC
        self._groups: list[tuple[Tensor | None, Any]] = [(None, None)]
        self.state_bytes = self._full_state_bytes()

    @torch.inference_mode()
    def _step(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        shape = (self.batch_size, self._network.num_conditions)
        condition_BC = condition_of_step(shape, self._held_BC, condition_t)
        condition_B1C = None if condition_BC is None else condition_BC.unsqueeze(1)
        y_BO: Tensor | None = None
        for n, (mask_B, state) in enumerate(self._groups):
            y, state = self._network(x_t.unsqueeze(1), state, condition=condition_B1C)
            self._groups[n] = mask_B, state
            if y_BO is None or mask_B is None:
                y_BO = y.squeeze(1)
            else:
                y_BO = torch.where(mask_B[:, None], y.squeeze(1), y_BO)
        assert y_BO is not None
        return y_BO

    def reset(self, mask: Tensor | np.ndarray | None = None) -> None:
        """Streams that begin together form a group with a state of its own.

        Every group computes all streams, because nothing is known about the form of a state; only
        the outputs of its own streams are used.
        """
        if mask is None:
            self._groups = [(None, None)]
            return
        reset_B = checked_mask(mask, self.batch_size).to(self._network.head.weight.device)
        if not reset_B.any():
            return
        groups: list[tuple[Tensor | None, Any]] = []
        for mask_B, state in self._groups:
            kept_B = ~reset_B if mask_B is None else mask_B & ~reset_B
            if kept_B.any():
                groups.append((kept_B, state))
        self._groups = [*groups, (reset_B if groups else None, None)]

    def load(self, state: Any) -> None:
        self._groups = [(None, state)]

    def state(self) -> Any:
        if len(self._groups) > 1:
            raise ValueError("streams that were reset at different steps have no common state")
        _, state = self._groups[0]
        return copied(state, tensors(state))

    @torch.inference_mode()
    def _full_state_bytes(self) -> int:
        """Size of one stream's state after enough steps to fill the receptive field.

        A counter of steps is not part of it.
        """
        _, state = forward_zeros(self._network, 1)
        return sum(part.nbytes for part in tensors(state) if part.is_floating_point())


class CapturedStepper(Stepper):
    """`forward` on buffers that keep their addresses, replayed as a CUDA graph on a GPU.

    It works for cores that start from a state of zeros and whose full state keeps its size;
    `ValueError` for other cores. On a CPU the same step runs without a graph.
    """

    @torch.inference_mode()
    def __init__(self, network: Steppable, batch_size: int, held_BC: Tensor | None = None) -> None:
        self.batch_size = batch_size
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        _, self._like = forward_zeros(self._network, batch_size)
        self._state = [torch.zeros_like(part) for part in tensors(self._like)]
        self.state_bytes = sum(part.nbytes for part in self._state) // batch_size
        self._batch_axes = self._axes_of_streams()
        self._x, self._condition = zero_inputs(self._network, batch_size, 1)
        self._held_BC = held_BC
        self._y = torch.zeros_like(self._forward(None)[0][:, 0])
        self._graph: torch.cuda.CUDAGraph | None = None
        self._check_start_is_zeros()
        if self._x.is_cuda:
            self._capture()
        self.reset()

    @torch.inference_mode()
    def _step(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        shape = (self.batch_size, self._network.num_conditions)
        condition_BC = condition_of_step(shape, self._held_BC, condition_t)
        if self._condition is not None and condition_BC is not None:
            self._condition.copy_(condition_BC.unsqueeze(1))
        self._x.copy_(x_t.unsqueeze(1))
        if self._graph is None:
            self._advance()
        else:
            self._graph.replay()
        return self._y.clone()

    @torch.inference_mode()
    def reset(self, mask: Tensor | np.ndarray | None = None) -> None:
        if mask is None:
            for part in self._state:
                part.zero_()
            return
        reset_B = checked_mask(mask, self.batch_size).to(self._x.device)
        for part, axis in zip(self._state, self._batch_axes, strict=True):
            part.index_fill_(axis, reset_B.nonzero().flatten(), 0)

    @torch.inference_mode()
    def load(self, state: Any) -> None:
        self.reset()
        for part, given in zip(self._state, tensors(state), strict=False):
            # A state that is not full yet lacks its oldest entries; those stay zero.
            part[tuple(slice(-n if n else 0, None) for n in given.shape)] = given

    def state(self) -> Any:
        return copied(self._like, self._state)

    def _forward(self, state: Any) -> tuple[Tensor, Any]:
        return self._network(self._x, state, condition=self._condition)

    def _advance(self) -> None:
        y, state = self._forward(nested(self._like, iter(self._state)))
        for part, new in zip(self._state, tensors(state), strict=True):
            part.copy_(new)
        self._y.copy_(y[:, 0])

    def _axes_of_streams(self) -> list[int]:
        """The axis of each tensor of the state that a further stream makes longer."""
        _, longer = forward_zeros(self._network, self.batch_size + 1)
        return [
            next(n for n, size in enumerate(part.shape) if size != other.shape[n])
            for part, other in zip(self._state, tensors(longer), strict=True)
        ]

    def _check_start_is_zeros(self) -> None:
        """Take two steps from None and two from zeros; outputs and state sizes must agree."""
        fresh: Any = None
        for _ in range(2):
            y, fresh = self._forward(fresh)
            full = self._forward(nested(self._like, iter(self._state)))[1]
            if [part.shape for part in tensors(full)] != [part.shape for part in self._state]:
                raise ValueError("a state that does not keep its size can't be captured")
            self._advance()
            if not torch.allclose(self._y, y[:, 0], rtol=1e-2, atol=1e-3):
                raise ValueError("a start that is not a state of zeros can't be captured")

    def _capture(self) -> None:
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(3):
                self._advance()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._advance()
        self._graph = graph


class CompiledStepper(Stepper):
    """A compiled kernel that reads torch tensors at their addresses."""

    def __init__(
        self, network: Steppable, kernel: Kernel, batch_size: int, held_BC: Tensor | None = None
    ) -> None:
        self.batch_size = batch_size
        self.state_bytes = kernel.state_bytes
        self._kernel = kernel
        self._dtype = network.head.weight.dtype
        self._x_dtype = torch.int64 if network.tokens else self._dtype
        self._tokens, self._num_inputs = network.tokens, network.num_inputs
        size = (batch_size,) if network.tokens else (batch_size, network.num_inputs)
        self._shape = torch.Size(size)
        self._condition_shape = (batch_size, network.num_conditions)
        self._held_BC = None if held_BC is None else held_BC.to(self._dtype).contiguous()
        held = self._held_BC is not None
        kernel.reads(tokens=network.tokens, num_conditions=network.num_conditions, held=held)
        self._held_at = 0 if self._held_BC is None else self._held_BC.data_ptr()
        self._no_condition = held or network.num_conditions == 0
        self._y_BO = torch.empty(batch_size, network.head.out_features, dtype=self._dtype)

    def __call__(self, x_t: Any, condition_t: Any = None) -> Any:
        # The usual case first: every check takes a noticeable part of a small network's step.
        if (
            type(x_t) is Tensor
            and condition_t is None
            and self._no_condition
            and x_t.dtype is self._x_dtype
            and x_t.shape == self._shape
            and x_t.is_contiguous()
            and x_t.is_cpu
        ):
            y_BO = torch.empty_like(self._y_BO)
            if self._kernel.run(x_t.data_ptr(), self._held_at, y_BO.data_ptr(), 1):
                return y_BO
        return super().__call__(x_t, condition_t)

    def _step(self, x_t: Tensor, condition_t: Tensor | None = None) -> Tensor:
        if x_t.shape != self._shape:
            valid = tuple(self._shape)
            raise ValueError(f"a step of shape {tuple(x_t.shape)}; valid: {valid}")
        condition_of_step(self._condition_shape, self._held_BC, condition_t)
        return self._read(x_t.unsqueeze(1), condition_t).squeeze(1)

    def _steps(self, x: Tensor, condition: Tensor | None) -> Tensor:
        batch_size, *step = self._shape
        if x.ndim != 1 + len(self._shape) or x.shape[::2] != (batch_size, *step):
            valid = ", ".join(map(str, (batch_size, "T", *step)))
            raise ValueError(f"steps of shape {tuple(x.shape)}; valid: ({valid})")
        if x.shape[1] == 0:
            raise ValueError("a run over 0 steps; valid: 1 or more")
        if not self._no_condition or condition is not None:
            shape = (batch_size, x.shape[1], self._condition_shape[1])
            condition_of_step(shape, self._held_BC, condition, "the run")
        return self._read(x, condition)

    def _read(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Outputs (B, T, O), with inputs of any device, type and layout."""
        if self._tokens and (x.is_floating_point() or x.dtype is torch.bool):
            raise ValueError(f"ids of {x.dtype}; valid: integers")
        x = x.detach().to("cpu", self._x_dtype).contiguous()
        condition_at = self._held_at
        if condition is not None:
            condition = condition.detach().to("cpu", self._dtype).contiguous()
            condition_at = condition.data_ptr()
        num_steps = x.shape[1]
        y_BTO = self._y_BO.new_empty(self.batch_size, num_steps, self._y_BO.shape[1])
        if not self._kernel.run(x.data_ptr(), condition_at, y_BTO.data_ptr(), num_steps):
            wrong = x[(x < 0) | (x >= self._num_inputs)]
            raise ValueError(f"id {int(wrong[0])}; valid: 0 to {self._num_inputs - 1}")
        return y_BTO

    def reset(self, mask: Tensor | np.ndarray | None = None) -> None:
        self._kernel.reset(None if mask is None else checked_mask(mask, self.batch_size).numpy())

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
