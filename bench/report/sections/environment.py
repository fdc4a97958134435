"""The machines, versions and commits that the records come from."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from bench.core.records import Record
from bench.core.wording import counted
from bench.report.data import Data
from bench.report.frame import Column, Table
from bench.report.markup import code
from bench.report.section import Filled, Item, Section, Text

TABLE = Table(
    name="environment",
    columns=(
        Column("cpu", "text", "", "Processor."),
        Column("cores", "count", "", "Cores."),
        Column("gpu", "text", "", "GPU."),
        Column("system", "text", "", "Operating system."),
        Column("python", "text", "", "Version of Python."),
        Column("torch", "text", "", "Version of PyTorch."),
        Column("numpy", "text", "", "Version of NumPy."),
        Column("numba", "text", "", "Version of Numba; missing in older records."),
        Column("commit", "text", "", "Commit of the code; `+changes`: the code differed from it."),
        Column("backend", "text", "", "Device and arithmetic."),
        Column("memory", "text", "", "Memory."),
        Column("runs", "count", "", "Runs made there."),
    ),
)


def build(data: Data) -> Iterator[Item]:
    source = data.source
    if source.records:
        dates = sorted(record.created for record in source.records)
        hours = sum(r.outcome.total_seconds for r in source.records if r.outcome) / 3600
        machines = len({record.machine.model_dump_json() for record in source.records})
        several = (
            f" **The records come from {machines} combinations of machine, software versions and "
            "commit.** Scores are pooled. Compare times only within one row of the table."
        )
        yield Text(
            markdown=f"{_backends(source.records)}, {hours:.1f} hours of computing, "
            f"{dates[0][:10]} to {dates[-1][:10]}." + (several if machines > 1 else "")
        )
    if changed := sum(record.machine.had_changes for record in source.records):
        yield Text(
            markdown=f"**{changed} of {len(source.records)} runs were made from code with changes "
            "that were not committed**; their commit ends in `+changes`."
        )
    if source.backend and any(each.backend != source.backend for each in source.records):
        yield Text(
            markdown="The scores of all backends count. Times of runs are those of the backend "
            f"{code(source.backend.name)}."
        )
    yield Filled(table=TABLE, frame=environment(source.records))
    again = code(f"make bench PROFILE={source.profile_name}")
    yield Text(
        markdown="Every number is in `tables/` as CSV, every figure in `figures/` as SVG. To "
        f"reproduce the report, run {again}."
    )


def _backends(records: Sequence[Record]) -> str:
    """`900 runs on cpu-float32-1thread, 20 runs on cuda-float32-graph`."""
    counts = Counter(record.backend.name for record in records).most_common()
    return ", ".join(f"{counted(number, 'run')} on {code(name)}" for name, number in counts)


def environment(records: Sequence[Record]) -> pd.DataFrame:
    """One row per machine and versions, with the number of its runs."""
    counts = Counter((record.machine, record.backend.name) for record in records)
    return TABLE.of(
        {
            **{name: "–" if value is None else value for name, value in machine},
            "backend": backend,
            "memory": f"{machine.memory_bytes / 2**30:.0f} GiB",
            "runs": runs,
        }
        for (machine, backend), runs in counts.items()
    )


SECTION = Section(title="Environment", order=160, tables=(TABLE,), build=build)
