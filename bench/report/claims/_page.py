"""The page of verdicts, as Markdown."""

from collections.abc import Collection, Sequence
from pathlib import Path

from bench.report.claims._verdict import Verdict
from bench.report.markup import template

TEMPLATES = Path(__file__).parent.parent / "templates"
CAPTIONS = {
    "solved_vs_length": "Share of seeds that solve the task against dependency length.",
    "score_vs_length": "Mean test score against dependency length.",
    "variants": "Mean test score of each variant against dependency length.",
    "gradients": "Gradients against how far back the input lies.",
    "rate_sensitivity": "Runs solved against the learning rate.",
    "field_vs_depth": "Receptive field against the number of layers.",
    "cliff": "Score against the receptive field over the reach.",
    "fields": "Receptive fields, computed, measured and effective.",
    "throughput_vs_length": "Steps of sequences read a second against length.",
    "latency_vs_length": "One step of a stream against length.",
}


def page(
    found: Sequence[Verdict],
    source_name: str,
    *,
    drawn: Collection[str] = (),
    backend: str | None = None,
) -> str:
    """The verdicts as Markdown: a table of them, then a section each.

    `drawn` names the figures there are, as `figures/NAME.png` beside the page.
    """
    shared: dict[str, list[str]] = {}
    for verdict in found:
        for sentence in verdict.not_tested:
            shared.setdefault(sentence, []).append(verdict.key)
    return template(TEMPLATES, "claims.md.jinja").render(
        verdicts=found,
        source_name=source_name,
        drawn=drawn,
        backend=backend,
        captions=CAPTIONS,
        shared={sentence: keys for sentence, keys in shared.items() if len(keys) > 1},
    )
