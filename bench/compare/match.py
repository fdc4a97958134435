"""Pairs the records of two folders that answer the same question."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from bench.core.errors import RequestError, unknown
from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec
from bench.core.store import Damaged, Store
from bench.plan.labels import with_settings

AnyRecord = TypeVar("AnyRecord", Record, SpeedRecord)
Compared = set[tuple[str, Path]]
"""The side (A or B) and the path of every record that is in a table."""
SUBJECT: dict[str, type | str] = {
    **{"task": str, "T": int, "model": str, "task_label": str, "model_label": str},
    "changed": str,
}
"""Columns that say what is compared; `changed` is how the code differs."""


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
    known: dict[str, str] = {}
    records: list[Record | SpeedRecord] = [*a.runs, *a.speed, *b.runs, *b.speed]
    for record in records:
        content = record.outcome if isinstance(record, Record) else record.speed
        if content is not None:
            known[task_key(record.spec, length=False)] = content.task_label
            known[_model_key(record.spec)] = content.label
    plain = {
        record.spec.id: (
            known.get(task_key(record.spec, length=False), record.spec.task.name),
            known.get(_model_key(record.spec), record.spec.model.name),
        )
        for record in records
    }
    specs = {run.spec.id: run.spec for run in (*a.runs, *b.runs)}
    full = plain | with_settings(list(specs.values()), plain)
    return {
        spec_id: Label(task=task, model=model, plain=plain[spec_id][1])
        for spec_id, (task, model) in full.items()
    }


def _key(*content: object) -> str:
    return json.dumps(content, sort_keys=True)


def task_key(spec: Spec | SpeedSpec, *, length: bool = True) -> str:
    """Identifies the data: name, fields and version of the task."""
    fields = {key: value for key, value in spec.task.fields.items() if length or key != "length"}
    return _key(spec.task.name, fields, spec.task.version)


def _model_key(spec: Spec | SpeedSpec) -> str:
    return _key("model", spec.model.name, spec.model.fields)


def _configuration(spec: Spec | SpeedSpec) -> str:
    """Identifies everything that was requested, apart from the seed.

    Versions of model and protocol and the source of a plug-in may differ: a comparison shows what
    they change.
    """
    size = (spec.param_budget, spec.width, spec.extra_width)
    how = spec.training.model_dump() if isinstance(spec, Spec) else spec.batch_size
    return _key(task_key(spec), _model_key(spec), size, how)


def _question(spec: Spec | SpeedSpec, *, by_model: bool) -> str:
    """What both sides must agree in."""
    if not by_model:
        return _configuration(spec)
    return _key(task_key(spec), None if isinstance(spec, Spec) else spec.batch_size)


def only(side: Side, model: str, labels: Mapping[str, Label]) -> Side:
    """The runs and times of one model, named by its full label, its plain label or its name."""
    wanted = model.casefold()
    spellings: tuple[Callable[[Record | SpeedRecord], str], ...] = (
        lambda record: labels[record.spec.id].model,
        lambda record: labels[record.spec.id].plain,
        lambda record: record.spec.model.name,
    )
    for spelling in spellings:
        runs = [run for run in side.runs if spelling(run).casefold() == wanted]
        speed = [timed for timed in side.speed if spelling(timed).casefold() == wanted]
        if runs or speed:
            return replace(side, runs=runs, speed=speed)
    valid = {labels[record.spec.id].model for record in (*side.runs, *side.speed)}
    raise unknown("model", model, valid, f"--models: {side.name}")


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
    """Question → configuration → records."""
    questions: dict[str, dict[str, list[AnyRecord]]] = {}
    for record in records:
        question = questions.setdefault(_question(record.spec, by_model=by_model), {})
        question.setdefault(_configuration(record.spec), []).append(record)
    return questions


def arrow(a: object, b: object) -> str:
    """One value if both sides have the same, else both."""
    return str(a) if a == b else f"{a} → {b}"


def subject(
    a: Spec | SpeedSpec, b: Spec | SpeedSpec, labels: Mapping[str, Label]
) -> dict[str, object]:
    """The columns of `SUBJECT`."""
    changed = []
    if a.protocol != b.protocol:
        changed.append(f"protocol {a.protocol} → {b.protocol}")
    if a.model.name == b.model.name and a.model.version != b.model.version:
        changed.append(f"model version {a.model.version} → {b.model.version}")
    for name in sorted(a.plugin_sha256.keys() & b.plugin_sha256.keys()):
        if a.plugin_sha256[name] != b.plugin_sha256[name]:
            changed.append(f"source of {name}")
    return {
        "task": a.task.name,
        "T": a.length,
        "model": arrow(a.model.name, b.model.name),
        "task_label": labels[a.id].task,
        "model_label": arrow(labels[a.id].model, labels[b.id].model),
        "changed": ", ".join(changed) or None,
    }


def framed(
    rows: Sequence[Mapping[str, object]],
    columns: Mapping[str, type | str],
    order: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows as a frame with these columns and types, sorted by `order`."""
    frame = pd.DataFrame(rows, columns=list(columns))
    frame = frame.astype({name: kind for name, kind in columns.items() if kind is not str})
    return frame.sort_values(list(order), ignore_index=True) if order else frame
