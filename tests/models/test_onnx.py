"""The ONNX step of a network, run in ONNX Runtime, against its stepper."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import models
from tests.support.signatures import REALS, TOKENS, sequences

ort = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnx", reason="the extra `export` is not installed")

CONFIGURATIONS = [
    ("tcn", {"kernel_size": 3}),
    ("tcn", {"kernel_size": 2, "num_blocks": 3, "gated": True, "dropout": 0.5}),
    ("tcn", {"kernel_size": 1, "num_blocks": 2, "residual": False}),
    ("lstm", {"num_layers": 2}),
    ("gru", {"num_layers": 2, "chrono": True}),
    ("rnn", {}),
    ("rnn", {"nonlinearity": "relu", "num_layers": 2}),
]


def network(name: str, signature: Any, **fields: Any) -> models.Network:
    torch.manual_seed(0)
    return models.network(name, signature, width=6, extra_width=1, **fields)


def outputs(content: bytes, x_BT: np.ndarray, condition_BC: np.ndarray | None) -> np.ndarray:
    """The outputs (B, T, O) of the steps one by one, from a state of zeros."""
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    fed = {each.name: np.zeros(each.shape, np.float32) for each in session.get_inputs()}
    states = [name for name in fed if name not in ("x_t", "condition_t")]
    if condition_BC is not None:
        fed["condition_t"] = condition_BC
    ys = []
    for t in range(x_BT.shape[1]):
        y, *state = session.run(None, {**fed, "x_t": x_BT[:, t]})
        fed |= dict(zip(states, state, strict=True))
        ys.append(y)
    return np.stack(ys, 1)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("signature", [TOKENS, REALS], ids=["tokens", "reals"])
@pytest.mark.parametrize(("name", "fields"), CONFIGURATIONS)
def test_every_step_equals_the_steppers(
    name: str, fields: dict[str, Any], signature: Any, batch_size: int
) -> None:
    net = network(name, signature, **fields)
    x = sequences(signature, batch_size, 60)
    x = x.float() if x.is_floating_point() else x
    ours = net.stepper(batch_size, compiled=False).run(x).numpy()
    theirs = outputs(models.onnx_step(net, batch_size), x.numpy(), None)
    assert np.abs(ours - theirs).max() < 1e-5  # single precision, in another order of additions


def test_conditions_are_an_input() -> None:
    net = network("gru", replace(TOKENS, num_conditions=2))
    x = sequences(TOKENS, 2, 20)
    classes = torch.tensor([1, 0])
    ours = net.stepper(2, condition=classes, compiled=False).run(x).numpy()
    held = np.array([[0, 1], [1, 0]], np.float32)
    theirs = outputs(models.onnx_step(net, 2), x.numpy(), held)
    assert np.abs(ours - theirs).max() < 1e-5


def test_the_models_that_say_so_have_an_onnx_step_and_the_others_refuse() -> None:
    can = {name for name in models.names() if models.model_class(name).has_onnx_step}
    assert can == {"tcn", "lstm", "gru", "rnn"}
    with pytest.raises(ValueError, match="no ONNX step has been written"):
        models.onnx_step(network("mingru", REALS))
