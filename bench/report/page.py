"""A report: tables as CSV, figures as SVG, and pages as Markdown and as HTML that loads nothing."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.core.backend import num_cores
from bench.core.files import write_whole
from bench.core.intervals import wilson
from bench.core.wording import counted
from bench.plan.protocols import is_older
from bench.report import front, markup
from bench.report.advice import times_of
from bench.report.chooser import content as chooser_of
from bench.report.claims import limits
from bench.report.data import Data, Source
from bench.report.document import TEMPLATES, html, report_html
from bench.report.evidence import evidence_of
from bench.report.explorer import content as explorer_of
from bench.report.frame import rows_of, span
from bench.report.horizon import UNSETTLED
from bench.report.markup import markdown_table, shortened, template, text
from bench.report.pictures import Drawing, draw
from bench.report.points import points
from bench.report.runs import NO_PROBLEM
from bench.report.section import Filled, Item, Picture, Section, built, is_unfolded
from bench.report.summary import summary
from bench.report.times import how

PROVEN = Path(__file__).parent / "proven.toml"
"""Failures that no further run can change."""
__all__ = ["TEMPLATES", "Source", "html", "markdown_table", "write", "write_report"]


def write_report(folder: Path, source: Source) -> str:
    """Write `report.md`, `report.html`, `claims.md`, `claims.html`, `tables/` and `figures/`.

    Returns a summary of one screen. The same records give the same files.
    """
    data = Data(source)
    parts: list[tuple[Section, list[Item]]] = []
    # Other processes draw the figures of a section while this one builds the next.
    drawn = draw(_figures_of(built(data), parts), num_cores())
    items = [item for _, of_section in parts for item in of_section]
    for item in items:
        if isinstance(item, Filled):
            content = item.frame.to_csv(index=False, lineterminator="\n")
            write(folder / "tables" / f"{item.table.name}.csv", content)
    figures = {item.name: item for item in items if isinstance(item, Picture)}
    claims, blocks = claims_page(data, list(figures.values())), blocks_of(parts, markup.MOST_ROWS)
    report = report_page(data, blocks_of(parts, markup.FEW_ROWS))
    intro = report_page(data, {})
    measures, found = points(data)
    evidence = evidence_of(data, found)
    screen = front.screen(data, found, evidence)
    explorer = explorer_of(data, measures, found)
    chooser = chooser_of(evidence, times_of(data), source.profile_name)
    # This comes last, since other processes are still drawing.
    written = set()
    for name, files in drawn:
        for suffix, content in files.items():
            write(folder / "figures" / f"{name}.{suffix}", content)
            written.add(f"{name}.{suffix}")
    forget_old(folder, written)
    write(folder / "claims.md", claims)
    write(folder / "claims.html", html(claims, f"Claims: {source.profile_name}", folder))
    write(folder / "report.md", report)
    page = report_html(
        title=f"Report: {source.profile_name}",
        folder=folder,
        front=screen,
        figure=figures.get(front.FIGURE),
        chooser=chooser,
        explorer=explorer,
        intro=intro,
        sections=blocks,
        unfolded={section.title for section, _ in parts if is_unfolded(section, data)},
    )
    write(folder / "report.html", page)
    return summary(folder, data)


def _figures_of(
    sections: Iterable[tuple[Section, list[Item]]], kept: list[tuple[Section, list[Item]]]
) -> Iterator[tuple[str, Drawing, bool]]:
    """The figures of each section as soon as it is built. The sections are added to `kept`."""
    for section, items in sections:
        kept.append((section, items))
        for item in items:
            if isinstance(item, Picture):
                yield item.name, item.draw, item.png


def forget_old(folder: Path, written: set[str]) -> None:
    """Remove the figures of the previous report that this one does not have."""
    before = folder / "report.md"
    shown = re.findall(r"\]\(figures/(\w+)\.", before.read_text()) if before.is_file() else []
    for name in {f"{name}.{suffix}" for name in shown for suffix in ("png", "svg")} - written:
        (folder / "figures" / name).unlink(missing_ok=True)


def blocks_of(
    parts: Sequence[tuple[Section, Sequence[Item]]], most_rows: int
) -> dict[str, list[str]]:
    """Title → what the sections of this title show, as Markdown; without those that are empty."""
    blocks: dict[str, list[str]] = {}
    for section, items in parts:
        shown = (as_markdown(item, most_rows) for item in items)
        blocks.setdefault(section.title, []).extend(filter(None, shown))
    return {title: shown for title, shown in blocks.items() if shown}


def report_page(data: Data, sections: Mapping[str, Sequence[str]]) -> str:
    """The page of the report, as Markdown; without sections, its first part alone."""
    source, runs = data.source, data.runs
    made = runs[runs["status"] != "missing"]
    seeds = made.groupby(["task_label", "model_label", "T"])["seed"].nunique()
    return template(TEMPLATES, "report.md.jinja").render(
        source=source,
        coverage=coverage(source, num_missing=int((data.runs["status"] == "missing").sum())),
        counts=Counter(runs["status"]),
        planned=f"{counted(len(runs), 'run')} {'was' if len(runs) == 1 else 'were'} planned",
        headlines=horizon_headlines(data),
        proven=proven_failures(data),
        unsettled=UNSETTLED,
        cost_headlines=data.headlines,
        verdicts=data.verdicts,
        timed_on=source.speed[0].machine if source.speed else None,
        timed_how=how(data.leading, data.device),
        timed_backend=data.timed_backend,
        seeds=counted(1, "seed") if set(seeds) == {1} else f"{span(seeds)} seeds",
        all_solved=_all_solved(int(seeds.max())) if len(seeds) else None,
        num_problems=int((~runs["status"].isin(NO_PROBLEM)).sum()) + len(source.damaged),
        sections=sections,
    )


def as_markdown(item: Item, most_rows: int) -> str:
    """An item of a section for a page, with the first rows of a table; empty: nothing is shown."""
    if isinstance(item, Picture):
        heading = f"### {text(item.title)}\n\n" if item.title else ""
        image = f"![{text(item.alternative)}](figures/{item.name}.svg)"
        return f"{heading}{image}\n\n*{text(item.caption)}*"
    if not isinstance(item, Filled):
        return item.markdown
    if item.frame.empty or not item.table.shown:
        return ""
    caption = f"\n\n*{item.table.caption}*" if item.table.caption else ""
    return shortened(item.frame, item.table.name, most_rows) + caption


def claims_page(data: Data, figures: Sequence[Picture]) -> str:
    """The page of the verdicts, as Markdown: a table of them, then one section each."""
    return template(TEMPLATES, "claims.md.jinja").render(
        source=data.source,
        verdicts=data.verdicts,
        tables={each.key: markdown_table(pd.DataFrame(each.table)) for each in data.verdicts},
        figures={
            each.key: [
                as_markdown(figure, markup.MOST_ROWS)
                for figure in figures
                if figure.name == each.figure
            ]
            for each in data.verdicts
        },
        not_tested=limits(data.runs),
        backend=data.timed_backend,
    )


def coverage(source: Source, num_missing: int) -> str:
    """Sentences on the records covered, the runs that are missing and the older protocols.

    `num_missing` is the number of runs that are planned and have no record.
    """
    of_all = f" of the {source.num_records:,} records in the folder" if source.num_records else ""
    num = len(source.records)
    covers = f"This report covers {f'{num:,}{of_all}' if of_all else counted(num, 'record')}."
    left = (
        f"{counted(num_missing, 'planned run')} without a record may still be needed."
        if num_missing
        else ""
    )
    return " ".join(filter(None, [covers, left, *_older(source)]))


def _older(source: Source) -> Iterator[str]:
    """A sentence for each older protocol: how much comes from it, and what that means."""
    older_runs, older_timings = (
        Counter(record.spec.protocol for record in records if is_older(record.spec))
        for records in (source.records, source.speed)
    )
    for protocol in sorted(older_runs | older_timings):
        parts = ((older_runs[protocol], "run"), (older_timings[protocol], "timing"))
        made = " and ".join(counted(number, noun) for number, noun in parts if number)
        yield (
            f"Protocol {protocol}: {made} of the report were made with older code; new ones may "
            "have other scores and times."
        )


def proven_failures(data: Data) -> list[str]:
    """The failures of this report that no further run can change, each with its reason."""
    made = {(row["task_label"], row["model_label"], row["T"]) for row in rows_of(data.scores)}
    return [
        f"{each['model']} cannot solve {each['task']} at T = {each['T']:,}: {each['why']}."
        for each in tomllib.loads(PROVEN.read_text(encoding="utf-8"))["failure"]
        if (each["task"], each["model"], each["T"]) in made
    ]


def horizon_headlines(data: Data) -> list[tuple[str, str]]:
    """Task → how far each model gets, the furthest first."""
    by_task: dict[str, list[tuple[int, str]]] = {}
    for network, found in data.horizons:
        entry = (found.length or 0, f"{network['model_label']} {found}")
        by_task.setdefault(network["task_label"], []).append(entry)
    return [
        (task, "; ".join(words for _, words in sorted(entries, key=lambda entry: -entry[0])))
        for task, entries in by_task.items()
    ]


def _all_solved(num_seeds: int) -> str:
    low, high = wilson(num_seeds, num_seeds)
    return f"{num_seeds} of {num_seeds} seeds is {low:.2f} to {high:.2f}"


def write(path: Path, content: str | bytes) -> None:
    """Write the file whole or not at all; raises `StorageError` where that fails."""
    write_whole(path, content if isinstance(content, bytes) else content.encode())
