"""The runs and timings of a command: estimate, execution, progress and result."""

import math
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from bench.core.backend import num_cores, room_bytes
from bench.core.errors import one_line
from bench.core.spec import Spec
from bench.core.wording import counted, duration
from bench.measure.checkpoint import remove_leftovers
from bench.plan.labels import label_of
from bench.plan.ladder import Rung, climb, longer_runs
from bench.run import inventory, mps, workers
from bench.run.estimate import wall_seconds
from bench.run.inventory import Inventory
from bench.run.job import Event, measure, run_in_this_process
from bench.run.progress import ProgressBar, with_bar
from bench.run.queue import Queue, breadth_first, cheapest_first, longest_first
from bench.run.request import Request, make_results, without_data
from bench.run.workers import Limits

LONG_S = 300.0
"""Estimated wall time from which on the outlook names the ways to run less."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How the runs of a command are executed."""

    workers: int | None = None
    """Runs at the same time. None: one per core, or `per_gpu` on each GPU."""
    per_gpu: int | None = None
    """Runs at the same time on each GPU. None: as many as the machine has CPU cores per GPU if the
    runs can share a GPU through MPS, otherwise one."""
    run_timeout_s: float = math.inf
    time_limit_s: float = math.inf
    on_cluster: bool = False
    debug: bool = False
    """Whether runs are made one by one in this process, up to the first error."""
    timed: bool = True
    """Whether timings follow."""
    reported: bool = True
    """Whether a report follows."""
    again: bool = False
    """Whether finished runs are repeated."""
    cheapest_first: bool = False
    """Whether the runs with the shortest estimate start first, for a time that may not suffice."""

    def num_at_once(self, request: Request) -> int:
        """How many runs go on at the same time."""
        if self.debug:
            return 1
        if self.workers:
            return self.workers
        if self.on_cluster:
            from bench.run import cluster

            return cluster.num_slots(request.backend, self.per_gpu or 1)
        if request.device == "cpu":
            return max(num_cores() // request.backend.threads, 1)
        shared = max(num_cores() // len(request.devices), 1) if mps.available() else 1
        return len(request.devices) * (self.per_gpu or shared)


def plan_table(request: Request, found: Inventory) -> str:
    """One row per task and model: how many runs, how many of them are recorded, and the lengths.

    Then one line per ladder of which a run is recorded: what is known of each length.
    """
    plan = request.plan
    ids = {spec.id for spec in inventory.waiting_specs(request, found, plan.specs)}
    rows: dict[tuple[str, str], list[Spec]] = {}
    for spec in plan.specs:
        rows.setdefault((spec.task.name, spec.model.name), []).append(spec)
    lines = [f"{'task':18} {'model':10} {'runs':>5} {'recorded':>8}  lengths"]
    for (task, model), specs in rows.items():
        recorded = sum(spec.id not in ids for spec in specs)
        lengths = " ".join(str(length) for length in sorted({spec.length for spec in specs}))
        lines.append(f"{task:18} {model:10} {len(specs):5} {recorded:8}  {lengths}")
    for missing in plan.unsupported:
        lines.append(f"{missing.task:18} {missing.model:10} not supported: {missing.reason}")
    results = inventory.ladder_results(request, found)
    for ladder in plan.ladders:
        if results.keys() & ladder.ids:
            lines.append(ladder_line(climb(ladder, results)))
    return "\n".join(lines)


def ladder_line(rungs: Sequence[Rung]) -> str:
    """`lstm on adding: T = 8 decided 4/4, T = 16 0/1, open`, then why it ends."""
    name = label_of(rungs[0].specs[0])
    known = [f"T = {each.length} {each.decision}" for each in rungs if each.decision.num_run]
    line = f"{name.model_label} on {name.task_label}: {', '.join(known) or 'nothing'}"
    above = next((each for each in rungs if each.state == "not climbed"), None)
    return line if above is None else f"{line}; T = {above.length} is not climbed: {above.why}"


def make_queue(request: Request, found: Inventory, specs: Sequence[Spec], manner: Manner) -> Queue:
    """The runs that are not recorded yet, those of ladders as far as they may be needed."""
    plan = request.plan
    ladders = () if manner.again else plan.ladders
    needed = list(specs) if manner.again else inventory.needed_specs(request, found, specs)
    results = inventory.ladder_results(request, found)
    make_job = inventory.job_maker(
        request,
        found,
        [*needed, *longer_runs(ladders, results)],
        calibrate=not manner.on_cluster,
    )
    fixed = [make_job(spec) for spec in needed if spec.id not in plan.only_climbed]
    order = breadth_first if ladders else longest_first
    return Queue(
        sorted(fixed, key=longest_first),
        cheapest_first if manner.cheapest_first else order,
        ladders=ladders,
        results=results,
        make_job=make_job,
    )


def outlook(
    request: Request, found: Inventory, specs: Sequence[Spec], queue: Queue, manner: Manner
) -> str:
    """What is planned, what is recorded already, and the wall time that the rest takes."""
    plan, jobs = request.plan, queue.left()
    shard = "" if request.shard is None else f", shard {request.shard}"
    line = f"profile {request.profile_name}{shard}: {counted(len(specs), 'run')}"
    if plan.only_climbed:
        line += " at most"
    if not manner.again:
        waiting = inventory.waiting_specs(request, found, specs)
        not_needed = len(waiting) - len(inventory.needed_specs(request, found, specs))
        line += f", {len(specs) - len(waiting)} recorded"
        line += f", {not_needed} not needed" if not_needed else ""
    timings = inventory.waiting_timings(request, found) if manner.timed else []
    begun = inventory.continued(request, found, timings)
    num_left = request.profile.speed_rounds * len(timings) - inventory.num_timed(begun)
    if not jobs and not timings:
        return f"{line}; nothing to do"
    at_once = manner.num_at_once(request)
    seconds = wall_seconds(
        [job.estimate_s for job in jobs],
        at_once,
        num_timings=num_left,
        num_reported=len(specs) if manner.reported else 0,
    )
    most = "at most " if queue.climbs else ""
    line += f"; the rest takes {most}about {duration(seconds)} of wall time on {request.device}"
    if timings:
        line += f", including {counted(len(timings), 'timing')}"
    if jobs:
        line += f", with {counted(at_once, 'run')} at a time"
    if queue.climbs and request.profile.extend is not None:
        line += (
            f". After the ladders, failing runs go on to {request.profile.extend:,} updates, the "
            "cheapest first"
        )
    if jobs and seconds > LONG_S:
        line += (
            ". To run less, use --profile smoke or quick, --task, --model, --length or "
            "--time-limit MINUTES"
        )
    return line


def execute(request: Request, specs: Sequence[Spec], manner: Manner) -> bool:
    """Make the runs that are not recorded yet; returns whether no record of the specs is failed."""
    found = inventory.read(request)
    num_runs = len(specs if manner.again else inventory.waiting_specs(request, found, specs))
    prepare_results(request, found, num_runs)  # before any code of a task runs
    queue = make_queue(request, found, specs, manner)
    print(outlook(request, found, specs, queue, manner), file=sys.stderr)
    remove_leftovers(request.results, found.records)
    if not manner.on_cluster:  # the nodes of a cluster look for their own data
        for record in without_data(request, queue.left()):
            queue.end(record)
    bar = ProgressBar(queue)
    begin = time.monotonic()
    try:
        _run_all(request, queue, manner, bar)
    finally:
        bar.close()
    left = f"; {bar.num_left} left, the same command continues" if bar.num_left else ""
    took = duration(time.monotonic() - begin)
    print(f"{counted(bar.num_done, 'run')} in {took}{left}", file=sys.stderr)
    longer = [spec for ladder in request.plan.ladders for spec in ladder.longer.values()]
    made = inventory.read(request).of([*specs, *longer], request.backend)
    return all(record.status != "failed" for record in made)


def _run_all(request: Request, queue: Queue, manner: Manner, bar: ProgressBar) -> None:
    if not queue.has_next():
        return
    if manner.debug:
        _debug(request, queue, bar)
        return
    num_workers = manner.num_at_once(request)
    limits = Limits(
        num_workers=num_workers,
        time_limit_s=manner.time_limit_s,
        run_timeout_s=manner.run_timeout_s,
        room=None
        if manner.on_cluster
        else {device: room_bytes(device) for device in request.devices},
    )
    if manner.on_cluster:
        from bench.run import cluster

        fixed = manner.workers is not None
        cluster.execute(queue, request.setup, limits, bar, per_gpu=manner.per_gpu or 1, fixed=fixed)
        return
    several = request.device != "cpu" and num_workers > len(request.devices)
    with mps.service() if several else nullcontext() as folder:
        workers.execute(queue, replace(request.setup, mps=folder), limits, bar)


def _debug(request: Request, queue: Queue, bar: ProgressBar) -> None:
    def on_event(event: Event) -> None:
        if event.record is not None:
            queue.end(event.record)
        bar(event)

    run_in_this_process(iter(queue.take, None), request.setup, on_event)


def prepare_results(request: Request, found: Inventory, num_runs: int = 0) -> None:
    """Make the results folder, and move files that are not valid records out of the way."""
    make_results(request, num_runs)
    for file in found.damaged:
        aside = request.store.set_aside(file)
        if aside is not None:
            print(f"moved to {one_line(str(aside))}; the run is repeated", file=sys.stderr)


def time_networks(request: Request, *, again: bool = False) -> bool:
    """Take the timings that are not recorded yet; returns whether none failed.

    With `again`, all are taken anew, in at least as many processes as the record has.
    """
    found = inventory.read(request)
    prepare_results(request, found)
    rounds, planned = request.profile.speed_rounds, inventory.timed_specs(request, found)
    specs, earlier = list(planned), []
    if again:
        here = inventory.timings_here(request, found)
        known = [here[spec.id] for spec in planned if spec.id in here]
        rounds = max([rounds, *(inventory.num_timed([record]) for record in known)])
    else:
        specs = inventory.waiting_timings(request, found)
        earlier = inventory.continued(request, found, specs)
    recorded = len(planned) - len(specs)
    print(
        f"timing: {counted(len(planned), 'network')}, {recorded} recorded; "
        f"each is timed in {rounds} fresh {'process' if rounds == 1 else 'processes'}",
        file=sys.stderr,
    )
    total = rounds * len(specs) - inventory.num_timed(earlier)
    succeeded = True
    timed = measure(specs, request.setup, num_processes=rounds, earlier=earlier)
    for record in with_bar(timed, total):
        succeeded &= record.status != "failed"
    return succeeded
