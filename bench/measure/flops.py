"""Floating-point operations of a network, counted and not timed.

PyTorch counts them on the `meta` device, which computes nothing and where no layer hides its work
in a library.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.core.spec import Subject
from bench.plan.grid import network_of, task_of
from models import Network

SHORT = 16
"""Steps of the sequences on which a recurrent network is counted."""


def sequence_flops(spec: Subject, *, last_only: bool, backward: bool = False) -> int:
    """Operations on one whole sequence.

    A network without a finite receptive field is counted on two short sequences, since its work
    grows by the same amount with every step.
    """
    num_steps = task_of(spec).signature.num_steps
    network = _meta_network(spec)

    def counted(steps: int) -> int:
        x, condition = _meta_input(spec, steps)
        with FlopCounterMode(display=False) as counter:
            y = network(x, last_only=last_only, condition=condition)[0]
            if backward:
                y.sum().backward()
        return counter.get_total_flops()

    if not math.isinf(network.receptive_field) or num_steps <= 2 * SHORT:
        return counted(num_steps)
    once, twice = counted(SHORT), counted(2 * SHORT)
    return once + (twice - once) * (num_steps - SHORT) // SHORT


def step_flops(spec: Subject) -> int:
    """Operations of one further step of one stream whose state is full."""
    network = _meta_network(spec)
    field = network.receptive_field
    x, condition = _meta_input(spec, 1 if math.isinf(field) else int(field))
    state: Any = network(x, condition=condition)[1]
    x_t, condition = _meta_input(spec, 1)
    with FlopCounterMode(display=False) as counter:
        network(x_t, state, condition=condition)
    return counter.get_total_flops()


def _meta_network(spec: Subject) -> Network:
    with torch.device("meta"):
        return network_of(spec)


def _meta_input(spec: Subject, num_steps: int) -> tuple[Tensor, Tensor | None]:
    """A sequence and its condition as features, which cost as much as a condition of classes."""
    signature = task_of(spec).signature
    condition = None
    if signature.num_conditions:
        condition = torch.zeros(1, num_steps, signature.num_conditions, device="meta")
    if signature.input == "token":
        return torch.zeros(1, num_steps, dtype=torch.long, device="meta"), condition
    return torch.zeros(1, num_steps, signature.num_inputs, device="meta"), condition
