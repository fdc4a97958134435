"""Which records of a results folder a report covers."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import models
import tasks
from bench.core.machine import fingerprint
from bench.core.records import Record, SpeedRecord
from bench.core.spec import PROTOCOL, SPEED_PROTOCOL, Spec, SpeedSpec, Subject
from bench.plan import plugins
from bench.plan.grid import Plan, Selection, make_plan, model_of, task_of
from bench.plan.labels import Label, changed_fields, label_of
from bench.plan.profile import Profile, Study
from bench.run.progress import counted


def is_current(spec: Spec | SpeedSpec) -> bool:
    """Whether a new run of this task and model would have the same code, fields and protocol."""
    if not_loaded(spec):
        return False
    try:
        task, model = task_of(spec), model_of(spec)
    except (TypeError, ValueError):  # its fields are no longer accepted
        return False
    return (
        spec.protocol == (PROTOCOL if isinstance(spec, Spec) else SPEED_PROTOCOL)
        and (task.fields, task.version) == (spec.task.fields, spec.task.version)
        and (model.fields, model.version) == (spec.model.fields, spec.model.version)
        and plugins.hashes(type(task), type(model)) == spec.plugin_sha256
    )


def not_loaded(spec: Subject) -> str | None:
    """The name of the spec's task or model if it is not loaded, for example a plug-in's."""
    if spec.task.name not in tasks.names():
        return spec.task.name
    return None if spec.model.name in models.names() else spec.model.name


def covered(plan: Plan, profile: Profile, selection: Selection, records: Iterable[Record]) -> Plan:
    """The plan of a report: the plan that was asked for, and every other run in the records.

    Runs of older code, and of tasks and models that are not loaded, can't be reported: `left_out`
    has a sentence for each group of them. If nothing was selected and no run of the profile is
    recorded, the records alone are covered, so that no run of another profile counts as missing.
    """
    recorded = {record.spec.id: record.spec for record in records}
    planned = {spec.id for spec in plan.specs}
    others = [spec for spec_id, spec in recorded.items() if spec_id not in planned]
    sentences: Counter[str] = Counter()
    extra = []
    for spec in others:
        if missing := not_loaded(spec):
            reason = "which is not loaded; if it is a plug-in, give its file by --plugin"
            sentences[f"{missing}, {reason}"] += 1
        elif is_current(spec):
            extra.append(spec)
        else:
            made_by = "that another version of the code made"
            sentences[f"{spec.model.name} on {spec.task.name} {made_by}"] += 1
    left_out = [
        f"the report leaves out {counted(number, 'run')} of {what}"
        for what, number in sorted(sentences.items())
    ]
    specs = plan.specs
    if extra and selection == Selection() and not planned & recorded.keys():
        specs = ()
        covers = counted(len(extra), "other run")
        left_out.append(f"no run of the profile is recorded; the report covers {covers}")
    studies = {**plan.studies, **_studies(extra, plan, profile, selection)}
    return replace(plan, specs=(*specs, *extra), studies=studies, left_out=tuple(left_out))


def _studies(
    extra: Sequence[Spec], plan: Plan, profile: Profile, selection: Selection
) -> dict[str, frozenset[Study]]:
    """Spec id → the studies of a run that was not asked for.

    These are its studies in the whole profile, else those of other runs of its task and model
    there. If the profile has no such runs, a run with fields that differ from defaults belongs to
    `variants`, and any other run to `main`.
    """
    whole = plan
    if extra and selection != Selection():
        # The whole profile may have no valid plan, and plug-ins may raise any exception.
        with contextlib.suppress(Exception, SystemExit):
            whole = make_plan(profile, Selection())
    of_pair: dict[Label, frozenset[Study]] = {}
    for spec in whole.specs if extra else ():
        pair = label_of(spec)
        of_pair[pair] = of_pair.get(pair, frozenset()) | whole.studies[spec.id]
    main, variants = frozenset[Study](("main",)), frozenset[Study](("variants",))
    return {
        spec.id: whole.studies.get(spec.id)
        or of_pair.get(label_of(spec))
        or (variants if _changed(spec) else main)
        for spec in extra
    }


def _changed(spec: Spec) -> bool:
    """Whether a field of the task or model, other than `length`, differs from its default."""
    return any(changed_fields(part) for part in (task_of(spec), model_of(spec)))


def speed_of_one_machine(records: Sequence[SpeedRecord], backend_name: str) -> list[SpeedRecord]:
    """The current speed records of the machine and backend with the most records.

    Times of two machines do not belong in one table. If two have the same number, this
    machine is taken.
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
