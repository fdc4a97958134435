"""Weights files: a trained network as safetensors, with what is needed to build it again.

The metadata of a file hold one JSON text under the key `network`: the model's name, fields and
version, the widths, and the signature of the task.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from models._contract import Model, Signature
from models._network import Network, build

KEY = "network"


@dataclass(frozen=True, kw_only=True)
class SavedSignature:
    """The part of a task's signature that a network is built from."""

    input: str
    num_inputs: int
    num_outputs: int
    reach: int
    grid: tuple[int, int] | None
    num_conditions: int


def serialize(
    weights: Mapping[str, Tensor],
    *,
    model: Model,
    signature: Signature,
    width: int,
    extra_width: int = 0,
) -> bytes:
    """The content of a weights file.

    `weights` is the state dictionary of a network that `build` returned for the other arguments.
    """
    from safetensors.torch import save

    described = {
        "model": model.model_name(),
        "fields": model.fields,
        "version": model.version,
        "width": width,
        "extra_width": extra_width,
        "signature": {
            field.name: getattr(signature, field.name)
            for field in dataclasses.fields(SavedSignature)
        },
    }
    content = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    return save(content, {KEY: json.dumps(described)})


def load_network(path: Path, model_class: Callable[[str], type[Model]]) -> Network:
    """The network of a weights file, on the CPU and in evaluation mode.

    Raises `FileNotFoundError` if there is no such file, and `ValueError` for one that is damaged
    or does not say what network it holds, and for a model that is unknown or has changed.
    """
    described, weights = _read(path)
    network = _built(path, described, model_class)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: the weights do not fit the network: {reason}") from None
    return network.eval()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the metadata say of the network, and its weights."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged or is not a safetensors file: {reason}") from None
    if text is None or not weights:
        raise ValueError(
            f"{path} does not say what network it holds; load its tensors with safetensors.torch, "
            "and pass them to load_state_dict of a network that you build"
        )
    try:
        described = json.loads(text)
    except ValueError:
        described = None
    if not isinstance(described, dict):
        raise ValueError(f"{path}: its description of the network is not a JSON object")
    return described, weights


def _built(
    path: Path, described: dict[str, Any], model_class: Callable[[str], type[Model]]
) -> Network:
    """A new network as described; `ValueError` if the description cannot be followed."""
    try:
        cls = model_class(str(described["model"]))
        version = described["version"]
        if not cls.is_same_in(version):
            raise ValueError(
                f"it was trained with version {version} of {cls.model_name()}; the present "
                f"version {cls.version} computes another function"
            )
        given = described["signature"]
        grid = None if given["grid"] is None else tuple(given["grid"])
        signature = SavedSignature(**{**given, "grid": grid})
        model = cls(**described["fields"])
        return build(model, signature, described["width"], described["extra_width"])
    except KeyError as error:
        raise ValueError(f"{path}: its description of the network lacks {error}") from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from None
