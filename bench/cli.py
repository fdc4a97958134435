"""The command line: `python -m bench VERB`.

Exit status: 0 all well, 1 some run failed (the rest are there), a file could not be written or a
comparison found the regression it was asked for, 2 the request makes no sense, 130 interrupted,
143 terminated.
"""

import argparse
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from bench.core.errors import RequestError, StorageError, message_of, one_line
from bench.options import EXIT_BAD_REQUEST, Verb, parser_of

if TYPE_CHECKING:
    from bench.core.spec import Spec
    from bench.core.store import Damaged
    from bench.run.job import Job
    from bench.run.request import Request

EXIT_OK, EXIT_FAILED_RUNS, EXIT_REGRESSION = 0, 1, 1
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser_of(VERBS).parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        return options.verb(options)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except _Terminated:
        print("terminated; the same command goes on where it stopped", file=sys.stderr)
        return EXIT_TERMINATED
    except StorageError as error:
        print(f"error: {error}; with room, the same command goes on", file=sys.stderr)
        return EXIT_FAILED_RUNS
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_REQUEST
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nothing is left to say
        return EXIT_OK
    finally:
        signal.signal(signal.SIGTERM, before)


class _Terminated(BaseException):
    """SIGTERM: what is under way is ended in order."""


def _terminated(number: int, frame: object) -> None:
    raise _Terminated


def _list(options: argparse.Namespace) -> int:
    from bench.plan import catalogue

    sections = {
        "tasks": catalogue.first_lines("tasks"),
        "models": catalogue.first_lines("models"),
        "profiles": catalogue.profiles(),
    }
    width = max(len(name) for entries in sections.values() for name in entries)
    for title, entries in sections.items():
        print(title)
        for name, line in entries.items():
            print(f"  {name:{width}}  {line}")
    return EXIT_OK


def _plan(options: argparse.Namespace) -> int:
    request = _request(options, whole=False)
    rows: dict[tuple[str, str], list[Spec]] = {}
    for spec in request.plan.specs:
        rows.setdefault((spec.task.name, spec.model.name), []).append(spec)
    jobs = request.jobs(request.plan.specs)
    waiting = {job.spec.id for job in jobs}
    print(f"{'task':16} {'model':10} {'runs':>5} {'there':>6}  lengths")
    for (task, model), specs in rows.items():
        there = sum(spec.id not in waiting for spec in specs)
        lengths = " ".join(str(length) for length in sorted({spec.length for spec in specs}))
        print(f"{task:16} {model:10} {len(specs):5} {there:6}  {lengths}")
    for missing in request.plan.unsupported:
        print(f"{missing.task:16} {missing.model:10} not supported: {missing.reason}")
    print(_outlook(request, jobs, options))
    return EXIT_OK


def _run(options: argparse.Namespace) -> int:
    with _cluster(options):
        request = _request(options)
        jobs = request.jobs(request.plan.specs)
        print(_outlook(request, jobs, options), file=sys.stderr)
        ended = _execute(request, request.plan.specs, options)
    if request.shard is not None:
        how = f"python -m bench report --profile {request.profile_name} --results {request.results}"
        said = f"shard {request.shard} has ended; once all have, {how} makes the report"
        print(f"{said}, with this command's selectors", file=sys.stderr)
        return ended
    # Times count for the machine that they are taken on, which a cluster does not say.
    if not options.no_speed and options.ray is None:
        ended = max(ended, _time(request))
    _write_report(request)
    return ended


def _cluster(options: argparse.Namespace) -> AbstractContextManager[None]:
    """The connection to a cluster, where one is asked for."""
    if options.ray is None:
        return nullcontext()
    from bench.run import cluster

    return cluster.connected(options.ray)


def _speed(options: argparse.Namespace) -> int:
    request = _request(options)
    _make_ready(request)
    ended = _time(request)
    if options.yardsticks:
        from bench.measure import yardsticks

        for record in yardsticks.run(request.results, request.backend, request.device):
            print(yardsticks.line(record), flush=True)
        request.read()
    _write_report(request)
    return ended


def _time(request: "Request") -> int:
    """Take the times that are not there yet, one after the other."""
    from tqdm import tqdm

    from bench.run.job import measure
    from bench.run.progress import speed_line

    specs = request.speed_jobs()
    there = len(request.speed_specs) - len(specs)
    print(f"timing: {len(request.speed_specs)} networks, {there} already there", file=sys.stderr)
    hidden = not sys.stderr.isatty()
    bar = tqdm(total=len(specs), unit="network", disable=hidden, dynamic_ncols=True)
    failed = False
    with bar:
        for number, record in enumerate(measure(specs, request.setup), 1):
            failed |= record.status == "failed"
            bar.update()
            if hidden:
                print(f"[{number}/{len(specs)}] {speed_line(record)}", file=sys.stderr)
            else:
                bar.set_postfix_str(speed_line(record))
    request.read()
    return EXIT_FAILED_RUNS if failed else EXIT_OK


def _report(options: argparse.Namespace) -> int:
    request = _request(options)
    _write_report(request)
    return EXIT_OK


def _show(options: argparse.Namespace) -> int:
    from bench.core.store import Store

    store = Store(options.results)
    records, damaged = store.read_all()
    timed, damaged_speed = store.read_speed()
    _tell_damaged(damaged + damaged_speed)
    found = [record for record in [*records, *timed] if record.spec.id.startswith(options.id)]
    if not found:
        raise RequestError(f"no record in {options.results} has an id that begins {options.id!r}")
    for record in found:
        print(record.model_dump_json(indent=1))
    return EXIT_OK


def _sample(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from bench.core.store import Store
    from bench.measure import samples
    from bench.plan.grid import task_of

    records, damaged = Store(options.results).read_all()
    _tell_damaged(damaged)
    record = samples.choose(options.results, records, options.model, options.task, options.length)
    wanted = samples.Wanted(
        number=options.number,
        steps=options.steps,
        condition=options.condition,
        prompt=options.prompt,
        temperature=options.temperature,
        seed=options.seed,
        cached=not options.naive,
        judged=options.judge,
    )
    num_steps = options.steps or task_of(record.spec).signature.num_steps
    hidden = not sys.stderr.isatty()
    with tqdm(total=num_steps, unit="step", disable=hidden, dynamic_ncols=True) as bar:
        made, y, condition = samples.draw(
            options.results, record, wanted, lambda done: bar.update(done - bar.n)
        )
    for path in samples.save(options.results, made, y, condition):
        print(path)
    if made.agreement is not None:
        print(samples.agreement_line(made.agreement))
    return EXIT_OK


def _compare(options: argparse.Namespace) -> int:
    from bench.compare import compare, read, write_comparison

    a, b = read(options.a, "A"), read(options.b, "B")
    _tell_damaged([*a.damaged, *b.damaged])
    models = None if options.models is None else tuple(options.models)
    found = compare(a, b, models=models, tolerance=options.tolerance / 100)
    print(write_comparison(options.output or options.b / "comparison", found))
    if not options.fail_on_regression:
        return EXIT_OK
    if found.scores.empty and found.times.empty:
        raise RequestError("A and B have nothing in common: no regression can be seen")
    return EXIT_REGRESSION if found.num_regressions else EXIT_OK


def _tune(options: argparse.Namespace) -> int:
    from bench.plan import rates
    from bench.run import tune

    with _cluster(options):
        request = _request(options)
        jobs = request.jobs(request.plan.specs)
        print(_outlook(request, jobs, options), file=sys.stderr)
        specs = list(request.plan.specs)
        while True:
            ended = _execute(request, specs, options)
            if ended == EXIT_OK and request.jobs(specs):
                print("the sweep is not complete: no rates are chosen yet", file=sys.stderr)
                return ended
            choices = tune.choose(request.records_of(specs))
            further = tune.beyond_the_edge(specs, choices)
            if ended != EXIT_OK or not further:
                break
            print(f"{len(further)} runs more: a choice at the edge of its grid", file=sys.stderr)
            specs += further
    sweep = rates.Sweep(records=str(request.results), rates=choices)
    path = rates.write(request.results / "rates.toml", sweep)
    print(f"\n{path.read_text()}\nwritten to {path}")
    return ended


def _fetch(options: argparse.Namespace) -> int:
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
    return EXIT_FAILED_RUNS if reasons else EXIT_OK


def _request(options: argparse.Namespace, *, whole: bool = True) -> "Request":
    """What is asked for, the records read; without `whole` only as far as a plan needs them."""
    from bench.plan.grid import Selection
    from bench.run.request import Request

    gpus = None
    if getattr(options, "ray", None) is not None:
        from bench.run import cluster

        gpus = cluster.gpus()
    request = Request(
        device=options.device,
        gpus=gpus,
        threads=options.threads,
        capture=not options.eager,
        profile_name=options.profile,
        settings=options.set,
        plugin_files=options.plugin,
        results=options.results,
        selection=Selection(
            tasks=tuple(options.task),
            models=tuple(options.model),
            lengths=tuple(options.length),
            seeds=tuple(options.seed),
        ),
        shard=getattr(options, "shard", None),
    )
    for plugin in request.plugins:
        if plugin.broken is not None:
            said = f"{plugin.path} {plugin.how}: {plugin.broken}"
            print(f"warning: {said}; its runs fail", file=sys.stderr)
    if whole:
        request.read()
    else:
        request.glance()
    _tell_damaged(request.damaged)
    return request


def _tell_damaged(damaged: "Sequence[Damaged]") -> None:
    for file in damaged:
        path = one_line(str(file.path))
        print(f"warning: {path} is no record: {file.reason}", file=sys.stderr)


def _num_workers(request: "Request", options: argparse.Namespace) -> int:
    """As asked for; else one a core, on GPUs `--per-gpu` each."""
    from bench.core.backend import num_cores

    if getattr(options, "workers", None):
        return options.workers
    if getattr(options, "ray", None) is not None:
        from bench.run import cluster

        return cluster.num_slots(request.backend, getattr(options, "per_gpu", None) or 1)
    if request.device == "cpu":
        return max(num_cores() // request.backend.threads, 1)
    return len(request.devices) * getattr(options, "per_gpu", 1)


def _outlook(request: "Request", jobs: "Sequence[Job]", options: argparse.Namespace) -> str:
    """What is planned, what is there, and how long the rest, the `jobs`, takes."""
    from bench.run.progress import duration

    num_workers = _num_workers(request, options)
    there = len(request.plan.specs) - len(jobs)
    shard = "" if request.shard is None else f", shard {request.shard}"
    line = f"profile {request.profile_name}{shard}: {len(request.plan.specs)} runs"
    line += f", {there} already there"
    if not jobs:
        return f"{line}; nothing to do"
    seconds = sum(job.estimate_s for job in jobs) / min(num_workers, len(jobs))
    return (
        f"{line}; the rest takes about {duration(seconds)} on {request.device}, "
        f"{num_workers} at once. Less: PROFILE=smoke or quick, --task, --model, --length, "
        "--set max_steps=N, --time-limit MINUTES"
    )


def _make_ready(request: "Request", num_runs: int = 0) -> None:
    """Make the results folder and move what is no record out of the way."""
    request.make_results(num_runs)
    for file in request.damaged:
        aside = request.store.set_aside(file)
        if aside is not None:
            print(f"set aside as {one_line(str(aside))}; it is made again", file=sys.stderr)


def _execute(request: "Request", specs: "Sequence[Spec]", options: argparse.Namespace) -> int:
    """Make the runs that are not there; what fails is in its record and in the status."""
    from bench.core.backend import room_bytes
    from bench.measure.checkpoint import remove_leftovers
    from bench.run.estimate import Estimator
    from bench.run.progress import ProgressBar, duration
    from bench.run.workers import Limits, execute

    jobs = request.jobs(specs)
    _make_ready(request, len(jobs))
    remove_leftovers(request.results, request.records)
    here = options.ray is None
    if here:
        jobs = request.with_data(jobs)  # the nodes of a cluster look for it themselves
    limits = Limits(
        num_workers=_num_workers(request, options),
        room={device: room_bytes(device) for device in request.devices} if jobs and here else None,
        time_limit_s=None if options.time_limit is None else 60 * options.time_limit,
        run_timeout_s=None if options.run_timeout is None else 60 * options.run_timeout,
    )
    bar = ProgressBar(jobs, limits.num_workers, Estimator(request.backend, request.records))
    begin = time.monotonic()
    try:
        if here:
            execute(jobs, request.setup, limits, bar)
        else:
            from bench.run import cluster

            fixed = options.workers is not None
            cluster.execute(jobs, request.setup, limits, bar, per_gpu=options.per_gpu, fixed=fixed)
    finally:
        bar.close()
    request.read()
    left = bar.forecast.num_left
    print(
        f"{len(jobs) - left} runs in {duration(time.monotonic() - begin)}"
        + (f"; {left} left, the same command goes on" if left else ""),
        file=sys.stderr,
    )
    failed = any(record.status == "failed" for record in request.records_of(specs))
    return EXIT_FAILED_RUNS if failed else EXIT_OK


def _write_report(request: "Request") -> None:
    """For the backend that has most of the plan's records; the others are named."""
    from collections import Counter

    from bench.plan import rates
    from bench.plan.grid import thresholds
    from bench.plan.labels import labels
    from bench.report.page import Source, write_report

    specs = request.plan.specs
    planned = {spec.id for spec in specs}
    counts = Counter(record.backend for record in request.records if record.spec.id in planned)
    backend = max(counts, key=lambda backend: counts[backend], default=request.backend)
    source = Source(
        profile_name=request.profile_name,
        profile_description=request.profile.description,
        caveat=request.profile.caveat,
        num_records=len(request.records),
        specs=specs,
        labels=labels(specs),
        thresholds=thresholds(specs),
        records=request.records_of(specs, backend),
        unsupported=[(m.task, m.model, m.reason) for m in request.plan.unsupported],
        damaged=request.damaged,
        speed=request.speed_of_one_machine(),
        yardsticks=request.yardsticks_of_one_machine(),
        other_backends=[other.name for other in counts if other != backend],
        studies=request.plan.studies,
        sweep=rates.load(),
        samples=[each for each in request.samples if each.spec.id in planned],
    )
    print(write_report(request.results, source))


VERBS: Mapping[str, Verb] = {
    "list": _list,
    "plan": _plan,
    "run": _run,
    "speed": _speed,
    "report": _report,
    "show": _show,
    "sample": _sample,
    "compare": _compare,
    "tune": _tune,
    "fetch": _fetch,
}
