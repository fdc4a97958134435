"""A whole update on PyTorch's `meta` device: what a GPU would refuse or wait for raises there.

A tensor of the `meta` device has a shape and no values. A tensor that is left on the CPU can't be
combined with it, and nothing can be read from it: `.item()`, `bool(tensor)` and `nonzero` raise.
"""

import dataclasses
import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

import models
import tasks
from bench.core.spec import Training
from bench.measure.update import Updater
from tasks import Batch, Objective, Split, Task
from tasks.copy_memory import CopyMemory
from tests.support.signatures import skip_unless_supported

pytestmark = pytest.mark.usefixtures("stand_in_mnist")

META = torch.device("meta")
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("tcn", {"gated": True}),
    ("tcn", {"residual": False, "dropout": 0.2}),
    ("lstm", {"chrono": True, "num_layers": 2}),
    ("lstm", {"forget_bias": None}),
    ("gru", {"chrono": True, "num_layers": 2}),
    ("rnn", {"recurrent_init": "orthogonal", "num_layers": 2}),
    ("rnn", {"recurrent_init": "identity", "nonlinearity": "relu"}),
]


class MetaGenerator(torch.Generator):
    """A generator that names `meta` as its device, for which PyTorch has no generator.

    Tasks draw on `generator.device`. Functions such as `torch.rand` accept this generator there and
    draw nothing.
    """

    device = META


@pytest.fixture(autouse=True)
def _fused_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch refuses `fused=True` on `meta`, although its fused Adam works there.

    This is all that is replaced. Fused SGD has no form for `meta`, so it is not tested here.
    """
    module = importlib.import_module("torch.optim.optimizer")  # torch.optim hides this name
    monkeypatch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["meta"])


def smallest(name: str) -> Task:
    cls = tasks.task_class(name)
    return cls(**cls.smallest)


def update(task: Task, model: str, optimizer: str = "adam", **fields: Any) -> None:
    """One update of a new network, by the updater of every training run."""
    with META:
        network = models.network(model, task.signature, width=6, **fields)
    network.train()
    training = Training(
        learning_rate=0.01,
        batch_size=4,
        max_steps=2,
        cooldown=1,
        optimizer=optimizer,  # pyright: ignore
    )
    take_step = Updater(network, task, training, MetaGenerator())
    take_step()
    used = [parameter for parameter in network.parameters() if parameter.grad is not None]
    assert used
    assert all(parameter.is_meta and parameter in take_step.optimizer.state for parameter in used)
    with pytest.raises(RuntimeError, match="meta"):
        take_step.mean_loss()  # the one call that waits for the device


@pytest.mark.parametrize("task", tasks.names())
@pytest.mark.parametrize("model", models.names())
def test_an_update_neither_leaves_the_device_nor_waits_for_it(model: str, task: str) -> None:
    skip_unless_supported(model, smallest(task).signature)
    update(smallest(task), model)


@pytest.mark.parametrize("task", ["copy_memory", "variable_adding"])
@pytest.mark.parametrize(("model", "fields"), VARIANTS, ids=str)
def test_a_variant_neither_leaves_the_device_nor_waits_for_it(
    model: str, fields: dict[str, Any], task: str
) -> None:
    update(smallest(task), model, "rmsprop", **fields)


class LeftOnTheCpu(CopyMemory):
    """Draws its batch on the device, and one further tensor on the CPU."""

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        batch = super().sample(n, generator, split)
        return dataclasses.replace(batch, x=batch.x + torch.zeros(n, self.signature.num_steps))


class Waits(CopyMemory):
    """Reads the value of its loss."""

    @property
    def objective(self) -> Objective:
        def loss(output: Tensor, batch: Batch) -> Tensor:
            found = objective.loss(output, batch)
            return found / max(found.item(), 1.0)

        objective = super().objective
        return dataclasses.replace(objective, loss=loss)


@pytest.mark.parametrize("broken", [LeftOnTheCpu, Waits])
def test_a_task_that_leaves_the_device_or_waits_for_it_is_found(broken: type[CopyMemory]) -> None:
    with pytest.raises(RuntimeError, match="meta"):
        update(broken(length=3), "gru")
