"""A section is one file: the page, the CSV files, the figures and the dictionary find it."""

from pathlib import Path

import pytest

from bench.report import sections
from bench.report.data import Data
from bench.report.page import write_report
from bench.report.section import Picture, Text, built
from bench.report.section import sections as registered
from bench.report.sections import environment
from tests.support.reports import planted, source, table

MODULE = """
from matplotlib.figure import Figure
from bench.report.frame import Column, Table
from bench.report.section import Filled, Picture, Section

TABLE = Table(
    name="snails",
    columns=(Column("speed", "number", "mm/s", "How fast a snail is."),),
    caption="Snails, measured.",
)


def draw():
    figure = Figure(layout="constrained")
    figure.subplots().plot([1, 2, 3])
    return figure


def build(data):
    yield Picture(name="snails", draw=draw, caption="Snails against time.")
    yield Filled(table=TABLE, frame=TABLE.of([{"speed": 1.0 * len(data.runs)}]))


SECTION = Section(title="Snails", order=15, tables=(TABLE,), build=build)
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "snails_for_a_test.py").write_text(MODULE)
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(folder)])


@pytest.mark.usefixtures("added")
def test_a_section_in_a_file_of_its_own_is_in_page_tables_and_figures(tmp_path: Path) -> None:
    write_report(tmp_path, source(*planted()))
    page = (tmp_path / "report.md").read_text()
    assert page.index("## Accuracy") < page.index("## Snails") < page.index("## Horizons")
    assert "![Snails against time](figures/snails.svg)" in page
    assert "*Snails, measured.*" in page
    assert table(tmp_path, "snails")["speed"].item() == 12
    assert (tmp_path / "figures" / "snails.svg").is_file()
    assert "snails" in {each.name for section in registered() for each in section.tables}


def test_every_table_is_declared_with_all_its_columns() -> None:
    from bench.report.data import Data
    from bench.report.section import Filled

    for section, items in built(Data(source(*planted()))):
        declared = {each.name: [column.name for column in each.columns] for each in section.tables}
        for item in items:
            if isinstance(item, Filled):
                names = declared[item.table.name]
                assert list(item.frame.columns)[: len(names)] == names
            if isinstance(item, Picture):
                assert item.caption.endswith(".")


def test_names_of_tables_and_figures_are_unique() -> None:
    tables = [each.name for section in registered() for each in section.tables]
    assert len(tables) == len(set(tables))


def test_runs_from_code_with_changes_are_counted() -> None:
    def texts() -> list[str]:
        items = environment.build(Data(source(specs, records)))
        return [item.markdown for item in items if isinstance(item, Text)]

    specs, records = planted()
    assert not any("changes" in text for text in texts())
    changed = records[0].machine.model_copy(update={"commit": "0123456789ab+changes"})
    records[0] = records[0].model_copy(update={"machine": changed})
    assert any(text.startswith("**1 of 12 runs were made from code") for text in texts())
