"""What a command asks for: a plan, a backend, and the records already there."""

from collections.abc import Sequence
from pathlib import Path

import tasks
from bench import profile
from bench.backend import Backend, choose_device
from bench.errors import RequestError
from bench.estimate import Estimator
from bench.execute import Job, Setup, make_record
from bench.plan import Selection, load_plugin, make_plan, task_of
from bench.spec import Spec
from bench.store import Record, Store


class Request:
    """Resolved arguments of a command. Raises `RequestError` for whatever makes no sense."""

    def __init__(
        self,
        *,
        results: Path,
        device: str = "auto",
        profile_name: str | None = None,
        settings: Sequence[str] = (),
        plugins: Sequence[Path] = (),
        selection: Selection,
    ) -> None:
        self.device = choose_device(device)
        self.backend = Backend(device="cpu" if self.device == "cpu" else "cuda")
        self.profile_name = profile_name or ("quick" if self.device == "cpu" else "paper")
        self.profile = profile.load(self.profile_name, settings)
        self.plugins = tuple(path.resolve() for path in plugins)
        for path in self.plugins:
            load_plugin(path)
        self.plan = make_plan(self.profile, selection, source=self.profile_name)
        if results.exists() and not results.is_dir():
            raise RequestError(f"--results: {results} is not a folder")
        self.results = results
        self.store = Store(results)
        self.read()

    def read(self) -> None:
        """Read the records again."""
        self.records, self.damaged = self.store.read_all()

    def records_of(self, specs: Sequence[Spec], backend: Backend | None = None) -> list[Record]:
        """The records of these specs on one backend, in their order."""
        backend = backend or self.backend
        found = {r.spec.id: r for r in self.records if r.backend == backend}
        return [found[spec.id] for spec in specs if spec.id in found]

    def jobs(self, specs: Sequence[Spec]) -> list[Job]:
        """The runs among these that have not ended yet."""
        ended = {record.spec.id for record in self.records_of(specs) if record.finished}
        estimator = Estimator(self.backend, self.records)
        return [
            Job(spec=spec, estimate_s=estimator.seconds(spec))
            for spec in specs
            if spec.id not in ended
        ]

    @property
    def setup(self) -> Setup:
        """What a worker needs to know."""
        return Setup(
            results=self.results, backend=self.backend, device=self.device, plugins=self.plugins
        )

    def without_data(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Why a task's data can't be had, by task name; its runs are recorded as skipped."""
        reasons: dict[str, str] = {}
        for job in {job.spec.task.name: job for job in jobs}.values():
            try:
                task_of(job.spec).prepare()
            except tasks.DataUnavailable as error:
                reasons[job.spec.task.name] = str(error)
        for job in jobs:
            reason = reasons.get(job.spec.task.name)
            if reason is not None:
                self.store.write(make_record(job.spec, self.backend, "skipped", error=reason))
        return reasons
