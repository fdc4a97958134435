"""The report on planted records: everything counted, nothing loaded, nothing hidden."""

import re
from pathlib import Path

import pytest

from bench.core.store import Damaged
from bench.report import choices, generation, page, tables
from bench.report.page import write_report
from tests.support.records import cost_outcome, outcome, record, spec
from tests.support.reports import planted, source, table


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("report")
    return folder, write_report(folder, source(*planted()))


def test_a_failed_run_counts_as_not_solved_and_at_chance(written: tuple[Path, str]) -> None:
    row = table(written[0], "scores").query("model == 'gru' and T == 10").iloc[0]
    assert (row["solved"], row["seeds"]) == (1, 3)
    assert row["mean"] == pytest.approx((0.96 + 0.2 + 0.125) / 3)
    assert row["min"] == 0.125
    low, high = row["share_low"], row["share_high"]
    assert (low, high) == pytest.approx((0.0615, 0.7923), abs=1e-3)  # Wilson, 1 of 3


def test_a_failed_run_is_listed_with_its_reason(written: tuple[Path, str]) -> None:
    (row,) = table(written[0], "problems").to_dict("records")
    assert (row["what"], row["model"], row["T"]) == ("failed", "gru", 10)
    assert "out of luck" in row["reason"]
    assert "out of luck" in (written[0] / "report.md").read_text()
    assert "out of luck" in written[1]


def test_horizons(written: tuple[Path, str]) -> None:
    (row,) = table(written[0], "horizons").to_dict("records")
    assert row == {
        "task": "copy_memory",
        "tcn": "≥ 100 (–; 2/3 seeds)",
        "gru": "< 10 (–; 1/3 seeds)",
    }


def test_where_lower_is_better_low_costs_solve_and_the_page_says_so(tmp_path: Path) -> None:
    specs = [spec(length=length, seed=seed) for length in (10, 100) for seed in range(3)]
    baselines = {"uniform": 0.7, "unigram": 0.5}
    records = [
        record(each, outcome=cost_outcome(cost, baselines=baselines))
        for each, cost in zip(specs, [0.1, 0.2, 0.3, 0.5, 0.2, 0.21], strict=True)
    ]
    labels = {s.id: ("copy_memory", "tcn") for s in specs}
    runs = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, 0.2))
    assert list(runs["solved"]) == [True, True, False, False, True, False]
    # The cost halfway, (0.5 + 0.1) / 2, has not reached 0.2 yet.
    assert list(runs["solved_after"].fillna(-1)) == [100, 100, -1, -1, 100, -1]
    assert tables.horizons(runs)["copy_memory", "tcn"].length == 10
    scores = tables.scores(runs)
    assert list(scores["solved"]) == [2, 1]
    assert set(scores["unit"]) == {"nats, lower is better"}
    low = scores["mean_low"].iloc[0]
    assert low == pytest.approx(0.2 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)  # below 0: it is no share
    write_report(tmp_path, source(specs, records, threshold=0.2))
    page = (tmp_path / "report.md").read_text()
    assert "lower is better" in page
    assert "## Generation" in page
    beside = table(tmp_path, "likelihood")
    assert list(beside["unigram"]) == [0.5, 0.5]
    assert list(beside["mean"]) == list(scores["mean"])


def test_no_likelihoods_are_shown_where_there_are_none(written: tuple[Path, str]) -> None:
    assert "## Generation" not in (written[0] / "report.md").read_text()


def test_a_run_that_failed_counts_at_chance_among_the_likelihoods() -> None:
    specs = [spec(seed=seed) for seed in range(2)]
    baselines = {"unigram": 0.5}
    records = [
        record(specs[0], outcome=cost_outcome(0.1, baselines=baselines)),
        record(specs[1], None),
    ]
    labels = {s.id: ("copy_memory", "tcn") for s in specs}
    runs = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, 0.2))
    (row,) = generation.likelihood(runs, records, labels).to_dict("records")
    assert records[0].outcome is not None
    chance = records[0].outcome.score.chance
    assert row["seeds"] == 2
    assert row["mean"] == pytest.approx((0.1 + chance) / 2)


def test_horizons_of_many_models_stand_in_rows() -> None:
    specs, records = planted()
    names = {s.id: s.model.name for s in specs}
    copies = range(tables.MOST_COLUMNS)
    horizons = {}
    for copy in copies:
        labels = {i: ("copy_memory", f"{name}{copy}") for i, name in names.items()}
        runs = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, 0.95))
        horizons |= tables.horizons(runs)
    found = tables.horizon_table(horizons)
    assert len(found) == 2 * len(copies)
    assert found.iloc[0].to_dict() == {
        "task": "copy_memory",
        "model": "tcn0",
        "horizon": "≥ 100",
        "low": None,
        "high": None,
        "seeds": "2/3",
    }
    assert "–" in found.fillna("–").to_string()


def test_the_mean_of_shares_has_an_interval_between_0_and_1() -> None:
    specs, records = planted()
    labels = {s.id: (s.task.name, s.model.name) for s in specs}
    runs = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, 0.95))
    scores = tables.scores(runs).set_index(["model", "T"])
    # 1, 0.97, 0.3: s = 0.39577, t of two degrees of freedom 4.3027, half a width of 0.98.
    assert tuple(scores.loc[("tcn", 100), ["mean_low", "mean_high"]]) == (0, 1)
    assert tuple(scores.loc[("gru", 100), ["mean_low", "mean_high"]]) == (0.125, 0.125)
    alone = tables.scores(runs.query("seed == 0"))
    assert alone[["mean_low", "mean_high"]].isna().to_numpy().all()


def test_models_are_compared_on_the_seeds_that_both_have() -> None:
    specs, records = planted()
    specs.append(spec(model="tcn", length=10, seed=3))
    records.append(record(specs[-1], 0.2))
    labels = {s.id: (s.task.name, s.model.name) for s in specs}
    runs = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, 0.95))
    at_10, at_100 = tables.paired_differences(runs).to_dict("records")
    assert (at_10["T"], at_10["a"], at_10["b"], at_10["seeds"]) == (10, "tcn", "gru", 3)
    assert (at_10["only_a"], at_10["only_b"]) == (2, 0)
    # Of seeds 0, 1, 2 by hand: 0.04, 0.8, 0.875; s = 0.46199, so ± 1.1476, cut off at 1.
    assert at_10["difference"] == pytest.approx((0.04 + 0.8 + 0.875) / 3)
    assert (at_10["low"], at_10["high"]) == pytest.approx((0.571667 - 1.1476, 1), abs=1e-3)
    assert at_100["only_a"] == 2

    without = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, None))
    assert "only_a" not in tables.paired_differences(without)
    assert tables.paired_differences(runs.query("model == 'tcn'")).empty
    assert tables.paired_differences(
        tables.runs_frame(specs, [], labels, dict.fromkeys(labels))
    ).empty


def test_the_choice_fits_the_latency_budget() -> None:
    specs, records = planted()
    labels = {s.id: (s.task.name, s.model.name) for s in specs}
    runs = tables.runs_frame(specs, records, labels, dict.fromkeys(labels, 0.95))
    step_us = {s.id: 500.0 if s.model.name == "tcn" else 100.0 for s in specs}
    (row,) = choices.choice(runs, step_us, (200.0, float("inf"))).to_dict("records")
    assert row == {
        "task": "copy_memory",
        "T": "10–100",
        "≤ 200 µs a step": "none of these",
        "any latency": "tcn",
    }
    (untimed,) = choices.choice(runs, {}, (200.0, float("inf"))).to_dict("records")
    assert untimed == {"task": "copy_memory", "T": "10–100", "any latency": "tcn"}


def test_every_metric_stands_beside_its_chance(written: tuple[Path, str]) -> None:
    metrics = table(written[0], "metrics")
    assert set(metrics["metric"]) == {"recall", "cross_entropy"}
    assert set(metrics.query("metric == 'cross_entropy'")["chance"]) == {0.5}


def test_tables_and_figures_are_in_both_formats(written: tuple[Path, str]) -> None:
    folder = written[0]
    for kinds, name in (((".csv", ".md"), "tables"), ((".png", ".svg"), "figures")):
        stems = {kind: {p.stem for p in (folder / name).glob(f"*{kind}")} for kind in kinds}
        assert stems[kinds[0]] == stems[kinds[1]]
        assert stems[kinds[0]]
    assert {"score_vs_length", "solved_vs_length", "learning_copy_memory"} <= stems[".png"]


def test_the_page_holds_every_figure_and_loads_nothing(written: tuple[Path, str]) -> None:
    folder = written[0]
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list((folder / "figures").glob("*.png")))
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#|claims\.html")""", page)
    assert "Recurrent networks are hard to train" in (folder / "claims.html").read_text()
    assert "<script" not in page
    assert 'alt=""' not in page
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page


def test_what_is_printed_is_escaped(tmp_path: Path) -> None:
    specs, records = planted()
    evil = "</td><script>alert(1)</script> | ![x](http://example.org/x.png) `a`\nb"
    records[0] = record(specs[0], None, error=evil)
    damaged = [Damaged(path=tmp_path / "<b>x</b>.json", reason="<i>no</i>")]
    write_report(tmp_path, source(specs, records, damaged=damaged))
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "<b>x" not in page
    assert "<i>no" not in page
    assert 'src="http' not in page
    assert "alert(1)" in page


def test_the_same_records_give_the_same_files(written: tuple[Path, str], tmp_path: Path) -> None:
    write_report(tmp_path, source(*planted()))
    for path in written[0].rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(written[0])).read_bytes() == path.read_bytes()


def test_the_summary_fits_a_glance(written: tuple[Path, str]) -> None:
    summary = written[1]
    assert "≥ 100 (–; 2/3 seeds)" in summary
    assert "12 runs of profile planted: 1 failed, 11 ok" in summary
    assert str(written[0] / "report.html") in summary
    assert len(summary.splitlines()) < 15


def test_without_records_the_report_says_so(tmp_path: Path) -> None:
    specs, _ = planted()
    summary = write_report(tmp_path, source(specs, []))
    assert "12 missing" in summary
    assert "no record of this profile" in (tmp_path / "report.md").read_text()


def test_skipped_and_missing_runs_are_listed_and_not_averaged(tmp_path: Path) -> None:
    specs, records = planted()
    records[1] = record(specs[1], status="skipped", outcome=None, error="no data")
    unsupported = [("copy_memory", "pixelcnn", "it has no grid")]
    write_report(tmp_path, source(specs, records[:-1], unsupported=unsupported))
    problems = table(tmp_path, "problems")
    assert set(problems["what"]) == {"skipped", "failed", "missing", "not supported"}
    scores = table(tmp_path, "scores")
    assert scores.query("model == 'tcn' and T == 10")["seeds"].item() == 2


def test_a_task_without_a_threshold_has_no_horizon(tmp_path: Path) -> None:
    specs = [spec(seed=seed) for seed in range(2)]
    records = [record(s, outcome=outcome(0.99)) for s in specs]
    write_report(tmp_path, source(specs, records, threshold=None))
    assert (tmp_path / "tables" / "horizons.md").read_text() == "*nothing*\n"
    assert table(tmp_path, "scores")["mean"].item() == 0.99


def test_figures_of_an_earlier_report_go(tmp_path: Path) -> None:
    old, foreign = tmp_path / "figures/learning_old.png", tmp_path / "figures/mine.png"
    old.parent.mkdir()
    old.write_bytes(b"")
    foreign.write_bytes(b"")
    write_report(tmp_path, source(*planted()))
    assert not old.exists()
    assert foreign.exists()


def test_one_machine_or_several(tmp_path: Path) -> None:
    specs, records = planted()
    other = records[0].machine.model_copy(update={"cpu": "Slide rule"})
    records[0] = records[0].model_copy(update={"machine": other})
    write_report(tmp_path, source(specs, records))
    page = (tmp_path / "report.md").read_text()
    assert "come from 2 machines" in page
    assert "Slide rule" in page


def test_a_long_table_is_shortened_on_the_page_and_whole_as_csv(tmp_path: Path) -> None:
    num_seeds = page.MOST_ROWS + 1
    specs = [spec(seed=seed) for seed in range(num_seeds)]
    write_report(tmp_path, source(specs, []))
    assert len(table(tmp_path, "runs")) == num_seeds
    lines = (tmp_path / "tables" / "runs.md").read_text().splitlines()
    assert len(lines) == 2 + page.MOST_ROWS + 2
    assert lines[-1] == "*The first 1,000 of 1,001 rows; tables/runs.csv has all.*"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (float("nan"), "–"), (3.0, "3"), (0.12345, "0.1235"), ("a|b", "a\\|b")],
)
def test_cells(value: object, shown: str) -> None:
    assert page._cell(value) == shown
