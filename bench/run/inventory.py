"""What a results folder holds, and which runs and timings it lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.core.backend import Backend
from bench.core.machine import fingerprint
from bench.core.records import Record, SampleRecord, SpeedRecord, YardstickRecord, one_of_each
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Damaged
from bench.measure import samples, weights
from bench.plan.grid import make_speed_plan, thresholds
from bench.plan.ladder import Result, most_left, results_of
from bench.run.estimate import Estimator
from bench.run.job import Job
from bench.run.request import Request


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The records of a results folder."""

    records: Sequence[Record]
    speed: Sequence[SpeedRecord]
    yardsticks: Sequence[YardstickRecord]
    samples: Sequence[SampleRecord]
    damaged: Sequence[Damaged]
    """Files that are not valid records."""

    def of(self, specs: Sequence[Spec], backend: Backend) -> list[Record]:
        """One training record of each spec that has any, if possible of this backend."""
        found = one_of_each(self.records, backend)
        return [found[spec.id] for spec in specs if spec.id in found]


def read(request: Request) -> Inventory:
    records, damaged = request.store.read_all()
    speed, damaged_speed = request.store.read_speed()
    yardsticks, damaged_yardsticks = request.store.read_yardsticks()
    drawn, damaged_samples = samples.read_all(request.store)
    return Inventory(
        records=records,
        speed=speed,
        yardsticks=yardsticks,
        samples=drawn,
        damaged=[*damaged, *damaged_speed, *damaged_yardsticks, *damaged_samples],
    )


def waiting_specs(request: Request, inventory: Inventory, specs: Sequence[Spec]) -> list[Spec]:
    """The specs without a finished record, or without weights that should have been kept.

    A record of another device counts, so that a GPU continues what a CPU began.

    The runs of ladders that are not needed any more are among them; see `needed_specs`.
    """
    ended = {record.spec.id for record in _ended(request, inventory)}
    return [spec for spec in specs if spec.id not in ended]


def needed_specs(request: Request, inventory: Inventory, specs: Sequence[Spec]) -> list[Spec]:
    """The waiting specs, without those that their ladder cannot need any more."""
    results = ladder_results(request, inventory)
    may_follow = {spec.id for ladder in request.plan.ladders for spec in most_left(ladder, results)}
    return [
        spec
        for spec in waiting_specs(request, inventory, specs)
        if spec.id in may_follow or spec.id not in request.plan.only_climbed
    ]


def ladder_results(request: Request, inventory: Inventory) -> dict[str, Result]:
    """Spec id → how the run of a ladder ended, for all that have ended."""
    climbed = {key for ladder in request.plan.ladders for key in ladder.ids}
    records = [each for each in _ended(request, inventory) if each.spec.id in climbed]
    return results_of(records, thresholds([record.spec for record in records]))


def _ended(request: Request, inventory: Inventory) -> list[Record]:
    found = one_of_each(inventory.records, request.backend).values()
    return [record for record in found if record.finished and _has_weights(request, record)]


def _has_weights(request: Request, record: Record) -> bool:
    file = weights.path(request.results, record.spec, record.backend)
    return record.spec.id not in request.plan.kept or file.is_file()


def job_maker(
    request: Request, inventory: Inventory, specs: Sequence[Spec], *, calibrate: bool
) -> Callable[[Spec], Job]:
    """A function that makes the job of a spec, with estimates of its time and its memory.

    With `calibrate`, the models of these specs that have no records of this machine are timed
    briefly.
    """
    estimator = Estimator(request.backend, inventory.records if specs else ())
    if calibrate:
        estimator.calibrate(specs, request.device)

    def make_job(spec: Spec) -> Job:
        return Job(
            spec=spec,
            estimate_s=estimator.seconds(spec),
            memory_bytes=estimator.memory_bytes(spec),
            keep_weights=spec.id in request.plan.kept,
        )

    return make_job


def timings_here(request: Request, inventory: Inventory) -> dict[str, SpeedRecord]:
    """Spec id → its successful timing on this machine."""
    slug = fingerprint().slug
    return {
        record.spec.id: record
        for record in inventory.speed
        if record.finished and record.backend == request.backend and record.machine.slug == slug
    }


def timed_specs(request: Request, inventory: Inventory) -> list[SpeedSpec]:
    """The networks to time, without those of lengths that no ladder has climbed."""
    plan, made = request.plan, {record.spec.id for record in inventory.records}
    if not plan.only_climbed:
        return list(request.speed_specs)
    trained = [each for each in plan.specs if each.id in made or each.id not in plan.only_climbed]
    asked = make_speed_plan(request.profile, request.selection, trained)
    ids = {spec.id for spec in asked}
    return [spec for spec in request.speed_specs if spec.id in ids]


def waiting_timings(request: Request, inventory: Inventory) -> list[SpeedSpec]:
    """The networks that have not been timed on this machine in as many processes as asked for."""
    here, asked = timings_here(request, inventory), request.profile.speed_rounds
    ended = {spec_id for spec_id, record in here.items() if num_timed([record]) >= asked}
    return [spec for spec in timed_specs(request, inventory) if spec.id not in ended]


def continued(
    request: Request, inventory: Inventory, specs: Sequence[SpeedSpec]
) -> list[SpeedRecord]:
    """The unfinished timings of these networks, as far as the checked-out commit made them.

    The times of one record never come from two versions of the code.
    """
    here, commit = timings_here(request, inventory), fingerprint().commit
    found = [here[spec.id] for spec in specs if spec.id in here]
    return [record for record in found if record.machine.commit == commit]


def num_timed(records: Sequence[SpeedRecord]) -> int:
    """How many processes took the times of these records."""
    return sum(record.speed.num_processes for record in records if record.speed is not None)
