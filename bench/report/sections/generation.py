"""Networks that predict their own next input: likelihoods, sampling, samples."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.core.records import Record, SampleRecord, SpeedRecord
from bench.plan.labels import label_of
from bench.report.data import Data
from bench.report.drawing import GREY, cost_against_length, shared_legend, titled_panels
from bench.report.facets import Style, spread
from bench.report.frame import (
    CELL,
    IDENTITY,
    INTERVAL,
    SCORE,
    SUMMARY,
    Column,
    Table,
    by_length,
    rows_of,
)
from bench.report.markup import text
from bench.report.runs import Labels, key, outcomes, scores
from bench.report.section import Filled, Item, Picture, Section, Text
from bench.report.sections._shared import dotted_again
from bench.report.sections.metrics import metrics
from bench.report.times import IMPLEMENTATION, implementation_of, leading

DASHES = {"uniform": ":", "unigram": "--", "markov-1": "-."}
"""Predictors without a network that are drawn as lines; a task may have others."""
MOST_PANELS = 12
NAIVE = " (naive)"
LIKELIHOOD = Table(
    name="likelihood",
    columns=(
        *IDENTITY,
        *SCORE,
        *SUMMARY[:1],
        *INTERVAL,
        *SUMMARY[-1:],
        Column("parameters", "integer", "parameters", "Parameters of the network."),
        Column("nats", "number", "nats", "Negative log-likelihood of a sequence, where known."),
    ),
)
SAMPLING = Table(
    name="sampling",
    columns=(
        *IDENTITY,
        *IMPLEMENTATION,
        Column("steps", "count", "steps", "Length of a sample."),
        Column("parameters", "count", "parameters", "Parameters of the network."),
        Column("cached_s", "number", "s", "Time of a sample by the model's stepper."),
        Column("naive_s", "number", "s", "Time of a sample when the past is read again each step."),
        Column("cached_per_s", "number", "1/s", "Samples per second by the stepper."),
        Column("naive_per_s", "number", "1/s", "Samples per second without it."),
    ),
    caption="The two times come from separate measurements, so their ratio is not exact. The "
    "yardsticks time both sides in turn.",
)
JUDGED = Table(
    name="judged",
    columns=(
        *IDENTITY,
        Column("samples", "count", "", "Samples that were judged."),
        Column("temperature", "number", "", "Temperature of the sampling."),
        Column("agrees", "number", "share", "Samples in which the condition is recognised."),
        Column("low", "number", "share", "Lower end of the Wilson 95% interval."),
        Column("high", "number", "share", "Upper end of the Wilson 95% interval."),
        Column("on_real_ones", "number", "share", "The same for real test sequences."),
    ),
    caption="How often a classifier that was trained on real sequences names the requested class: "
    "for samples, with the Wilson 95% interval, and for real test sequences.",
)


def build(data: Data) -> Iterator[Item]:
    source = data.source
    table = likelihood(data.runs, data.records, source.labels)
    speed, agreement = sampling(source.speed), judged(source.samples)
    if len(table):
        yield Text(
            markdown="Each network predicts its own next input. In training, one parallel pass "
            "reads a whole sequence and predicts each next input. Sampling goes step by step."
        )
        yield Picture(
            name="likelihood",
            draw=partial(likelihood_figure, table, data.style),
            caption="Test score, mean over seeds with Student's 95% interval, at equal numbers of "
            "parameters in each panel. A single seed and cells of a ladder have no interval. An "
            "interval may be smaller than its mark. Lower is better. Lines: "
            "predictors without a network, fitted on the training stream. Uniform: all symbols are "
            "equally likely. Unigram: by the frequency of a symbol. Markov-1: by the previous "
            "symbol.",
        )
    yield Filled(table=LIKELIHOOD, frame=table)
    if len(speed):
        yield Picture(
            name="sampling_vs_length",
            draw=partial(sampling_figure, leading(speed), data.style),
            caption="Samples per second against their length, one sequence at a time. Cached: "
            "with the model's stepper. Naive: for every step, the past within the receptive field "
            "is read again.",
        )
    yield Filled(table=SAMPLING, frame=speed)
    yield from (Text(markdown=_shown(sample)) for sample in source.samples if sample.picture)
    yield Filled(table=JUDGED, frame=agreement)


def _shown(sample: SampleRecord) -> str:
    what = f"{text(sample.label)} on {text(sample.task_label)}"
    steps = f", {sample.steps} steps sampled" if sample.steps else ""
    return (
        f"![Samples of {what}]({sample.picture})\n\n*{what}, T = {sample.spec.length}{steps}, "
        f"temperature {sample.temperature}, seed {sample.seed}: the first that were drawn, without "
        "selection.*"
    )


def likelihood(runs: pd.DataFrame, records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """Likelihoods beside those of predictors without a network.

    They are the scores of which lower ones are better. Runs are counted as in the table of scores.
    """
    known = {
        (labels[record.spec.id].task_label, record.spec.length): outcome.baselines
        for record, outcome in outcomes(records)
        if outcome.baselines and not outcome.score.higher_is_better
    }
    runs = runs[[cell in known for cell in zip(runs["task_label"], runs["T"], strict=True)]]
    parameters = runs.groupby(CELL)["parameters"].max()
    every = metrics(records, labels)
    nats = every[every["metric"] == "nats"].set_index(CELL)["mean"]
    rows = []
    for row in rows_of(scores(runs)):
        cell = tuple(row[column] for column in CELL)
        baselines = known[row["task_label"], row["T"]]
        rows.append({**row, "parameters": parameters[cell], "nats": nats.get(cell), **baselines})
    names = dict.fromkeys(name for baselines in known.values() for name in baselines)
    about = ("number", "see `unit`", "A predictor without a network.")
    return LIKELIHOOD.of(rows, *(Column(name, *about) for name in names))


def sampling(records: Sequence[SpeedRecord]) -> pd.DataFrame:
    """Time of a sample and samples per second, cached and naive."""
    rows = [
        {
            **key(label_of(record.spec), record.spec.length),
            "implementation": implementation_of(record.spec),
            "protocol": record.spec.protocol,
            "steps": found.num_steps,
            "parameters": record.speed.num_parameters,
            "cached_s": found.cached.median,
            "naive_s": found.naive.median,
            "cached_per_s": 1 / found.cached.median,
            "naive_per_s": 1 / found.naive.median,
        }
        for record in records
        if record.speed is not None and (found := record.speed.sampling) is not None
    ]
    return by_length(SAMPLING.of(rows))


def judged(samples: Sequence[SampleRecord]) -> pd.DataFrame:
    """How often a classifier finds in a sample the condition that was asked for."""
    return JUDGED.of(
        {
            **key(label_of(sample.spec), sample.spec.length),
            "samples": found.num_samples,
            "temperature": sample.temperature,
            "agrees": found.share,
            "low": found.low,
            "high": found.high,
            "on_real_ones": found.on_real,
        }
        for sample in samples
        if (found := sample.agreement) is not None
    )


def likelihood_figure(table: pd.DataFrame, style: Style) -> Figure:
    """One panel per task and T: each model's score with its interval, baselines as lines."""
    cells = [
        (f"{task}\nT = {length}", rows)
        for (task, length), rows in table.groupby(["task_label", "T"], sort=False)
    ]
    cells = spread(cells, MOST_PANELS)
    figure, panels = titled_panels([title for title, _ in cells])
    for panel, (_, group) in zip(panels, cells, strict=True):
        for place, row in enumerate(rows_of(group)):
            look = {**style[row["model_label"]], "linestyle": "none"}
            panel.plot(place, row["mean"], ms=7, **look)
            if not pd.isna(row["mean_low"]):
                panel.vlines(place, row["mean_low"], row["mean_high"], color=look["color"])
        for name, dash in DASHES.items():
            if name in group and group[name].notna().any():
                panel.axhline(group[name].iloc[0], label=name, color=GREY, ls=dash, lw=1.2)
        panel.set_xlim(-0.5, len(group) - 0.5)
        panel.set_ylim(bottom=min(panel.get_ylim()[0], -0.04 * panel.get_ylim()[1]))
        names = group["model_label"].tolist()
        panel.set_xticks(range(len(group)), names, rotation=30, ha="right", fontsize=8)
        panel.set_ylabel(f"test {group['score'].iloc[0]}\n({group['unit'].iloc[0]})", fontsize=9)
        panel.grid(axis="x", visible=False)
    shared_legend(figure, panels, {})
    return figure


def sampling_figure(table: pd.DataFrame, style: Style) -> Figure:
    """Samples per second against T: cached, and naive in the same colour, dotted."""
    naive = table.assign(model_label=table["model_label"] + NAIVE, per_s=table["naive_per_s"])
    both = pd.concat([table.assign(per_s=table["cached_per_s"]), naive])
    return cost_against_length(both, "per_s", "samples per second", dotted_again(style, NAIVE))


SECTION = Section(title="Generation", order=70, tables=(LIKELIHOOD, SAMPLING, JUDGED), build=build)
