"""What the command line takes: every verb with its options."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.run.shard import Shard

EXIT_BAD_REQUEST = 2
Verb = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """argparse with its complaint on one line."""

    def error(self, message: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.exit(EXIT_BAD_REQUEST, f"error: {message}; see {self.prog} --help\n")


def parser_of(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """A parser whose namespace holds the verb that was asked for, as `verb`."""
    parser = _Parser(
        prog="python -m bench",
        description="How far back do convolutional and recurrent networks remember, at what cost?",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added_verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)

    def verb(name: str, what: str, *, runs: bool = True) -> argparse.ArgumentParser:
        added = added_verbs.add_parser(name, help=what, description=what)
        added.set_defaults(verb=verbs[name])
        if runs:
            _add_selectors(added)
        return added

    verb("list", "the tasks, models and profiles there are, a line each", runs=False)
    plan = verb("plan", "what would run, what is already there, how long the rest takes")
    _add_shard(plan)
    run = verb("run", "make the runs that are not there yet, time them, then the report")
    _add_running(run)
    _add_shard(run)
    run.add_argument("--no-speed", action="store_true", help="train, and time nothing afterwards")
    speed = verb("speed", "time training, inference and streaming, then the report")
    speed.add_argument(
        "--yardsticks",
        action="store_true",
        help="beside what others do: the textbook's network, torch's cells, other libraries",
    )
    verb("report", "tables, figures and a page from the records that are there")
    show = verb("show", "one record, by the beginning of its id", runs=False)
    show.add_argument("id", metavar="ID")
    _add_results(show)
    sample = verb("sample", "sequences drawn from a trained network", runs=False)
    _add_results(sample)
    _add_sampling(sample)
    compare = verb("compare", "two results folders side by side", runs=False)
    _add_comparing(compare)
    tune = verb("tune", "sweep learning rates and choose one a task and model")
    _add_running(tune)
    tune.set_defaults(profile="tuning")
    verb("fetch", "download what tasks read from disk, ahead of time", runs=False)
    return parser


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results/"
    )


def _add_selectors(parser: argparse.ArgumentParser) -> None:
    _add_results(parser)
    parser.add_argument(
        "--profile",
        metavar="NAME|FILE.toml",
        help="how much to run; by default paper on a GPU, quick without one",
    )
    for name, kind in (
        ("task", str),
        ("model", str),
        ("length", _whole_number(1)),
        ("seed", _whole_number(0)),
    ):
        parser.add_argument(
            f"--{name}",
            type=kind,
            action="append",
            default=[],
            metavar=name.upper(),
            help=f"only this {name}; may be repeated",
        )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the profile, as in --set max_steps=500",
    )
    parser.add_argument(
        "--plugin",
        action="append",
        type=Path,
        default=[],
        metavar="FILE.py",
        help="a file that defines a task or a model of yours",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--threads",
        type=_whole_number(1),
        default=1,
        metavar="N",
        help="threads of one run on the CPU; 1 by default",
    )
    parser.add_argument(
        "--eager", action="store_true", help="on a GPU, don't replay training steps as a graph"
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=_whole_number(1),
        metavar="N",
        help="runs at once; by default one a core, or as many as --per-gpu says on each GPU",
    )
    parser.add_argument(
        "--per-gpu",
        type=_whole_number(1),
        default=1,
        metavar="N",
        help="runs at once on each GPU, as far as its memory goes; 1 by default",
    )
    parser.add_argument(
        "--run-timeout",
        type=_minutes,
        metavar="MINUTES",
        help="end a run that takes longer; it has failed",
    )
    parser.add_argument(
        "--time-limit",
        type=_minutes,
        metavar="MINUTES",
        help="start no further run after so many minutes; start again to go on",
    )
    parser.add_argument(
        "--ray",
        metavar="auto|HOST:PORT",
        help="make the runs on a Ray cluster that is up; auto: this machine's",
    )


def _add_shard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="this machine's part of N of the plan, 1/N to N/N; no times are taken, no report made",
    )


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="by label or name")
    parser.add_argument("--task", help="by label or name; needed where weights of several are kept")
    parser.add_argument("--length", type=_whole_number(1), help="T; by default the longest")
    parser.add_argument(
        "--number", type=_whole_number(1), default=16, metavar="N", help="samples; 16 by default"
    )
    parser.add_argument(
        "--steps",
        type=_whole_number(1),
        metavar="N",
        help="of a sample, more than the network was trained on or fewer; not of an image",
    )
    parser.add_argument(
        "--condition",
        metavar="NAME|all",
        help="what to draw, where the network was told; by default each in turn",
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT|FILE.wav|IMAGE/ROWS",
        help="how the samples begin: a text, a sound, rows of an image of the test set",
    )
    parser.add_argument(
        "--temperature",
        type=_number,
        default=1.0,
        help="below 1 the likely becomes likelier; 1 by default",
    )
    parser.add_argument("--seed", type=_whole_number(0), default=0, help="0 by default")
    parser.add_argument(
        "--naive", action="store_true", help="read the whole past again for every step: slow"
    )
    parser.add_argument(
        "--judge",
        action="store_true",
        help="train a classifier on real sequences and say how often it agrees",
    )


def _add_comparing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="results as they were")
    parser.add_argument("b", type=Path, metavar="B", help="results as they are; may be the same")
    parser.add_argument(
        "--models",
        nargs=2,
        metavar=("X", "Y"),
        help="model X of A beside model Y of B, by label or name; by default each beside itself",
    )
    parser.add_argument(
        "--tolerance",
        type=_percent,
        default=10.0,
        metavar="PERCENT",
        help="how much slower is no regression; 10 by default",
    )
    parser.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="exit status 1 where a score is worse, fewer seeds solve or a time is slower",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the page goes; default: B/comparison"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}; valid: numbers from 0")
    return value


_percent = _minutes = _number


def _shard(text: str) -> "Shard":
    from bench.run.shard import parse

    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole_number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}; valid: whole numbers from {least}")
        return int(text)

    return parse
