"""The profile `paper` has the settings that the paper prints."""

from functools import cache

import pytest

from bench.core.spec import Spec
from bench.plan.grid import Plan, network_of
from models import num_parameters
from tests.support.plans import plan_of


@cache
def paper() -> Plan:
    return plan_of("paper")


def paper_spec(task: str, length: int, model: str) -> Spec:
    """The only spec of a task, length and model with seed 0."""
    (spec,) = (
        spec
        for spec in paper().specs
        if (spec.task.name, spec.length, spec.model.name, spec.seed) == (task, length, model, 0)
    )
    return spec


@pytest.mark.parametrize(
    ("task", "length", "kernel_size", "num_blocks", "width", "thousands"),
    [
        ("adding", 200, 6, 7, 27, None),
        ("adding", 400, 7, 7, 27, None),
        ("adding", 600, 8, 8, 24, 70),
        ("pixel_mnist", 784, 7, 8, 25, 66),
        ("permuted_mnist", 784, 7, 8, 25, 66),
        ("copy_memory", 500, 6, 9, 10, None),
        ("copy_memory", 1000, 8, 8, 10, 13),
        ("copy_memory", 2000, 8, 9, 10, None),
    ],
)
def test_the_papers_tcn_is_the_printed_one(
    task: str, length: int, kernel_size: int, num_blocks: int, width: int, thousands: int | None
) -> None:
    spec = paper_spec(task, length, "tcn")
    fields = spec.model.fields
    assert (fields["kernel_size"], fields["num_blocks"], spec.width) == (
        kernel_size,
        num_blocks,
        width,
    )
    assert (spec.param_budget, spec.extra_width) == (None, 0)
    # Figures 2 to 4 give these numbers of parameters, for inputs of one number per step.
    assert thousands is None or num_parameters(network_of(spec)) // 1000 == thousands
    training = spec.training
    copying = task == "copy_memory"
    assert fields["dropout"] == (0.05 if copying else 0.0)
    assert training.clip_norm == (1.0 if copying else None)
    assert (training.optimizer, training.learning_rate) == (
        ("rmsprop", 5e-4) if copying else ("adam", 2e-3)
    )
    assert (training.cooldown, training.stop_when_solved) == (0, False)


@pytest.mark.parametrize(
    ("task", "length", "num_layers", "width", "clip_norm", "forget_bias", "optimizer", "rate"),
    [
        ("adding", 200, 2, 77, 50, 5, "sgd", 1e-3),
        ("adding", 400, 2, 77, 50, 10, "adam", 2e-3),
        ("adding", 600, 1, 130, 5, 1, "adam", 2e-3),
        ("pixel_mnist", 784, 1, 130, 1, 1, "rmsprop", 1e-3),
        ("permuted_mnist", 784, 1, 130, 1, 10, "rmsprop", 1e-3),
        ("copy_memory", 500, 1, 50, 0.25, None, "rmsprop", 5e-4),
        ("copy_memory", 1000, 1, 50, 1, None, "rmsprop", 5e-4),
        ("copy_memory", 2000, 3, 28, 1, None, "rmsprop", 5e-4),
    ],
)
def test_the_papers_lstm_is_the_printed_one_and_gru_and_rnn_are_as_large(
    task: str,
    length: int,
    num_layers: int,
    width: int,
    clip_norm: float,
    forget_bias: float | None,
    optimizer: str,
    rate: float,
) -> None:
    spec = paper_spec(task, length, "lstm")
    assert spec.model.fields["num_layers"] == num_layers
    assert spec.model.fields["forget_bias"] == forget_bias
    assert (spec.width, spec.param_budget) == (width, None)
    training = spec.training
    assert (training.clip_norm, training.optimizer, training.learning_rate) == (
        clip_norm,
        optimizer,
        rate,
    )
    for name in ("gru", "rnn"):
        other = paper_spec(task, length, name)
        assert other.model.fields["num_layers"] == num_layers
        assert other.training == training
        assert other.param_budget == num_parameters(network_of(spec))
