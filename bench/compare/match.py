"""Pairs the records of two folders that answer the same question."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bench.core.errors import RequestError, unknown
from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Damaged, Store
from bench.plan.labels import differing_settings

AnyRecord = TypeVar("AnyRecord", Record, SpeedRecord)
AnySpec = Spec | SpeedSpec


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two folders."""

    name: str
    """A or B."""
    folder: Path
    runs: Sequence[Record]
    speed: Sequence[SpeedRecord]
    damaged: Sequence[Damaged]


@dataclass(frozen=True, kw_only=True)
class Label:
    """How a run is shown; `plain` is the model's label without training settings."""

    task: str
    model: str
    plain: str


def read(folder: Path, name: str) -> Side:
    """Every record below a folder; `RequestError` if there is none."""
    if not folder.is_dir():
        raise RequestError(f"{name}: {folder} is not a folder")
    store = Store(folder)
    runs, damaged = store.read_all()
    speed, damaged_speed = store.read_speed()
    if not runs and not speed:
        raise RequestError(f"{name}: {folder} holds no record; valid: a folder of results")
    return Side(name=name, folder=folder, runs=runs, speed=speed, damaged=damaged + damaged_speed)


def labels_of(a: Side, b: Side) -> dict[str, Label]:
    """Spec id → label, as recorded. A failed run is labelled like others of its task and model.

    Runs that differ only in a training setting have that setting in their label.
    """
    records: list[Record | SpeedRecord] = [*a.runs, *a.speed, *b.runs, *b.speed]
    known: dict[str, str] = {}
    for record in records:
        content = record.outcome if isinstance(record, Record) else record.speed
        if content is not None:
            known[task_key(record.spec, length=False)] = content.task_label
            known[_model_key(record.spec)] = content.label
    names = {
        record.spec.id: (
            known.get(task_key(record.spec, length=False), record.spec.task.name),
            known.get(_model_key(record.spec), record.spec.model.name),
        )
        for record in records
    }
    specs = {run.spec.id: run.spec for run in (*a.runs, *b.runs)}
    settings = differing_settings(list(specs.values()), names)
    return {
        spec_id: Label(task=task, model=f"{plain} {settings.get(spec_id, '')}".strip(), plain=plain)
        for spec_id, (task, plain) in names.items()
    }


def _key(*content: object) -> str:
    return json.dumps(content, sort_keys=True)


def task_key(spec: AnySpec, *, length: bool = True) -> str:
    """Identifies the data: name, fields and version of the task."""
    fields = {key: value for key, value in spec.task.fields.items() if length or key != "length"}
    return _key(spec.task.name, fields, spec.task.version)


def _model_key(spec: AnySpec) -> str:
    return _key("model", spec.model.name, spec.model.fields)


def _configuration(spec: AnySpec) -> str:
    """Identifies everything that was requested, apart from the seed.

    Versions of model and protocol and the source of a plug-in may differ: a comparison shows what
    they change.
    """
    size = (spec.param_budget, spec.width, spec.extra_width)
    how = spec.training.model_dump() if isinstance(spec, Spec) else _call(spec)
    return _key(task_key(spec), _model_key(spec), size, how)


def _call(spec: SpeedSpec) -> tuple[int, str]:
    """How a timed network is called."""
    return spec.batch_size, spec.implementation


def only(side: Side, model: str, labels: Mapping[str, Label]) -> Side:
    """The runs and times of one model, named by its full label, its plain label or its name."""
    names = {
        record.spec.id: (
            labels[record.spec.id].model,
            labels[record.spec.id].plain,
            record.spec.model.name,
        )
        for record in (*side.runs, *side.speed)
    }
    for spelling in range(3):
        found = {
            each for each, name in names.items() if name[spelling].casefold() == model.casefold()
        }
        if found:
            runs = [run for run in side.runs if run.spec.id in found]
            speed = [timed for timed in side.speed if timed.spec.id in found]
            return replace(side, runs=runs, speed=speed)
    raise unknown("model", model, {name[0] for name in names.values()}, f"--models: {side.name}")


def matches(
    a: Sequence[AnyRecord],
    b: Sequence[AnyRecord],
    place: Callable[[AnyRecord], Hashable],
    *,
    by_model: bool,
) -> Iterator[tuple[list[AnyRecord], list[AnyRecord]]]:
    """Records of one configuration in A, and of one in B that answers the same question.

    Records are paired within each place (a backend, a machine) that both sides have. If there is no
    such place, the one with the most records on each side is taken.
    """
    of_a, of_b = Counter(map(place, a)), Counter(map(place, b))
    shared = [(each, each) for each in of_a if each in of_b]
    if not shared and of_a and of_b:
        shared = [(of_a.most_common(1)[0][0], of_b.most_common(1)[0][0])]
    for place_a, place_b in shared:
        grouped_a = _grouped((each for each in a if place(each) == place_a), by_model=by_model)
        grouped_b = _grouped((each for each in b if place(each) == place_b), by_model=by_model)
        for question, found in grouped_a.items():
            if question in grouped_b:
                yield from itertools.product(found.values(), grouped_b[question].values())


def _grouped(
    records: Iterable[AnyRecord], *, by_model: bool
) -> dict[str, dict[str, list[AnyRecord]]]:
    """Question (both sides must have the same one) → configuration → records."""
    questions: dict[str, dict[str, list[AnyRecord]]] = {}
    for record in records:
        configuration = question = _configuration(record.spec)
        if by_model:
            call = None if isinstance(record, Record) else _call(record.spec)
            question = _key(task_key(record.spec), call)
        questions.setdefault(question, {}).setdefault(configuration, []).append(record)
    return questions


def arrow(a: object, b: object) -> str:
    """One value if both sides have the same, else both."""
    return str(a) if a == b else f"{a} → {b}"
