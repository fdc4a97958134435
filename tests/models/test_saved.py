"""Weights files: what they give back, and what is said of files that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import models
from models.lstm import Lstm
from tests.support.signatures import BUILT_IN, REALS, TOKENS, sequences, skip_unless_supported


def written(folder: Path, name: str, signature: Any, **fields: Any) -> tuple[Path, models.Network]:
    """A weights file, and the network whose weights it holds."""
    torch.manual_seed(0)
    model = models.load(name, **fields)
    net = models.build(model, signature, 6, 1)
    content = models.serialize(
        net.state_dict(), model=model, signature=signature, width=6, extra_width=1
    )
    path = folder / "net.safetensors"
    path.write_bytes(content)
    return path, net.eval()


def described(path: Path, **changes: Any) -> Path:
    """A copy of a weights file whose description of the network is changed."""
    text, weights = contents(path)
    content = {**json.loads(text), **changes}
    kept = {key: value for key, value in content.items() if value is not None}
    changed = path.with_name("changed.safetensors")
    save_file(weights, changed, {"network": json.dumps(kept)})
    return changed


def contents(path: Path) -> tuple[str, dict[str, Tensor]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()["network"], {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("signature", [TOKENS, REALS], ids=["tokens", "reals"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_saved_network_computes_the_same(name: str, signature: Any, tmp_path: Path) -> None:
    skip_unless_supported(name, signature)
    path, net = written(tmp_path, name, signature)
    x = sequences(signature, 2, 9)
    x = x.float() if x.is_floating_point() else x
    with torch.no_grad():
        assert torch.equal(models.load(path)(x)[0], net(x)[0])


def test_fields_and_conditions_are_kept(tmp_path: Path) -> None:
    from dataclasses import replace

    signature = replace(TOKENS, num_conditions=3)
    path, net = written(tmp_path, "tcn", signature, kernel_size=3, gated=True)
    loaded = models.load(path)
    assert loaded.receptive_field == net.receptive_field
    assert loaded.num_conditions == 3
    assert not loaded.training


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        models.load(tmp_path / "none.safetensors")


def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "rnn", REALS)
    whole, cut = path.read_bytes(), tmp_path / "cut.safetensors"
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged or is not a safetensors file"):
            models.load(cut)


def test_a_file_without_a_description_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="does not say what network it holds"):
        models.load(path)
    save_file({"weight": torch.zeros(2)}, path, {"network": "[1"})
    with pytest.raises(ValueError, match="not a JSON object"):
        models.load(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "lstn"}, "unknown model 'lstn'; the models are"),
        ({"model": "gru", "version": 1, "fields": {}}, "the weights do not fit the network"),
        ({"fields": {"layers": 2}}, "unexpected keyword argument 'layers'"),
        ({"fields": {"num_layers": 0}}, "num_layers 0 of lstm; valid: 1 or more"),
        ({"width": 7}, "the weights do not fit the network"),
        ({"width": "wide"}, "changed.safetensors"),
        ({"width": None}, "lacks 'width'"),
        ({"version": None}, "lacks 'version'"),
        ({"signature": {"input": "real"}}, "lacks 'grid'"),
    ],
)
def test_a_wrong_description_is_explained(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path, _ = written(tmp_path, "lstm", REALS)
    with pytest.raises(ValueError, match=said):
        models.load(described(path, **changes))


def test_only_versions_that_compute_the_same_function_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = written(tmp_path, "lstm", REALS)
    assert Lstm.unchanged_since == 1
    models.load(described(path, version=1))
    monkeypatch.setattr(Lstm, "unchanged_since", None)
    with pytest.raises(ValueError, match="with version 1 of lstm; the present version 2 comp"):
        models.load(described(path, version=1))


def test_a_path_as_text_is_explained() -> None:
    with pytest.raises(ValueError, match=r"load\(Path\('net\.safetensors'\)\)"):
        models.load("net.safetensors")
