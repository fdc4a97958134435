"""Which records of a results folder a report covers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import models
import tasks
from bench.core.machine import fingerprint
from bench.core.records import Record, SpeedRecord
from bench.core.spec import PROTOCOL, SPEED_PROTOCOL, Spec, SpeedSpec, Subject
from bench.plan import plugins
from bench.plan.grid import Plan, Selection, make_plan, model_of, task_of
from bench.plan.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The plan of a report: what was asked for, and what else the folder holds."""

    plan: Plan
    left_out: tuple[str, ...] = ()
    """A sentence for each group of records that the report can't cover."""
    num_extra: int = 0
    """Recorded runs that were not asked for."""


def is_current(spec: Spec | SpeedSpec) -> bool:
    """Whether task, model and protocol are the ones that a new run would have."""
    newest = PROTOCOL if isinstance(spec, Spec) else SPEED_PROTOCOL
    return spec.protocol == newest and is_loaded(spec) and _same_code(spec)


def is_loaded(spec: Subject) -> bool:
    """Whether there are a task and a model of these names; plug-ins may be missing."""
    return spec.task.name in tasks.names() and spec.model.name in models.names()


def _same_code(spec: Subject) -> bool:
    try:
        task, model = task_of(spec), model_of(spec)
    except (TypeError, ValueError):  # its fields are no longer accepted
        return False
    return (
        (task.fields, task.version) == (spec.task.fields, spec.task.version)
        and (model.fields, model.version) == (spec.model.fields, spec.model.version)
        and plugins.hashes(type(task), type(model)) == spec.plugin_sha256
    )


def covered(
    plan: Plan, profile: Profile, selection: Selection, records: Iterable[Record]
) -> Coverage:
    """The plan, extended by every other recorded run that today's tasks and models describe."""
    planned = {spec.id for spec in plan.specs}
    others = {r.spec.id: r.spec for r in records if r.spec.id not in planned}
    absent: Counter[str] = Counter()
    older: Counter[str] = Counter()
    extra = []
    for spec in others.values():
        if not is_loaded(spec):
            missing = spec.task.name if spec.task.name not in tasks.names() else spec.model.name
            absent[missing] += 1
        elif is_current(spec):
            extra.append(spec)
        else:
            older[f"{spec.model.name} on {spec.task.name}"] += 1
    sentences = [
        f"the report leaves out {number} runs of {name}, which is not loaded; "
        f"if it is a plug-in, give its file by --plugin"
        for name, number in sorted(absent.items())
    ] + [
        f"the report leaves out {number} runs of {name} that another version of the code made"
        for name, number in sorted(older.items())
    ]
    studies = dict(plan.studies)
    if extra and selection != Selection():
        studies = {**make_plan(profile, Selection()).studies, **studies}
    return Coverage(
        plan=replace(plan, specs=(*plan.specs, *extra), studies=studies),
        left_out=tuple(sentences),
        num_extra=len(extra),
    )


def speed_of_one_machine(records: Sequence[SpeedRecord], backend_name: str) -> list[SpeedRecord]:
    """The current speed records of the machine and backend that have the most of them.

    Times of two machines do not belong in one table. If two have as many, this machine is taken.
    """
    by_machine: dict[tuple[bool, str, str], list[SpeedRecord]] = {}
    here = fingerprint().slug
    for record in records:
        if is_current(record.spec):
            slug, name = record.machine.slug, record.backend.name
            key = slug == here and name == backend_name, name, slug
            by_machine.setdefault(key, []).append(record)
    every = sorted(by_machine.items(), key=lambda entry: (len(entry[1]), entry[0]))
    return every[-1][1] if every else []
