"""From records to tables, figures, verdicts and pages."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load_runs(folder: str | Path) -> "pd.DataFrame":
    """Every training record of a results folder, one row each, with typed columns.

    `docs/data.md` describes the columns; the fields of tasks and models are `task_FIELD` and
    `model_FIELD`. A run counts as solved by the threshold of its own record. Files that are not
    valid records are left out with a warning.
    """
    import warnings

    import pandas as pd

    from bench.core.store import Store
    from bench.plan.labels import labels
    from bench.report.runs import runs_frame

    records, damaged = Store(Path(folder)).read_all()
    for file in damaged:
        warnings.warn(f"{file.path} is not a valid record: {file.reason}", stacklevel=2)
    solved_at = {
        record.spec.id: record.outcome.solved_at if record.outcome else None for record in records
    }
    frames = []
    for backend in sorted({record.backend.name for record in records}) or [""]:
        of_backend = [record for record in records if record.backend.name == backend]
        specs = [record.spec for record in of_backend]
        frames.append(runs_frame(specs, of_backend, labels(specs), solved_at))
    return pd.concat(frames, ignore_index=True)
