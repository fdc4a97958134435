"""A trained network's streaming step as an ONNX file, checked and timed beside its stepper."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models
from bench.core.backend import Backend
from bench.core.errors import RequestError
from bench.core.spec import Spec
from bench.core.timings import Times
from bench.measure.timing import turns
from models import Network

PACKAGES = ("onnx", "onnxruntime")
"""What the extra `export` installs."""
NUM_STEPS = 1000
TOLERANCE = 1e-4
"""Largest difference, relative to the largest output: single precision, added in another order."""
ROUNDS = 20
"""Blocks of calls that are timed on either side, in turn."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The file, and how ONNX Runtime compares with the stepper of the same network."""

    content: bytes
    num_states: int
    state_bytes: int
    """Of all streams."""
    difference: float
    """The largest difference of an output over 1,000 steps, relative to the largest output."""
    stepper: Times
    """Seconds of a step of our stepper."""
    runtime: Times
    """Seconds of a step in ONNX Runtime."""


def path(results: Path, spec: Spec, backend: Backend) -> Path:
    return results / "onnx" / backend.name / f"{spec.place}-{spec.id}.onnx"


def check_possible(model: str) -> None:
    """Raise `RequestError` if packages are missing or the model has no ONNX step.

    `model` is a label or a name. An unknown name is left to the search for its weights.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(
            f"export needs the packages {' and '.join(PACKAGES)}; pip install {' '.join(PACKAGES)}"
        )
    name = model.partition(" ")[0]
    if name in models.names() and not models.model_class(name).has_onnx_step:
        can = [each for each in models.names() if models.model_class(each).has_onnx_step]
        raise RequestError(f"{name} can't be exported; models that can: {', '.join(can)}")


def export(network: Network, batch_size: int) -> Exported:
    """Export the step; raises `RequestError` if ONNX Runtime computes something else."""
    content = models.onnx_step(network, batch_size)
    runtime = _Runtime(content)
    x_T, condition_BC = _inputs(network, batch_size)
    stepper = network.stepper(batch_size)
    ours = np.stack([stepper(x_t, condition_BC).numpy() for x_t in x_T])
    theirs = np.stack([runtime(x_t.numpy(), condition_BC) for x_t in x_T])
    difference = float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1.0))
    if not difference <= TOLERANCE:
        raise RequestError(
            f"ONNX Runtime differs from the stepper by {difference:.1e} of the largest output, "
            f"more than {TOLERANCE:.0e}; no file was written"
        )
    x_t, array = x_T[0], x_T[0].numpy()
    calls = {
        "stepper": lambda: stepper(x_t, condition_BC),
        "runtime": lambda: runtime(array, condition_BC),
    }
    times = turns(calls, "cpu", rounds=ROUNDS)
    return Exported(
        content=content,
        num_states=len(runtime.states),
        state_bytes=sum(state.nbytes for state in runtime.states.values()),
        difference=difference,
        **times,
    )


class _Runtime:
    """An ONNX Runtime session on one thread that passes its state on."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        self.states: dict[str, np.ndarray] = {
            each.name: np.zeros(each.shape, np.float32)
            for each in self._session.get_inputs()
            if each.name not in ("x_t", "condition_t")
        }

    def __call__(self, x_t: np.ndarray, condition_BC: torch.Tensor | None) -> np.ndarray:
        fed: dict[str, Any] = {"x_t": x_t, **self.states}
        if condition_BC is not None:
            fed["condition_t"] = condition_BC.numpy()
        outputs: Any = self._session.run(None, fed)
        self.states = dict(zip(self.states, outputs[1:], strict=True))
        return outputs[0]


def _inputs(network: Network, batch_size: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Random ids (T, B) or reals (T, B, I), and random conditions (B, C) if there are any."""
    generator = torch.Generator().manual_seed(0)
    size = (NUM_STEPS, batch_size)
    if network.tokens:
        x_T = torch.randint(network.num_inputs, size, generator=generator)
    else:
        x_T = torch.randn(*size, network.num_inputs, generator=generator)
    if not network.num_conditions:
        return x_T, None
    return x_T, torch.rand(batch_size, network.num_conditions, generator=generator)


def lines(made: Exported, file: Path) -> list[str]:
    """What the command says of the file."""
    there_us, here_us = (1e6 * each.median for each in (made.runtime, made.stepper))
    return [
        f"{file}: {len(made.content):,} bytes, state of {made.state_bytes:,} bytes in "
        f"{made.num_states} tensor{'s' * (made.num_states != 1)}",
        f"{NUM_STEPS:,} steps in ONNX Runtime equal the stepper's; the largest difference is "
        f"{made.difference:.1g} of the largest output",
        f"a step takes {there_us:.3g} µs in ONNX Runtime and {here_us:.3g} µs in the stepper "
        f"(medians of {ROUNDS} blocks in turn, one thread)",
    ]
