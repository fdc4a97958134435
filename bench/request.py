"""What a command asks for: a plan, a backend, and the records already there."""

from collections.abc import Sequence
from pathlib import Path

import tasks
from bench import profile
from bench.backend import Backend, choose_device
from bench.errors import RequestError
from bench.estimate import Estimator
from bench.execute import Job, Setup, make_record
from bench.machine import fingerprint
from bench.plan import Selection, load_plugin, make_plan, make_speed_plan, task_of
from bench.spec import Spec, SpeedSpec
from bench.store import Damaged, Record, SpeedRecord, Store, Summary, YardstickRecord


class Request:
    """Resolved arguments of a command. Raises `RequestError` for whatever makes no sense."""

    def __init__(
        self,
        *,
        results: Path,
        device: str = "auto",
        threads: int = 1,
        capture: bool = True,
        profile_name: str | None = None,
        settings: Sequence[str] = (),
        plugins: Sequence[Path] = (),
        selection: Selection,
    ) -> None:
        self.device = choose_device(device)
        self.backend = Backend(
            device="cpu" if self.device == "cpu" else "cuda",
            threads=threads,
            capture=capture and self.device != "cpu",
        )
        self.profile_name = profile_name or ("quick" if self.device == "cpu" else "paper")
        self.profile = profile.load(self.profile_name, settings)
        self.plugins = tuple(path.resolve() for path in plugins)
        for path in self.plugins:
            load_plugin(path)
        self.plan = make_plan(self.profile, selection, source=self.profile_name)
        self.speed_specs = make_speed_plan(
            self.profile, selection, self.plan.specs, source=self.profile_name
        )
        if results.exists() and not results.is_dir():
            raise RequestError(f"--results: {results} is not a folder")
        self.results = results
        self.store = Store(results)
        self.records: Sequence[Record] = ()
        self.summaries: Sequence[Summary] = ()
        self.speed_records: Sequence[SpeedRecord] = ()
        self.yardsticks: Sequence[YardstickRecord] = ()
        self.damaged: Sequence[Damaged] = ()

    def make_results(self) -> None:
        """Make the results folder; raises `RequestError` where that can't be."""
        try:
            self.results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise RequestError(f"--results: can't make {self.results}: {reason}") from None

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
        self.damaged = [*damaged, *damaged_speed, *damaged_yardsticks]

    def records_of(self, specs: Sequence[Spec], backend: Backend | None = None) -> list[Record]:
        """The records of these specs on one backend, in their order."""
        backend = backend or self.backend
        found = {r.spec.id: r for r in self.records if r.backend == backend}
        return [found[spec.id] for spec in specs if spec.id in found]

    def jobs(self, specs: Sequence[Spec]) -> list[Job]:
        """The runs among these that have not ended yet."""
        here = [record for record in self.summaries if record.backend == self.backend]
        ended = {record.spec.id for record in here if record.finished}
        waiting = [spec for spec in specs if spec.id not in ended]
        estimator = Estimator(self.backend, here if waiting else ())
        return [Job(spec=spec, estimate_s=estimator.seconds(spec)) for spec in waiting]

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
        """The runs whose task has its data; the others are recorded as skipped, with the reason."""
        reasons = unavailable([task_of(job.spec) for job in jobs])
        ready = []
        for job in jobs:
            reason = reasons.get(job.spec.task.name)
            if reason is None:
                ready.append(job)
            else:
                self.store.write(make_record(job.spec, self.backend, "skipped", error=reason))
        return ready


def unavailable(wanted: Sequence[tasks.Task]) -> dict[str, str]:
    """Task name → why its data can't be had, for those where that is so."""
    # Tasks that prepare by the same function read the same files: one attempt is enough.
    found: dict[object, str | None] = {}
    for task in wanted:
        if type(task).prepare not in found:
            try:
                task.prepare()
                found[type(task).prepare] = None
            except tasks.DataUnavailable as error:
                found[type(task).prepare] = str(error)
    reasons = {task.task_name(): found[type(task).prepare] for task in wanted}
    return {name: reason for name, reason in reasons.items() if reason is not None}
