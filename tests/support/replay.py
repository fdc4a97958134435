"""A bench played again in simulated time, as its records say it went."""

import heapq
from collections.abc import Iterable, Sequence

from bench.core.records import Record
from bench.run.estimate import Estimator
from bench.run.job import Event, Job
from bench.run.progress import Forecast


def forecasts(
    records: Sequence[Record],
    *,
    num_workers: int,
    known: Iterable[Record] = (),
    slower: float = 1.0,
) -> list[tuple[float, float]]:
    """(share of the whole time passed, forecast over actual time left) whenever a run ends.

    The runs go the longest first, by estimate, each taking `slower` times what it took; `known`
    are records of before.
    """
    backend = records[0].backend
    by_id = {record.spec.id: record for record in records}
    known = list(known)
    estimator = Estimator(backend, known)
    scouts = estimator.scouts(record.spec for record in records)
    jobs = [
        Job(spec=r.spec, estimate_s=estimator.seconds(r.spec), scout=r.spec.id in scouts)
        for r in records
    ]
    jobs.sort(key=lambda job: job.rank)
    forecast = Forecast(jobs, num_workers, estimator)
    waiting = [by_id[job.spec.id] for job in jobs]
    events: list[tuple[float, int, Event]] = []
    now, number, end = 0.0, 0, 0.0
    made: list[tuple[float, float]] = []

    def start() -> None:
        nonlocal number, end
        record = waiting.pop(0)
        outcome = record.outcome
        assert outcome is not None
        for point in outcome.curve:
            step = Event(
                spec=record.spec, step=point.step, max_steps=record.spec.training.max_steps
            )
            heapq.heappush(events, (now + slower * point.seconds, number, step))
            number += 1
        end = now + slower * outcome.total_seconds
        heapq.heappush(events, (end, number, Event(spec=record.spec, record=record)))
        number += 1

    for _ in range(min(num_workers, len(waiting))):
        start()
    while events:
        now, _, event = heapq.heappop(events)
        forecast.learn(event, now)
        if event.record is not None and waiting:
            start()
        if event.record is not None:
            made.append((now, forecast.seconds_left(now)))
    return [(at / now, left / (now - at)) for at, left in made if at < now]
