"""What the README shows is what the committed run says."""

from pathlib import Path

import pytest

from bench import cost, tables
from bench.plan import task_of
from bench.report import LATENCY_BUDGETS_US, markdown_table, step_times
from bench.store import Store

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference" / "cpu"


def shown(block: str) -> str:
    """What stands between two marks of the first page."""
    readme = (ROOT / "README.md").read_text()
    return readme.partition(f"<!-- {block} -->\n")[2].partition(f"<!-- /{block} -->")[0].strip()


@pytest.mark.parametrize("block", ["choice", "yardsticks"])
def test_the_tables_on_the_first_page_are_the_committed_ones(block: str) -> None:
    assert shown(block) == (REFERENCE / "tables" / f"{block}.md").read_text().strip()


def test_what_it_costs_is_what_the_committed_report_says() -> None:
    report = (REFERENCE / "report.md").read_text().splitlines()
    lines = shown("cost").splitlines()
    assert lines
    assert set(lines) <= set(report)


def test_the_committed_choice_follows_from_the_committed_records() -> None:
    records, damaged = Store(REFERENCE).read_all()
    assert not damaged
    outcomes = [(r.spec, r.outcome) for r in records]
    labels = {
        spec.id: (outcome.task_label, outcome.label)
        for spec, outcome in outcomes
        if outcome is not None
    }
    assert len(labels) == len(records)
    thresholds = {r.spec.id: task_of(r.spec).solved for r in records}
    runs = tables.runs_frame([r.spec for r in records], records, labels, thresholds)
    speed, damaged = Store(REFERENCE).read_speed()
    assert not damaged
    assert len({(r.machine.slug, r.backend) for r in speed}) == 1
    step_us = step_times([r.spec for r in records], cost.frame(speed))
    assert set(step_us) == {r.spec.id for r in records}
    again = markdown_table(tables.choice(runs, step_us, LATENCY_BUDGETS_US))
    committed = (REFERENCE / "tables" / "choice.md").read_text().strip()
    assert sorted(again.splitlines()) == sorted(committed.splitlines())


def test_every_file_that_the_documents_name_is_there() -> None:
    import re

    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
