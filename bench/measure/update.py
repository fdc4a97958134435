"""One training step: sample, forward, backward, clip, update; replayed as a CUDA graph on a GPU."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.optim import SGD, Adam, RMSprop

from bench.core.spec import Frozen, Training
from bench.measure.flat import clip, flatten
from models import Network
from tasks import Batch, Task

NUM_WARM_UP = 3
"""Eager steps that PyTorch requires before a capture. Their changes are undone."""


def outputs(network: nn.Module, task: Task, batch: Batch) -> Tensor:
    """The outputs that the objective reads: (B, T, O), or (B, 1, O) for one answer per sequence."""
    last_only = task.signature.per == "sequence"
    y, _ = network(batch.x, lengths=batch.lengths, last_only=last_only, condition=batch.condition)
    return y


def of_steps(condition: Tensor | None, steps: slice) -> Tensor | None:
    """The condition of these steps: classes (B,) are unchanged, features (B, T, C) are cut."""
    return condition[:, steps] if condition is not None and condition.ndim == 3 else condition


def update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    batch: Batch,
    clip_norm: float | None,
    wholes: Sequence[nn.Parameter] | None = None,
) -> Tensor:
    """Forward, backward, clip, update. Returns the detached loss without waiting for the device.

    `wholes` hold all parameters of the network, if they are views of them.
    """
    optimizer.zero_grad(set_to_none=wholes is None)
    loss = task.objective.loss(outputs(network, task, batch), batch)
    loss.backward()
    if clip_norm is not None and wholes is not None:
        clip(wholes, clip_norm)
    elif clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    optimizer.step()
    return loss.detach()


def by_rate_scale(network: nn.Module) -> dict[float, list[nn.Parameter]]:
    """The parameters that are trained, by the factor of their learning rate."""
    scales = network.rate_scales if isinstance(network, Network) else {}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(scales.get(name, 1.0), []).append(parameter)
    return groups


class UpdaterState(Frozen):
    """Everything but the network that the next steps of an updater depend on."""

    model_config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=True)

    optimizer: dict[int, dict[str, Tensor]]
    """The optimizer's values: parameter number → name → value."""
    generator: Tensor
    step: int
    total_loss: float
    """Sum over the steps since the last call of `mean_loss`."""
    num_summed: int


class Updater:
    """Takes one training step per call, on the device of the generator.

    With `capture`, the whole step is recorded once as a CUDA graph and then replayed, which saves
    small networks the launch of each kernel. Where a step cannot be captured it runs eagerly, and
    `eager_because` gives the reason (None: it was captured, or no capture was requested). No step
    waits for the device: losses are summed there, and only `mean_loss` waits.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        training: Training,
        generator: torch.Generator,
        capture: bool = False,
    ) -> None:
        self._network, self._task = network, task
        self._training, self._generator = training, generator
        self._total_loss = torch.zeros((), device=generator.device)
        self._num_summed = self._step = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self.eager_because: str | None = None
        self._groups = by_rate_scale(network)
        on_cpu = generator.device.type == "cpu"
        self._wholes = flatten(list(self._groups.values())) if on_cpu else None
        if capture:
            self.optimizer = self._make_optimizer(capturable=True)
            self._capture()
        if self._graph is None:
            self.optimizer = self._make_optimizer(capturable=False)

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def __call__(self) -> None:
        self._set_rate()
        if self._graph is None:
            self.step_eagerly()
        else:
            self._graph.replay()
        self._num_summed += 1
        self._step += 1

    def mean_loss(self) -> float:
        """Mean over the steps since the last call; waits for the device."""
        total, number = self._total_loss.item(), self._num_summed
        self._total_loss.zero_()
        self._num_summed = 0
        return total / number

    def state(self) -> UpdaterState:
        """A copy of the state, from which `load` continues; waits for the device."""
        return UpdaterState(
            optimizer=deepcopy(self.optimizer.state_dict()["state"]),
            generator=self._generator.get_state(),
            step=self._step,
            total_loss=self._total_loss.item(),
            num_summed=self._num_summed,
        )

    def load(self, state: UpdaterState) -> None:
        """Continue from the state of another updater of the same network, task and training."""
        ours = self.optimizer.state_dict()
        if self._graph is None:
            self.optimizer.load_state_dict({**ours, "state": deepcopy(state.optimizer)})
        else:  # the graph reads and writes these tensors, so they keep their place
            for number, values in state.optimizer.items():
                for name, value in values.items():
                    ours["state"][number][name].copy_(value)
        self._generator.set_state(state.generator)
        self._step = state.step
        self._total_loss.fill_(state.total_loss)
        self._num_summed = state.num_summed

    def step_eagerly(self) -> None:
        """Sample and take a step without the graph; neither counted nor cooled down."""
        batch = self._task.sample(self._training.batch_size, self._generator, "train")
        clip_norm = self._training.clip_norm
        self._total_loss += update(
            self._network, self.optimizer, self._task, batch, clip_norm, self._wholes
        )

    def _make_optimizer(self, *, capturable: bool) -> torch.optim.Optimizer:
        training = self._training
        kinds: dict[str, Any] = {"adam": Adam, "rmsprop": RMSprop, "sgd": SGD}
        kind, rate = kinds[training.optimizer], training.learning_rate
        if not capturable:
            fused = {"fused": True} if training.optimizer != "rmsprop" else {}
            return kind(self._rated(rate), lr=rate, **fused)
        # A captured step reads its rate from the device; of SGD only the fused form does.
        flags = {"fused": True} if training.optimizer == "sgd" else {"capturable": True}
        at = torch.tensor(rate, device=self._generator.device)
        return kind(self._rated(at), lr=at, **flags)

    def _rated(self, rate: float | Tensor) -> list[dict[str, Any]]:
        """The optimizer's groups: parameters, their learning rate and its factor."""
        scales, groups = list(self._groups), list(self._groups.values())
        if self._wholes is not None:
            groups = [[whole] for whole in self._wholes]
        return [
            {"params": parameters, "lr": rate * scale, "rate_scale": scale}
            for scale, parameters in zip(scales, groups, strict=True)
        ]

    def _set_rate(self) -> None:
        """Keep the rate constant, then lower it linearly towards zero over the cooldown."""
        training = self._training
        if training.is_constant(self._step):
            return
        left = training.max_steps - self._step
        lowered = training.learning_rate * (left / (training.cooldown * training.max_steps))
        for group in self.optimizer.param_groups:
            rate = lowered * group["rate_scale"]
            captured = isinstance(group["lr"], Tensor)
            group["lr"] = group["lr"].fill_(rate) if captured else rate

    def _capture(self) -> None:
        """Record a step, and leave weights, optimizer and generators as they were before."""
        device = self._generator.device
        weights = deepcopy(self._network.state_dict())
        drawn, dropped = self._generator.get_state(), torch.cuda.get_rng_state(device)
        number = torch.cuda.current_device() if device.index is None else device.index
        generators = (self._generator, torch.cuda.default_generators[number])
        intact = [generator.clone_state() for generator in generators]

        def undo() -> None:
            self._network.load_state_dict(weights)
            for state in self.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, Tensor):
                        value.zero_()
            self._network.zero_grad()
            self._total_loss.zero_()
            self._generator.set_state(drawn)
            torch.cuda.set_rng_state(dropped, device)

        self._network.train()
        try:
            beside = torch.cuda.Stream(device)
            beside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(beside):
                for _ in range(NUM_WARM_UP):
                    self.step_eagerly()
            torch.cuda.current_stream(device).wait_stream(beside)
            undo()
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self._generator)
            with torch.cuda.graph(graph):
                self.step_eagerly()
            self._graph = graph
        except RuntimeError as error:
            torch.cuda.synchronize(device)
            # After a failed capture, a generator refuses to draw outside of a capture.
            for generator, whole in zip(generators, intact, strict=True):
                generator.graphsafe_set_state(whole.graphsafe_get_state())
            self.eager_because = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        undo()
