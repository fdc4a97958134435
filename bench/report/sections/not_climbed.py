"""The lengths at which a model was not run because it failed shorter ones."""

from collections.abc import Iterator
from itertools import groupby

from bench.report.data import Data
from bench.report.frame import LABELS, MODEL, TASK, Column, Table
from bench.report.runs import key
from bench.report.section import Filled, Item, Section

TABLE = Table(
    name="not_climbed",
    columns=(
        *TASK,
        *MODEL,
        *LABELS,
        Column("T", "text", "steps", "The lengths."),
        Column("reason", "text", "", "Why no seed of them was run."),
    ),
    caption="Each model is run at one length after the other, from the shortest up, until it fails "
    "to solve two in a row. Longer lengths are not run, so nothing is known about them.",
)


def build(data: Data) -> Iterator[Item]:
    rows = []
    for rungs in data.climbs:
        left = [rung for rung in rungs if rung.state == "not climbed"]
        for why, group in groupby(left, lambda rung: rung.why):
            specs = [rung.specs[0] for rung in group]
            about = key(data.source.labels[specs[0].id], specs[0].length)
            lengths = ", ".join(str(spec.length) for spec in specs)
            rows.append({**about, "T": lengths, "reason": why})
    yield Filled(table=TABLE, frame=TABLE.of(rows))


SECTION = Section(title="Lengths that were not run", order=23, tables=(TABLE,), build=build)
