"""The runs of a command that may start; the runs of a ladder join them as shorter ones end."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.core.records import Record
from bench.core.spec import Spec
from bench.plan.grid import task_of
from bench.plan.ladder import Ladder, Results, longer_runs, most_left, next_runs, result_of
from bench.run.job import Job

Order = Callable[[Job], tuple[float, ...]]


def longest_first(job: Job) -> tuple[float, ...]:
    return (-job.estimate_s,)


def cheapest_first(job: Job) -> tuple[float, ...]:
    return (job.estimate_s,)


def breadth_first(job: Job) -> tuple[float, ...]:
    """The lowest rung of all ladders first, so that an interrupted command leaves whole ladders."""
    return (job.spec.length,)


class Queue:
    """Hands out one run after the other, in the given order.

    `jobs` are made whatever the others give. The runs of `ladders` follow from `results` and from
    the records that `end` adds. Runs with a second budget come last, the cheapest first.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        order: Order = longest_first,
        *,
        ladders: Sequence[Ladder] = (),
        results: Results | None = None,
        make_job: Callable[[Spec], Job] | None = None,
    ) -> None:
        self._waiting = {job.spec.id: job for job in sorted(jobs, key=order)}
        self._order = order
        self._ladders = ladders
        self._climbed = {key for one in ladders for key in one.ids}
        self._results = dict(results or {})
        self._make_job = make_job
        self._begun = dict(self._waiting)
        """Jobs that wait on their own or were handed out, and have not ended."""
        self._known: dict[str, Job] = {}

    @property
    def climbs(self) -> bool:
        """Whether runs may join it, or turn out not to be needed."""
        return bool(self._ladders)

    def has_next(self) -> bool:
        """Whether a run may start now. Later the answer may change, as other runs end."""
        return next(self._candidates(), None) is not None

    def take(self, fits: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """The first job that fits, if there is one; it is not handed out again."""
        for job in self._candidates():
            if fits(job):
                self._waiting.pop(job.spec.id, None)
                self._begun[job.spec.id] = job
                return job
        return None

    def put_back(self, job: Job) -> None:
        """Hand out the job of a run that has to be repeated once more, after the others."""
        self._waiting[job.spec.id] = job

    def end(self, record: Record) -> None:
        """Learn how a run ended, or that it cannot begin."""
        self._waiting.pop(record.spec.id, None)
        self._begun.pop(record.spec.id, None)
        if record.spec.id in self._climbed:
            self._results[record.spec.id] = result_of(record, task_of(record.spec).solved)

    def left(self) -> list[Job]:
        """All jobs that have not ended and may still be needed, those that run included."""
        climbing = {
            spec.id: spec for ladder in self._ladders for spec in most_left(ladder, self._results)
        }
        longer = longer_runs(self._ladders, self._results, self._begun)
        found = [self._job(spec) for key, spec in climbing.items() if key not in self._begun]
        return [*self._begun.values(), *found, *map(self._job, longer)]

    def _candidates(self) -> Iterator[Job]:
        if not self._ladders:
            yield from self._waiting.values()
            return
        due = next_runs(self._ladders, self._results, self._begun)
        climbing = sorted(map(self._job, due), key=self._order)
        yield from heapq.merge(self._waiting.values(), climbing, key=self._order)
        longer = longer_runs(self._ladders, self._results, self._begun)
        yield from sorted(map(self._job, longer), key=cheapest_first)

    def _job(self, spec: Spec) -> Job:
        assert self._make_job is not None
        if spec.id not in self._known:
            self._known[spec.id] = self._make_job(spec)
        return self._known[spec.id]
