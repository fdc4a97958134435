"""Records → tables, figures and one page, as Markdown and as HTML that loads nothing."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import base64
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path

import jinja2
import pandas as pd
from markdown_it import MarkdownIt
from markdown_it.token import Token
from matplotlib.figure import Figure

from bench import claims, cost, figures, findings, findings_figures, published, tables
from bench.claims import Verdict
from bench.rates import Sweep
from bench.spec import Spec
from bench.stats import Horizon, wilson
from bench.store import Damaged, Record, SpeedRecord, YardstickRecord, write_whole

LATENCY_BUDGETS_US = (10.0, 20.0, float("inf"))
"""Columns of the table of choices."""
TEMPLATES = Path(__file__).parent
DPI = 160
FINDINGS = ("variants", "gradients", "influence", "fields", "cliff", "beyond", "rate_sensitivity")
"""Names of figures that have no pattern."""


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
    run_cost = tables.cost(runs)
    timed = cost.frame(source.speed)
    step_us = step_times(source.specs, timed)
    variants = tables.scores(_with_plain(source, runs))
    cliff = findings.cliff(runs[_in(source, runs, "receptive_field")])
    fields = findings.fields(source.records, source.labels)
    beyond = findings.beyond(source.records, source.labels)
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
    drawn = {
        **_figures(source, main, scores, style),
        **_findings(source, runs, variants, cliff, beyond, style),
        **_sensitivity(runs, sensitivity, style),
        **_cost_figures(cost.plain(timed), tables.reached_at_cost(main, horizons, step_us), style),
        **_run_cost_figures(main, style),
    }
    written = {
        "horizons": tables.horizon_table(horizons),
        "choice": tables.choice(whole, step_us, LATENCY_BUDGETS_US)
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
    for name, table in written.items():
        write(folder / "tables" / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        write(folder / "tables" / f"{name}.md", markdown_table(table) + "\n")
    for name, figure in drawn.items():
        write(folder / "figures" / f"{name}.png", _image(figure, "png"))
        write(folder / "figures" / f"{name}.svg", _image(figure, "svg"))
    _forget_old(folder / "figures", drawn)

    timed_backend = source.speed[0].backend.name if source.speed else None
    verdicts = claims.verdicts(runs, timed, rates, backend=timed_backend)
    said = cost.headlines(cost.plain(timed)) if len(timed) else []
    for name, title, page in (
        (
            "claims",
            f"Claims: {source.profile_name}",
            claims.page(verdicts, source.profile_name, drawn=drawn, backend=timed_backend),
        ),
        (
            "report",
            f"Report: {source.profile_name}",
            _page(source, runs, horizons, written, drawn, said, verdicts),
        ),
    ):
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


def _cost_figures(
    timed: pd.DataFrame, reached: pd.DataFrame, style: figures.Style
) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    for name, columns, axis_label in (
        (
            "throughput",
            {"train_steps_per_s": "training", "forward_steps_per_s": "whole sequences"},
            "steps read per second",
        ),
        (
            "memory",
            {"train_MB": "training", "forward_MB": "whole sequences"},
            "peak memory (MB)",
        ),
    ):
        frame = cost.by_length(timed, columns)
        if len(frame) and (frame["value"] > 0).any():
            frame = frame[frame["value"] > 0]
            drawn[f"{name}_vs_length"] = figures.cost_against_length(
                frame, "value", axis_label, style
            )
    steps = cost.steps_by_length(timed)
    if len(steps):
        again = {
            f"{model}{cost.AGAIN}": {**look, "linestyle": (0, (1, 2)), "alpha": 0.6}
            for model, look in style.items()
        }
        drawn["latency_vs_length"] = figures.cost_against_length(
            steps, "value", "one step (µs)", {**style, **again}
        )
    if len(reached):
        drawn["horizon_vs_cost"] = figures.horizon_against_cost(reached, style)
    return drawn


def _figures(
    source: Source, runs: pd.DataFrame, scores: pd.DataFrame, style: figures.Style
) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    if len(scores):
        drawn["score_vs_length"] = figures.score_against_length(scores, _thresholds(runs), style)
        if "solved" in scores and scores["solved"].notna().any():
            drawn["solved_vs_length"] = figures.solved_share(scores, style)
    planned = set(runs["id"])
    records = [record for record in source.records if record.spec.id in planned]
    for task, figure in figures.learning_curves(records, source.labels, style).items():
        drawn[f"learning_{_plain(task)}"] = figure
    return drawn


def _thresholds(runs: pd.DataFrame, by: str = "task") -> dict[str, float]:
    """Task → the score that counts as solved."""
    return _known(runs, by, "solved_at")


def _known(runs: pd.DataFrame, by: str, column: str) -> dict[str, float]:
    if column not in runs:
        return {}
    known = runs.dropna(subset=[column])
    return dict(zip(known[by], known[column], strict=True))


def _findings(
    source: Source,
    runs: pd.DataFrame,
    variants: pd.DataFrame,
    cliff: pd.DataFrame,
    beyond: pd.DataFrame,
    style: figures.Style,
) -> dict[str, Figure]:
    """What long dependencies do to a network, and what it depends on."""
    solved_at = _thresholds(runs)
    short = runs["id"][_in(source, runs, "receptive_field")]
    records = [r for r in source.records if r.spec.id not in set(short)]
    gradients = findings.gradients(records, source.labels)
    drawn = {"field_vs_depth": findings_figures.field_by_depth_figure(findings.field_by_depth())}
    if len(variants) and (variants["model"].str.contains(" ")).any():
        drawn["variants"] = findings_figures.variants_figure(
            _with_family(variants, runs), solved_at, style
        )
    if len(gradients):
        influence = findings.influence(records, source.labels)
        whole = findings.fields(records, source.labels)
        drawn["gradients"] = findings_figures.gradients_figure(gradients, style)
        drawn["influence"] = findings_figures.influence_figure(influence, whole, style)
        drawn["fields"] = findings_figures.fields_figure(whole, style)
    if len(cliff):
        drawn["cliff"] = findings_figures.cliff_figure(cliff, solved_at, style)
    if len(beyond):
        drawn["beyond"] = findings_figures.beyond_figure(beyond, solved_at, style)
    return drawn


def _sensitivity(
    runs: pd.DataFrame, sensitivity: pd.DataFrame, style: figures.Style
) -> dict[str, Figure]:
    """Of the tasks and models that are in the report."""
    if len(sensitivity):
        planned = sensitivity["task"].isin(runs["task_name"])
        sensitivity = sensitivity[planned & sensitivity["model"].isin(runs["model"])]
    if sensitivity.empty:
        return {}
    chance, solved_at = _known(runs, "task_name", "chance"), _thresholds(runs, "task_name")
    return {
        "rate_sensitivity": findings_figures.rate_sensitivity_figure(
            sensitivity, chance, solved_at, style
        )
    }


def _with_family(scores: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    families = dict(zip(runs["model"], runs["family"], strict=True))
    return scores.assign(family=scores["model"].map(families))


def _run_cost_figures(runs: pd.DataFrame, style: figures.Style) -> dict[str, Figure]:
    """What the runs themselves took."""
    found = tables.cost(runs)
    return {
        f"{column}_vs_length": figures.cost_against_length(found, column, axis_label, style)
        for column, axis_label in (
            ("update_ms", "one training step (ms)"),
            ("answer_ms", "one sequence alone (ms)"),
        )
        if len(found) and found[column].notna().any()
    }


def _page(
    source: Source,
    runs: pd.DataFrame,
    horizons: Mapping[tuple[str, str], Horizon],
    written: Mapping[str, pd.DataFrame],
    drawn: Mapping[str, Figure],
    cost_headlines: Sequence[str],
    verdicts: Sequence[Verdict],
) -> str:
    dates = sorted(record.created for record in source.records)
    seeds = runs[runs["status"] != "missing"].groupby(["task", "model", "T"])["seed"].nunique()
    num_seeds = _range(seeds) if len(seeds) else "no"
    return template("report.md.jinja").render(
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
        table={name: markdown_table(table) for name, table in written.items()},
        rows={name: len(table) for name, table in written.items()},
        figures=list(drawn),
        backend=source.records[0].backend.name if source.records else None,
        machines=len({record.machine.model_dump_json() for record in source.records}),
        hours=sum(r.outcome.total_seconds for r in source.records if r.outcome) / 3600,
        dates=(dates[0][:10], dates[-1][:10]) if dates else None,
    )


def template(name: str) -> jinja2.Template:
    """Of a page in Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the HTML is escaped where it is made
    )
    return environment.get_template(name)


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
        lines.append(f"{status}: {len(group)} runs of {where}: {error}")
    lines.append(f"{len(runs)} runs of profile {source.profile_name}: {said}")
    lines.append(f"The report is {folder / 'report.html'}, the claims {folder / 'claims.html'}")
    return "\n".join(lines)


def markdown_table(table: pd.DataFrame) -> str:
    """As Markdown, numbers to four digits, what is not known as a dash."""
    if table.empty:
        return "*nothing*"
    shown = table.map(_cell)
    shown.columns = [str(column).replace("_", " ") for column in table.columns]
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
    # What would end a cell or begin a tag is text here.
    text = " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("<", "\\<").replace("`", "\\`").replace("[", "\\[").replace("*", "\\*")


def html(markdown: str, title: str, folder: Path) -> str:
    """A page that holds everything: figures as data, no script, nothing loaded."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    sections = []
    for heading, text in itertools.pairwise(tokens):
        if heading.type == "heading_open" and heading.tag == "h2":
            heading.attrs["id"] = _plain(text.content)
            sections.append((_plain(text.content), text.content))
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
    """Put an image's own data where its address was."""
    if token.type == "image":
        data = (folder / str(token.attrs["src"])).read_bytes()
        token.attrs["src"] = "data:image/png;base64," + base64.b64encode(data).decode()


def _point_to_html(token: Token) -> None:
    """From one page to another, as pages."""
    if token.type == "link_open" and str(token.attrs["href"]).endswith(".md"):
        token.attrs["href"] = str(token.attrs["href"]).removesuffix(".md") + ".html"


def _plain(text: str) -> str:
    """As part of a file name or an address."""
    return "".join(letter if letter.isalnum() else "_" for letter in text).strip("_")


def _image(figure: Figure, kind: str) -> bytes | str:
    if kind == "svg":
        drawing = StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
        return drawing.getvalue()
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    return picture.getvalue()


def write(path: Path, content: bytes | str) -> None:
    """Whole or not at all; raises `StorageError` where that can't be done."""
    write_whole(path, content if isinstance(content, bytes) else content.encode())


def _forget_old(folder: Path, kept: Mapping[str, object]) -> None:
    """Remove figures of an earlier report that this one does not have."""
    names = ["*_vs_*", "learning_*", *FINDINGS]
    for old in itertools.chain.from_iterable(folder.glob(f"{name}.*") for name in names):
        if old.suffix in (".png", ".svg") and old.stem not in kept:
            old.unlink()
