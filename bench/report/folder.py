"""The records of a results folder → the source of its report."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from bench.core.backend import Backend
from bench.core.errors import RequestError
from bench.core.machine import fingerprint
from bench.core.records import Record, SampleRecord, SpeedRecord, YardstickRecord, one_of_each
from bench.core.store import Damaged
from bench.plan import rates
from bench.plan.coverage import covered, newest_timings, usable
from bench.plan.grid import Plan, Selection, thresholds
from bench.plan.labels import labels
from bench.plan.profile import Profile
from bench.report import reference
from bench.report.data import Source


class Found(Protocol):
    """What a results folder holds."""

    @property
    def records(self) -> Sequence[Record]: ...
    @property
    def speed(self) -> Sequence[SpeedRecord]: ...
    @property
    def yardsticks(self) -> Sequence[YardstickRecord]: ...
    @property
    def samples(self) -> Sequence[SampleRecord]: ...
    @property
    def damaged(self) -> Sequence[Damaged]: ...


def source_of(
    found: Found,
    *,
    plan: Plan,
    profile: Profile,
    profile_name: str,
    selection: Selection,
    backend: Backend,
) -> tuple[Source, list[str]]:
    """The source of a report, and warnings.

    Runs of all backends count. The times of runs are those of the backend with the most records.
    `backend` is that of this machine; without records it is reported, and its times come first.
    Raises `RequestError` if there are records and none of them can be reported.
    """
    records, left_out = usable(found.records)
    counts = Counter(record.backend for record in records)
    chosen = max(counts, key=lambda each: counts[each], default=backend)
    by_id = one_of_each(records, chosen)
    records = list(by_id.values())
    if found.records and not records:
        raise RequestError(f"no record can be reported: {'; '.join(left_out)}")
    plan = covered(plan, profile, selection, records)
    timed, older = newest_timings(found.speed, backend.name)
    ids = {spec.id for spec in plan.specs}
    slug = timed[0].machine.slug if timed else fingerprint().slug
    yardsticks = [record for record in found.yardsticks if record.machine.slug == slug]
    source = Source(
        profile_name=profile_name,
        profile_description=profile.description,
        caveat=profile.caveat,
        demonstration=profile.demonstration,
        reference=reference.answers() if profile.demonstration else {},
        with_published_settings=reference.runs_of_the_paper(),
        specs=plan.specs,
        labels=labels(plan.specs),
        thresholds=thresholds(plan.specs),
        records=[by_id[spec.id] for spec in plan.specs if spec.id in by_id],
        num_records=len(found.records),
        unsupported=[(each.task, each.model, each.reason) for each in plan.unsupported],
        damaged=found.damaged,
        speed=timed,
        yardsticks=sorted(yardsticks, key=lambda record: record.created),
        backend=chosen,
        studies=plan.studies,
        ladders=plan.ladders,
        sweep=rates.load(),
        samples=[each for each in found.samples if each.spec.id in ids],
    )
    return source, [*left_out, *plan.left_out, *older]
