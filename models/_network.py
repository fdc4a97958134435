"""Encoding → core → head, and the width that meets a parameter budget.

Shape letters: B sequences, T steps, I inputs, C conditions, O outputs.
"""

import contextlib
import copy
import dataclasses
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._contract import Core, Model, Signature
from models._kernel_cache import drop_stale_kernels
from models._stepper import CapturedStepper, CompiledStepper, Stepper, TorchStepper, can_compile

BUDGET_TOLERANCE = 0.03
MOST_WIDTH = 2**20


class Network(nn.Module):
    """A core with its input encoding and its head.

    The encoding is not learned, so that the parameter budget goes to the core: tokens become
    one-hot vectors and reals stay as they are. If a task has conditions, they are appended to the
    inputs of every step, classes as one-hot vectors. The head is one linear layer.
    """

    def __init__(self, core: Core, signature: Signature) -> None:
        super().__init__()
        self.tokens = signature.input == "token"
        self.num_inputs = signature.num_inputs
        self.num_conditions = signature.num_conditions
        self.core = core
        self.rate_scales: dict[str, float] = {}
        """Factors of the learning rates of parameters, by name, where they are not 1."""
        self.head = nn.Linear(core.num_features, signature.num_outputs)

    def stock(self) -> "Network":
        """A copy that PyTorch's own layers compute, as textbooks write them (`Core.stock`)."""
        twin = copy.deepcopy(self)
        twin.core = twin.core.stock()
        return twin

    @property
    def receptive_field(self) -> float:
        """How many of the last inputs an output depends on, itself included."""
        return self.core.receptive_field

    def encode(self, x: Tensor) -> Tensor:
        """(B, T, I) reals: one-hot vectors for token ids (B, T), and reals unchanged."""
        if x.is_floating_point():
            return x
        weight = self.head.weight
        identity = torch.eye(self.num_inputs, dtype=weight.dtype, device=weight.device)
        return F.embedding(x, identity)  # one-hot vectors, four times as fast as by `one_hot`

    def encode_condition(
        self, condition: Tensor | None, batch_size: int, num_steps: int
    ) -> Tensor | None:
        """(B, T, C): each class repeated as a one-hot vector at every step, or features unchanged.

        `condition` is (B,) class ids or (B, T, C) features, and None only if the network has no
        conditions; the result is then None. `ValueError` for anything else.
        """
        shape = (batch_size, num_steps, self.num_conditions)
        if condition is None and self.num_conditions == 0:
            return None
        if condition is not None and self.num_conditions > 0:
            weight = self.head.weight
            if condition.is_floating_point() and condition.shape == shape:
                return condition.to(weight.dtype)
            if not condition.is_floating_point() and condition.shape == shape[:1]:
                classes_BC = F.one_hot(condition, self.num_conditions).to(weight.dtype)
                return classes_BC[:, None].expand(shape)
        if self.num_conditions == 0:
            valid = "None, as this network has no conditions"
        else:
            valid = f"{shape[:1]} class ids below {self.num_conditions}, or {shape} floats"
        given = "None" if condition is None else f"{tuple(condition.shape)} {condition.dtype}"
        raise ValueError(f"a condition of {given}; valid: {valid}")

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        last_only: bool = False,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Outputs and the state after the last step.

        `x` is (B, T) token ids or (B, T, I) reals. Outputs are (B, T, O); with `last_only` they
        are (B, 1, O) and the state is None. A sequence may be cut into chunks anywhere: passing
        the state on gives the same outputs. `condition` is (B,) class ids or (B, T, C) features,
        required if the network has conditions (see `encode_condition`).

        With `lengths` (B,), from 1 to T, each sequence ends at its own length and the rest is
        padding, which has no effect on the outputs before it. Outputs of the padding are zero,
        `last_only` selects each sequence's own last step, and the state is None, since the
        sequences end at different steps.
        """
        x_BTI = self.encode(x)
        condition_BTC = self.encode_condition(condition, *x.shape[:2])
        if condition_BTC is not None:
            x_BTI = torch.cat([x_BTI, condition_BTC], -1)
        if lengths is None:
            h_BTH, state = self.core(x_BTI, state, last_only=last_only)
            return self.head(h_BTH), state
        # A core is causal, so the padding cannot influence the steps before it.
        h_BTH, _ = self.core(x_BTI, state)
        if last_only:
            at_B1H = (lengths - 1)[:, None, None].expand(-1, 1, h_BTH.shape[2])
            return self.head(h_BTH.gather(1, at_B1H)), None
        steps = torch.arange(h_BTH.shape[1], device=h_BTH.device)
        return self.head(h_BTH) * (steps < lengths[:, None]).unsqueeze(-1), None

    def stepper(
        self, batch_size: int = 1, *, condition: Tensor | None = None, compiled: bool = True
    ) -> Stepper:
        """A copy that reads one step of `batch_size` streams at a time; outputs equal `forward`'s.

        It uses a compiled kernel on the CPU and a captured graph on a GPU. If the model has
        neither, or without `compiled`, it calls `forward`. `condition`, (B,) class ids, holds for
        every step; features are passed with each step instead.
        """
        held_BC = None
        if condition is not None:
            if condition.is_floating_point():
                raise ValueError("a stepper's condition is class ids; features go with each step")
            encoded_B1C = self.encode_condition(condition, batch_size, 1)
            held_BC = None if encoded_B1C is None else encoded_B1C[:, 0]
        if compiled and can_compile(self):
            drop_stale_kernels()
            kernel = self.core.kernel(self.head, batch_size)
            if kernel is not None:
                return CompiledStepper(self, kernel, batch_size, held_BC)
        if compiled and self.head.weight.is_cuda:
            with contextlib.suppress(ValueError, RuntimeError):
                return CapturedStepper(self, batch_size, held_BC)
        return TorchStepper(self, batch_size, held_BC)


def build(model: Model, signature: Signature, width: int, extra_width: int = 0) -> Network:
    """A network of this width; `ValueError` if the model does not support the signature."""
    _check_supported(model, signature)
    network = Network(model.build_core(_encoded(signature), width, extra_width), signature)
    for name, _ in network.core.named_parameters():
        scale = model.rate_scale(name)
        if scale != 1:
            network.rate_scales[f"core.{name}"] = scale
    return network


def _check_supported(model: Model, signature: Signature) -> None:
    reason = model.supports(signature)
    if reason is not None:
        raise ValueError(f"{model.model_name()} does not support this task: {reason}")


def _encoded(signature: Signature) -> Signature:
    """The signature as a core sees it: conditions are counted as inputs."""
    if not signature.num_conditions:
        return signature
    num_inputs = signature.num_inputs + signature.num_conditions
    return dataclasses.replace(signature, num_inputs=num_inputs)


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def count_parameters(model: Model, signature: Signature, width: int, extra_width: int = 0) -> int:
    """Parameters of the network that `build` would return.

    They come from the model's formula. A model without one is built on the meta device, which
    allocates no memory.
    """
    _check_supported(model, signature)
    core = model.core_size(_encoded(signature), width, extra_width)
    if core is None:
        with torch.device("meta"):
            return num_parameters(build(model, signature, width, extra_width))
    core_parameters, num_features = core
    return core_parameters + (num_features + 1) * signature.num_outputs


@lru_cache(maxsize=4096)
def fit_width(model: Model, signature: Signature, param_budget: int) -> tuple[int, int]:
    """The `(width, extra_width)` whose parameter count is closest to the budget.

    Raises `ValueError` with that count if it is more than 3% away.
    """
    steps_per_width = model.num_extra(signature)

    @lru_cache
    def count(size: int) -> int:
        return count_parameters(model, signature, *divmod(size, steps_per_width))

    # The count grows with size = width · steps_per_width + extra: double it, then bisect.
    low = high = steps_per_width
    while count(high) < param_budget:
        low, high = high, 2 * high
        if high > MOST_WIDTH * steps_per_width:
            raise ValueError(
                f"param_budget {param_budget} of {model.model_name()} is out of reach: "
                f"width {MOST_WIDTH} has {count(low)} parameters"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= param_budget else (middle, high)
    size = min((low, high), key=lambda size: abs(count(size) - param_budget))
    if abs(count(size) - param_budget) > BUDGET_TOLERANCE * param_budget:
        raise ValueError(
            f"param_budget {param_budget} of {model.model_name()} can't be met within "
            f"{BUDGET_TOLERANCE:.0%}; the nearest is {count(size)}"
        )
    width, extra_width = divmod(size, steps_per_width)
    return width, extra_width
