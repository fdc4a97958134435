"""Speed specs of small networks."""

from typing import Any

import models
import tasks
from bench.core.spec import Measure, Part, SpeedSpec

ALL: tuple[Measure, ...] = ("train", "forward", "step")
T = 50


def spec_of(
    model: str,
    task: str = "copy_memory",
    *,
    length: int = T,
    width: int = 12,
    extra_width: int = 0,
    batch_size: int = 1,
    measures: tuple[Measure, ...] = ALL,
    **fields: Any,
) -> SpeedSpec:
    of, core = tasks.load(task, length=length), models.load(model, **fields)
    return SpeedSpec(
        task=Part(name=task, fields=of.fields, version=of.version),
        model=Part(name=model, fields=core.fields, version=core.version),
        param_budget=None,
        width=width,
        extra_width=extra_width,
        batch_size=batch_size,
        measures=measures,
    )
