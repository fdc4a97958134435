"""The lectures' claims, each with a verdict computed from frames.

The rules are those of docs/method.md, "Verdicts". Frames are of one backend: `tables.runs_frame`
and, of one machine, `cost.frame`.
"""

import pandas as pd

from bench.plan.rates import Rates
from bench.report.claims._cells import cells_of
from bench.report.claims._fields import KERNEL_SIZES, dilated_field, exponential_field
from bench.report.claims._memory import (
    field_necessary,
    field_sufficient,
    hard_to_train,
    long_dependencies,
)
from bench.report.claims._page import CAPTIONS, page
from bench.report.claims._times import step_efficiency, training_efficiency
from bench.report.claims._verdict import Verdict

__all__ = ["CAPTIONS", "KERNEL_SIZES", "Verdict", "dilated_field", "page", "verdicts"]


def verdicts(
    runs: pd.DataFrame, timed: pd.DataFrame, rates: Rates, *, backend: str | None = None
) -> list[Verdict]:
    """Each claim's verdict, in the lectures' order; `backend` is the name of the times' own."""
    cells = cells_of(runs)
    return [
        long_dependencies(runs, cells),
        hard_to_train(runs, cells, rates),
        exponential_field(runs),
        field_necessary(runs, cells),
        field_sufficient(runs, cells),
        training_efficiency(timed, backend),
        step_efficiency(timed, backend),
    ]
