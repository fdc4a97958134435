"""The committed runs that stand beside those of a report.

These are the answers of the reference, beside those of a demonstration, and the runs with published
settings, which take hours.
"""

import csv
from pathlib import Path

from bench.core.records import Record
from bench.core.store import Store
from bench.plan.coverage import usable

_COMMITTED = Path(__file__).parent.parent.parent / "results" / "reference"
REFERENCE = _COMMITTED / "cpu"
PAPER = _COMMITTED / "paper"


def answers(folder: Path = REFERENCE) -> dict[str, str]:
    """Key of a claim → the verdict and the sentence in the tables of a results folder.

    Empty if the folder has no such table.
    """
    table = folder / "tables" / "verdicts.csv"
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as lines:
        return {row["key"]: f"{row['verdict']}: {row['sentence']}" for row in csv.DictReader(lines)}


def runs_of_the_paper(folder: Path = PAPER) -> list[Record]:
    """The committed runs with published settings; none without that folder."""
    return usable(Store(folder).read_all()[0])[0] if folder.is_dir() else []
