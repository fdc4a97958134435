"""Residual blocks of a TCN computed by the compiled kernels of `_conv_kernels`.

Equal to PyTorch's operations but for rounding. PyTorch itself computes what the kernels do not:
other devices and precisions, gated units, dropout, states, and gradients of gradients.

Shape letters: B sequences, T steps, I input channels, O output channels, G groups of 16 sequences,
N numbers.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAST_SEQUENCES = 4
"""With fewer sequences most lanes would be empty, and PyTorch is faster."""


def can_compile(x_BTI: Tensor, weight: Tensor, least: int = LEAST_SEQUENCES) -> bool:
    """Whether the compiled kernels compute these inputs, on this device and in this precision.

    There must be at least `least` sequences.
    """
    return (
        x_BTI.device.type == "cpu"
        and x_BTI.dtype in (torch.float32, torch.float64)
        and x_BTI.dtype == weight.dtype
        and len(x_BTI) >= least
        and x_BTI.shape[1] > 0
        and _has_numba()
    )


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def _kernels() -> Any:
    """The compiled kernels, imported by the first network that needs them."""
    from models import _conv_kernels
    from models._kernel_cache import drop_stale_kernels

    drop_stale_kernels()
    return _conv_kernels


class LateState(Sequence[Any]):
    """The state after a sequence, computed only when it is read."""

    def __init__(self, compute: Callable[[], Sequence[Any]]) -> None:
        self._compute = compute
        self._state: Sequence[Any] | None = None

    def _read(self) -> Sequence[Any]:
        if self._state is None:
            self._state = self._compute()
        return self._state

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read())


class Layout:
    """Where each number of a core of residual blocks lies, for one length of sequences."""

    def __init__(self, core: nn.Module, num_steps: int, last_only: bool) -> None:
        kernels = _kernels()

        self.last_only = last_only
        self.names = [name for name, _ in core.named_parameters()]
        self._owners = [
            (core.get_submodule(path), name)
            for path, _, name in (full.rpartition(".") for full in self.names)
        ]
        blocks: Any = core.blocks
        self.lanes = kernels.LANES
        self.convs, self.blocks = [], []
        self.num_parameters = self.num_packed = self.num_lanes = 0
        num_inputs = blocks[0].conv1.conv.in_channels
        input_at, steps = 0, num_steps
        self._end = num_steps * num_inputs * self.lanes
        self.most = self._end
        for n, block in enumerate(blocks):
            # With `last_only`, block n reads only steps that are 2^n apart, and returns every
            # second one of them; the last block returns one.
            stride = 1 if not last_only else 2 if n < len(blocks) - 1 else steps
            dilation = 1 if last_only else block.conv1.dilation
            positions, first = -(-steps // stride), (steps - 1) % stride
            inner, num_outputs = block.conv1.conv.out_channels, block.conv2.conv.out_channels
            num_taps = block.conv1.conv.kernel_size[0]
            conv1 = self._conv(num_inputs, inner, num_taps, dilation, 0, 1, steps, steps, 1)
            conv2 = self._conv(
                inner, num_outputs, num_taps, dilation, first, stride, steps, positions, 1
            )
            skip = -1
            if not block.residual:
                skip = -2
            elif isinstance(block.skip, nn.Linear):
                skip = self._conv(num_inputs, num_outputs, 1, 1, first, stride, steps, positions, 0)
            inner_at = self._room(steps * inner)
            second_at = self._room(positions * num_outputs)
            output_at = self._room(positions * num_outputs) if block.residual else second_at
            self.blocks.append(
                kernels.Block(conv1, conv2, skip, input_at, inner_at, second_at, output_at)
            )
            input_at, steps, num_inputs = output_at, positions, num_outputs
        self.num_positions, self.num_outputs, self.num_acts = steps, num_inputs, self._end
        self.convs_table = np.array(self.convs, np.int64)
        self.blocks_table = np.array(self.blocks, np.int64)

    def weights(self) -> list[Any]:
        """The parameters, as `parameters()` gives them, but faster."""
        return [module._parameters[name] for module, name in self._owners]

    def _room(self, num_rows: int) -> int:
        at, self._end = self._end, self._end + num_rows * self.lanes
        self.most = max(self.most, num_rows * self.lanes)
        return at

    def _conv(
        self,
        num_inputs: int,
        num_outputs: int,
        num_taps: int,
        dilation: int,
        first: int,
        stride: int,
        num_steps: int,
        num_positions: int,
        normed: int,
    ) -> int:
        size = num_inputs * num_outputs * num_taps
        # The order of `parameters()`: bias, g and v of a normalised weight, else weight and bias.
        begin = self.num_parameters
        norm_at = begin + num_outputs
        weight_at = begin + 2 * num_outputs * normed
        bias_at = begin if normed else begin + size
        self.convs.append(
            _kernels().Conv(
                num_inputs=num_inputs,
                num_outputs=num_outputs,
                num_taps=num_taps,
                dilation=dilation,
                first=first,
                stride=stride,
                num_steps=num_steps,
                num_positions=num_positions,
                normed=normed,
                weight_at=weight_at,
                norm_at=norm_at,
                bias_at=bias_at,
                packed_at=self.num_packed,
                bias_lanes_at=self.num_lanes,
            )
        )
        self.num_parameters = begin + size + num_outputs * (1 + normed)
        self.num_packed += size
        self.num_lanes += num_outputs * self.lanes
        return len(self.convs) - 1


class Blocks(torch.autograd.Function):
    """Outputs (B, P, O) of a stack of residual blocks."""

    @staticmethod
    def forward(
        ctx: Any,
        layout: Layout,
        core: nn.Module,
        x_BTI: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        kernels = _kernels()

        flat_N = torch.cat([weight.detach().reshape(-1) for weight in weights])
        flat, x = flat_N.numpy(), x_BTI.detach().numpy()
        forward, backward = np.empty((2, layout.num_packed), flat.dtype)
        bias_lanes = np.empty(layout.num_lanes, flat.dtype)
        kernels.pack(layout.convs_table, flat, forward, backward, bias_lanes)
        kept = any(ctx.needs_input_grad)
        num_groups = -(-len(x) // layout.lanes) if kept else 1
        acts_GN = np.empty((num_groups, layout.num_acts), flat.dtype)
        y_BPO = x_BTI.new_empty(len(x), layout.num_positions, layout.num_outputs)
        kernels.forward_blocks(
            layout.convs_table, layout.blocks_table, forward, bias_lanes, x, acts_GN, y_BPO.numpy()
        )
        if kept:
            ctx.layout, ctx.core = layout, core
            ctx.flat, ctx.packed, ctx.acts_GN = flat, backward, acts_GN
            ctx.save_for_backward(x_BTI, *weights)
        return y_BPO

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        kernels = _kernels()

        x_BTI, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_pytorch(ctx, (x_BTI, *weights), grads[0])
        layout, dtype = ctx.layout, ctx.flat.dtype
        dx_wanted = ctx.needs_input_grad[2]
        dx_BTI = x_BTI.new_empty(x_BTI.shape if dx_wanted else (0, 0, 0))
        packed = np.zeros(layout.num_packed, dtype)
        bias_lanes = np.zeros(layout.num_lanes, dtype)
        kernels.backward_blocks(
            layout.convs_table,
            layout.blocks_table,
            ctx.packed,
            ctx.acts_GN,
            grads[0].contiguous().numpy(),
            packed,
            bias_lanes,
            np.empty((3, layout.most), dtype),
            dx_BTI.numpy(),
        )
        gradient = torch.empty(layout.num_parameters, dtype=x_BTI.dtype)
        kernels.unpack_gradient(layout.convs_table, ctx.flat, packed, bias_lanes, gradient.numpy())
        parts = gradient.split([weight.numel() for weight in weights])
        shaped = [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
        return None, None, dx_BTI if dx_wanted else None, *shaped


def _by_pytorch(ctx: Any, inputs: tuple[Tensor, ...], grad: Tensor) -> Any:
    """Gradients that have gradients themselves: by PyTorch's operations on the same inputs."""
    given = dict(zip(ctx.layout.names, inputs[1:], strict=True))
    options = {"last_only": ctx.layout.last_only, "compiled": False}
    y_BPO, _ = torch.func.functional_call(ctx.core, given, (inputs[0],), options)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(torch.autograd.grad(y_BPO, wanted, grad, create_graph=True, allow_unused=True))
    return None, None, *(next(found) if tensor.requires_grad else None for tensor in inputs)
