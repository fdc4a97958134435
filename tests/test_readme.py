"""What README, docs/results.md and the data dictionary show is what the committed run says."""

import re

import pandas as pd
import pytest

from bench.core.store import Store
from bench.plan import profile
from bench.plan.grid import Selection, make_plan
from bench.plan.protocols import is_older
from bench.report import readme
from bench.report.data import Data
from bench.report.readme import DICTIONARY, README, REFERENCE, RESULTS, ROOT
from bench.report.runs import NOT_CLIMBED, NOT_NEEDED
from bench.report.section import Picture, built
from tests.support.reports import planted, source


def test_the_marked_blocks_are_those_that_make_readme_writes() -> None:
    for path, page in readme.written(Data(readme.committed())).items():
        assert path.read_text(encoding="utf-8") == page, f"{path.name} is stale: run `make readme`"


def test_the_data_dictionary_is_the_one_that_make_readme_writes() -> None:
    assert DICTIONARY.read_text(encoding="utf-8") == readme.dictionary(), "run `make readme`"


def test_a_block_is_replaced_between_its_marks_and_must_be_there_once() -> None:
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert readme.with_blocks(page, {"x": "new\\1"}) == page.replace("old", "new\\1")
    with pytest.raises(ValueError, match="0 blocks y"):
        readme.with_blocks(page, {"y": ""})


def test_each_page_has_its_blocks_and_a_planted_run_fills_them() -> None:
    pages = readme.written(Data(source(*planted())))
    assert set(pages) == {README, RESULTS}
    assert re.search(r"^\| copy_memory \(fixed-lag\) +\| tcn", pages[README], re.MULTILINE)
    assert "<!-- verdicts -->\n|" in pages[RESULTS]


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_figures_that_the_pages_show_are_written_by_a_report() -> None:
    pages = README.read_text(encoding="utf-8") + RESULTS.read_text(encoding="utf-8")
    shown = re.findall(r"reference/cpu/figures/(\w+)\.(png|svg)", pages)
    items = [item for _, items in built(Data(source(*planted()))) for item in items]
    drawn = {item.name: item.png for item in items if isinstance(item, Picture)}
    assert shown
    assert all(drawn.get(name, True) for name, suffix in shown if suffix == "png")
    assert "reach" in drawn


def test_the_committed_records_are_those_that_the_profile_plans() -> None:
    records, damaged = Store(REFERENCE).read_all()
    assert not damaged
    data = Data(readme.committed())
    planned = make_plan(profile.load("reference"), Selection())
    longer = {spec.id for ladder in planned.ladders for spec in ladder.longer.values()}
    made = {record.spec.id for record in records if not is_older(record.spec)}
    assert made <= {spec.id for spec in planned.specs} | longer
    # Runs that are not made yet are counted on the first screen.
    assert set(data.runs["status"]) <= {"ok", "diverged", "missing", NOT_NEEDED, NOT_CLIMBED}
    speed, damaged = Store(REFERENCE).read_speed()
    assert not damaged
    assert len({(r.machine.slug, r.backend) for r in speed}) == 1


def test_the_committed_runs_were_made_from_committed_code() -> None:
    for folder in REFERENCE.parent.iterdir():
        for record in Store(folder).read_all()[0] if folder.is_dir() else ():
            assert is_older(record.spec) or not record.machine.had_changes, record.path


def test_the_learning_rate_explains_the_failures_on_mnist_as_the_pages_say() -> None:
    folder = REFERENCE.parent / "stability"
    plan = make_plan(profile.load(str(folder / "profile.toml")), Selection())
    records, _ = Store(folder).read_all()
    assert {record.spec.id for record in records} == {spec.id for spec in plan.specs}
    solved: dict[tuple[float, int], int] = {}
    for record in records:
        assert record.outcome is not None
        score, threshold = record.outcome.test["accuracy"], record.outcome.solved_at
        assert score is not None
        assert threshold is not None
        cell = record.spec.training.learning_rate, record.spec.length
        solved[cell] = solved.get(cell, 0) + (score >= threshold)
    lengths = (64, 100, 120)
    found = [[solved[rate, length] for length in lengths] for rate in (0.00056, 0.003, 0.01, 0.03)]
    assert found == [[5, 5, 5], [5, 5, 5], [5, 2, 5], [2, 0, 1]]
    rows = re.findall(
        r"^\| 0\.[0-9]+ \| ([0-9]) \| ([0-9]) \| ([0-9]) \|$", RESULTS.read_text(), re.MULTILINE
    )
    assert [list(map(int, row)) for row in rows] == found


@pytest.mark.parametrize(
    ("page", "columns"),
    [
        ("lecture.md", (("tcn", "fastest"), ("gru", "fastest"), ("gru", "stock"))),
        (
            "faq.md",
            (("tcn", "fastest"), ("lstm", "fastest"), ("tcn", "stock"), ("lstm", "stock")),
        ),
    ],
)
def test_the_times_that_pages_print_are_those_of_the_committed_run(
    page: str, columns: tuple[tuple[str, str], ...]
) -> None:
    timed = pd.read_csv(REFERENCE / "tables" / "training_speed.csv")
    timed = timed[(timed["task_label"] == "copy_memory") & timed["variant"].isna()]
    ms = timed.set_index(["T", "batch", "model", "implementation"])["ms"]
    row = r"^\| ([\d,]+) \| (\d+) \|" + len(columns) * r" ([\d.]+) ms \|" + "$"
    rows = re.findall(row, (ROOT / "docs" / page).read_text(), re.M)
    assert len(rows) == 4
    for T, batch, *said in rows:
        place = int(T.replace(",", "")), int(batch)
        for column, value in zip(columns, map(float, said), strict=True):
            assert value == pytest.approx(ms[(*place, *column)], rel=0.03), place


def test_the_committed_run_is_in_its_time_and_made_with_probes() -> None:
    records, _ = Store(REFERENCE).read_all()
    hours = sum(r.outcome.total_seconds for r in records if r.outcome) / 3600
    assert hours < 17 * 2  # two workers
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
