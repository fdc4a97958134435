"""The page of a report in a real browser: it draws, loads nothing, and answers to clicks and keys.

The tests need Chromium, which is looked for on the path; without it they are skipped. Screenshots
are kept in the folder that SCREENSHOTS names.
"""

import csv
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.core.records import Record
from bench.core.spec import Spec
from bench.report.choosing import Problem, choose
from bench.report.data import Data
from bench.report.evidence import evidence_of
from bench.report.page import write_report
from tests.support.records import record, spec, speed_record
from tests.support.reports import planted, source

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on the path")

EVIL = "</script><script>alert(1)</script><b>&amp;%{x}"
WIDTHS = {"phone": 390, "laptop": 1366, "print": 794}
"""Widths of the screenshots in pixels; the last is that of a sheet of A4."""


def planted_records() -> tuple[list[Spec], list[Record]]:
    specs, records = planted()
    failed = next(place for place, each in enumerate(records) if each.status == "failed")
    records[failed] = record(specs[failed], None, error=EVIL)
    return specs, records


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("it's a report")
    specs, records = planted_records()
    timed = [
        speed_record(model, length, train_ms=2.0, step_ms=step_ms, receptive_field=field)
        for model, step_ms, field in (("tcn", 0.02, 99), ("gru", 0.01, None))
        for length in (10, 100)
    ]
    write_report(folder, source(specs, records, speed=timed))
    return folder / "report.html"


@dataclass
class Visit:
    """An opened page, and everything that it reported and requested."""

    page: "Page"
    address: str
    problems: list[str] = field(default_factory=list)

    def open(self, state: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}{state}")
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=30_000)

    def wait(self, condition: str, timeout_s: float = 30.0) -> None:
        """Wait until the condition holds in the page.

        Playwright's own `wait_for_function` evaluates text in the page, which the policy forbids
        once the first evaluation is false.
        """
        deadline = time.monotonic() + timeout_s
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"still false: {condition}"
            self.page.wait_for_timeout(20)

    @property
    def state(self) -> str:
        return self.page.evaluate("location.hash")

    def curves(self) -> list[list[str]]:
        """The names of the curves of each panel."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.plot')].map(p => p.data.map(curve => curve.name))"
        )

    def column(self, table: str, name: str) -> list[str]:
        """The visible cells of a column."""
        return self.page.evaluate(
            """([place, name]) => {
              const table = document.querySelector(`${place} table`);
              const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === name);
              const rows = [...table.tBodies[0].rows].filter(row => !row.hidden);
              return rows.map(row => row.cells[at].textContent);
            }""",
            [table, name],
        )


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with playwright.sync_playwright() as driver:
        # A container that runs as root has no sandbox; the page is our own.
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: "Browser", page_file: Path) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True)
    page = context.new_page()
    visit = Visit(page=page, address=page_file.as_uri())

    def watch(request: "Request") -> None:
        if not request.url.startswith((visit.address, "about:blank", "data:", "blob:")):
            visit.problems.append(f"requested {request.url}")

    page.on("request", watch)
    page.on("console", lambda message: visit.problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: visit.problems.append(str(error)))
    page.on("dialog", lambda dialog: visit.problems.append(f"dialog {dialog.message}"))
    visit.open()
    yield visit
    context.close()
    # Neither an error nor a warning, which the security policy would cause, nor a request.
    assert visit.problems == []


def test_the_page_draws_everything_without_an_error_or_a_request(visit: Visit) -> None:
    assert visit.curves() == [["gru", "tcn"]]
    visit.page.click("#unfold")
    visit.wait("!document.querySelector('img[data-svg]')")
    visit.wait("[...document.querySelectorAll('img')].every(image => image.complete)")
    sizes = visit.page.evaluate(
        "[...document.querySelectorAll('img')].map(image => image.naturalWidth)"
    )
    assert len(sizes) > 5
    assert min(sizes) > 100
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 1366


def test_the_first_screen_is_drawn_within_two_seconds(visit: Visit) -> None:
    painted = []
    for _ in range(3):  # another process may slow one of them down
        visit.open()
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        painted.append(visit.page.evaluate(paint))
    assert min(painted) < 2000
    for place in (".answer", "figure img", "#decision", ".evidence"):
        box = visit.page.locator(place).first.bounding_box()
        assert box is not None
        assert box["y"] < 768, place


def test_each_claim_of_the_first_screen_is_shown_with_its_letter(visit: Visit) -> None:
    lines = [line.inner_text().split() for line in visit.page.locator(".verdicts li").all()]
    assert [words[0] for words in lines] == ["a", "b", "c", "d1", "d2", "e", "f"]


def test_a_curve_is_clicked_away_and_a_link_keeps_it_away(visit: Visit) -> None:
    visit.page.click("button.model[value=gru]")
    visit.wait("document.querySelector('.plot').data.length === 1")
    assert visit.curves() == [["tcn"]]
    assert visit.page.get_attribute("button.model[value=gru]", "aria-pressed") == "false"
    state = visit.state
    assert state == "#model=tcn"
    visit.open(state)
    assert visit.curves() == [["tcn"]]
    visit.page.click("#reset")
    visit.wait("document.querySelector('.plot').data.length === 2")
    assert visit.state == ""


def test_curves_and_tables_are_used_with_the_keyboard(visit: Visit) -> None:
    visit.page.focus("button.model[value=tcn]")
    visit.page.keyboard.press("Space")
    visit.wait("document.querySelector('.plot').data.length === 1")
    assert visit.curves() == [["gru"]]
    visit.page.focus("#points .action button")
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "behind-point"
    assert "gru on copy_memory, T = 10" in visit.page.inner_text("#behind-point h3")
    visit.page.focus("details summary >> nth=-1")
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#sections details[open]").count() == 1


def test_both_axes_show_any_measure_and_a_link_opens_them(visit: Visit) -> None:
    visit.page.select_option("#x", "step_us@1@fastest")
    visit.page.select_option("#y", "share")
    visit.page.uncheck("#logx")
    visit.wait("document.querySelector('.plot').layout.xaxis.type === 'linear'")
    drawn = visit.page.evaluate("document.querySelector('.plot').data.map(c => [c.name, c.x, c.y])")
    assert drawn == [
        ["gru", [10, 10], [0.333333, 0]],
        ["tcn", [20, 20], [1, 0.666667]],
    ]
    state = visit.state
    visit.open(state)
    assert visit.page.input_value("#x") == "step_us@1@fastest"
    assert visit.page.input_value("#y") == "share"
    assert not visit.page.is_checked("#logx")


def test_a_tasks_panel_goes_with_its_tick(visit: Visit) -> None:
    visit.page.uncheck("#tasks input")
    assert visit.curves() == []
    assert "No point" in visit.page.inner_text("#status")
    assert visit.state == "#task=-"
    visit.page.check("#tasks input")
    visit.page.wait_for_selector(".plot .point")


def test_hovering_shows_value_interval_and_seeds(visit: Visit) -> None:
    visit.page.locator("#panels").scroll_into_view_if_needed()
    box = visit.page.locator(
        ".plot .scatterlayer .trace .point path, .plot path.point"
    ).first.bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    said = visit.page.locator(".plot .hovertext").first.text_content() or ""
    assert "gru, T = 10" in said
    # 0.96, 0.2 and the failed run at chance: mean 0.428, as in the table of scores.
    assert "0.4283 (0 to 1)" in said
    assert "3 seeds, 1 solve it" in said


def test_clicking_a_point_shows_its_runs_and_commands_as_text(
    visit: Visit, page_file: Path
) -> None:
    visit.page.locator("#panels").scroll_into_view_if_needed()
    box = visit.page.locator(".plot path.point").first.bounding_box()
    assert box is not None
    visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.wait_for_selector("#behind-point h3")
    assert visit.column("#behind-point", "seed") == ["0", "1", "2"]
    assert EVIL in visit.column("#behind-point", "error")
    assert visit.page.locator("#behind-point b").count() == 0
    assert visit.column("#behind-point", "max_steps") == ["100"] * 3
    visit.page.click("#behind-point .note a")
    assert visit.page.locator("#Settings_and_learning_rates[open]").count() == 1
    commands = visit.page.locator("#behind-point pre.command").all_inner_texts()
    specs, _ = planted_records()
    wanted = [each.id for each in specs if (each.model.name, each.length) == ("gru", 10)]
    folder = str(page_file.parent)
    quoted = "'" + folder.replace("'", "'\"'\"'") + "'"
    assert commands == [
        f"python -m bench run --again {spec_id} --results {quoted} --device cpu"
        for spec_id in wanted
    ]
    assert "point=" in visit.state


def test_the_form_answers_and_a_link_keeps_what_was_entered(visit: Visit, page_file: Path) -> None:
    assert visit.page.is_visible("#chooser")
    assert visit.page.input_value("#kind") == "fixed-lag"  # the first kind with evidence
    visit.page.fill("#length", "12")
    facts = visit.page.inner_text("#chosen dl")
    source_ = source(*planted_records())
    answer = choose(Problem(kind="fixed-lag", length=12), evidence_of(Data(source_)))
    assert answer.pick is not None
    assert f"pick\n{answer.pick}\n" in facts
    assert facts.endswith(answer.sure)
    reasons = visit.page.inner_text("#chosen ul").splitlines()
    assert reasons[: len(answer.why)] == list(answer.why)
    visit.page.select_option("#kind", "recall")
    visit.page.fill("#length", "64")
    assert visit.page.inner_text("#chosen dl").endswith("no evidence here")
    visit.page.click("#chosen summary")
    folder = str(page_file.parent).replace("'", "'\"'\"'")
    command = visit.page.inner_text("#chosen pre")
    assert f"--results '{folder}' --task associative_recall --length 64" in command
    visit.page.select_option("#most-step", "20")
    visit.open(visit.state)
    assert visit.page.input_value("#kind") == "recall"
    assert visit.page.input_value("#length") == "64"
    assert visit.page.input_value("#most-step") == "20"
    visit.page.fill("#length", "-3")  # neither an error nor another page
    assert "no evidence here" in visit.page.inner_text("#chosen dl")


def test_the_form_opens_with_a_length_that_has_evidence(browser: "Browser", tmp_path: Path) -> None:
    specs, records = planted()
    short = [place for place, each in enumerate(specs) if each.length == 10]
    write_report(tmp_path, source([specs[i] for i in short], [records[i] for i in short]))
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert 10 <= int(page.input_value("#length")) < 100
    assert "no evidence here" not in page.inner_text("#chosen dl")
    page.close()


def test_equal_curves_show_below_each_other_and_hovering_names_them(
    browser: "Browser", tmp_path: Path
) -> None:
    names = ("tcn", "gru", "lstm")
    specs = [
        spec(model=name, length=T, seed=s) for name in names for T in (10, 100) for s in (0, 1)
    ]
    write_report(tmp_path, source(specs, [record(each, 1.0) for each in specs]))
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=30_000)
    (curves,) = page.evaluate(
        "[...document.querySelectorAll('.plot')].map(plot => plot.data.map("
        "trace => [trace.name, trace.line.width, trace.marker.size, trace.hovertext[0]]))"
    )
    page.close()
    widths, sizes = [curve[1] for curve in curves], [curve[2] for curve in curves]
    assert widths == sorted(set(widths), reverse=True)
    assert sizes == sorted(set(sizes), reverse=True)
    for name, _, _, said in curves:
        others = [other for other, *_ in curves if other != name]
        assert f"also here: {', '.join(others)}" in said.replace("<br>", " ")


def test_without_scripts_nothing_leads_to_a_hidden_part(
    browser: "Browser", page_file: Path
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    shown = page.locator("nav a:visible").all()
    targets = [link.get_attribute("href") or "" for link in shown]
    assert "#explorer" in targets
    assert all(page.locator(target).is_visible() for target in targets)
    context.close()


def test_a_table_sorts_filters_and_downloads(visit: Visit, tmp_path: Path) -> None:
    visit.page.click("#points th button:text-is('test score')")
    rising = [float(each) for each in visit.column("#points", "test score")]
    assert rising == sorted(rising)
    visit.page.click("#points th button:text-is('test score')")
    assert [float(each) for each in visit.column("#points", "test score")] == rising[::-1]
    assert visit.page.get_attribute("#points th[aria-sort]", "aria-sort") == "descending"
    visit.page.fill("#points input[type=search]", "tcn 100")
    assert visit.column("#points", "model") == ["tcn"]
    visit.open(visit.state)
    assert visit.column("#points", "model") == ["tcn"]
    with visit.page.expect_download() as started:
        visit.page.click("#points .tools button")
    started.value.save_as(tmp_path / "points.csv")
    with (tmp_path / "points.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["model"], row["T"], row["seeds"]) == ("tcn", "100", "3")
    assert float(row["test score"]) == pytest.approx((1 + 0.97 + 0.3) / 3, rel=1e-5)


def test_an_anchor_opens_its_section_and_the_address_keeps_it(visit: Visit) -> None:
    visit.open("#Problems")
    assert visit.page.locator("#Problems[open]").count() == 1
    visit.wait("location.hash === '#open=Problems'")
    visit.open("#open=Problems")
    assert visit.page.locator("#Problems[open] td").count() > 0
    assert EVIL in visit.page.inner_text("#Problems")


def test_the_links_at_the_top_lead_to_every_part_and_keep_the_state(visit: Visit) -> None:
    visit.open("#length=10")
    links = visit.page.locator("nav a")
    assert links.count() >= 6
    for link in links.all():
        assert visit.page.locator(link.get_attribute("href") or "").is_visible()
        link.click()
        visit.wait(
            "Math.abs(document.querySelector("
            f"{link.get_attribute('href')!r}).getBoundingClientRect().top) < innerHeight / 2"
        )
    assert visit.state == "#length=10"


def test_a_script_that_is_not_ours_does_not_run(visit: Visit) -> None:
    blocked = visit.page.evaluate(
        """() => new Promise(resolve => {
          document.addEventListener("securitypolicyviolation", e => resolve(e.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
        })"""
    )
    assert blocked == "script-src-elem"
    assert visit.page.evaluate("window.ran") is None
    assert len(visit.problems) == 1
    visit.problems.clear()  # the browser reports what it blocked


def test_the_first_screen_and_the_figures_use_the_width_of_a_laptop(visit: Visit) -> None:
    def box(place: str) -> dict[str, float]:
        found = visit.page.locator(place).first.bounding_box()
        assert found is not None
        return {"x": found["x"], "width": found["width"]}

    figure, table, tiles = (box(place) for place in (".paper", "#decision", ".tiles"))
    assert table["x"] > figure["x"] + figure["width"]
    assert tiles["width"] > figure["width"] + table["width"]
    rows = visit.page.eval_on_selector_all(
        ".tiles > div", "tiles => tiles.map(tile => tile.getBoundingClientRect().top)"
    )
    assert len(rows) > 4
    assert len(set(rows)) == 1
    narrow, wide = (box(f".shown figure img{kind}") for kind in (":not(.wide)", ".wide"))
    assert narrow["width"] < 0.5 * wide["width"]
    assert wide["width"] > 1200


def test_a_table_that_is_cut_off_shows_it_and_long_cells_wrap(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": WIDTHS["phone"], "height": 844})
    place = ".scroll:has(td.long)"
    look = "([box]) => [box.scrollWidth > box.clientWidth, getComputedStyle(box).backgroundImage]"
    is_cut, shades = visit.page.eval_on_selector_all(place, look)
    assert is_cut
    assert shades.count("linear-gradient") == 4
    assert visit.page.evaluate(
        "getComputedStyle(document.querySelector('td.long')).whiteSpace"
    ) in ("normal")


def test_the_page_of_the_claims_shows_every_verdict_on_a_laptop(
    browser: "Browser", page_file: Path
) -> None:
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.goto((page_file.parent / "claims.html").as_uri())
    cells = page.locator("table").first.locator("td:nth-child(2)")
    assert cells.all_inner_texts()[:2] == ["not tested", "undecided"]
    box = page.locator(".scroll").first
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366
    page.close()


@pytest.mark.parametrize("table", ["#decision", "#chosen table"])
def test_on_a_phone_every_cell_is_shown_with_the_name_of_its_column(
    table: str, visit: Visit
) -> None:
    visit.page.set_viewport_size({"width": WIDTHS["phone"], "height": 844})
    visit.open()
    cells = visit.page.locator(f"{table} tbody tr:first-child > *").all()
    names = visit.page.locator(f"{table} thead th").all_text_contents()
    assert len(cells) == len(names) > 5
    tops = []
    for name, cell in zip(names, cells, strict=True):
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= WIDTHS["phone"]
        shown = cell.evaluate("cell => getComputedStyle(cell, '::before').content")
        is_row_header = cell.evaluate("cell => cell.tagName") == "TH"
        assert shown == ("none" if is_row_header else f'"{name}"')
        tops.append(box["y"])
    assert tops == sorted(set(tops))  # each cell has its own line


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", WIDTHS)
def test_screenshots_have_no_sideways_scrolling(
    name: str, dark: bool, visit: Visit, tmp_path: Path
) -> None:
    page, width = visit.page, WIDTHS[name]
    page.set_viewport_size({"width": width, "height": 844})
    scheme = "dark" if dark else "light"
    page.emulate_media(color_scheme=scheme)
    visit.open()
    if name == "print":
        page.emulate_media(media="print", color_scheme=scheme)
    page.wait_for_timeout(200)  # the panels follow the width of the paper
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    image = page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)
    assert len(image) > 20_000
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    on_dark = dark and name != "print"
    assert background == ("rgb(20, 24, 28)" if on_dark else "rgb(255, 255, 255)")
    panels = page.evaluate(
        "[...document.querySelectorAll('.panel')].map(p => [p.scrollWidth, p.clientWidth])"
    )
    assert all(content <= room for content, room in panels)
