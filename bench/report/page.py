"""Records → tables, figures and one page, as Markdown and as HTML that loads nothing."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import base64
import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import jinja2
import pandas as pd
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.core.backend import num_cores
from bench.core.errors import one_line
from bench.core.files import write_whole
from bench.core.intervals import wilson
from bench.core.records import Record, SampleRecord, SpeedRecord, YardstickRecord
from bench.core.spec import Spec
from bench.core.store import Damaged
from bench.plan.rates import Sweep
from bench.report import (
    choices,
    claims,
    cost,
    figures,
    findings,
    gallery,
    generation,
    published,
    tables,
)
from bench.report.claims import Verdict
from bench.report.gallery import file_name
from bench.report.horizon import Horizon
from bench.report.markup import template, text
from bench.report.pictures import draw

LATENCY_BUDGETS_US = (10.0, 20.0, float("inf"))
"""Columns of the table of choices."""
TEMPLATES = Path(__file__).parent / "templates"
MOST_ROWS = 1000
"""Of a table as Markdown, and so in the page."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a report is made of."""

    profile_name: str
    profile_description: str
    specs: Sequence[Spec]
    """What was planned."""
    labels: tables.Labels
    thresholds: tables.Thresholds
    records: Sequence[Record]
    """Of one backend, of planned specs alone."""
    num_records: int = 0
    """Training records in the results folder; 0: they were not counted."""
    unsupported: Sequence[tuple[str, str, str]] = ()
    """Task, model, reason."""
    damaged: Sequence[Damaged] = ()
    other_backends: Sequence[str] = ()
    speed: Sequence[SpeedRecord] = ()
    """Of planned networks, of one machine and backend."""
    yardsticks: Sequence[YardstickRecord] = ()
    """Of the same machine."""
    studies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Spec id → the studies it belongs to; a spec that is not in it belongs to the main one."""
    sweep: Sweep | None = None
    """What the tuned learning rates were chosen from."""
    samples: Sequence[SampleRecord] = ()
    """What was drawn from the networks of these runs."""


def write_report(folder: Path, source: Source) -> str:
    """Write `report.md`, `report.html`, `claims.md`, `claims.html`, `tables/` and `figures/`.

    Returns a summary that a person reads in ten seconds. The same records give the same files.
    """
    runs = tables.runs_frame(source.specs, source.records, source.labels, source.thresholds)
    whole = runs[~_in(source, runs, "receptive_field")]
    main = runs[_in(source, runs, "main")]
    rates = source.sweep.rates if source.sweep else {}
    scores = tables.scores(main)
    horizons = tables.horizons(whole)
    run_cost = choices.run_cost(runs)
    timed = cost.frame(source.speed)
    step_us = step_times(source.specs, timed)
    variants = tables.scores(_with_plain(source, runs))
    cliff = findings.cliff(runs[_in(source, runs, "receptive_field")])
    fields = findings.fields(source.records, source.labels)
    beyond = findings.beyond(source.records, source.labels)
    likelihood = generation.likelihood(runs, source.records, source.labels)
    sampling = generation.sampling(source.speed)
    sensitivity = findings.rate_sensitivity(rates)
    style = figures.styles(
        list(
            {
                label
                for frame in (runs, timed, sensitivity)
                if len(frame)
                for label in frame["model"]
            }
        )
    )
    main_ids = set(main["id"])
    aside = set(runs["id"]) - set(whole["id"]) | set(runs["id"][_in(source, runs, "generation")])
    drawn = {
        **gallery.of_runs(
            main,
            scores,
            [record for record in source.records if record.spec.id in main_ids],
            source.labels,
            style,
        ),
        **gallery.of_findings(
            runs,
            variants,
            cliff,
            beyond,
            [record for record in source.records if record.spec.id not in aside],
            source.labels,
            style,
        ),
        **gallery.of_rates(runs, sensitivity, style),
        **gallery.of_costs(
            cost.plain(timed), choices.reached_at_cost(main, horizons, step_us), style
        ),
        **gallery.of_run_costs(main, style),
        **gallery.of_generation(likelihood, sampling, style),
    }
    pictures = draw(drawn, num_cores())
    written = {
        "horizons": tables.horizon_table(horizons),
        "choice": choices.choice(whole, step_us, LATENCY_BUDGETS_US)
        if len(scores)
        else pd.DataFrame(),
        "scores": scores,
        "differences": tables.paired_differences(main),
        "variants": variants,
        "fields": findings.fields_table(fields),
        "cliff": cliff,
        "beyond": beyond,
        "published": published.comparison(source.records),
        "published_later": published.context(),
        "metrics": tables.metrics(source.records, source.labels),
        "likelihood": likelihood,
        "sampling": sampling,
        "judged": generation.judged(source.samples),
        "cost": run_cost,
        "training_speed": cost.whole_sequences(timed, "train"),
        "inference_speed": cost.whole_sequences(timed, "forward"),
        "streaming": cost.streaming(timed),
        "yardsticks": cost.yardstick_table(source.yardsticks),
        "settings": tables.settings(runs, rates),
        "problems": tables.problems(runs, source.unsupported, source.damaged),
        "environment": tables.environment(source.records),
        "runs": runs,
    }
    shown = {name: shortened(table, name) for name, table in written.items()}
    for name, table in written.items():
        write(folder / "tables" / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        write(folder / "tables" / f"{name}.md", shown[name] + "\n")
    timed_backend = source.speed[0].backend.name if source.speed else None
    verdicts = claims.verdicts(runs, timed, rates, backend=timed_backend)
    said = cost.headlines(cost.plain(timed)) if len(timed) else []
    pages = (
        (
            "claims",
            f"Claims: {source.profile_name}",
            claims.page(verdicts, source.profile_name, drawn=drawn, backend=timed_backend),
        ),
        (
            "report",
            f"Report: {source.profile_name}",
            _page(source, runs, horizons, shown, written, drawn, said, verdicts),
        ),
    )
    # Last of all, for other processes are still drawing.
    for name, png, svg in pictures:
        write(folder / "figures" / f"{name}.png", png)
        write(folder / "figures" / f"{name}.svg", svg)
    gallery.forget_old(folder / "figures", drawn)
    for name, title, page in pages:
        write(folder / f"{name}.md", page)
        write(folder / f"{name}.html", html(page, title, folder))
    return _summary(folder, source, runs, horizons, said, verdicts)


def _in(source: Source, runs: pd.DataFrame, study: str) -> pd.Series:
    """Whether a run belongs to the study."""
    return runs["id"].map(lambda spec_id: study in source.studies.get(spec_id, ("main",)))


def _with_plain(source: Source, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of variants and, where there are any, the main runs of the same task and T."""
    own = _in(source, runs, "variants")
    cells = set(zip(runs["task"][own], runs["T"][own], strict=True))
    beside = [cell in cells for cell in zip(runs["task"], runs["T"], strict=True)]
    return runs[own | (_in(source, runs, "main") & pd.Series(beside, index=runs.index))]


def step_times(specs: Sequence[Spec], timed: pd.DataFrame) -> dict[str, float]:
    """Spec id → median microseconds of a step of one stream, where it was timed."""
    if "step_ms" not in timed:
        return {}
    alone = timed[(timed["batch"] == 1) & timed["step_ms"].notna()]
    by_network = dict(zip(alone["network"], 1e3 * alone["step_ms"], strict=True))
    return {spec.id: by_network[spec.network] for spec in specs if spec.network in by_network}


def _page(
    source: Source,
    runs: pd.DataFrame,
    horizons: Mapping[tuple[str, str], Horizon],
    shown: Mapping[str, str],
    written: Mapping[str, pd.DataFrame],
    drawn: Collection[str],
    cost_headlines: Sequence[str],
    verdicts: Sequence[Verdict],
) -> str:
    dates = sorted(record.created for record in source.records)
    seeds = runs[runs["status"] != "missing"].groupby(["task", "model", "T"])["seed"].nunique()
    num_seeds = _range(seeds) if len(seeds) else "no"
    return template(TEMPLATES, "report.md.jinja").render(
        source=source,
        counts=Counter(runs["status"]),
        num_runs=len(runs),
        headlines=_headlines(horizons),
        cost_headlines=cost_headlines,
        verdicts=verdicts,
        tuned_in=source.sweep.records if source.sweep else None,
        timed_on=source.speed[0].machine if source.speed else None,
        timed_backend=source.speed[0].backend.name if source.speed else None,
        num_seeds=num_seeds,
        all_solved=_all_solved(int(seeds.max())) if len(seeds) else None,
        table=shown,
        rows={name: len(table) for name, table in written.items()},
        figures=list(drawn),
        backend=source.records[0].backend.name if source.records else None,
        machines=len({record.machine.model_dump_json() for record in source.records}),
        hours=sum(r.outcome.total_seconds for r in source.records if r.outcome) / 3600,
        dates=(dates[0][:10], dates[-1][:10]) if dates else None,
    )


def _headlines(horizons: Mapping[tuple[str, str], Horizon]) -> list[tuple[str, str]]:
    """Task → how far each model gets, the furthest first."""
    by_task: dict[str, list[tuple[str, Horizon]]] = {}
    for (task, model), found in horizons.items():
        by_task.setdefault(task, []).append((model, found))
    return [
        (
            task,
            "; ".join(
                f"{model} {found}"
                for model, found in sorted(every, key=lambda entry: -(entry[1].length or 0))
            ),
        )
        for task, every in by_task.items()
    ]


def _all_solved(num_seeds: int) -> str:
    low, high = wilson(num_seeds, num_seeds)
    return f"{num_seeds} of {num_seeds} seeds is {low:.2f} to {high:.2f}"


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _summary(
    folder: Path,
    source: Source,
    runs: pd.DataFrame,
    horizons: Mapping[tuple[str, str], Horizon],
    cost_headlines: Sequence[str],
    verdicts: Sequence[Verdict],
) -> str:
    counts = Counter(runs["status"])
    said = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    lines = []
    if horizons:
        table = tables.horizon_table(horizons).fillna("–")
        lines += ["Horizon: the largest T that at least half of the seeds solve", ""]
        lines += [table.to_string(index=False, justify="left"), ""]
    if cost_headlines:
        lines += [*cost_headlines, ""]
    judged = "; ".join(f"({verdict.key}) {verdict.verdict}" for verdict in verdicts)
    lines += [f"Claims: {judged}", ""]
    reasons = runs[runs["status"].isin(("failed", "skipped"))]
    for (status, error), group in reasons.groupby(["status", "error"], sort=False):
        where = ", ".join(dict.fromkeys(group["task"]))
        lines.append(f"{status}: {len(group)} runs of {where}: {one_line(error)}")
    lines.append(f"{len(runs)} runs of profile {source.profile_name}: {said}")
    place = one_line(str(folder))
    lines.append(f"The report is {place}/report.html, the claims {place}/claims.html")
    return "\n".join(lines)


def shortened(table: pd.DataFrame, name: str) -> str:
    """As Markdown, the first rows of many; `name` is that of the file with all of them."""
    said = markdown_table(table.head(MOST_ROWS))
    if len(table) <= MOST_ROWS:
        return said
    return f"{said}\n\n*The first {MOST_ROWS:,} of {len(table):,} rows; tables/{name}.csv has all.*"


def markdown_table(table: pd.DataFrame) -> str:
    """As Markdown, numbers to four digits, what is not known as a dash."""
    if table.empty:
        return "*nothing*"
    shown = table.map(_cell)
    shown.columns = [text(str(column).replace("_", " ")) for column in table.columns]
    numeric = [pd.api.types.is_numeric_dtype(table[column]) for column in table]
    return shown.to_markdown(
        index=False,
        disable_numparse=True,
        colalign=["right" if number else "left" for number in numeric],
    )


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return text(value)


def html(markdown: str, title: str, folder: Path) -> str:
    """A page that holds everything: figures as data, no script, nothing loaded."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    sections = []
    for heading, said in itertools.pairwise(tokens):
        if heading.type == "heading_open" and heading.tag == "h2":
            heading.attrs["id"] = file_name(said.content)
            sections.append((file_name(said.content), said.content))
    for token in tokens:
        for child in token.children or ():
            _embed(child, folder)
            _point_to_html(child)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html.jinja").render(
        title=title, sections=sections, body=parser.renderer.render(tokens, parser.options, {})
    )


def _embed(token: Token, folder: Path) -> None:
    """Put a figure's own data where its address was."""
    if token.type == "image":
        path = Path(unquote(str(token.attrs["src"])))
        if path.parts[0] != "samples" or ".." in path.parts:
            path = Path("figures", path.name)
        data = (folder / path).read_bytes()
        token.attrs["src"] = "data:image/png;base64," + base64.b64encode(data).decode()


def _point_to_html(token: Token) -> None:
    """From one page to another, as pages."""
    if token.type == "link_open" and str(token.attrs["href"]).endswith(".md"):
        token.attrs["href"] = str(token.attrs["href"]).removesuffix(".md") + ".html"


def write(path: Path, content: bytes | str) -> None:
    """Whole or not at all; raises `StorageError` where that can't be done."""
    write_whole(path, content if isinstance(content, bytes) else content.encode())
