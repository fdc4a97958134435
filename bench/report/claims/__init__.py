"""The lectures' claims, each with a verdict computed from frames.

`docs/method.md`, "Verdicts", has the rules. The frames are those of one backend:
`runs.runs_frame`, as far as its runs stand for their seed, and, of one machine,
`times.timed_frame`.
"""

import pandas as pd

from bench.plan.rates import Rates
from bench.report.claims.cells import cells_of, limits
from bench.report.claims.fields import KERNEL_SIZES, dilated_field, exponential_field
from bench.report.claims.memory import (
    field_necessary,
    field_sufficient,
    hard_to_train,
    long_dependencies,
)
from bench.report.claims.speed import speed_verdicts
from bench.report.claims.verdict import Verdict

__all__ = ["KERNEL_SIZES", "Verdict", "dilated_field", "limits", "verdicts"]


def verdicts(
    runs: pd.DataFrame, timed: pd.DataFrame, rates: Rates, *, device: str = "one machine"
) -> list[Verdict]:
    """Each claim's verdict, in the order of the lectures; `device` made the times."""
    cells = cells_of(runs)
    return [
        long_dependencies(cells, rates),
        hard_to_train(cells, rates),
        exponential_field(runs),
        field_necessary(cells),
        field_sufficient(cells, rates),
        *speed_verdicts(timed, device),
    ]
