"""`python -m bench export`: the file, what is said of it, and who is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from bench.cli import main
from bench.core.errors import RequestError
from bench.measure import export
from tests.support.commands import PROFILE, selectors
from tests.support.harness import not_drawn
from tests.support.signatures import TOKENS

ort = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnx", reason="the extra `export` is not installed")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few timed blocks; 1,000 steps are compared all the same."""
    monkeypatch.setattr(export, "ROUNDS", 2)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    not_drawn(monkeypatch)
    (tmp_path / "few.toml").write_text(PROFILE.format(steps=4))
    chosen = selectors(str(tmp_path / "few.toml"), tmp_path / "results")
    command = ["run", "--debug", "--no-speed", "--keep-weights", "--seed", "0", *chosen]
    assert main(command) == 0
    return tmp_path / "results"


def test_a_trained_step_is_written_and_compared(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "step.onnx"
    capsys.readouterr()
    command = ["export", "--results", str(results), "--length", "4"]
    assert main([*command, "tcn", "--batch-size", "2", "--output", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{file}: {file.stat().st_size:,} bytes")
    assert "1,000 steps in ONNX Runtime equal the stepper's" in said
    assert re.search(r"a step takes [\d.]+ µs in ONNX Runtime and [\d.]+ µs in the stepper", said)
    (path,) = (results / "weights").rglob("tcn-T4-*.safetensors")
    net = models.load(path)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    x_t, *states = session.get_inputs()
    assert x_t.shape == [2]
    fed = {each.name: np.zeros(each.shape, np.float32) for each in states}
    y_t = session.run(["y_t"], {**fed, "x_t": np.array([3, 1])})[0]
    ours = net.stepper(2)(torch.tensor([3, 1]))
    assert np.abs(y_t - ours.numpy()).max() < 1e-5
    assert main([*command, "rnn"]) == 0
    assert len(list((results / "onnx").rglob("copy_memory/rnn-T4-s0-*.onnx"))) == 1


def test_models_without_an_onnx_step_answer_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "mamba"]) == 2
    said = capsys.readouterr().err
    assert said == "error: mamba can't be exported; models that can: gru, lstm, rnn, tcn\n"


def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "PACKAGES", ("onnx", "no_such_runtime"))
    assert main(["export", "gru"]) == 2
    assert "pip install onnx no_such_runtime" in capsys.readouterr().err


def test_a_step_that_computes_something_else_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = models.network("gru", TOKENS, width=5)
    other = models.network("gru", TOKENS, width=5)
    content = models.onnx_step(other)
    monkeypatch.setattr(models, "onnx_step", lambda network, batch_size: content)
    with pytest.raises(RequestError, match="ONNX Runtime differs from the stepper by"):
        export.export(net, 1)
