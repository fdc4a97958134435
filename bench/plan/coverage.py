"""Which records of a results folder a report covers."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import models
import tasks
from bench.core.machine import fingerprint
from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec, Subject
from bench.core.wording import counted
from bench.plan import plugins
from bench.plan.grid import Plan, Selection, make_plan, model_of, task_of
from bench.plan.labels import Label, changed_fields, label_of
from bench.plan.profile import Profile, Study
from bench.plan.protocols import current_protocol, newest, with_stand_ins


def is_current(spec: Spec | SpeedSpec) -> bool:
    """Whether a new run of this task and model would have the same code and fields.

    The protocol may be an older one, since reports cover such records too.
    """
    if not_loaded(spec):
        return False
    try:
        task, model = task_of(spec), model_of(spec)
    except (TypeError, ValueError):  # its fields are no longer accepted
        return False
    return (
        spec.protocol <= current_protocol(spec)
        and (task.fields, task.version) == (spec.task.fields, spec.task.version)
        and model.fields == spec.model.fields
        and model.is_same_in(spec.model.version)
        and plugins.hashes(type(task), type(model)) == spec.plugin_sha256
    )


def not_loaded(spec: Subject) -> str | None:
    """The name of the spec's task or model if it is not loaded, for example a plug-in's."""
    if spec.task.name not in tasks.names():
        return spec.task.name
    return None if spec.model.name in models.names() else spec.model.name


def usable(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """The records that can be reported, and a sentence for each group of the others.

    Runs of older code, and of tasks and models that are not loaded, can't be reported.
    """
    found: list[Record] = []
    others: Counter[str] = Counter()
    for record in records:
        spec = record.spec
        if missing := not_loaded(spec):
            reason = "which is not loaded; if it is a plug-in, give its file by --plugin"
            others[f"{missing}, {reason}"] += 1
        elif is_current(spec):
            found.append(record)
        else:
            made_by = "that another version of the code made"
            others[f"{spec.model.name} on {spec.task.name} {made_by}"] += 1
    sentences = [_left_out(number, what) for what, number in sorted(others.items())]
    return found, sentences


def _left_out(number: int, what: str) -> str:
    return f"the report leaves out {counted(number, 'run')} of {what}"


def newest_timings(
    records: Sequence[SpeedRecord], backend_name: str
) -> tuple[list[SpeedRecord], list[str]]:
    """The timings that are reported, and a sentence if newer ones replace others."""
    every = speed_of_one_machine(records, backend_name)
    kept = newest(every)
    what = f"{counted(len(every) - len(kept), 'timing')} of an older protocol"
    sentence = f"the report leaves out {what}, since the same networks have newer ones"
    return kept, [sentence] * (len(kept) < len(every))


def covered(plan: Plan, profile: Profile, selection: Selection, records: Sequence[Record]) -> Plan:
    """The plan of a report: the plan that was asked for, and every other run in the records.

    `records` are `usable` ones of one backend. A planned run without a record is replaced by the
    same run of an older protocol, if that is recorded. If a task, model and length have runs of
    several protocols with the same settings, only the newest protocol counts. If nothing was
    selected and no run of the profile is recorded, the records alone are covered, so that no run
    of another profile counts as missing. `left_out` has a sentence for what is not covered.
    """
    recorded = {record.spec.id: record.spec for record in newest(records)}
    plan = with_stand_ins(plan, recorded.values())
    specs, planned = plan.specs, {spec.id for spec in plan.specs}
    extra = [spec for spec_id, spec in recorded.items() if spec_id not in planned]
    left_out = []
    if superseded := len(records) - len(recorded):
        what = "an older protocol, since the same networks have runs of a newer one"
        left_out.append(_left_out(superseded, what))
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
            whole = with_stand_ins(make_plan(profile, Selection()), extra)
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
    machine is taken. Their protocols may differ; `newest` chooses among them.
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
