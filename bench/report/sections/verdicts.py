"""The verdicts on the claims, as a CSV file; the pages show them at their top."""

from collections.abc import Iterator

from bench.report.data import Data
from bench.report.frame import Column, Table
from bench.report.section import Filled, Item, Section

TABLE = Table(
    name="verdicts",
    columns=(
        Column("key", "text", "", "Key of the claim; a number after it: a further implementation."),
        Column("claim", "text", "", "The claim."),
        Column("verdict", "text", "", "`supported`, `contradicted`, `undecided` or `not tested`; "
               "`by arithmetic`: runs only check it."),
        Column("sentence", "text", "", "Why; of an undecided claim, what is missing."),
    ),
    shown=False,
)  # fmt: skip


def build(data: Data) -> Iterator[Item]:
    rows = [
        {"key": each.key, "claim": each.claim, "verdict": each.word, "sentence": each.sentence}
        for each in data.verdicts
    ]
    yield Filled(table=TABLE, frame=TABLE.of(rows))


SECTION = Section(title="Verdicts", order=5, tables=(TABLE,), build=build)
