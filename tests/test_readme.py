"""What the README shows is what the committed run says."""

from pathlib import Path

import pytest

from bench.core.store import Store
from bench.plan import grid, profile
from bench.report import choices, cost, tables
from bench.report.page import LATENCY_BUDGETS_US, markdown_table, step_times

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference" / "cpu"


def shown(block: str) -> str:
    """What stands between two marks of the first page."""
    readme = (ROOT / "README.md").read_text()
    return readme.partition(f"<!-- {block} -->\n")[2].partition(f"<!-- /{block} -->")[0].strip()


@pytest.mark.parametrize("block", ["choice", "yardsticks"])
def test_the_tables_on_the_first_page_are_the_committed_ones(block: str) -> None:
    assert shown(block) == (REFERENCE / "tables" / f"{block}.md").read_text().strip()


def test_the_verdicts_on_the_first_page_are_the_committed_ones() -> None:
    lines = shown("verdicts").splitlines()
    assert len(lines) == 2 + 7
    assert set(lines) <= set((REFERENCE / "claims.md").read_text().splitlines())


def test_what_it_costs_is_what_the_committed_report_says() -> None:
    report = (REFERENCE / "report.md").read_text().splitlines()
    lines = shown("cost").splitlines()
    assert lines
    assert set(lines) <= set(report)


def test_the_committed_choice_follows_from_the_committed_records() -> None:
    records, damaged = Store(REFERENCE).read_all()
    assert not damaged
    planned = grid.make_plan(profile.load("reference"), grid.Selection())
    assert {record.spec.id for record in records} == {spec.id for spec in planned.specs}
    whole = [s for s in planned.specs if "receptive_field" not in planned.studies[s.id]]
    thresholds = {spec.id: grid.task_of(spec).solved for spec in whole}
    runs = tables.runs_frame(whole, records, grid.labels(planned.specs), thresholds)
    speed, damaged = Store(REFERENCE).read_speed()
    assert not damaged
    assert len({(r.machine.slug, r.backend) for r in speed}) == 1
    step_us = step_times(planned.specs, cost.frame(speed))
    assert set(step_us) == {spec.id for spec in planned.specs}
    again = markdown_table(choices.choice(runs, step_us, LATENCY_BUDGETS_US))
    assert again == (REFERENCE / "tables" / "choice.md").read_text().strip()


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
    import re

    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
