"""Specs that train within a second, and what two runs of one spec have in common."""

from collections.abc import Mapping
from typing import Any

import models
import tasks
from bench.core.records import Outcome
from bench.core.spec import Part, Spec, Training


def tiny(
    task: str = "copy_memory",
    model: str = "gru",
    *,
    length: int | None = None,
    width: int = 8,
    seed: int = 0,
    fields: Mapping[str, Any] | None = None,
    **training: Any,
) -> Spec:
    length = length or (3 if task == "copy_memory" else 8)
    of, core = tasks.load(task, length=length), models.load(model, **(fields or {}))
    settings = {"max_steps": 20, "validate_every": 10, "num_validation": 100, "batch_size": 8}
    return Spec(
        task=Part(name=task, fields=of.fields, version=of.version),
        model=Part(name=model, fields=core.fields, version=core.version),
        param_budget=None,
        width=width,
        extra_width=0,
        training=Training(**{"learning_rate": 0.01, **settings, **training}),
        seed=seed,
    )


def numbers_of(outcome: Outcome) -> dict[str, Any]:
    """Everything but the times."""
    content = outcome.model_dump(exclude={"train_seconds", "total_seconds", "latency"})
    for point in content["curve"]:
        del point["seconds"]
    return content
