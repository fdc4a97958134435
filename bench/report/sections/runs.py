"""Every planned run, as a CSV file."""

from collections.abc import Iterator

from bench.report.data import Data
from bench.report.frame import Table
from bench.report.runs import RUNS
from bench.report.section import Filled, Item, Section

TABLE = Table(name="runs", columns=RUNS, shown=False)


def build(data: Data) -> Iterator[Item]:
    yield Filled(table=TABLE, frame=data.every_run)


SECTION = Section(title="All runs", order=170, tables=(TABLE,), build=build)
