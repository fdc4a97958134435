"""The commands that answer a question from recorded evidence, and what a report covers."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.core.errors import one_line
from bench.options import FOLDER, NUMBER, PLUGIN, Checked, whole_number

if TYPE_CHECKING:
    from bench.core.store import Damaged
    from bench.report.data import Source
    from bench.run.request import Request
    from tasks import Kind


def warn_of_damaged(damaged: "Sequence[Damaged]") -> None:
    for file in damaged:
        path = one_line(str(file.path))
        print(f"warning: {path} is not a valid record: {file.reason}", file=sys.stderr)


def source_of(request: "Request") -> "Source":
    """What a report of the results folder covers; what it leaves out is printed."""
    from bench.report import folder
    from bench.run import inventory

    found = inventory.read(request)
    warn_of_damaged(found.damaged)
    source, left_out = folder.source_of(
        found,
        plan=request.plan,
        profile=request.profile,
        profile_name=request.profile_name,
        selection=request.selection,
        backend=request.backend,
    )
    for sentence in left_out:
        print(f"warning: {sentence}", file=sys.stderr)
    return source


def _kind(text: str) -> str:
    from tasks import KINDS

    if text not in KINDS:
        raise ValueError(f"{text!r}; valid: {', '.join(KINDS)}")
    return text


def _budget(name: str, metavar: str, text: str):
    return click.option(name, type=NUMBER, default=math.inf, metavar=metavar, help=text)


@click.command()
@click.option(
    "--kind",
    type=Checked("KIND", _kind),
    required=True,
    help="Kind of the problem: fixed-lag, varying-places, recall, accumulation, state-tracking or "
    "local.",
)
@click.option(
    "--length",
    type=whole_number(1),
    required=True,
    help="How far back an answer depends on the inputs, in steps (T).",
)
@_budget("--latency", "US", "Longest step of a stream, in µs.")
@_budget("--state", "BYTES", "Largest state of a stream.")
@_budget("--minutes", "MINUTES", "Longest training run.")
@click.option(
    "--results",
    type=FOLDER,
    metavar="DIR",
    help="Folder of the records; by default the committed reference.",
)
@click.option(
    "--profile",
    default="reference",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="Profile of the runs. Commands that make missing evidence use it.",
)
@click.option(
    "--plugin",
    multiple=True,
    type=PLUGIN,
    metavar="FILE.py",
    help="Load a file that defines a task or a model of yours; may be repeated.",
)
def choose(
    kind: "Kind",
    length: int,
    latency: float,
    state: float,
    minutes: float,
    results: Path | None,
    profile: str,
    plugin: tuple[Path, ...],
) -> None:
    """Choose a model for a problem, from recorded evidence.

    The rules are in docs/method.md, "Choosing a model".
    """
    from bench.plan.grid import Selection
    from bench.plan.needed import Folder
    from bench.report.advice import advise
    from bench.report.choosing import Problem
    from bench.report.reference import REFERENCE
    from bench.run.request import make_request

    request = make_request(
        results=results or REFERENCE,
        selection=Selection(),
        device="cpu",
        profile_name=profile,
        plugin_files=plugin,
    )
    problem = Problem(kind=kind, length=length, step_us=latency, state_bytes=state, minutes=minutes)
    place = request.results
    if place.is_relative_to(Path.cwd()):
        place = place.relative_to(Path.cwd())
    folder = Folder(profile=profile, results=str(place), plugins=tuple(map(str, plugin)))
    print(advise(problem, source_of(request), folder))
