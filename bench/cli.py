"""The command line: `python -m bench COMMAND`.

Exit status: 0 success; 1 a run failed (the others are recorded), a file could not be written or a
comparison found a regression; 2 invalid request; 130 interrupted; 143 terminated.
"""

import errno
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.answers import choose, claim, confirm, source_of, warn_of_damaged
from bench.core.errors import RequestError, StorageError, message_of, one_line
from bench.core.processes import start_server
from bench.options import (
    FOLDER,
    Options,
    connection,
    for_compare,
    for_plan,
    for_report,
    for_run,
    for_speed,
    for_tune,
    for_verify,
    manner_of,
    plugins,
    print_styled,
    request_of,
    results,
)
from bench.trained import export, sample

if TYPE_CHECKING:
    from bench.run.request import Request

EXIT_OK, EXIT_FAILED_RUNS, EXIT_REGRESSION, EXIT_BAD_REQUEST = 0, 1, 1, 2
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
ADVICE = {
    errno.ENOSPC: "the disk is full; free some space, then repeat the command",
    errno.EDQUOT: "your disk quota is used up; free some space, then repeat the command",
    errno.EROFS: "the file system is read-only; choose another folder with --results",
    errno.EACCES: "you have no permission to write there; choose another folder with --results",
}
"""What a user can do when a file can't be written, by the number of the error."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    before = signal.signal(signal.SIGTERM, _terminated)
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with bench.make_context("python -m bench", words) as context:
            return bench.invoke(context) or EXIT_OK
    except click.exceptions.Exit as ended:  # --help
        return ended.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        see = f"; see {context.command_path} --help" if context else ""
        print(f"error: {one_line(error.format_message()).rstrip('.')}{see}", file=sys.stderr)
        return EXIT_BAD_REQUEST
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except _Terminated:
        print("terminated; the same command continues where it stopped", file=sys.stderr)
        return EXIT_TERMINATED
    except StorageError as error:
        advice = ADVICE.get(getattr(error.__cause__, "errno", 0))
        print(f"error: {error}" + (f"; {advice}" if advice else ""), file=sys.stderr)
        return EXIT_FAILED_RUNS
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_REQUEST
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output is gone
        return EXIT_OK
    finally:
        signal.signal(signal.SIGTERM, before)


class _Terminated(BaseException):
    """SIGTERM arrived; worker processes and files are closed in order."""


def _terminated(number: int, frame: object) -> None:
    raise _Terminated


@click.group(
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def bench() -> None:
    """Measure how far back convolutional and recurrent networks remember, and what they cost."""


@bench.command("list")
@plugins
def list_(plugin: Sequence[Path]) -> None:
    """List the tasks, models and profiles."""
    from bench.plan import catalogue

    sections = catalogue.sections(plugin)
    width = max(len(name) for entries in sections.values() for name in entries)
    for title, entries in sections.items():
        print(title)
        for name, line in entries.items():
            print(f"  {name:{width}}  {line}")


@bench.command()
@for_plan
def plan(options: Options) -> None:
    """Show what would run and how long it would take."""
    from bench.run import inventory
    from bench.run.execute import make_queue, outlook, plan_table

    request = request_of(options)
    found = inventory.read(request)
    warn_of_damaged(found.damaged)
    specs, manner = request.plan.specs, manner_of(options)
    queue = make_queue(request, found, specs, manner)
    print(plan_table(request, found))
    print(outlook(request, found, specs, queue, manner))


@bench.command()
@for_run
def run(options: Options) -> int:
    """Train and time the networks, then write the report.

    Runs and timings that are recorded already are not repeated.
    """
    if options.debug and options.ray is not None:
        raise RequestError("--debug runs in this process; it can't be combined with --ray")
    if not options.debug and options.ray is None:
        start_server()  # it imports PyTorch while this process does the same and plans

    from bench.run.execute import execute, time_networks

    manner = manner_of(options)
    with connection(options):
        request = request_of(options)
        if options.again is not None and not request.plan.specs:
            raise RequestError(f"--again: {options.again} is a timing; repeat it with speed")
        status = _status(execute(request, request.plan.specs, manner))
    if request.shard is not None:
        print(
            f"shard {request.shard} has ended. When all shards have ended, write the report with "
            "python -m bench report and the --profile, --results and selection of this command",
            file=sys.stderr,
        )
    if manner.timed:
        status = max(status, _status(time_networks(request)))
    if manner.reported:
        _write_report(request)
    return status


@bench.command()
@for_speed
def speed(options: Options) -> int:
    """Time the networks, then write the report.

    Training, inference and streaming are timed, one network at a time. The profile's speed_rounds
    says in how many fresh processes each network is timed. Processes that are recorded already are
    not repeated.
    """
    from bench.run.execute import time_networks

    request = request_of(options)
    if options.again is not None and not request.speed_specs:
        raise RequestError(f"--again: {options.again} is a run; repeat it with the command run")
    status = _status(time_networks(request, again=options.again is not None))
    if options.again is not None:
        return status
    if options.yardsticks:
        from bench.measure import yardsticks

        for record in yardsticks.run(request.results, request.backend, request.device):
            print(yardsticks.line(record), flush=True)
    _write_report(request)
    return status


@bench.command()
@for_report
def report(options: Options) -> None:
    """Write the report of a results folder.

    It has pages, tables and figures, and covers every record in the folder. It counts and leaves
    out records of older code, and records of tasks and models that are not loaded.
    """
    _write_report(request_of(options))


@bench.command()
@click.argument("spec_id", metavar="ID")
@click.option("--json", is_flag=True, help="Print the record as JSON.")
@results
def show(spec_id: str, json: bool, results: Path) -> None:
    """Show the settings, the result and the cost of one run or timing.

    The last line is the command that repeats the run.

    ID is the beginning of the id of a run or of a timing.
    """
    from bench.core.store import Store
    from bench.run.show import screen

    store = Store(results)
    records, damaged = store.read_all()
    timed, damaged_speed = store.read_speed()
    warn_of_damaged(damaged + damaged_speed)
    found = [record for record in [*records, *timed] if record.spec.id.startswith(spec_id)]
    if not found:
        raise RequestError(
            f"no record in {results} has an id that begins with {spec_id!r}; --results names "
            "another folder, such as results/reference/cpu"
        )
    for record in found:
        print(record.model_dump_json(indent=1) if json else screen(record, results))


@bench.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
def pack(folder: Path) -> None:
    """Put the records of a folder into one file."""
    from bench.core.store import Store

    Store(folder).pack()


@bench.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
def unpack(folder: Path) -> None:
    """Write each record of a packed folder to a file of its own."""
    from bench.core.store import Store

    Store(folder).unpack()


@bench.command()
@for_verify
def verify(
    folder: Path, number: int, time_limit: float, seed: int | None, ids: tuple[str, ...]
) -> int:
    """Make recorded runs again and compare them bit for bit.

    Runs are drawn at random among those of this processor model and these library versions. Curves,
    test scores and numbers of updates must be the same. The exit status is 1 if a run differs.
    """
    import secrets

    from bench.run.verify import verify

    drawn = secrets.randbelow(10**6) if seed is None else seed
    return _status(verify(folder, number, seed=drawn, time_limit_s=60 * time_limit, ids=ids))


@bench.command()
@for_compare
def compare(
    a: Path,
    b: Path,
    models: tuple[str, str] | None,
    tolerance: float,
    fail_on_regression: bool,
    output: Path | None,
) -> int:
    """Compare two results folders.

    A holds the results before a change, B the results after it. To compare two models, A and B may
    be the same folder.
    """
    from bench import compare as comparing

    before, after = comparing.read(a, "A"), comparing.read(b, "B")
    warn_of_damaged([*before.damaged, *after.damaged])
    found = comparing.compare(before, after, models=models, tolerance=tolerance / 100)
    print(comparing.write_comparison(output or b / "comparison", found))
    if fail_on_regression and found.scores.empty and found.times.empty:
        raise RequestError("A and B have nothing in common, so no regression can be found")
    return EXIT_REGRESSION if fail_on_regression and found.num_regressions else EXIT_OK


@bench.command()
@for_tune
def tune(options: Options) -> int:
    """Choose learning rates from a sweep.

    A grid whose best rate is at its edge is extended, then best rates are refined where the profile
    says so. The best rate for each task and model is written to rates.toml in the results folder.
    """
    from bench.run.tune import sweep

    with connection(options):
        request = request_of(replace(options, profile=options.profile or "tuning"))
        return _status(sweep(request, replace(manner_of(options), timed=False, reported=False)))


@bench.command()
def fetch() -> int:
    """Download the data files of all tasks.

    Afterwards this machine needs no network.
    """
    import tasks
    from bench.run.request import unavailable

    every = [cls(**cls.smallest) for cls in map(tasks.task_class, tasks.names())]
    reasons = unavailable(every)
    for task in every:
        if task.sources not in reasons:
            print(f"{task.task_name()}: ready")
    for sources, reason in reasons.items():
        names = [task.task_name() for task in every if task.sources == sources]
        print(f"{', '.join(names)}: {message_of(reason)}", file=sys.stderr)
    return _status(not reasons)


def _status(succeeded: bool) -> int:
    return EXIT_OK if succeeded else EXIT_FAILED_RUNS


def _write_report(request: "Request") -> None:
    from bench.report.page import write_report

    print("writing the report …", file=sys.stderr, flush=True)
    print_styled(write_report(request.results, source_of(request)))


for _command in (choose, claim, confirm, export, sample):
    bench.add_command(_command)
