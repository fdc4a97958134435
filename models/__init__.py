"""Sequence models, sized to a parameter budget. A new file in this folder is a new model."""

import importlib
import inspect
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any, overload

from models._contract import Core, Model, Signature
from models._generate import generate
from models._network import Network, build, count_parameters, fit_width, num_parameters
from models._saved import load_network, serialize
from models._scan import linear_scan

__all__ = [
    "Core",
    "Model",
    "Network",
    "Signature",
    "build",
    "count_parameters",
    "fit_width",
    "generate",
    "linear_scan",
    "load",
    "model_class",
    "names",
    "network",
    "num_parameters",
    "onnx_step",
    "register",
    "serialize",
]

_plugins: dict[str, type[Model]] = {}


def names() -> list[str]:
    """The sorted names of all models: this folder's files and the plug-ins. Imports no model."""
    return sorted(_in_this_folder() | set(_plugins))


@cache
def _in_this_folder() -> set[str]:
    """Names of the files in this folder that define one."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return {name for name in names if not name.startswith("_")}


def model_class(name: str) -> type[Model]:
    """The class of this name. `ValueError` lists the valid names."""
    if name in _plugins:
        return _plugins[name]
    return _class_of_file(name)


@cache
def _class_of_file(name: str) -> type[Model]:
    if name.endswith(".safetensors"):
        raise ValueError(
            f"{name!r} is not the name of a model; load a weights file with load(Path({name!r}))"
        )
    if name not in names():
        raise ValueError(f"unknown model {name!r}; the models are {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Model) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        defined = " and ".join(member.__name__ for member in found) or "none"
        raise ValueError(
            f"models/{name}.py defines these models: {defined}; "
            "valid: one class derived from models.Model"
        )
    return found[0]


@overload
def load(name: str, **fields: Any) -> Model: ...
@overload
def load(name: Path) -> Network: ...
def load(name: str | Path, **fields: Any) -> Model | Network:
    """A configuration of the model of this name, or the trained network of a weights file.

    `load("tcn", kernel_size=3)` is a configuration. `load(Path("….safetensors"))` is the network
    whose weights a run kept, on the CPU and in evaluation mode; it raises `FileNotFoundError`, and
    `ValueError` for a damaged file, an unknown model, or one whose version computes another
    function.
    """
    if isinstance(name, Path):
        return load_network(name, model_class)
    return model_class(name)(**fields)


def onnx_step(network: Network, batch_size: int = 1) -> bytes:
    """One streaming step of `batch_size` streams as the content of an ONNX file.

    The inputs are `x_t`, (B,) ids or (B, I) reals, `condition_t` (B, C) if the network has
    conditions, and the tensors of the state. The outputs are `y_t` (B, O) and, in the same order,
    the state after the step. A stream begins with a state of zeros. It needs the package `onnx`,
    and raises `ValueError` for a model without `has_onnx_step`.
    """
    from models import _onnx

    return _onnx.step(network, batch_size)


def register(cls: type[Model]) -> None:
    """Add a class from outside this folder. The file that defines it gives the name."""
    _plugins[cls.model_name()] = cls


def network(
    name: str,
    signature: Signature,
    *,
    param_budget: int | None = None,
    width: int | None = None,
    extra_width: int = 0,
    **fields: Any,
) -> Network:
    """A new network, sized and initialised for a task's signature.

    Give either `param_budget`, a number of parameters that is met within 3%, or `width` and
    `extra_width` (see `Model.build_core`). Raises `ValueError` if the budget cannot be met, a
    field has a bad value or the model does not support the signature.
    """
    model = load(name, **fields)
    if (param_budget is None) == (width is None):
        raise ValueError(f"give one of param_budget={param_budget} and width={width} of {name}")
    if param_budget is not None:
        width, extra_width = fit_width(model, signature, param_budget)
    assert width is not None
    return build(model, signature, width, extra_width)
