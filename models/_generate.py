"""Sampling from a network that predicts tokens, y_t ~ P(y_t | y_1, …, y_{t−1}, condition).

The network reads what it said: x_1 is the start token, x_t = y_{t−1}.

Shape letters: B sequences, T steps, P steps of the prompt, K tokens, C conditions.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from models._network import Network
from models._stepper import can_compile

Predict = Callable[[int], Tensor]
"""Logits (B, K) of the step after t steps that are known."""
Draw = Callable[[Tensor, int], None]
"""From these logits, the step after t steps that are known."""


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
    """Ids (B, num_steps), sampled a step at a time; the first of them are the prompt's.

    `net` reads `num_outputs` + 1 tokens, the last of which is the start token. `condition` is
    (B,) class ids or (B, num_steps, C) features, `prompt` (B, P) ids, `num_steps` of them at most.
    Logits are divided by `temperature`; small values approach the argmax. One uniform number for
    each id is drawn from `generator` before anything else is done, so that equal generators give
    equal ids. `cached` goes by `net.stepper`; without it, each step reads its whole past again, or
    as much of it as the receptive field covers. `on_step` is told the number of steps done.

    Raises `ValueError` where an argument makes no sense.
    """
    num_tokens = net.head.out_features
    if not net.tokens or net.num_inputs != num_tokens + 1:
        inputs = f"{net.num_inputs} {'tokens' if net.tokens else 'real inputs'}"
        raise ValueError(
            f"a network of {inputs} and {num_tokens} outputs can't read what it says; "
            f"valid: {num_tokens + 1} tokens, the last of which is the start token"
        )
    if num_steps < 1 or batch_size < 1:
        raise ValueError(f"num_steps {num_steps}, batch_size {batch_size}; valid: 1 or more")
    if not temperature > 0:
        raise ValueError(
            f"temperature {temperature}; valid: more than 0 (small values approach the argmax)"
        )
    device = net.head.weight.device
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
    """By a stepper, for t = 0, 1, 2, … in this order."""
    x_ts = x_TB.unbind(0)
    if condition is None or not condition.is_floating_point():
        stepper = net.stepper(len(x_ts[0]), condition=condition)
        return lambda t: stepper(x_ts[t])
    stepper, condition_ts = net.stepper(len(x_ts[0])), condition.unbind(1)
    return lambda t: stepper(x_ts[t], condition_ts[t])


def _naive(net: Network, x_TB: Tensor, condition: Tensor | None) -> Predict:
    """By forward, over as much of the past as the last output depends on."""
    net = copy.deepcopy(net).eval()

    def predict(t: int) -> Tensor:
        start = int(max(t + 1 - net.receptive_field, 0)) // net.core.period * net.core.period
        part = condition
        if part is not None and part.is_floating_point():
            part = part[:, start : t + 1]
        return net(x_TB[start : t + 1].T, condition=part)[0][:, -1]

    return predict


def _drawing(net: Network, x_TB: Tensor, uniform_TB: Tensor, temperature: float) -> Draw:
    """Into `x_TB`, the inverse of the cumulative distribution, in double precision."""
    if can_compile(net):  # a small network's step takes less time than torch's operations here
        from models._kernels import draw  # Numba is loaded where it is used

        x, uniform = x_TB.numpy(), uniform_TB.numpy()
        return lambda logits_BK, t: draw(logits_BK.numpy(), temperature, uniform[t], x[t + 1])

    def by_torch(logits_BK: Tensor, t: int) -> None:
        logits_BK = logits_BK.double()
        logits_BK = (logits_BK - logits_BK.amax(-1, keepdim=True)) / temperature
        cumulative_BK = logits_BK.softmax(-1).cumsum(-1)
        ids_B1 = torch.searchsorted(cumulative_BK, uniform_TB[t, :, None], right=True)
        last = logits_BK.shape[1] - 1  # a sum of 1 − 10⁻¹⁶ may be passed
        x_TB[t + 1] = ids_B1.squeeze(1).clamp(max=last)

    return by_torch


def _checked_prompt(prompt: Tensor, batch_size: int, num_steps: int, num_tokens: int) -> int:
    """P, the number of steps of a prompt that makes sense."""
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
