"""Convolutional networks against recurrent ones, seed by seed."""

from collections.abc import Iterator

import pandas as pd

from bench.core.intervals import FEWEST_SEEDS, paired_difference
from bench.report.data import Data
from bench.report.frame import LENGTH, ROW, TASK, Column, Table, groups, is_true, within
from bench.report.runs import counted, decisions, ends
from bench.report.section import Filled, Item, Section, Text

KEY = ["task", "task_variant", "task_label", "T"]
SIDE = ["model", "variant", "model_label"]
SIDES = ("convolutional", "recurrent")
TABLE = Table(
    name="differences",
    columns=(
        *TASK,
        LENGTH,
        *(
            Column(name, "text", "", text)
            for side in SIDES
            for name, text in (
                (side, f"Name of the {side} model."),
                (f"{side}_variant", f"Fields of the {side} model that differ from defaults."),
                (f"{side}_label", f"Name and variant of the {side} model, for display."),
            )
        ),
        Column("task_label", "text", "", "Name and variant of the task, for display."),
        Column(
            "difference",
            "number",
            "unit of the score",
            "Mean of the convolutional model's score minus the recurrent one's.",
        ),
        Column("low", "number", "unit of the score", "Lower end of its 95% interval."),
        Column("high", "number", "unit of the score", "Upper end of its 95% interval."),
        Column("seeds", "count", "", "Seeds that both have."),
        *(
            Column(f"only_{side}", "integer", "", f"Seeds that only the {side} model solves.")
            for side in SIDES
        ),
    ),
    caption="Test score of the convolutional model minus that of the recurrent one on the same "
    "seeds, and how many seeds only one of the two solves. The 95% interval (paired Student's "
    f"t) needs {FEWEST_SEEDS} seeds, and all planned seeds of both. It is rough where some seeds "
    "solve the task and others do not, and it is not corrected for the number of rows. Pairs in "
    "which every seed solves the task are left out: such runs end early, so their scores cannot be "
    "compared.",
)


def build(data: Data) -> Iterator[Item]:
    yield Text(markdown="### Convolutional against recurrent, seed by seed")
    yield Filled(table=TABLE, frame=paired_differences(data.main))


def paired_differences(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per task, length and pair of a convolutional model `a` and a recurrent model `b`.

    Only seeds that both have are compared: their batches are the same. A pair is left out if both
    models solve the task with every seed.
    """
    known = counted(runs)
    known["solves"] = is_true(known["solved"])
    stopped = {cell for cell, found in decisions(runs).items() if not found.is_complete}
    known["complete"] = ~within(known, stopped, ROW)
    columns = [*KEY, *SIDE, "family", "seed", "score", "unit", "solves", "solved_at", "complete"]
    known = known[columns]
    of_family = [known[known["family"] == name] for name in SIDES]
    pairs = of_family[0].merge(of_family[1], on=[*KEY, "seed"], suffixes=("_a", "_b"))
    rows = []
    for about, seeds in groups(
        pairs, [*KEY, *(f"{name}_{side}" for side in "ab" for name in SIDE)]
    ):
        if (seeds["solves_a"] & seeds["solves_b"]).all():
            continue
        found = paired_difference(seeds["score_a"].tolist(), seeds["score_b"].tolist())
        complete = (seeds["complete_a"] & seeds["complete_b"]).all()
        enough = found.n >= FEWEST_SEEDS and complete
        low, high = ends(found, -1.0, seeds["unit_a"].iloc[0]) if enough else (None, None)
        row = {**about, "difference": found.mean, "low": low, "high": high, "seeds": found.n}
        for letter, side in zip("ab", SIDES, strict=True):
            names = (side, f"{side}_variant", f"{side}_label")
            row |= {new: about[f"{old}_{letter}"] for new, old in zip(names, SIDE, strict=True)}
        if seeds["solved_at_a"].notna().any():
            ours, theirs = seeds["solves_a"], seeds["solves_b"]
            row["only_convolutional"] = (ours & ~theirs).sum()
            row["only_recurrent"] = (theirs & ~ours).sum()
        rows.append(row)
    # Tasks and pairs in the order of the plan, lengths rising.
    task_order = {task: i for i, task in enumerate(pairs["task_label"].unique())}
    rows.sort(key=lambda row: (task_order[row["task_label"]], row["T"]))
    return TABLE.of(rows)


SECTION = Section(title="Horizons", order=21, tables=(TABLE,), build=build)
