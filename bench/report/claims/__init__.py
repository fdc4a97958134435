"""The lectures' claims, each with a verdict computed from frames.

`docs/method.md`, "Verdicts", has the rules. The frames are those of one backend:
`runs.runs_frame` and, of one machine, `times.timed_frame`.
"""

import pandas as pd

from bench.report.claims.cells import cells_of, limits
from bench.report.claims.fields import KERNEL_SIZES, dilated_field, exponential_field
from bench.report.claims.memory import (
    field_necessary,
    field_sufficient,
    hard_to_train,
    long_dependencies,
)
from bench.report.claims.speed import step_efficiency, training_efficiency
from bench.report.claims.verdict import Verdict
from bench.report.times import leading

__all__ = ["KERNEL_SIZES", "Verdict", "dilated_field", "limits", "verdicts"]


def verdicts(
    runs: pd.DataFrame, timed: pd.DataFrame, *, backend: str | None = None
) -> list[Verdict]:
    """Each claim's verdict, in the order of the lectures; `backend` made the times."""
    device, timed = backend or "one machine", leading(timed)
    cells = cells_of(runs)
    return [
        long_dependencies(cells),
        hard_to_train(cells),
        exponential_field(runs),
        field_necessary(cells),
        field_sufficient(cells),
        training_efficiency(timed, device),
        step_efficiency(timed, device),
    ]
