"""Sampling from a network that predicts tokens, y_t ~ P(y_t | y_1, …, y_{t−1}, condition).

The network reads its own samples: x_1 is the start token, x_t = y_{t−1}.

Shape letters: B sequences, T steps, P steps of the prompt, K tokens, C conditions.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from models._network import Network
from models._stepper import can_compile

Predict = Callable[[int], Tensor]
"""Returns the logits (B, K) of step t, counted from 0, given the t steps before it."""
Draw = Callable[[Tensor, int], None]
"""Samples step t from these logits."""


@torch.no_grad()
def generate(
    net: Network,
    num_steps: int,
    *,
    batch_size: int = 1,
    condition: Tensor | None = None,
    prompt: Tensor | None = None,
    temperature: float = 1.0,
    generator: torch.Generator,
    cached: bool = True,
    on_step: Callable[[int], object] | None = None,
) -> Tensor:
    """Ids (B, num_steps), sampled one step at a time. They begin with the prompt.

    `net` reads `num_outputs` + 1 tokens, the last of which is the start token. `condition` is
    (B,) class ids or (B, num_steps, C) features; `prompt` is (B, P) ids with P ≤ num_steps.
    Logits are divided by `temperature`; small values approach the argmax. All uniform numbers, one
    per id, are drawn from `generator` at the start, so that equal generators give equal ids.

    With `cached`, steps are taken by `net.stepper`. Otherwise every step reads its whole past
    again, or the part that the receptive field covers. `on_step` is called after each step with
    the number of steps done.

    Raises `ValueError` for invalid arguments.
    """
    _check_sizes(net, num_steps, batch_size, temperature)
    num_tokens, device = net.head.out_features, net.head.weight.device
    num_known = 0 if prompt is None else _checked_prompt(prompt, batch_size, num_steps, num_tokens)
    if condition is not None:
        condition = condition.to(device)
    _check_condition(net, condition, batch_size, num_steps)

    uniform_BT = torch.rand(
        batch_size, num_steps, generator=generator, device=generator.device, dtype=torch.float64
    )
    uniform_TB = uniform_BT.T.to(device).contiguous()
    x_TB = torch.full((num_steps + 1, batch_size), num_tokens, device=device)
    if prompt is not None:
        x_TB[1 : num_known + 1] = prompt.T
    predict = (_cached if cached else _naive)(net, x_TB, condition)
    draw = _drawing(net, x_TB, uniform_TB, temperature)
    for t in range(num_steps):
        if t >= num_known:
            draw(predict(t), t)
        elif cached:
            predict(t)
        if on_step is not None:
            on_step(t + 1)
    return x_TB[1:].T.contiguous()


def _cached(net: Network, x_TB: Tensor, condition: Tensor | None) -> Predict:
    """Predictions of a stepper. They must be asked for in the order t = 0, 1, 2, …"""
    x_ts = x_TB.unbind(0)
    if condition is None or not condition.is_floating_point():
        stepper = net.stepper(len(x_ts[0]), condition=condition)
        return lambda t: stepper(x_ts[t])
    stepper, condition_ts = net.stepper(len(x_ts[0])), condition.unbind(1)
    return lambda t: stepper(x_ts[t], condition_ts[t])


def _naive(net: Network, x_TB: Tensor, condition: Tensor | None) -> Predict:
    """Predictions of `forward` on the part of the past that the last output depends on."""
    net = copy.deepcopy(net).eval()

    def predict(t: int) -> Tensor:
        start = int(max(t + 1 - net.receptive_field, 0)) // net.core.period * net.core.period
        part = condition
        if part is not None and part.is_floating_point():
            part = part[:, start : t + 1]
        y, _ = net(x_TB[start : t + 1].T, condition=part)
        return y[:, -1].contiguous()

    return predict


def _drawing(net: Network, x_TB: Tensor, uniform_TB: Tensor, temperature: float) -> Draw:
    """Inverse transform sampling in double precision; the ids are written into `x_TB`."""
    if can_compile(net):  # a small network's step is faster than the torch operations below
        from models._compiled import draw  # Numba is imported only when it is used

        x, uniform = x_TB.numpy(), uniform_TB.numpy()
        return lambda logits_BK, t: draw(logits_BK.numpy(), temperature, uniform[t], x[t + 1])

    def by_torch(logits_BK: Tensor, t: int) -> None:
        logits_BK = logits_BK.double()
        logits_BK = (logits_BK - logits_BK.amax(-1, keepdim=True)) / temperature
        cumulative_BK = logits_BK.softmax(-1).cumsum(-1)
        ids_B1 = torch.searchsorted(cumulative_BK, uniform_TB[t, :, None], right=True)
        last = logits_BK.shape[1] - 1  # rounding may leave the last sum a little below 1
        x_TB[t + 1] = ids_B1.squeeze(1).clamp(max=last)

    return by_torch


def _check_sizes(net: Network, num_steps: int, batch_size: int, temperature: float) -> None:
    num_tokens = net.head.out_features
    if not net.tokens or net.num_inputs != num_tokens + 1:
        inputs = f"{net.num_inputs} {'tokens' if net.tokens else 'real inputs'}"
        raise ValueError(
            f"a network of {inputs} and {num_tokens} outputs can't read its own samples; "
            f"valid: {num_tokens + 1} tokens, the last of which is the start token"
        )
    if num_steps < 1 or batch_size < 1:
        raise ValueError(f"num_steps {num_steps}, batch_size {batch_size}; valid: 1 or more")
    if not temperature > 0:
        raise ValueError(
            f"temperature {temperature}; valid: more than 0 (small values approach the argmax)"
        )


def _checked_prompt(prompt: Tensor, batch_size: int, num_steps: int, num_tokens: int) -> int:
    """P, the number of steps of the prompt; `ValueError` for an invalid prompt."""
    shape = tuple(prompt.shape)
    if len(shape) != 2 or shape[0] != batch_size or shape[1] > num_steps:
        raise ValueError(
            f"a prompt of shape {shape}; valid: ({batch_size}, P) for a P of at most {num_steps}"
        )
    if prompt.is_floating_point() or (
        prompt.numel() and not 0 <= prompt.min() <= prompt.max() < num_tokens
    ):
        raise ValueError(f"a prompt of {prompt.dtype}; valid: ids from 0 to {num_tokens - 1}")
    return shape[1]


def _check_condition(
    net: Network, condition: Tensor | None, batch_size: int, num_steps: int
) -> None:
    if condition is not None and not condition.is_floating_point() and net.num_conditions:
        wrong = condition[(condition < 0) | (condition >= net.num_conditions)]
        if len(wrong):
            raise ValueError(
                f"class {int(wrong[0])} as a condition; valid: 0 to {net.num_conditions - 1}"
            )
    net.encode_condition(condition, batch_size, num_steps)
