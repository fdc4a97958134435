"""Specs and records made up for tests."""

from typing import Any

from bench.backend import Backend
from bench.machine import Machine
from bench.spec import Part, Spec, Training
from bench.store import CurvePoint, Latency, MetricInfo, Outcome, Record

BACKEND = Backend(device="cpu")
MACHINE = Machine(
    cpu="Abacus 3000",
    cores=2,
    memory_bytes=2**34,
    gpu=None,
    system="Linux x86_64",
    python="3.11.0",
    torch="2.13.0",
    numpy="2.0.0",
    commit="0123456789ab",
)
SCORE = MetricInfo(name="recall", unit="share of symbols", higher_is_better=True, chance=0.125)
LOSS = MetricInfo(name="cross_entropy", unit="nats", higher_is_better=False, chance=0.5)


def spec(
    *,
    task: str = "copy_memory",
    model: str = "tcn",
    length: int = 10,
    seed: int = 0,
    **training: Any,
) -> Spec:
    settings = {"learning_rate": 0.001, "max_steps": 100, **training}
    return Spec(
        task=Part(name=task, fields={"length": length}, version=1),
        model=Part(name=model, fields={}, version=1),
        param_budget=12_500,
        width=10,
        extra_width=0,
        training=Training(**settings),
        seed=seed,
    )


def outcome(score: float = 1.0, *, steps: int = 100, label: str = "tcn", **changes: Any) -> Outcome:
    curve = tuple(
        CurvePoint(
            step=step,
            seconds=step / 10,
            train_loss=0.1 if step else None,
            validation_loss=0.1,
            values={"recall": value, "cross_entropy": 0.1},
        )
        for step, value in ((0, 0.125), (steps, score))
    )
    return Outcome.model_validate(
        {
            "label": label,
            "task_label": "copy_memory",
            "num_parameters": 12_400,
            "receptive_field": 99,
            "num_steps": 30,
            "solved_at": 0.95,
            "metrics": (SCORE, LOSS),
            "curve": curve,
            "stopped": "solved" if score >= 0.95 else "budget",
            "steps": steps,
            "best_step": steps,
            "test": {"recall": score, "cross_entropy": 0.1},
            "num_test": 2000,
            "train_seconds": 9.0,
            "total_seconds": 10.0,
            "peak_memory_bytes": None,
            "latency": Latency(sequence_ms=2.0, step_us=100.0),
            **changes,
        }
    )


def record(of: Spec, score: float | None = 1.0, **changes: Any) -> Record:
    """An `ok` record that scored so; with a score of None, one that failed."""
    content: dict[str, Any] = {
        "spec": of,
        "backend": BACKEND,
        "machine": MACHINE,
        "status": "ok",
        "outcome": None if score is None else outcome(score, label=of.model.name),
        "created": "2026-01-02T03:04:05Z",
    }
    if score is None:
        content |= {"status": "failed", "error": "RuntimeError: out of luck (task.py:1)"}
    return Record.model_validate({**content, **changes})
