"""The committed reference, whose answers stand beside those of a demonstration."""

import csv
from pathlib import Path

REFERENCE = Path(__file__).parent.parent.parent / "results" / "reference" / "cpu"


def answers(folder: Path = REFERENCE) -> dict[str, str]:
    """Key of a claim → the verdict and the sentence in the tables of a results folder.

    Empty if the folder has no such table.
    """
    table = folder / "tables" / "verdicts.csv"
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as lines:
        return {row["key"]: f"{row['verdict']}: {row['sentence']}" for row in csv.DictReader(lines)}
