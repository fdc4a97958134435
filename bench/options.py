"""The options of the commands: names, types and help texts, and the request they make."""

import functools
import math
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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
    per_gpu: int | None = None
    run_timeout: float = math.inf
    time_limit: float = math.inf
    ray: str | None = None
    shard: "Shard | None" = None
    no_speed: bool = False
    keep_weights: bool = False
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
    if not 0 <= value < math.inf:
        raise ValueError(f"{text!r}; valid: numbers from 0")
    return value


def _shard(text: str) -> "Shard":
    from bench.run.shard import parse

    return parse(text)


NUMBER, SHARD = Checked("NUMBER", _number), Checked("I/N", _shard)
SETTING, PLUGIN = Checked("KEY=VALUE", str), Checked("FILE.py", Path)
FOLDER = click.Path(path_type=Path)


def _flag(name: str, text: str) -> Decorator:
    return click.option(name, is_flag=True, help=text)


def _integer(name: str, text: str, *, default: int | None = None, least: int = 1) -> Decorator:
    kind = whole_number(least)
    return click.option(name, type=kind, default=default, show_default=True, help=text)


def _minutes(name: str, text: str) -> Decorator:
    return click.option(name, type=NUMBER, default=math.inf, metavar="MINUTES", help=text)


def _repeated(
    name: str, text: str, kind: click.ParamType = click.STRING, metavar: str | None = None
) -> Decorator:
    return click.option(
        name, multiple=True, type=kind, metavar=metavar, help=f"{text}; may be repeated."
    )


results = click.option(
    "--results",
    type=FOLDER,
    default=Path("results"),
    show_default=True,
    metavar="DIR",
    help="Folder of the records and of the report.",
)

plugins = _repeated(
    "--plugin", "Load a file that defines a task or a model of yours", PLUGIN, "FILE.py"
)

_SELECTORS = (
    results,
    click.option(
        "--profile",
        metavar="NAME|FILE.toml",
        help="What to run. By default the command tune uses tuning; other commands use paper on a "
        "GPU, otherwise quick.",
    ),
    _repeated("--task", "Use only this task"),
    _repeated("--model", 'Use only this model, such as gru or "gru chrono=true"'),
    _repeated("--length", "Use only this sequence length T", whole_number(1)),
    _repeated("--seed", "Use only this seed", whole_number(0)),
    _repeated("--set", "Replace a value of the profile, as in max_steps=500", SETTING),
    plugins,
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="Where the networks run: auto, cpu, cuda or cuda:N.",
    ),
    _integer("--threads", "CPU threads of each run.", default=1),
    _flag("--eager", "Do not replay training steps as CUDA graphs."),
)

_RUNNING = (
    _integer(
        "--workers", "Number of parallel runs; by default one per core, or --per-gpu on each GPU."
    ),
    _integer(
        "--per-gpu",
        "Number of parallel runs on each GPU, if its memory allows; by default one per core where "
        "NVIDIA's MPS is installed, otherwise 1.",
    ),
    _minutes("--run-timeout", "End a run that takes longer than this; it counts as failed."),
    _minutes("--time-limit", "Start no run after this time; the same command continues later."),
    click.option(
        "--ray",
        metavar="auto|HOST:PORT",
        help="Run on a Ray cluster that is already started; auto uses the cluster of this machine.",
    ),
)

_SHARD = click.option(
    "--shard",
    type=SHARD,
    help="Take only part I of N of the plan; a part has no timings and no report.",
)

_AGAIN = click.option(
    "--again",
    metavar="ID",
    help="Repeat exactly the recorded run or timing whose id begins with ID.",
)

_RUN = (
    _flag("--no-speed", "Train and write the report, but take no timings."),
    _flag(
        "--keep-weights",
        "Keep the weights of every trained network. A recorded run without them is repeated.",
    ),
    _flag(
        "--debug",
        "Train in this process, one run after the other, and stop at the first error with its "
        "traceback. No timings are taken and no report is written.",
    ),
)

_YARDSTICKS = _flag(
    "--yardsticks",
    "Also compare with PyTorch's own layers, a textbook network and other libraries.",
)

_SAMPLE = (
    click.argument("model", metavar="MODEL"),
    results,
    click.option("--task", help="Use a network that was trained on this task."),
    _integer("--length", "Use a network that was trained at this T; by default the longest."),
    _integer("--number", "Number of samples.", default=16),
    _integer(
        "--steps",
        "Number of steps of each sample; by default as in training. Images have a fixed size.",
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
        help="Values below 1 make likely outcomes more likely.",
    ),
    _integer("--seed", "Seed of the sampling.", default=0, least=0),
    _flag("--naive", "Read the whole past again at every step (slow; for comparison)."),
    _flag(
        "--judge",
        "Train a classifier on real sequences and report how often it assigns a sample to the "
        "requested class.",
    ),
)

_EXPORT = (
    click.argument("model", metavar="MODEL"),
    results,
    click.option("--task", help="Use a network that was trained on this task."),
    _integer("--length", "Use a network that was trained at this T; by default the longest."),
    _integer("--batch-size", "Number of streams that a step reads.", default=1),
    click.option("--output", type=FOLDER, metavar="FILE", help="By default a file below DIR/onnx."),
)

_VERIFY = (
    click.argument("folder", type=FOLDER, metavar="DIR"),
    _integer("--number", "Number of runs to make again.", default=10),
    _minutes("--time-limit", "Draw only runs that are expected to end within this time."),
    _integer("--seed", "Seed of the draw; by default another one each time.", least=0),
    click.option(
        "--id",
        "ids",
        multiple=True,
        metavar="ID",
        help="Make all runs again whose id begins so; may be repeated.",
    ),
)

_CONFIRM = (
    click.argument("folder", type=FOLDER, metavar="DIR"),
    click.option(
        "--into",
        type=FOLDER,
        default=Path("results/confirmation"),
        show_default=True,
        metavar="DIR",
        help="Folder of the new records.",
    ),
    click.option(
        "--profile",
        default="reference",
        show_default=True,
        metavar="NAME|FILE.toml",
        help="Profile of the runs in DIR.",
    ),
    _integer("--number", "Number of cells to draw.", default=5),
    _integer("--factor", "The new budget, in budgets of the failed runs.", default=4, least=2),
    _integer("--seed", "Seed of the draw.", default=0, least=0),
    click.option(
        "--plan", "plan_only", is_flag=True, help="Show the cells and the time; run nothing."
    ),
    click.option("--device", default="cpu", show_default=True, help="Where the networks run."),
    _integer("--workers", "Number of parallel runs."),
    _minutes("--time-limit", "Start no run after this time; the same command continues."),
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
    _flag(
        "--fail-on-regression",
        "Exit with status 1 on a worse score, fewer solved seeds or a longer time. Times that were "
        "taken in one process are not judged.",
    ),
    click.option(
        "--output", type=FOLDER, metavar="DIR", help="Folder of the page; by default B/comparison."
    ),
)


def _with(*options: Decorator) -> Decorator:
    """Several decorators of click as one."""
    return lambda function: functools.reduce(lambda f, add: add(f), reversed(options), function)


def _taking(*options: Decorator) -> Decorator:
    """A decorator for a command that takes the values of these options as one `Options`."""

    def decorate(function: Callable[[Options], int | None]) -> Any:
        @functools.wraps(function)
        def command(**values: Any) -> int | None:
            return function(Options(**values))

        return _with(*options)(command)

    return decorate


for_plan = _taking(*_SELECTORS, _SHARD)
for_run = _taking(*_SELECTORS, *_RUNNING, _SHARD, *_RUN, _AGAIN)
for_speed = _taking(*_SELECTORS, _YARDSTICKS, _AGAIN)
for_report = _taking(*_SELECTORS)
for_tune = _taking(*_SELECTORS, *_RUNNING)
for_sample = _with(*_SAMPLE)
for_export = _with(*_EXPORT)
for_verify = _with(*_VERIFY)
for_confirm = _with(*_CONFIRM)
for_compare = _with(*_COMPARE)


def print_styled(text: str) -> None:
    """Print text with ANSI styles, which are left out where no terminal or no colour is wanted."""
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)  # no-color.org


def connection(options: Options) -> AbstractContextManager[None]:
    """The connection to a cluster, if one is asked for."""
    if options.ray is None:
        return nullcontext()
    from bench.run import cluster

    return cluster.connected(options.ray)


def manner_of(options: Options) -> "Manner":
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
        keep_weights=options.keep_weights,
    )
    for sentence in request.plan.left_out:
        print(f"warning: {sentence}", file=sys.stderr)
    if options.again is None:
        return request
    return again(request, options.again, keep_weights=options.keep_weights)
