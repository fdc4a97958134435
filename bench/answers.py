"""The commands that answer a question from recorded evidence, and what a report covers."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.core.errors import RequestError, one_line
from bench.core.processes import start_server
from bench.options import FOLDER, NUMBER, PLUGIN, Checked, for_confirm, whole_number
from bench.options import results as all_results

if TYPE_CHECKING:
    from bench.core.store import Damaged
    from bench.report.data import Source
    from bench.run.request import Request
    from tasks import Kind

OWN = "results/mine"
"""A copy of the committed reference, to which commands add evidence."""


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

    if results is not None and not results.is_dir():
        raise RequestError(f"--results: {one_line(str(results))} is not a folder")
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
    folder = Folder(
        profile=profile,
        results=str(place) if results else OWN,
        plugins=tuple(map(str, plugin)),
        copy_of=None if results else str(place),
    )
    print(advise(problem, source_of(request), folder))


@click.command()
@click.argument("key", metavar="[CLAIM]", required=False)
@all_results
@click.option("--plan", "plan_only", is_flag=True, help="Show the grid and its time; run nothing.")
@click.option("--workers", type=whole_number(1), help="Number of parallel runs.")
@_budget("--time-limit", "MINUTES", "Start no run after this time; the same command continues.")
def claim(
    key: str | None, results: Path, plan_only: bool, workers: int | None, time_limit: float
) -> int | None:
    """Run the smallest grid that decides a claim, and print the verdict.

    CLAIM is the letter of a claim on the page of claims. The runs have the settings of the profile
    reference, and runs that are recorded already are not repeated. Without CLAIM, the claims are
    listed.
    """
    from bench.plan import deciding

    if key is None:
        print(deciding.listing())
        return None
    path = deciding.profile_of(key)
    if not plan_only:
        start_server()

    from bench.plan.grid import Selection
    from bench.report.data import Data
    from bench.run import inventory
    from bench.run.execute import Manner, execute, make_queue, outlook, plan_table, time_networks
    from bench.run.request import make_request

    request = make_request(results=results, selection=Selection(), profile_name=str(path))
    is_timed = bool(request.profile.speed)
    manner = Manner(workers=workers, time_limit_s=60 * time_limit, timed=is_timed, reported=False)
    specs = () if is_timed else request.plan.specs
    print(f"{key}: {request.profile.description}")
    if plan_only:
        found = inventory.read(request)
        if not is_timed:
            print(plan_table(request, found))
        print(outlook(request, found, specs, make_queue(request, found, specs, manner), manner))
        return None
    succeeded = time_networks(request) if is_timed else execute(request, specs, manner)
    for verdict in Data(source_of(request)).verdicts:
        if verdict.key == key:
            print(f"{verdict.claim} {verdict.word.capitalize()}: {verdict.sentence}")
    return None if succeeded else 1


@click.command()
@for_confirm
def confirm(
    folder: Path,
    into: Path,
    profile: str,
    number: int,
    factor: int,
    seed: int,
    plan_only: bool,
    device: str,
    workers: int | None,
    time_limit: float,
) -> int | None:
    """Train failures that verdicts rest on again, with two new seeds and a larger budget.

    Cells are drawn at random among those that count against a family or contradict claim (d2). The
    exit status is 1 if a new seed solves one of them: its failure was one of budget or of luck.
    """
    if not folder.is_dir():
        raise RequestError(f"{one_line(str(folder))} is not a folder")
    if not plan_only:
        start_server()

    from dataclasses import replace

    from bench.plan.grid import Plan, Selection
    from bench.report.confirmation import draw
    from bench.report.data import Data
    from bench.run import inventory
    from bench.run.execute import Manner, execute, make_queue, outlook
    from bench.run.request import make_request

    planned = make_request(
        results=folder, selection=Selection(), device="cpu", profile_name=profile
    )
    drawn, total = draw(Data(source_of(planned)), number, seed=seed, num_seeds=2, factor=factor)
    if not drawn:
        raise RequestError(f"no cell of {folder} counts against a family or contradicts (d2)")
    print(f"{len(drawn)} of {total} cells that verdicts rest on, drawn with --seed {seed}:")
    for each in drawn:
        print(f"- {each.said}")
    specs = tuple(spec for each in drawn for spec in each.specs)
    plan = Plan(specs=specs, unsupported=(), studies={})
    request = make_request(results=into, selection=Selection(), device=device, profile_name=profile)
    request = replace(request, plan=plan, speed_specs=())
    manner = Manner(workers=workers, time_limit_s=60 * time_limit, timed=False, reported=False)
    if plan_only:
        found = inventory.read(request)
        print(outlook(request, found, specs, make_queue(request, found, specs, manner), manner))
        return None
    succeeded = execute(request, specs, manner)
    records = inventory.read(request).records
    words = {True: "stands", False: "no longer stands", None: "not decided"}
    verdicts = [(each, *each.verdict(records)) for each in drawn]
    for each, stands, why in verdicts:
        print(f"{words[stands]}: {each.said}; {why}")
    return None if succeeded and all(stands is not False for _, stands, _ in verdicts) else 1
