"""The queue: which run is handed out next, with and without ladders."""

from bench.core.records import Record
from bench.core.spec import Spec
from bench.plan.ladder import Ladder, Result, with_budget
from bench.run.job import Job
from bench.run.queue import Queue, breadth_first, cheapest_first, longest_first
from tests.support.records import outcome, record, spec

LONGER = 400


def job(of: Spec) -> Job:
    return Job(spec=of, estimate_s=of.training.max_steps * of.length / 10 + of.seed)


def ladder(model: str, *lengths: int) -> Ladder:
    cells = (tuple(of(model, length, seed) for seed in range(5)) for length in lengths)
    return Ladder(tuple(cells), LONGER)


def of(model: str, length: int, seed: int) -> Spec:
    # The threshold of the task counts, so its fields have to be whole.
    return spec(model=model, length=length, seed=seed)


def ended(spec: Spec, score: float) -> Record:
    """The end of a run that solved the task, or that never left chance."""
    stopped = "solved" if score >= 0.95 else "budget"
    return record(spec, outcome=outcome(score, stopped=stopped))


def taken(queue: Queue) -> list[tuple[str, int, int]]:
    return [name(each.spec) for each in iter(queue.take, None)]


def name(spec: Spec) -> tuple[str, int, int]:
    return spec.model.name, spec.length, spec.seed


def test_jobs_are_handed_out_once_in_the_given_order() -> None:
    jobs = [job(of("gru", length, 0)) for length in (8, 2, 4)]
    assert [length for _, length, _ in taken(Queue(jobs, longest_first))] == [8, 4, 2]
    queue = Queue(jobs, cheapest_first)
    assert [each.spec.length for each in queue.left()] == [2, 4, 8]
    assert [length for _, length, _ in taken(queue)] == [2, 4, 8]
    assert not queue.has_next()
    assert len(queue.left()) == 3  # they run
    queue.end(record(jobs[0].spec))
    assert len(queue.left()) == 2


def test_a_job_that_does_not_fit_waits_and_one_that_is_put_back_comes_again() -> None:
    jobs = [job(of("gru", length, 0)) for length in (8, 4)]
    queue = Queue(jobs)
    first = queue.take(lambda job: job.spec.length < 8)
    assert first == jobs[1]
    queue.put_back(jobs[1])
    assert taken(queue) == [("gru", 8, 0), ("gru", 4, 0)]


def test_ladders_are_climbed_breadth_first_beside_other_runs() -> None:
    others = [job(of("rnn", 3, 0)), job(of("rnn", 9, 0))]
    both = [ladder("gru", 8, 16), ladder("tcn", 2, 4)]
    queue = Queue(others, breadth_first, ladders=both, make_job=job)
    assert taken(queue) == [
        ("tcn", 2, 0),
        ("tcn", 2, 1),
        ("rnn", 3, 0),
        ("gru", 8, 0),
        ("gru", 8, 1),
        ("rnn", 9, 0),
    ]
    for seed in range(4):
        queue.end(ended(of("tcn", 2, seed), 1.0))
    assert taken(queue) == [("tcn", 4, 0), ("tcn", 4, 1)]


def test_failing_runs_go_on_when_nothing_else_may_start_the_cheapest_first() -> None:
    one = ladder("gru", 2, 4)
    queue = Queue([], breadth_first, ladders=[one], make_job=job)
    for length in (2, 4):
        both = [queue.take(), queue.take()]
        assert [each.spec.length for each in both if each] == [length] * 2
        for seed in (0, 1):
            queue.end(ended(of("gru", length, seed), 0.1))
    assert {each.spec.training.max_steps for each in queue.left()} == {LONGER}
    again = [each.spec for each in iter(queue.take, None)]
    assert [name(each) for each in again] == [
        ("gru", 2, 0),
        ("gru", 2, 1),
        ("gru", 4, 0),
        ("gru", 4, 1),
    ]
    # One that solves the task with the larger budget opens its length again.
    queue.end(ended(with_budget(of("gru", 2, 0), LONGER), 1.0))
    assert [each.spec for each in iter(queue.take, None)] == [of("gru", 2, 2)]


def test_what_is_recorded_counts_from_the_beginning() -> None:
    one = ladder("gru", 2, 4)
    results = {each.id: Result(status="ok", ending="solved") for each in one.cells[0][:4]}
    queue = Queue([], breadth_first, ladders=[one], results=results, make_job=job)
    assert [each.spec.length for each in queue.left()] == [4] * 5
    assert taken(queue) == [("gru", 4, 0), ("gru", 4, 1)]


def test_a_run_that_cannot_begin_ends_its_ladder() -> None:
    one = ladder("gru", 2, 4)
    queue = Queue([], ladders=[one], make_job=job)
    skipped = record(of("gru", 2, 0), status="skipped", outcome=None, error="no data")
    queue.end(skipped)
    assert not queue.has_next()
    assert queue.left() == []
