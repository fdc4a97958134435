"""How far back a network looks: receptive fields and gradients through time.

Shape letters: B sequences, T steps, I inputs, O outputs.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.core.records import ByDistance, Probe
from bench.measure.update import outputs
from models import Network
from tasks import Batch, Task

NUM_SEQUENCES = 32
"""Validation sequences on which gradients are taken."""
NUM_DISTANCES = 40
"""Largest number of distances that are kept, evenly spaced on a logarithmic scale."""
MARGIN = 16
"""Steps beyond the receptive field that are also perturbed."""
HELD = 0.95
"""Share of the squared gradient that lies within the effective receptive field."""


def measured_field(
    network: Network, num_steps: int, condition: Tensor | None = None, row: int = 1
) -> tuple[int, int]:
    """The receptive field by perturbation, and the number of steps that could be perturbed.

    All inputs from some distance on become NaN, which even the smallest weight passes on. Bisection
    finds the largest distance at which a NaN reaches the last output. An infinite field is measured
    within `num_steps`.

    A network with conditions gets the first class of `condition`, or features of zero, at every
    step. An image of `row` pixels per row is read in whole rows, because the last pixel of a row
    may look back furthest.
    """
    field = network.receptive_field
    seen = num_steps if math.isinf(field) else -(-(int(field) + MARGIN) // row) * row
    x_BTI = torch.zeros(1, seen, network.num_inputs, device=network.head.weight.device)
    if condition is not None and condition.ndim == 3:
        condition = condition.new_zeros(1, seen, condition.shape[2])
    elif condition is not None:
        condition = condition[:1]

    @torch.inference_mode()
    def reaches(distance: int) -> bool:
        perturbed_BTI = x_BTI.clone()
        perturbed_BTI[:, : seen - distance] = math.nan
        output = network(perturbed_BTI, last_only=True, condition=condition)[0]
        return bool(output.isnan().any())

    low, high = -1, seen  # an input at distance `low` reaches the output, one at `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return 1 + low, seen


def probe(network: Network, task: Task, batch: Batch, step: int) -> Probe | None:
    """The gradients of the last output and of the loss with respect to each past input.

    Dropout is off, and the weights and their gradients do not change. None where a gradient is not
    finite.
    """
    network.train()  # recurrent layers on a GPU have no backward pass in evaluation mode
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    x_BTI = network.encode(batch.x).detach().requires_grad_()
    encoded = replace(batch, x=x_BTI)
    output = outputs(network, task, encoded)
    # E |Jᵀ v|² over random signs v is the squared Frobenius norm of the Jacobian J.
    signs = torch.Generator(output.device)
    signs.manual_seed(0)
    last_BO = output[torch.arange(len(batch), device=output.device), _last(batch, output)]
    v_BO = torch.randint(0, 2, last_BO.shape, generator=signs, device=output.device) * 2 - 1
    loss = task.objective.loss(output, encoded) * len(batch)  # the sum over sequences
    squares = [
        _squares(torch.autograd.grad(scalar, x_BTI, retain_graph=True)[0], batch)
        for scalar in ((last_BO * v_BO).sum(), loss)
    ]
    if not all(square_T.isfinite().all() for square_T in squares):
        return None
    return Probe(
        step=step,
        output_gradient=_by_distance(squares[0]),
        loss_gradient=_by_distance(squares[1]),
        effective_field=_effective_field(squares[0]),
    )


def _last(batch: Batch, output: Tensor) -> Tensor | int:
    """Index of the last output of each sequence."""
    if batch.lengths is None or output.shape[1] == 1:
        return output.shape[1] - 1
    return batch.lengths - 1


def _squares(gradient_BTI: Tensor, batch: Batch) -> Tensor:
    """Squared norm over features, by distance from the end of a sequence, (T,).

    The mean over all sequences that are long enough to have an input at that distance.
    """
    square_BT = gradient_BTI.double().square().sum(-1).cpu()
    num_steps = square_BT.shape[1]
    if batch.lengths is None:
        return square_BT.mean(0).flip(0)
    step_BT = batch.lengths.cpu()[:, None] - 1 - torch.arange(num_steps)
    there_BT = step_BT >= 0
    num_steps = int(there_BT.any(0).sum())  # of the longest sequence
    by_distance_BT = square_BT.gather(1, step_BT.clamp(min=0)) * there_BT
    return (by_distance_BT.sum(0) / there_BT.sum(0))[:num_steps]


def _by_distance(square_T: Tensor) -> ByDistance:
    """Each kept distance stands for all distances from it up to the next one."""
    num_steps = len(square_T)
    spread = torch.logspace(0, math.log10(num_steps), NUM_DISTANCES + 1).round().long() - 1
    distances = sorted(set(spread.clamp(max=num_steps - 1).tolist()))
    ends = [*distances[1:], num_steps]
    values = [
        float(f"{square_T[start:end].mean().sqrt().item():.4g}")
        for start, end in zip(distances, ends, strict=True)
    ]
    return ByDistance(distances=tuple(distances), values=tuple(values))


def _effective_field(square_T: Tensor) -> int:
    """The fewest last inputs that hold `HELD` of the sum; 0 if the sum is 0."""
    held_T = square_T.cumsum(0)
    if held_T[-1] == 0:
        return 0
    return int((held_T < HELD * held_T[-1]).sum()) + 1
