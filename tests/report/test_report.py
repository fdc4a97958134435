"""The report on planted records: everything counted, nothing loaded, nothing hidden."""

import base64
import gzip
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import bench.report
from bench.core.backend import Backend
from bench.core.intervals import Interval
from bench.core.records import one_of_each
from bench.core.spec import PROTOCOL, SPEED_PROTOCOL, Part, Spec
from bench.core.store import Store
from bench.plan.ladder import Ladder
from bench.report import markup, page, reference
from bench.report.data import Data
from bench.report.page import report_page, write_report
from bench.report.runs import TIMES, ends, horizons, scores
from bench.report.section import Text
from bench.report.sections import differences, generation
from bench.report.sections import scores as scores_section
from tests.support.records import cost_outcome, outcome, record, spec, speed_record
from tests.support.reports import labels_of, planted, runs_of, source, table


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
    page = (written[0] / "report.md").read_text()
    assert "out of luck" in page
    assert "## Generation" not in page
    assert "out of luck" in written[1]


def test_horizons(written: tuple[Path, str]) -> None:
    found = table(written[0], "horizons").set_index("model")
    assert list(found["horizon"]) == ["10+", "not yet at 10"]
    assert list(found["seeds"].fillna("")) == ["3/3", ""]
    assert list(found["first_unsolved"]) == [100, 10]
    assert list(found["seeds_there"]) == ["2/3", "1/3"]
    assert list(found["updates_allowed"]) == [100, 100]


def test_where_lower_is_better_low_costs_solve_and_the_page_says_so(tmp_path: Path) -> None:
    specs = [spec(length=length, seed=seed) for length in (10, 100) for seed in range(3)]
    baselines = {"uniform": 0.7, "unigram": 0.5}
    records = [
        record(each, outcome=cost_outcome(cost, baselines=baselines))
        for each, cost in zip(specs, [0.1, 0.2, 0.3, 0.5, 0.2, 0.21], strict=True)
    ]
    runs = runs_of(specs, records, threshold=0.2)
    assert list(runs["solved"]) == [True, True, False, False, True, False]
    # The cost halfway, (0.5 + 0.1) / 2, has not reached 0.2 yet.
    assert list(runs["solved_after"].fillna(-1)) == [100, 100, -1, -1, 100, -1]
    ((_, horizon),) = horizons(runs)
    assert str(horizon).startswith("not yet at 10 (2/3, 1 improving)")
    found = scores(runs)
    assert list(found["solved"]) == [2, 1]
    assert set(found["unit"]) == {"nats, lower is better"}
    low = found["mean_low"].iloc[0]
    assert low == pytest.approx(0.2 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)  # not a share
    write_report(tmp_path, source(specs, records, threshold=0.2))
    page = (tmp_path / "report.md").read_text()
    assert "lower is better" in page
    assert "## Generation" in page
    beside = table(tmp_path, "likelihood")
    assert list(beside["unigram"]) == [0.5, 0.5]
    assert list(beside["mean"]) == list(found["mean"])


def test_a_run_that_failed_counts_at_chance_among_the_likelihoods() -> None:
    specs = [spec(seed=seed) for seed in range(2)]
    baselines = {"unigram": 0.5}
    records = [
        record(specs[0], outcome=cost_outcome(0.1, baselines=baselines)),
        record(specs[1], None),
    ]
    runs = runs_of(specs, records, threshold=0.2)
    (row,) = generation.likelihood(runs, records, labels_of(specs)).to_dict("records")
    assert records[0].outcome is not None
    chance = records[0].outcome.score.chance
    assert row["seeds"] == 2
    assert row["mean"] == pytest.approx((0.1 + chance) / 2)


def test_a_predictor_without_a_network_stands_where_its_score_belongs() -> None:
    specs = [spec()]
    records = [record(specs[0], outcome=outcome(1.0, baselines={"any_of_them": 0.25}))]
    data = Data(source(specs, records))
    assert generation.likelihood(data.runs, records, labels_of(specs)).empty
    said = [item.markdown for item in scores_section.build(data) if isinstance(item, Text)]
    assert said == [
        "Predictors without a network, besides chance: `any_of_them` scores 0.25 on copy_memory."
    ]


def test_an_interval_ends_where_its_score_ends() -> None:
    found = Interval(mean=0.5, low=-0.7, high=1.7, n=5)
    assert ends(found, 0.1, "share of symbols") == (0.1, 1.0)
    assert ends(found, 0.0, "bits, lower is better") == (0.0, 1.7)
    assert ends(found, 0.0, "nats") == (-0.7, 1.7)
    assert ends(Interval(mean=0.5, low=None, high=None, n=1), 0.0, "bits") == (None, None)


def test_the_mean_of_shares_has_an_interval_between_0_and_1() -> None:
    specs, records = planted()
    runs = runs_of(specs, records)
    found = scores(runs).set_index(["model", "T"])
    # 1, 0.97, 0.3: s = 0.39577, t of two degrees of freedom 4.3027, half a width of 0.98.
    assert tuple(found.loc[("tcn", 100), ["mean_low", "mean_high"]]) == (0, 1)
    assert tuple(found.loc[("gru", 100), ["mean_low", "mean_high"]]) == (0.125, 0.125)
    alone = scores(runs.query("seed == 0"))
    assert alone[["mean_low", "mean_high"]].isna().to_numpy().all()


def test_models_are_compared_on_the_seeds_that_both_have() -> None:
    specs, records = planted()
    specs.append(spec(model="tcn", length=10, seed=3))
    records.append(record(specs[-1], 0.2))
    runs = runs_of(specs, records)
    at_10, at_100 = differences.paired_differences(runs).to_dict("records")
    assert (at_10["T"], at_10["convolutional"], at_10["recurrent"], at_10["seeds"]) == (
        10,
        "tcn",
        "gru",
        3,
    )
    assert (at_10["only_convolutional"], at_10["only_recurrent"]) == (2, 0)
    # Of seeds 0, 1, 2 by hand: 0.04, 0.8, 0.875; s = 0.46199, so ± 1.1476, cut off at 1.
    assert at_10["difference"] == pytest.approx((0.04 + 0.8 + 0.875) / 3)
    assert (at_10["low"], at_10["high"]) == pytest.approx((0.571667 - 1.1476, 1), abs=1e-3)
    assert at_100["only_convolutional"] == 2

    # Cells that stopped before all planned seeds ran have no interval.
    planned = runs_of([*specs, spec(model="gru", length=10, seed=9)], records)
    assert differences.paired_differences(planned)["low"].isna().tolist() == [True, False]

    two = differences.paired_differences(runs[runs["seed"] < 2])
    assert two[["low", "high"]].isna().to_numpy().all()
    both_solve = runs_of(specs, [record(each, 1.0) for each in specs])
    assert differences.paired_differences(both_solve).empty

    without = differences.paired_differences(runs_of(specs, records, threshold=None))
    assert without[["only_convolutional", "only_recurrent"]].isna().to_numpy().all()
    for none in (runs.query("model == 'tcn'"), runs_of(specs, [])):
        assert differences.paired_differences(none).empty


def test_every_metric_stands_beside_its_chance(written: tuple[Path, str]) -> None:
    metrics = table(written[0], "metrics")
    assert set(metrics["metric"]) == {"recall", "cross_entropy"}
    assert set(metrics.query("metric == 'cross_entropy'")["chance"]) == {0.5}


def test_tables_are_csv_and_figures_svg(written: tuple[Path, str]) -> None:
    folder = written[0]
    assert {path.suffix for path in (folder / "tables").iterdir()} == {".csv"}
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"solved_vs_length.svg", "learning_copy_memory.svg"} <= figures
    # The README shows this figure, so that it is written as PNG too.
    assert {name for name in figures if name.endswith(".png")} == {"score_vs_length.png"}


def test_the_labels_of_all_figures_are_plain_text(written: tuple[Path, str]) -> None:
    for figure in (written[0] / "figures").glob("*.svg"):
        assert "mathdefault" not in figure.read_text(), figure.name


def test_the_page_holds_every_figure_and_loads_nothing(written: tuple[Path, str]) -> None:
    folder = written[0]
    page = (folder / "report.html").read_text()
    figures = list((folder / "figures").glob("*.svg"))
    # The figures of the first screen and of open sections are shown at once, the others when their
    # section is opened. The figure of the first screen stands in its section as well.
    at_once = re.findall(r'"data:image/svg\+xml;base64,([^"]+)"', page)
    packed = re.findall(r'data-svg="([^"]+)"', page)
    opened = {base64.b64decode(each) for each in at_once}
    folded = {gzip.decompress(base64.b64decode(each)) for each in packed}
    assert opened | folded == {figure.read_bytes() for figure in figures}
    assert opened == {
        figure.read_bytes()
        for figure in figures
        if figure.stem == "reach" or figure.stem.startswith("front_")
    }
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#|claims\.html")""", page)
    assert "Recurrent networks are hard to train" in (folder / "claims.html").read_text()
    assert 'alt=""' not in page
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page


def test_the_first_line_says_how_many_records_the_report_covers(tmp_path: Path) -> None:
    specs, records = planted()
    for num_records, line in (
        (0, "This report covers 12 records."),
        (138, "This report covers 12 of the 138 records in the folder."),
    ):
        write_report(tmp_path, source(specs, records, num_records=num_records))
        assert (tmp_path / "report.md").read_text().splitlines()[0] == line


def test_the_first_line_counts_planned_runs_that_may_still_be_needed(tmp_path: Path) -> None:
    specs, records = planted()
    write_report(tmp_path, source(specs, records[1:]))
    assert (tmp_path / "report.md").read_text().splitlines()[0] == (
        "This report covers 11 records. 1 planned run without a record may still be needed."
    )


def test_the_first_line_counts_what_is_of_an_older_protocol(tmp_path: Path) -> None:
    specs, _ = planted()
    older = [each.model_copy(update={"protocol": PROTOCOL - 1}) for each in specs[:2]]
    timed = [speed_record(step_ms=1, protocol=SPEED_PROTOCOL - 1), speed_record(length=20)]
    specs = [*older, *specs[2:]]
    write_report(tmp_path, source(specs, [record(each) for each in specs], speed=timed))
    assert (tmp_path / "report.md").read_text().splitlines()[0] == (
        f"This report covers 12 records. Protocol {PROTOCOL - 1}: 2 runs and 1 timing of the "
        "report were made with older code; new ones may have other scores and times."
    )


def test_a_caveat_stands_before_everything_else_of_both_pages(tmp_path: Path) -> None:
    write_report(tmp_path, source(*planted(), caveat="Budgets are *small*."))
    for name in ("report.md", "claims.md"):
        head = (tmp_path / name).read_text().partition("\n## ")[0]
        assert "**Budgets are \\*small\\*.**" in head


def test_a_demonstration_says_so_first_and_shows_the_answers_of_the_reference(
    tmp_path: Path,
) -> None:
    beside = {"a": "supported: gru forgets", "f": "contradicted: it is fast"}
    summary = write_report(tmp_path, source(*planted(), demonstration=True, reference=beside))
    assert summary.startswith("This is a demonstration")
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("**This is a demonstration.**")
    assert '<p class="caveat">This is a demonstration:' in (tmp_path / "report.html").read_text()
    for text in (page, (tmp_path / "claims.md").read_text()):
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert rows[0] == "| | verdict | claim | why | the committed reference |"
        (of_a,) = (row for row in rows if row.startswith("| a |"))
        assert of_a.endswith("| supported: gru forgets |")
        (of_b,) = (row for row in rows if row.startswith("| b |"))
        assert of_b.endswith("| – |")


def test_the_answers_of_a_folder_are_those_of_its_table_of_verdicts(
    written: tuple[Path, str], tmp_path: Path
) -> None:
    found = reference.answers(written[0])
    assert list(found) == ["a", "b", "c", "d1", "d2", "e", "f"]
    assert found["f"] == "not tested: no times of a step without the call from Python"
    assert reference.answers(tmp_path) == {}


def test_a_report_of_one_run_speaks_of_one_run() -> None:
    of = spec()
    page = report_page(Data(source([of], [record(of)])), {})
    assert "\n1 run was planned: 1 ok. Of a seed" in page
    assert "Each point stands for 1 seed. Few" in page


def test_how_runs_ended_is_counted_by_task_and_by_cell(written: tuple[Path, str]) -> None:
    (of_task,) = table(written[0], "endings").to_dict("records")
    # Planted losses are level; a failed run has no curve. The planted field of 99 steps is too
    # short at T = 100, so the four runs that fail there are left out.
    assert (of_task["runs"], of_task["solved"], of_task["failed"]) == (8, 6, 1)
    assert of_task["improving"] + of_task["at_chance"] + of_task["converged"] == 1
    assert of_task["share_improving"] == of_task["improving"] / 2
    cells = table(written[0], "endings_by_cell").set_index(["model", "T"])
    assert list(cells["decision"]) == ["3/3", "1/3", "2/3", "0/3"]
    assert cells.loc[("gru", 10), "failed"] == 1
    assert cells["runs"].sum() == 12


def test_lengths_that_were_not_climbed_are_listed_and_are_no_problem(tmp_path: Path) -> None:
    specs = [spec(length=T, seed=seed) for T in (8, 16, 32, 64) for seed in range(5)]
    ladder = Ladder(cells=tuple(tuple(specs[i : i + 5]) for i in range(0, 20, 5)))
    scores = {8: [1.0] * 4, 16: [0.2] * 2, 32: [0.2] * 2, 64: []}
    records = [
        record(each, scores[each.length][each.seed])
        for each in specs
        if each.seed < len(scores[each.length])
    ]
    write_report(tmp_path, source(specs, records, ladders=[ladder]))
    (row,) = table(tmp_path, "not_climbed").to_dict("records")
    assert (row["T"], row["reason"]) == (64, "it failed T = 16 and T = 32")
    statuses = table(tmp_path, "runs").groupby("T")["status"].agg(set).to_dict()
    assert statuses == {
        8: {"ok", "not needed"},
        16: {"ok", "not needed"},
        32: {"ok", "not needed"},
        64: {"not climbed"},
    }
    assert table(tmp_path, "problems").empty
    assert "Some runs failed, diverged or are missing" not in (tmp_path / "report.md").read_text()
    assert set(table(tmp_path, "scores")["seeds"]) == {4, 2}


def test_the_same_records_give_the_same_files(written: tuple[Path, str], tmp_path: Path) -> None:
    write_report(tmp_path, source(*planted()))
    for path in written[0].rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(written[0])).read_bytes() == path.read_bytes()


def test_the_summary_fits_a_glance(written: tuple[Path, str]) -> None:
    summary = written[1]
    assert "12 runs: 11 ok, 1 failed (6 solved, 5 at chance); profile planted" in summary
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
    made = records[:-3]  # none of gru at T = 100
    write_report(tmp_path, source(specs, made, unsupported=unsupported))
    problems = table(tmp_path, "problems")
    assert set(problems["what"]) == {"skipped", "failed", "missing", "not supported"}
    scores = table(tmp_path, "scores")
    assert scores.query("model == 'tcn' and T == 10")["seeds"].item() == 2


def test_a_failure_that_no_run_can_change_is_named_where_the_report_holds_it() -> None:
    def of(model: str, length: int) -> Spec:
        part = Part(name="group_product", fields={"length": length, "group": "Z2"}, version=1)
        return spec(model=model, length=length).model_copy(update={"task": part})

    def said(*specs: Spec) -> list[str]:
        return page.proven_failures(Data(source(list(specs), [record(s, 0.9) for s in specs])))

    (line,) = said(of("attention", 4), of("gru", 4))
    assert line.startswith("attention cannot solve group_product group=Z2 at T = 4: without")
    assert said(of("attention", 8), of("gru", 4)) == []


def test_the_reference_has_run_the_failures_that_are_proven_and_solves_none() -> None:
    found = pd.read_csv(reference.PAPER.parent / "cpu/tables/scores.csv")
    for each in tomllib.loads(page.PROVEN.read_text())["failure"]:
        of = (found["task_label"] == each["task"]) & (found["model_label"] == each["model"])
        (solved,) = found[of & (found["T"] == each["T"])]["solved"]
        assert solved == 0, each


def test_a_task_without_a_threshold_has_no_horizon(tmp_path: Path) -> None:
    specs = [spec(seed=seed) for seed in range(2)]
    records = [record(s, outcome=outcome(0.99)) for s in specs]
    write_report(tmp_path, source(specs, records, threshold=None))
    assert table(tmp_path, "horizons").empty
    assert table(tmp_path, "scores")["mean"].item() == 0.99


def test_figures_of_an_earlier_report_are_removed_and_others_stay(tmp_path: Path) -> None:
    old, foreign = tmp_path / "figures/learning_old.png", tmp_path / "figures/mine.png"
    old.parent.mkdir()
    old.write_bytes(b"")
    foreign.write_bytes(b"")
    (tmp_path / "report.md").write_text("![Old](figures/learning_old.svg)\n")
    write_report(tmp_path, source(*planted()))
    assert not old.exists()
    assert foreign.exists()


def test_one_machine_or_several(tmp_path: Path) -> None:
    specs, records = planted()
    other = records[0].machine.model_copy(update={"cpu": "Slide rule"})
    records[0] = records[0].model_copy(update={"machine": other})
    write_report(tmp_path, source(specs, records))
    page = (tmp_path / "report.md").read_text()
    assert "come from 2 combinations of machine" in page
    assert "Slide rule" in page


def test_the_scores_of_all_devices_count_and_the_times_of_one(tmp_path: Path) -> None:
    specs, records = planted()
    here, gpu = records[0].backend, Backend(device="cuda", capture=True)
    records[0] = records[0].model_copy(update={"backend": gpu})
    pooled = source(specs, records, backend=here)
    runs, alone = Data(pooled).runs, Data(source(specs, records)).runs
    assert runs["score"].equals(alone["score"])
    elsewhere, here_alone = runs["id"] == specs[0].id, alone[[*TIMES]]
    assert here_alone[elsewhere].notna().to_numpy().all()
    assert runs[[*TIMES]].equals(here_alone.mask(elsewhere))
    write_report(tmp_path, pooled)
    page = (tmp_path / "report.md").read_text()
    assert f"11 runs on `{here.name}`, 1 run on `{gpu.name}`" in page
    assert f"Times of runs are those of the backend `{here.name}`" in page


def test_one_record_of_each_run_counts() -> None:
    one = record(spec())
    gpu = Backend(device="cuda", capture=True)
    other = one.model_copy(update={"backend": gpu})
    failed = record(spec(), None)
    assert one_of_each([other, one], one.backend) == {one.spec.id: one}
    assert one_of_each([one, other], one.backend) == {one.spec.id: one}
    assert one_of_each([one, other], gpu) == {one.spec.id: other}
    assert one_of_each([failed, other], one.backend) == {one.spec.id: other}


def test_a_long_table_is_shortened_on_the_page() -> None:
    specs = [spec(seed=seed) for seed in range(5)]
    lines = markup.shortened(runs_of(specs, []), "runs", 4).splitlines()
    assert len(lines) == 2 + 4 + 2
    assert lines[-1] == "*The first 4 of 5 rows; tables/runs.csv has all.*"
    assert len(markup.shortened(runs_of(specs, []), "runs", 5).splitlines()) == 2 + 5


def test_github_shows_the_whole_report_of_the_reference() -> None:
    report = reference.REFERENCE / "report.md"
    assert report.stat().st_size < 500 * 1024


def test_cells_have_four_digits_dashes_and_no_markup() -> None:
    shown = markup.markdown_table(pd.DataFrame({"a": [None, 3.0, 0.12345], "b": ["a|b", "", "c"]}))
    assert [line.split() for line in shown.splitlines()[2:]] == [
        ["|", "–", "|", "a\\|b", "|"],
        ["|", "3", "|", "|"],
        ["|", "0.1235", "|", "c", "|"],
    ]


def test_a_table_for_people_has_labels_in_place_of_names() -> None:
    shown = markup.for_people(scores(runs_of(*planted())))
    assert list(shown.columns[:3]) == ["task", "T", "model"]
    assert not {"variant", "family", "task_label"} & set(shown.columns)
    published = pd.DataFrame({"task": ["a"], "task_label": ["a b=1"], "T": [1], "model": ["LSTM"]})
    assert markup.for_people(published).iloc[0].tolist() == ["a b=1", 1, "LSTM"]


def test_one_line_loads_all_runs_with_typed_columns(tmp_path: Path) -> None:
    specs, records = planted()
    for each in records:
        Store(tmp_path).write(each)
    runs = bench.report.load_runs(tmp_path)
    assert len(runs) == len(specs)
    assert runs.dtypes.astype(str)[["T", "score", "solved", "model"]].tolist() == [
        "int64",
        "float64",
        "boolean",
        "str",
    ]
    assert set(runs["commit"]) == {records[0].machine.commit}
    assert runs.groupby("model")["solved"].sum().to_dict() == {"tcn": 5, "gru": 1}
    assert bench.report.load_runs(tmp_path / "nothing").empty
    next(tmp_path.rglob("*.json")).write_text("{")
    with pytest.warns(UserWarning, match="is not a valid record"):
        assert len(bench.report.load_runs(tmp_path)) == len(specs) - 1
