"""What in one folder answers the same question as what in the other."""

import itertools
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bench.core.errors import RequestError, unknown
from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Damaged, Store

Place = TypeVar("Place", bound=Hashable)
AnyRecord = TypeVar("AnyRecord", Record, SpeedRecord)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two folders."""

    name: str
    """A or B."""
    folder: Path
    runs: Sequence[Record]
    speed: Sequence[SpeedRecord]
    damaged: Sequence[Damaged]


def read(folder: Path, name: str) -> Side:
    """Every record below a folder; `RequestError` where there is none."""
    if not folder.is_dir():
        raise RequestError(f"{name}: {folder} is not a folder")
    store = Store(folder)
    runs, damaged = store.read_all()
    speed, damaged_speed = store.read_speed()
    if not runs and not speed:
        raise RequestError(f"{name}: {folder} holds no record; valid: a folder of results")
    return Side(name=name, folder=folder, runs=runs, speed=speed, damaged=damaged + damaged_speed)


Labels = Mapping[str, tuple[str, str]]
"""Spec id → label of its task and of its model."""


def plain_labels(a: Side, b: Side) -> Labels:
    """As recorded; those of runs that failed from others of the same task or model."""
    known: dict[str, str] = {}
    records: list[Record | SpeedRecord] = [*a.runs, *a.speed, *b.runs, *b.speed]
    for record in records:
        content = record.outcome if isinstance(record, Record) else record.speed
        if content is not None:
            known[task_key(record.spec, length=False)] = content.task_label
            known[_model_key(record.spec)] = content.label
    return {
        record.spec.id: (
            known.get(task_key(record.spec, length=False), record.spec.task.name),
            known.get(_model_key(record.spec), record.spec.model.name),
        )
        for record in records
    }


def _key(*content: object) -> str:
    return json.dumps(content, sort_keys=True)


def task_key(spec: Spec | SpeedSpec, *, length: bool = True) -> str:
    """The data: the task's version is part of it."""
    fields = {key: value for key, value in spec.task.fields.items() if length or key != "length"}
    return _key(spec.task.name, fields, spec.task.version)


def _model_key(spec: Spec | SpeedSpec) -> str:
    return _key("model", spec.model.name, spec.model.fields)


def _configuration(spec: Spec | SpeedSpec) -> str:
    """All that was asked for, but for the seed and the code that answers it.

    The versions of model and protocol and a plug-in's source may differ: what they change is what a
    comparison is for.
    """
    size = (spec.param_budget, spec.width, spec.extra_width)
    how = spec.training.model_dump() if isinstance(spec, Spec) else spec.batch_size
    return _key(task_key(spec), _model_key(spec), size, how)


def _question(spec: Spec | SpeedSpec, *, by_model: bool) -> str:
    """What both sides have to agree in."""
    if not by_model:
        return _configuration(spec)
    return _key(task_key(spec), None if isinstance(spec, Spec) else spec.batch_size)


def only(side: Side, model: str, labels: Labels, plain: Labels) -> Side:
    """The runs and times of one model."""
    records = [*side.runs, *side.speed]
    for names in (
        {spec_id: label for spec_id, (_, label) in labels.items()},
        {spec_id: label for spec_id, (_, label) in plain.items()},
        {record.spec.id: record.spec.model.name for record in records},
    ):
        if any(names[record.spec.id] == model for record in records):
            return replace(
                side,
                runs=[record for record in side.runs if names[record.spec.id] == model],
                speed=[record for record in side.speed if names[record.spec.id] == model],
            )
    valid = {labels[record.spec.id][1] for record in records}
    raise unknown("model", model, valid, f"--models: {side.name}")


def paired_places(a: Iterable[Place], b: Iterable[Place]) -> list[tuple[Place, Place]]:
    """Places that both have; where there is none, the one of each that has the most records."""
    of_a, of_b = Counter(a), Counter(b)
    shared = [(place, place) for place in of_a if place in of_b]
    if shared or not of_a or not of_b:
        return shared
    return [(of_a.most_common(1)[0][0], of_b.most_common(1)[0][0])]


def matches(
    a: Iterable[AnyRecord], b: Iterable[AnyRecord], *, by_model: bool
) -> Iterator[tuple[list[AnyRecord], list[AnyRecord]]]:
    """Records of one configuration in A, and of one in B that answers the same question."""
    grouped: list[dict[str, dict[str, list[AnyRecord]]]] = [{}, {}]
    for questions, records in zip(grouped, (a, b), strict=True):
        for record in records:
            question = questions.setdefault(_question(record.spec, by_model=by_model), {})
            question.setdefault(_configuration(record.spec), []).append(record)
    of_a, of_b = grouped
    for question in of_a:
        if question in of_b:
            yield from itertools.product(of_a[question].values(), of_b[question].values())


def arrow(a: object, b: object) -> str:
    """One value where both have the same, else both."""
    return str(a) if a == b else f"{a} → {b}"


def changed(a: Spec | SpeedSpec, b: Spec | SpeedSpec) -> str | None:
    """In what the code differs that answered the same question."""
    said = []
    if a.protocol != b.protocol:
        said.append(f"protocol {a.protocol} → {b.protocol}")
    if a.model.name == b.model.name and a.model.version != b.model.version:
        said.append(f"model version {a.model.version} → {b.model.version}")
    for name in a.plugin_sha256.keys() & b.plugin_sha256.keys():
        if a.plugin_sha256[name] != b.plugin_sha256[name]:
            said.append(f"source of {name}")
    return ", ".join(said) or None
