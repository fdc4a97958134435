"""The options of the commands: names, types and help texts, and what they resolve to."""

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.run.execute import Manner
    from bench.run.request import Request
    from bench.run.shard import Shard

Decorator = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the commands that plan runs: plan, run, speed, report and tune.

    Options that a command does not have keep the defaults below.
    """

    results: Path
    profile: str | None
    task: tuple[str, ...]
    model: tuple[str, ...]
    length: tuple[int, ...]
    seed: tuple[int, ...]
    set: tuple[str, ...]
    plugin: tuple[Path, ...]
    device: str
    threads: int
    eager: bool
    workers: int | None = None
    per_gpu: int = 1
    run_timeout: float = math.inf
    time_limit: float = math.inf
    ray: str | None = None
    shard: "Shard | None" = None
    no_speed: bool = False
    debug: bool = False
    again: str | None = None
    yardsticks: bool = False


class Checked(click.ParamType):
    """A value that a function parses; its `ValueError` names the valid values."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def whole_number(least: int) -> Checked:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or int(text) < least:
            raise ValueError(f"{text!r}; valid: whole numbers from {least}")
        return int(text)

    return Checked("N", parse)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r}; valid: numbers from 0")
    return value


def _shard(text: str) -> "Shard":
    from bench.run.shard import parse

    return parse(text)


NUMBER, SHARD = Checked("NUMBER", _number), Checked("I/N", _shard)
FOLDER = click.Path(path_type=Path)

results = click.option(
    "--results",
    type=FOLDER,
    default=Path("results"),
    show_default=True,
    metavar="DIR",
    help="Folder of the records and of the report.",
)

_SELECTORS = (
    results,
    click.option(
        "--profile",
        metavar="NAME|FILE.toml",
        help="What to run; by default paper on a GPU and quick without one.",
    ),
    click.option("--task", multiple=True, help="Take only this task; may be repeated."),
    click.option(
        "--model",
        multiple=True,
        help='Take only this model, as in gru or "gru chrono=true"; may be repeated.',
    ),
    click.option(
        "--length",
        multiple=True,
        type=whole_number(1),
        help="Take only this length T; may be repeated.",
    ),
    click.option(
        "--seed", multiple=True, type=whole_number(0), help="Take only this seed; may be repeated."
    ),
    click.option(
        "--set",
        multiple=True,
        metavar="KEY=VALUE",
        help="Replace a value of the profile, as in --set max_steps=500; may be repeated.",
    ),
    click.option(
        "--plugin",
        multiple=True,
        type=FOLDER,
        metavar="FILE.py",
        help="Load a file that defines a task or a model of yours; may be repeated.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="Where the networks run: auto, cpu, cuda or cuda:N.",
    ),
    click.option(
        "--threads",
        type=whole_number(1),
        default=1,
        show_default=True,
        help="Threads of each run on the CPU.",
    ),
    click.option("--eager", is_flag=True, help="Do not replay training steps as CUDA graphs."),
)

_RUNNING = (
    click.option(
        "--workers",
        type=whole_number(1),
        help="Runs at the same time; by default one per core, or --per-gpu on each GPU.",
    ),
    click.option(
        "--per-gpu",
        type=whole_number(1),
        default=1,
        show_default=True,
        help="Runs at the same time on each GPU, as far as its memory allows.",
    ),
    click.option(
        "--run-timeout",
        type=NUMBER,
        metavar="MINUTES",
        help="End a run that takes longer than this; the run counts as failed.",
    ),
    click.option(
        "--time-limit",
        type=NUMBER,
        metavar="MINUTES",
        help="Start no further run after this time; the same command continues later.",
    ),
    click.option(
        "--ray",
        metavar="auto|HOST:PORT",
        help="Make the runs on a running Ray cluster; auto finds the one of this machine.",
    ),
)

_SHARD = (
    click.option(
        "--shard",
        type=SHARD,
        help="Make only part I of N of the plan, without timings and report.",
    ),
)

_AGAIN = (
    click.option(
        "--again", metavar="ID", help="Repeat exactly the recorded run whose id begins with ID."
    ),
)

_RUN = (
    click.option("--no-speed", is_flag=True, help="Train only, without timings afterwards."),
    click.option(
        "--debug",
        is_flag=True,
        help="Train in this process, one run after the other, and stop at the first error with its "
        "traceback; without timings and report.",
    ),
)

_SPEED = (
    click.option(
        "--yardsticks",
        is_flag=True,
        help="Also compare with a textbook network, PyTorch's cells and other libraries.",
    ),
)


_SAMPLE = (
    click.argument("model", metavar="MODEL"),
    results,
    click.option("--task", help="Take a network that was trained on this task."),
    click.option(
        "--length",
        type=whole_number(1),
        help="Take a network that was trained at this length T; by default the longest.",
    ),
    click.option(
        "--number", type=whole_number(1), default=16, show_default=True, help="Number of samples."
    ),
    click.option(
        "--steps",
        type=whole_number(1),
        help="Steps of each sample; by default as many as in training. Images have a fixed size.",
    ),
    click.option(
        "--condition", metavar="NAME|all", help="Class to draw; by default every class in turn."
    ),
    click.option(
        "--prompt",
        metavar="TEXT|FILE.wav|IMAGE/ROWS",
        help="Beginning of each sample: a text, a sound, or the first rows of a test image.",
    ),
    click.option(
        "--temperature",
        type=NUMBER,
        default=1.0,
        show_default=True,
        help="Below 1, likely values become more likely.",
    ),
    click.option(
        "--seed", type=whole_number(0), default=0, show_default=True, help="Seed of the sampling."
    ),
    click.option(
        "--naive", is_flag=True, help="Read the whole past again at every step, which is slow."
    ),
    click.option(
        "--judge",
        is_flag=True,
        help="Train a classifier on real sequences and report how often it recognises the samples.",
    ),
)

_COMPARE = (
    click.argument("a", type=FOLDER, metavar="A"),
    click.argument("b", type=FOLDER, metavar="B"),
    click.option(
        "--models",
        nargs=2,
        metavar="X Y",
        help="Compare model X of A with model Y of B; by default each model with itself.",
    ),
    click.option(
        "--tolerance",
        type=NUMBER,
        default=10.0,
        show_default=True,
        metavar="PERCENT",
        help="Slowdown that is tolerated, in percent.",
    ),
    click.option(
        "--fail-on-regression",
        is_flag=True,
        help="Exit with status 1 on a worse score, fewer solved seeds or a longer time.",
    ),
    click.option(
        "--output", type=FOLDER, metavar="DIR", help="Folder of the page; by default B/comparison."
    ),
)


def _with(*options: Decorator) -> Decorator:
    """Several decorators of click as one."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _taking(*options: Decorator) -> Decorator:
    """Give a function of one `Options` these options on the command line."""

    def decorate(function: Callable[[Options], int]) -> Any:
        @functools.wraps(function)
        def command(**values: Any) -> int:
            return function(Options(**values))

        return _with(*options)(command)

    return decorate


for_plan = _taking(*_SELECTORS, *_SHARD)
for_run = _taking(*_SELECTORS, *_RUNNING, *_SHARD, *_RUN, *_AGAIN)
for_speed = _taking(*_SELECTORS, *_SPEED, *_AGAIN)
for_report = _taking(*_SELECTORS)
for_tune = _taking(*_SELECTORS, *_RUNNING)
for_sample = _with(*_SAMPLE)
for_compare = _with(*_COMPARE)


def manner_of(options: Options) -> "Manner":
    """How the runs are executed."""
    from bench.run.execute import Manner

    reported = not (options.debug or options.again is not None or options.shard is not None)
    return Manner(
        workers=options.workers,
        per_gpu=options.per_gpu,
        run_timeout_s=60 * options.run_timeout,
        time_limit_s=60 * options.time_limit,
        on_cluster=options.ray is not None,
        debug=options.debug,
        again=options.again is not None,
        timed=reported and not options.no_speed and options.ray is None,
        reported=reported,
    )


def request_of(options: Options) -> "Request":
    """The resolved options; sentences about what the plan leaves out are printed."""
    from bench.plan.grid import Selection
    from bench.run.request import again, make_request

    gpus = None
    if options.ray is not None:
        from bench.run import cluster

        gpus = cluster.gpus()
    request = make_request(
        device=options.device,
        gpus=gpus,
        threads=options.threads,
        capture=not options.eager,
        profile_name=options.profile,
        settings=options.set,
        plugin_files=options.plugin,
        results=options.results,
        selection=Selection(
            tasks=options.task, models=options.model, lengths=options.length, seeds=options.seed
        ),
        shard=options.shard,
    )
    for sentence in request.plan.left_out:
        print(f"warning: {sentence}", file=sys.stderr)
    return request if options.again is None else again(request, options.again)
