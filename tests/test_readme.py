"""What the README and the data dictionary show is what the committed run says."""

import re

import pytest

from bench.core.store import Store
from bench.report import readme
from bench.report.data import Data
from bench.report.readme import DICTIONARY, README, REFERENCE, ROOT
from bench.report.section import Picture, built
from tests.support.reports import planted, source


def test_the_marked_blocks_are_those_that_make_readme_writes() -> None:
    page = README.read_text(encoding="utf-8")
    data = Data(readme.committed())
    assert page == readme.with_blocks(page, readme.blocks(data)), "stale: run `make readme`"


def test_the_data_dictionary_is_the_one_that_make_readme_writes() -> None:
    assert DICTIONARY.read_text(encoding="utf-8") == readme.dictionary(), "run `make readme`"


def test_a_block_is_replaced_between_its_marks_and_must_be_there_once() -> None:
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert readme.with_blocks(page, {"x": "new\\1"}) == page.replace("old", "new\\1")
    with pytest.raises(ValueError, match="0 blocks y"):
        readme.with_blocks(page, {"y": ""})


def test_the_figures_that_the_readme_shows_are_written_as_png() -> None:
    shown = re.findall(r"reference/cpu/figures/(\w+)\.png", README.read_text(encoding="utf-8"))
    items = [item for _, items in built(Data(source(*planted()))) for item in items]
    drawn = {item.name: item.png for item in items if isinstance(item, Picture)}
    assert shown
    assert all(drawn.get(name, True) for name in shown)


def test_the_committed_records_are_those_that_the_profile_plans() -> None:
    records, damaged = Store(REFERENCE).read_all()
    assert not damaged
    planned = {spec.id for spec in readme.committed().specs}  # or the same of an older protocol
    assert {record.spec.id for record in records} == planned
    speed, damaged = Store(REFERENCE).read_speed()
    assert not damaged
    assert len({(r.machine.slug, r.backend) for r in speed}) == 1


def test_the_committed_run_is_in_its_time_and_made_with_probes() -> None:
    records, _ = Store(REFERENCE).read_all()
    hours = sum(r.outcome.total_seconds for r in records if r.outcome) / 3600
    assert hours < 2 * 2  # two workers
    probed = {
        (r.spec.task.name, r.spec.model.name) for r in records if r.outcome and r.outcome.probes
    }
    assert probed >= {
        (task, model)
        for task in ("adding", "copy_memory")
        for model in ("gru", "lstm", "rnn", "tcn")
    }


def test_every_file_that_the_documents_name_is_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
