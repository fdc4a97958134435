"""The largest length that at least half of the seeds solve."""

from collections.abc import Iterator

from bench.report.data import Data
from bench.report.frame import LABELS, MODEL, TASK, Column, Table
from bench.report.section import Filled, Item, Section

TABLE = Table(
    name="horizons",
    columns=(
        *TASK,
        *MODEL,
        *LABELS,
        Column("horizon", "text", "steps", "`≥`: the sweep ended there. `<`: not even the "
               "shortest length was solved. `*`: a shorter length was not solved."),
        Column("low", "integer", "steps", "Lower end of the 95% interval; missing: open."),
        Column("high", "integer", "steps", "Upper end of the 95% interval; missing: open."),
        Column("seeds", "text", "", "Seeds that solve it, of all seeds."),
    ),
    caption="The largest T that at least half of the seeds solve, its 95% interval (bootstrap "
    "over seeds of a logistic fit, never narrower than from that T to the next one tested), and "
    "how many seeds solve it.",
)  # fmt: skip


def build(data: Data) -> Iterator[Item]:
    rows = [
        {
            **network,
            "horizon": found.reached,
            "low": found.low,
            "high": found.high,
            "seeds": f"{found.num_solved}/{found.num_seeds}",
        }
        for network, found in data.horizons
    ]
    yield Filled(table=TABLE, frame=TABLE.of(rows))


SECTION = Section(title="Horizons", order=20, tables=(TABLE,), build=build)
