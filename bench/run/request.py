"""The request of a command: plan, devices and results folder."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tasks
from bench.core.backend import Backend, choose_devices
from bench.core.errors import RequestError, StorageError
from bench.core.files import sweep, write_whole
from bench.core.records import Record
from bench.core.spec import SpeedSpec
from bench.core.store import Store
from bench.core.wording import counted
from bench.measure import weights
from bench.plan import plugins, profile
from bench.plan.coverage import is_current
from bench.plan.grid import (
    Plan,
    Selection,
    check_objectives,
    make_plan,
    make_speed_plan,
    task_of,
    thresholds,
)
from bench.plan.plugins import Plugin
from bench.plan.profile import Profile
from bench.plan.protocols import current_protocol, is_older
from bench.run.job import Job, Setup, failure, make_record
from bench.run.shard import Shard, part

REPORT_BYTES, RUN_BYTES = 20_000_000, 30_000
"""Disk space that a report and the record of one run may need."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The resolved arguments of a command."""

    results: Path
    devices: tuple[str, ...]
    backend: Backend
    profile_name: str
    profile: Profile
    plugins: tuple[Plugin, ...]
    selection: Selection
    shard: Shard | None
    plan: Plan
    speed_specs: tuple[SpeedSpec, ...]

    @property
    def device(self) -> str:
        return self.devices[0]

    @property
    def store(self) -> Store:
        return Store(self.results)

    @property
    def setup(self) -> Setup:
        return Setup(
            results=self.results,
            backend=self.backend,
            device=self.device,
            plugins=self.plugins,
            speed_seconds=self.profile.speed_seconds,
        )


def make_request(
    *,
    results: Path,
    selection: Selection,
    device: str = "auto",
    gpus: Sequence[str] | None = None,
    threads: int = 1,
    capture: bool = True,
    profile_name: str | None = None,
    settings: Sequence[str] = (),
    plugin_files: Sequence[Path] = (),
    shard: Shard | None = None,
    keep_weights: bool = False,
) -> Request:
    """Resolve the arguments of a command; raises `RequestError` for an invalid one.

    With `keep_weights` the weights of all runs are kept, not only those that the profile keeps.
    """
    devices = choose_devices(device, gpus)
    on_cpu = devices[0] == "cpu"
    loaded = tuple(plugins.load(path.resolve()) for path in plugin_files)
    profile_name = profile_name or ("quick" if on_cpu else "paper")
    chosen = profile.load(profile_name, settings)
    plan, speed_specs = _planned(chosen, profile_name, selection)
    if keep_weights:
        plan = replace(plan, kept=frozenset(plan.studies))  # the longer runs of ladders as well
    if shard is not None:
        plan = part(plan, shard)
    if results.exists() and not results.is_dir():
        raise RequestError(f"--results: {results} is not a folder")
    return Request(
        results=results,
        devices=devices,
        backend=Backend(
            device="cpu" if on_cpu else "cuda", threads=threads, capture=capture and not on_cpu
        ),
        profile_name=profile_name,
        profile=chosen,
        plugins=loaded,
        selection=selection,
        shard=shard,
        plan=plan,
        speed_specs=speed_specs,
    )


def _planned(
    chosen: Profile, source: str, selection: Selection
) -> tuple[Plan, tuple[SpeedSpec, ...]]:
    """What to train and what to time; `RequestError` if a plug-in raises an error."""
    try:
        plan = make_plan(chosen, selection, source=source)
        timed = make_speed_plan(chosen, selection, plan.specs, source=source)
        # So that an error in a plug-in is reported now, not after training.
        thresholds(plan.specs)
        check_objectives(plan.specs)
    except RequestError:
        raise
    except (Exception, SystemExit) as error:
        raise plugins.explained(error, "raises while runs are planned") from error
    return plan, timed


def again(request: Request, spec_id: str, *, keep_weights: bool = False) -> Request:
    """The same request for one recorded run or timing, chosen by the beginning of its id.

    Its weights are kept if they were kept before, or with `keep_weights`.
    """
    records, _ = request.store.read_all()
    timed, _ = request.store.read_speed()
    found = {
        record.spec.id: record.spec
        for record in [*records, *timed]
        if record.spec.id.startswith(spec_id)
    }
    if len(found) != 1:
        raise RequestError(
            f"--again: {len(found)} records in {request.results} have an id that begins with "
            f"{spec_id!r}; valid: the beginning of exactly one id"
        )
    (spec,) = found.values()
    if not is_current(spec):
        raise RequestError(
            f"--again: {spec.name} ({spec.id}) was made with another version of {spec.task.name} "
            f"or {spec.model.name}, or with a plug-in that --plugin does not name"
        )
    if is_older(spec):
        raise RequestError(
            f"--again: {spec.name} ({spec.id}) was made with protocol {spec.protocol}, and the "
            f"present code has protocol {current_protocol(spec)}, which computes other numbers"
        )
    nothing = Plan(specs=(), unsupported=(), studies={})
    if isinstance(spec, SpeedSpec):
        return replace(request, plan=nothing, speed_specs=(spec,))
    has_weights = weights.path(request.results, spec, request.backend).is_file()
    kept = frozenset({spec.id} if has_weights or keep_weights else ())
    return replace(request, plan=replace(nothing, specs=(spec,), kept=kept), speed_specs=())


def make_results(request: Request, num_runs: int = 0) -> None:
    """Make the results folder and check that it can take the records of this many runs.

    Removes temporary files of killed processes. Raises `RequestError` if the folder can't be made
    and `StorageError` if it can't be written to or its disk is too full.
    """
    folder = request.results
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"--results: can't make {folder}: {reason}") from None
    sweep(folder)
    trial = folder / ".trial"
    try:
        write_whole(trial, b"")
    finally:  # the file may exist although writing it failed
        with contextlib.suppress(OSError):
            trial.unlink()
    free, needed = shutil.disk_usage(folder).free, REPORT_BYTES + RUN_BYTES * num_runs
    if free < needed:
        raise StorageError(
            f"can't write {counted(num_runs, 'run')} and a report to {folder}: "
            f"{free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB are needed"
        )


def without_data(request: Request, jobs: Sequence[Job]) -> list[Record]:
    """Write a record with the reason for each job whose data are missing; returns these records."""
    errors = unavailable([task_of(job.spec) for job in jobs])
    records = []
    for job in jobs:
        error = errors.get(task_of(job.spec).sources)
        if error is None:
            continue
        if isinstance(error, tasks.DataUnavailable):
            record = make_record(job.spec, request.backend, "skipped", error=str(error))
        else:
            explained = failure(error, request.setup)
            record = make_record(job.spec, request.backend, "failed", **explained)
        request.store.write(record)
        records.append(record)
    return records


def unavailable(wanted: Sequence[tasks.Task]) -> dict[str, BaseException]:
    """Prepare the data of tasks; `Task.sources` → the error, for data that can't be had."""
    errors: dict[str, BaseException] = {}
    for task in {task.sources: task for task in wanted}.values():
        try:
            task.prepare()
        except (Exception, SystemExit) as error:
            errors[task.sources] = error
    return errors
