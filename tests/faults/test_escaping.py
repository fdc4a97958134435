"""Pages show any text literally, never as markup, script, address or formula."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.compare import compare, read, write_comparison
from bench.core.backend import Backend
from bench.core.records import Record
from bench.core.spec import Spec
from bench.core.store import Damaged, Store
from bench.plan.labels import Label
from bench.report import drawing
from bench.report.claims import Verdict
from bench.report.data import Data
from bench.report.markup import code, text
from bench.report.page import TEMPLATES, Source, claims_page, html, write_report
from bench.report.pictures import pictures
from bench.report.sections.learning import learning, learning_figure
from tests.support.harness import not_drawn
from tests.support.records import MACHINE, outcome, record, spec, speed_record, yardstick_record
from tests.support.reports import source

EVIL = [
    "<script>alert(1)</script>",
    "</td></table><img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "![x](../../../etc/hostname)",
    "<javascript:alert(1)>",
    "[a]: http://example.org",
    "`code` ``` fence",
    "a | b || c",
    "&lt;b&gt; &#60;script&#62; &amp; &",
    "*em* _em_ **strong** __init__",
    "\\*a\\ \\",
    "# head",
    "> quote",
    "- list",
    "~~~",
    "$\\frac{1}{0$ $x^$",
    "{{ 7 * 7 }} {% raw %}",
    "é ≥ 漢字 🙂",
    "line\nbreak\r\n```\n![x](/etc/hostname)",
]
"""Each text is placed in every field that a page shows."""
ALL = " ".join(EVIL)
slow_each = pytest.mark.parametrize(
    "evil", [ALL, *(pytest.param(evil, marks=pytest.mark.faults) for evil in EVIL)]
)

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "nav", "a", "h1", "h2", "h3", "p", "em"),
    *("strong", "code", "pre", "ul", "li", "img", "table", "thead", "tbody", "tr", "th", "td"),
    *("main", "div", "figure"),
}
ATTRIBUTES = {
    *(("html", "lang"), ("meta", "charset"), ("meta", "name"), ("meta", "content"), ("a", "href")),
    *(("meta", "http-equiv"), ("img", "src"), ("img", "alt"), ("img", "loading"), ("h2", "id")),
    *(("td", "class"), ("th", "class"), ("img", "class"), ("main", "class")),
    *(("div", "class"), ("div", "tabindex")),
}
EXPLORED = {
    *("header", "section", "figcaption", "b", "dl", "dt", "dd", "details"),
    *("summary", "button", "input", "select", "label", "span", "fieldset", "legend", "noscript"),
    "script",
}
"""Further tags of a report; its attributes are those of its template."""
OF_TEMPLATE = set(
    re.findall(r' ([a-z-]+)(?:="|>| )', (TEMPLATES / "report.html.jinja").read_text())
)


class Page(HTMLParser):
    """Parses a page as a browser does; fails at tags and attributes that no report uses."""

    def __init__(self, content: str, *, explored: bool = False) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.text = ""
        self.explored = explored
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.policy = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS or (self.explored and tag in EXPLORED), tag
        for name, value in attrs:
            of_template = self.explored and name in OF_TEMPLATE
            assert (tag, name) in ATTRIBUTES or of_template or name == "data-svg", (tag, name)
            assert not name.startswith("on")
            if name == "href":
                assert re.fullmatch(r"#\S+|(claims|report)\.html", value or ""), value
            if name == "src":
                assert re.match(r"data:image/(png|svg\+xml);base64,", value or ""), value
            if name == "class" and tag in ("td", "th"):
                assert set((value or "").split()) <= {"number", "long", "longer"}
            if name == "http-equiv":
                self.policy = dict(attrs)["content"] or ""
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "td":
            self.cells.append("")
        if tag in ("td", "th", "li", "p", "h1", "h2"):
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            attributes, before = self.scripts.pop()
            self.scripts.append((attributes, before + data))
            return
        self.text += data
        if self.cells:
            self.cells[-1] += data


def flat(words: str) -> str:
    return " ".join(words.split())


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are left out: another test covers them."""
    not_drawn(monkeypatch)


def planted(evil: str) -> tuple[list[Spec], list[Record]]:
    """Runs in which every text field has this value; the last run failed."""
    metrics = [
        metric.model_copy(update={"name": evil + name, "unit": evil})
        for metric, name in zip(outcome().metrics, ("", "2"), strict=True)
    ]
    values = {metric.name: 0.9 for metric in metrics}
    curve = [point.model_copy(update={"values": values}) for point in outcome().curve]
    changes = {
        **{"metrics": metrics, "test": values, "curve": curve},
        **{"label": evil, "task_label": evil, "eager_because": evil, "baselines": {evil: 0.5}},
    }
    machine = MACHINE.model_copy(update=dict.fromkeys(("cpu", "system", "torch", "commit"), evil))
    specs = [spec(model=model, seed=seed) for model in ("tcn", "gru") for seed in range(2)]
    records = [record(one, outcome=outcome(**changes), machine=machine) for one in specs[:3]]
    return specs, [*records, record(specs[3], None, error=evil, machine=machine)]


def labels_of(specs: list[Spec], evil: str) -> dict[str, Label]:
    return {
        one.id: Label(
            task=evil, task_variant="", model=one.model.name, variant=evil, family="recurrent"
        )
        for one in specs
    }


def sources(evil: str, folder: Path) -> Source:
    specs, records = planted(evil)
    machine = MACHINE.model_copy(update={"cpu": evil, "torch": evil})
    timed = [
        speed_record(model, length, train_ms=2.0, step_ms=0.1, machine=machine)
        for model in ("tcn", "gru")
        for length in (10, 20)
    ]
    speed = [
        one.model_copy(
            update={
                "speed": one.speed.model_copy(
                    update={"label": f"{one.speed.label} {evil}", "task_label": evil}
                )
            }
        )
        for one in timed
        if one.speed is not None
    ]
    yardstick = yardstick_record()
    times = {f"{name} {evil}": value for name, value in yardstick.times.items()}
    made = source(specs, records)
    return Source(
        profile_name=evil,
        profile_description=evil,
        specs=specs,
        labels=labels_of(specs, evil),
        thresholds=made.thresholds,
        records=records,
        unsupported=[(evil, evil, evil)],
        damaged=[Damaged(path=folder / evil.replace("/", "∕"), reason=evil)],
        speed=speed,
        yardsticks=[yardstick.model_copy(update={"times": times})],
    )


@slow_each
def test_a_report_shows_any_text_as_it_is(evil: str, tmp_path: Path) -> None:
    write_report(tmp_path, sources(evil, tmp_path))
    shown = Page((tmp_path / "report.html").read_text(), explored=True)
    assert Page((tmp_path / "claims.html").read_text()).policy.count("script-src 'none'") == 1
    reasons = [flat(cell) for cell in shown.cells if flat(cell) == flat(evil)]
    assert len(reasons) >= 4  # at least a label, an error, a reason and a machine
    assert flat(f"Profile {evil}: {evil}") in flat(shown.text)


@slow_each
def test_the_data_of_the_explorer_hold_any_text_and_no_script_but_our_own_runs(
    evil: str, tmp_path: Path
) -> None:
    write_report(tmp_path, sources(evil, tmp_path))
    page = Page((tmp_path / "report.html").read_text(), explored=True)
    (choices, data, library, (attributes, code)) = page.scripts
    assert choices[0]["type"] == "application/json"
    assert [data[0]["type"], library[0]["type"], attributes] == [
        "application/json",
        "text/plain",
        {},
    ]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.policy
    assert "unsafe" not in page.policy
    assert not re.search("[<>&]", choices[1] + data[1])
    explored = json.loads(data[1])
    assert {task["label"] for task in explored["tasks"]} >= {evil}
    assert any(model["label"].endswith(evil) for model in explored["models"])
    reason = explored["columns"].index("error")
    assert evil in [run[reason] for run in explored["runs"]]


@slow_each
def test_a_comparison_shows_any_text_as_it_is(evil: str, tmp_path: Path) -> None:
    for side, score in (("a", 1.0), ("b", 0.1)):
        store = Store(tmp_path / side)
        for one in planted(evil)[1]:
            changes: Mapping[str, object] = {"machine": one.machine, "error": one.error}
            if one.outcome is None:
                store.write(record(one.spec, None, **changes))
                continue
            worse = dict.fromkeys(one.outcome.test, score)
            store.write(
                one.model_copy(update={"outcome": one.outcome.model_copy(update={"test": worse})})
            )
        store.write(speed_record(train_ms=2.0, step_ms=0.1))
    found = compare(read(tmp_path / "a", "A"), read(tmp_path / "b", "B"))
    said = write_comparison(tmp_path / "page", found)
    assert said.isprintable() or all(line.isprintable() for line in said.split("\n"))
    shown = Page((tmp_path / "page" / "compare.html").read_text())
    assert [cell for cell in shown.cells if flat(cell) == flat(evil)]
    names = compare(read(tmp_path / "a", "A"), read(tmp_path / "b", "B"), models=(evil, evil))
    write_comparison(tmp_path / "page", names)
    Page((tmp_path / "page" / "compare.html").read_text())


@pytest.mark.parametrize("evil", EVIL)
def test_a_verdict_shows_any_text_as_it_is(evil: str, tmp_path: Path) -> None:
    verdict = Verdict(
        key="a",
        claim=evil,
        verdict="undecided",
        sentence=evil,
        table=[{evil: 1, "cell": evil}],
        figure="",
    )
    data = Data(sources(evil, tmp_path))
    data.verdicts = [verdict]
    shown = Page(html(claims_page(data, []), evil, tmp_path))
    assert [cell for cell in shown.cells if flat(cell) == flat(evil)]
    assert flat(shown.text).count(flat(evil)) >= 5


@pytest.mark.filterwarnings("ignore:Glyph")  # the font may lack some letters
@pytest.mark.parametrize("evil", EVIL)
def test_any_text_can_be_drawn(evil: str) -> None:
    specs, records = planted(evil)
    labels = labels_of(specs, evil)
    style = drawing.styles(label.model_label for label in labels.values())
    drawn = pictures(partial(learning_figure, learning(records, labels), style), png=True)
    assert drawn["png"].startswith(b"\x89PNG")
    assert b"<script" not in drawn["svg"]
    assert b"<img" not in drawn["svg"]


@pytest.mark.parametrize("evil", EVIL)
def test_markdown_of_any_text_is_that_text(evil: str, tmp_path: Path) -> None:
    for words in (evil, f"_{evil}_", f"{evil}*"):
        shown = Page(html(f"- {text(words)}\n\n| a |\n| - |\n| {text(words)} |\n", "", tmp_path))
        assert flat(shown.cells[0]) == flat(words)
        assert flat(shown.text).count(flat(words)) == 2
        spanned = Page(html(f"so {code(words)} it is", "", tmp_path))
        assert flat(words).replace("`", "'") in flat(spanned.text)


def test_backends_are_folders_of_plain_names() -> None:
    for threads in (1, 16):
        assert re.fullmatch(r"[a-z0-9-]+", Backend(device="cpu", threads=threads).name)
    for capture in (True, False):
        assert re.fullmatch(r"[a-z0-9-]+", Backend(device="cuda", capture=capture).name)
