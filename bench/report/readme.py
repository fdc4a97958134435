"""The marked blocks of README.md and docs/results.md, and the data dictionary.

All are written from the committed reference. `make readme` calls this module.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.core.files import write_whole
from bench.core.records import Record, SampleRecord, SpeedRecord, YardstickRecord
from bench.core.store import Damaged, Store
from bench.plan import profile
from bench.plan.grid import Selection, make_plan
from bench.report import front
from bench.report.data import Data, Source
from bench.report.evidence import evidence_of
from bench.report.folder import source_of
from bench.report.frame import IDENTITY
from bench.report.markup import for_people, markdown_table, template, text
from bench.report.page import TEMPLATES
from bench.report.points import points
from bench.report.reference import REFERENCE
from bench.report.section import sections
from bench.report.sections.cost import yardstick_table
from bench.report.times import how

ROOT = Path(__file__).parent.parent.parent
README, RESULTS, DICTIONARY = (
    ROOT / name for name in ("README.md", "docs/results.md", "docs/data.md")
)
PAGES = {README: ("answer", "decision"), RESULTS: ("verdicts", "cost", "yardsticks")}
"""The marked blocks of each page."""


@dataclass(frozen=True, kw_only=True)
class Committed:
    """The committed reference, as a report reads a results folder."""

    records: Sequence[Record]
    speed: Sequence[SpeedRecord]
    yardsticks: Sequence[YardstickRecord]
    samples: Sequence[SampleRecord]
    damaged: Sequence[Damaged]


def committed() -> Source:
    """The report's source of the committed reference, whose records are of one machine."""
    store, chosen = Store(REFERENCE), profile.load("reference")
    records, damaged = store.read_all()
    found = Committed(
        records=records,
        speed=store.read_speed()[0],
        yardsticks=store.read_yardsticks()[0],
        samples=store.read_below("samples", SampleRecord)[0],
        damaged=damaged,
    )
    source, _ = source_of(
        found,
        plan=make_plan(chosen, Selection()),
        profile=chosen,
        profile_name="reference",
        selection=Selection(),
        backend=records[0].backend,
    )
    return source


def blocks(data: Data) -> dict[str, str]:
    """Name of a block → its content."""
    found = points(data)[1]
    screen = front.screen(data, found, evidence_of(data, found))
    decision = markdown_table(pd.DataFrame(screen.decision, columns=list(screen.columns)))
    return {
        "answer": "\n".join(f"- {text(sentence)}" for sentence in screen.answer),
        "decision": f"{decision}\n\n{text(screen.rule)}",
        "verdicts": template(TEMPLATES, "verdicts.md.jinja").render(
            verdicts=data.verdicts, reference={}
        ),
        "cost": "\n".join(
            [f"Times: {how(data.leading, data.device)}.", ""]
            + [f"- {text(line)}" for line in data.headlines]
        ),
        "yardsticks": markdown_table(for_people(yardstick_table(data.source.yardsticks))),
    }


def with_blocks(page: str, contents: dict[str, str]) -> str:
    """The page with these contents between their marks, `<!-- NAME -->` and `<!-- /NAME -->`."""
    for name, content in contents.items():
        parts = re.split(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", page, flags=re.DOTALL)
        if len(parts) != 2:
            raise ValueError(f"the page has {len(parts) - 1} blocks {name}; there must be one")
        page = f"{parts[0]}{content.strip()}\n{parts[1]}"
    return page


def written(data: Data) -> dict[Path, str]:
    """Each page that has marked blocks → its text with the present content of these blocks."""
    contents = blocks(data)
    pages = {}
    for path, names in PAGES.items():
        of_page = {name: contents[name] for name in names}
        pages[path] = with_blocks(path.read_text(encoding="utf-8"), of_page)
    return pages


def dictionary() -> str:
    """The page that describes every column of every table."""
    tables = [table for section in sections() for table in section.tables]
    return template(TEMPLATES, "data.md.jinja").render(tables=tables, identity=IDENTITY)


def main() -> None:
    for path, page in written(Data(committed())).items():
        write_whole(path, page.encode())
    write_whole(DICTIONARY, dictionary().encode())


if __name__ == "__main__":
    main()
