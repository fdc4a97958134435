"""What a command asks for: a plan, a backend, and the records already there."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tasks
from bench.core.backend import Backend, choose_devices
from bench.core.errors import RequestError, StorageError, message_of
from bench.core.files import sweep, write_whole
from bench.core.machine import fingerprint
from bench.core.records import Record, SpeedRecord, Summary, YardstickRecord
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Damaged, Store
from bench.measure import samples, weights
from bench.plan import plugins, profile
from bench.plan.grid import Plan, Selection, make_plan, make_speed_plan, task_of, thresholds
from bench.run.estimate import Estimator
from bench.run.job import Job, Setup, make_record
from bench.run.shard import Shard, part

REPORT_BYTES, RUN_BYTES = 20_000_000, 30_000
"""Room on disk that a report, or the record of a run, may take."""


class Request:
    """Resolved arguments of a command. Raises `RequestError` for whatever makes no sense."""

    def __init__(
        self,
        *,
        results: Path,
        device: str = "auto",
        gpus: Sequence[str] | None = None,
        threads: int = 1,
        capture: bool = True,
        profile_name: str | None = None,
        settings: Sequence[str] = (),
        plugin_files: Sequence[Path] = (),
        selection: Selection,
        shard: Shard | None = None,
    ) -> None:
        self.devices = choose_devices(device, gpus)
        self.device = self.devices[0]
        self.backend = Backend(
            device="cpu" if self.device == "cpu" else "cuda",
            threads=threads,
            capture=capture and self.device != "cpu",
        )
        self.plugins = tuple(plugins.load(path.resolve()) for path in plugin_files)
        self.profile_name = profile_name or ("quick" if self.device == "cpu" else "paper")
        self.profile = profile.load(self.profile_name, settings)
        self.shard = shard
        self.plan, self.speed_specs = self._planned(selection)
        if shard is not None:
            self.plan = replace(self.plan, specs=part(self.plan.specs, shard))
        if results.exists() and not results.is_dir():
            raise RequestError(f"--results: {results} is not a folder")
        self.results = results
        self.store = Store(results)
        self.records: Sequence[Record] = ()
        self.summaries: Sequence[Summary] = ()
        self.speed_records: Sequence[SpeedRecord] = ()
        self.yardsticks: Sequence[YardstickRecord] = ()
        self.damaged: Sequence[Damaged] = ()

    def _planned(self, selection: Selection) -> tuple[Plan, tuple[SpeedSpec, ...]]:
        """What to run and what to time; `RequestError` where a plug-in raises meanwhile."""
        try:
            plan = make_plan(self.profile, selection, source=self.profile_name)
            timed = make_speed_plan(self.profile, selection, plan.specs, source=self.profile_name)
            thresholds(plan.specs)  # what else of a task's own is asked for in this process
        except RequestError:
            raise
        except (Exception, SystemExit) as error:
            raise plugins.explained(error, "raises while runs are planned") from error
        return plan, timed

    def make_results(self, num_runs: int = 0) -> None:
        """Make the results folder and try whether it holds what so many runs will write.

        What killed writers have left in it is removed. Raises `RequestError` where it can't be
        made, `StorageError` where nothing can be written.
        """
        try:
            self.results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise RequestError(f"--results: can't make {self.results}: {reason}") from None
        sweep(self.results)
        trial = self.results / ".trial"
        try:
            write_whole(trial, b"")
        finally:
            with contextlib.suppress(OSError):
                trial.unlink()
        free, needed = shutil.disk_usage(self.results).free, REPORT_BYTES + RUN_BYTES * num_runs
        if free < needed:
            raise StorageError(
                f"can't write {num_runs} runs and a report to {self.results}: "
                f"{free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB are needed"
            )

    def read(self) -> None:
        """Read the records, or read them again."""
        self.records, damaged = self.store.read_all()
        self.summaries = self.records
        self._read_times(damaged)

    def glance(self) -> None:
        """Read of the training records what `jobs` asks for, and no more."""
        self.summaries, damaged = self.store.read_summaries()
        self._read_times(damaged)

    def _read_times(self, damaged: Sequence[Damaged]) -> None:
        self.speed_records, damaged_speed = self.store.read_speed()
        self.yardsticks, damaged_yardsticks = self.store.read_yardsticks()
        self.samples, damaged_samples = samples.read_all(self.store)
        self.damaged = [*damaged, *damaged_speed, *damaged_yardsticks, *damaged_samples]

    def records_of(self, specs: Sequence[Spec], backend: Backend | None = None) -> list[Record]:
        """The records of these specs on one backend, in their order."""
        backend = backend or self.backend
        found = {r.spec.id: r for r in self.records if r.backend == backend}
        return [found[spec.id] for spec in specs if spec.id in found]

    def jobs(self, specs: Sequence[Spec]) -> list[Job]:
        """The runs among these that have not ended yet."""
        ended = {
            record.spec.id
            for record in self.summaries
            if record.backend == self.backend and record.finished and self._has_weights(record)
        }
        waiting = [spec for spec in specs if spec.id not in ended]
        estimator = Estimator(self.backend, self.summaries if waiting else ())
        scouts = estimator.scouts(waiting)
        return [
            Job(
                spec=spec,
                estimate_s=estimator.seconds(spec),
                memory_bytes=estimator.memory_bytes(spec),
                scout=spec.id in scouts,
                keep_weights=spec.id in self.plan.kept,
            )
            for spec in waiting
        ]

    def _has_weights(self, record: Summary) -> bool:
        """Whether the weights are there, where they are wanted and there are any."""
        if record.spec.id not in self.plan.kept or record.outcome is None:
            return True
        return weights.path(self.results, record.spec, record.backend).is_file()

    def speed_jobs(self) -> list[SpeedSpec]:
        """What has not been timed yet on this machine."""
        slug = fingerprint().slug
        ended = {
            record.spec.id
            for record in self.speed_records
            if record.finished and record.backend == self.backend and record.machine.slug == slug
        }
        return [spec for spec in self.speed_specs if spec.id not in ended]

    def speed_of_one_machine(self) -> list[SpeedRecord]:
        """What is planned, from the one machine and backend with the most of these records.

        Times of two machines don't belong in one table; between equals this machine is taken.
        """
        planned = {spec.id for spec in self.speed_specs}
        by_machine: dict[tuple[bool, str, str], list[SpeedRecord]] = {}
        here = fingerprint().slug
        for record in self.speed_records:
            if record.spec.id in planned:
                slug = record.machine.slug
                key = slug == here and record.backend == self.backend, record.backend.name, slug
                by_machine.setdefault(key, []).append(record)
        every = sorted(by_machine.items(), key=lambda entry: (len(entry[1]), entry[0]))
        return every[-1][1] if every else []

    def yardsticks_of_one_machine(self) -> list[YardstickRecord]:
        """The comparisons of the machine whose times the report gives, in the order of making."""
        timed = self.speed_of_one_machine()
        slug = timed[0].machine.slug if timed else fingerprint().slug
        here = [record for record in self.yardsticks if record.machine.slug == slug]
        return sorted(here, key=lambda record: record.created)

    @property
    def setup(self) -> Setup:
        """What a worker needs to know."""
        return Setup(
            results=self.results, backend=self.backend, device=self.device, plugins=self.plugins
        )

    def with_data(self, jobs: Sequence[Job]) -> list[Job]:
        """The runs whose task has its data; the others are recorded as skipped, with the reason.

        Where a plug-in raises instead of looking for its data, they have failed.
        """
        reasons = unavailable([task_of(job.spec) for job in jobs])
        ready = []
        for job in jobs:
            error = reasons.get(task_of(job.spec).sources)
            if error is None:
                ready.append(job)
                continue
            skipped = isinstance(error, tasks.DataUnavailable)
            reason = (
                message_of(error) if skipped else f"{type(error).__name__}: {message_of(error)}"
            )
            status = "skipped" if skipped else "failed"
            self.store.write(make_record(job.spec, self.backend, status, error=reason))
        return ready


def unavailable(wanted: Sequence[tasks.Task]) -> dict[str, BaseException]:
    """What a task reads (`Task.sources`) → why it can't be had, where that is so."""
    found: dict[str, BaseException | None] = {}
    for task in wanted:
        if task.sources not in found:
            try:
                task.prepare()
                found[task.sources] = None
            except (Exception, SystemExit) as error:
                found[task.sources] = error
    return {sources: error for sources, error in found.items() if error is not None}
