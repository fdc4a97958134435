"""What a task and a model are called: plain names for data, labels for people."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import models
import tasks
from bench.core.spec import Spec, Subject


@dataclass(frozen=True, kw_only=True)
class Label:
    """How a task and a model are identified in tables and figures."""

    task: str
    task_variant: str
    """The task's fields, except `length`, that it always names or that differ from their defaults:
    `side=7`."""
    model: str
    variant: str
    """The model's fields that differ from their defaults: `chrono=True`. Empty: a plain model."""
    family: str

    @property
    def task_label(self) -> str:
        """For display: `pixel_mnist side=7`."""
        return _joined(self.task, self.task_variant)

    @property
    def model_label(self) -> str:
        """For display: `gru chrono=True`."""
        return _joined(self.model, self.variant)


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


def family(model: str) -> str:
    """The family of a model; `other` if the model is not loaded."""
    return models.model_class(model).family if model in models.names() else "other"


def variant(part: tasks.Task | models.Model) -> str:
    """Each field that the task always names or that differs from its default, then its note."""
    if not isinstance(part, tasks.Task):
        return _joined(*changed_fields(part))
    note = f"({part.note})" if part.note else ""
    return _joined(*changed_fields(part, also=part.named), note)


def changed_fields(part: tasks.Task | models.Model, also: Sequence[str] = ()) -> list[str]:
    """Each field that differs from its default or is in `also`, as `name=value`.

    None is written `none`. `length` and fields that follow from others (`repr=False`) are left out.
    """
    changed = {
        field.name: getattr(part, field.name)
        for field in dataclasses.fields(part)
        if field.name != "length"
        and field.repr
        and (field.name in also or getattr(part, field.name) != field.default)
    }
    return [f"{name}={'none' if each is None else each}" for name, each in changed.items()]


def label(part: tasks.Task | models.Model, name: str) -> str:
    """The name and its variant: `gru chrono=True`, `group_product group=S3`."""
    return _joined(name, variant(part))


def label_of(subject: Subject) -> Label:
    """The label of a network on a task.

    If the task or the model is not loaded here, such as one of a plug-in, its variant is empty.
    """
    task, model = subject.task, subject.model
    task_known, model_known = task.name in tasks.names(), model.name in models.names()
    return Label(
        task=task.name,
        task_variant=variant(tasks.load(task.name, **task.fields)) if task_known else "",
        model=model.name,
        variant=variant(models.load(model.name, **model.fields)) if model_known else "",
        family=family(model.name),
    )


def labels(specs: Sequence[Spec]) -> dict[str, Label]:
    """Spec id → label.

    If runs differ only in training settings, such as the learning rate of a sweep, these settings
    are part of the variant. The budget of updates is not: of several budgets, a report takes the
    largest of each seed.
    """
    by_network = {spec.network: spec for spec in specs}
    of_network = {network: label_of(spec) for network, spec in by_network.items()}
    found = {spec.id: of_network[spec.network] for spec in specs}
    settings = differing_settings(specs, found, ignored={"max_steps"})
    return {
        spec_id: dataclasses.replace(each, variant=_joined(each.variant, settings[spec_id]))
        for spec_id, each in found.items()
    }


def differing_settings(
    specs: Sequence[Spec], names: Mapping[str, object], ignored: Set[str] = frozenset()
) -> dict[str, str]:
    """Spec id → the settings in which runs of the same name, length and seed differ, as text.

    A value that more than half of the runs of a name have is not written: if a few networks have
    another size, only these say so. Settings that are `ignored` do not count.
    """
    alike: dict[tuple[object, int, int], list[Spec]] = {}
    for spec in specs:
        alike.setdefault((names[spec.id], spec.length, spec.seed), []).append(spec)
    varying: dict[object, set[str]] = {}
    for (name, _, _), group in alike.items():
        settings = [_settings(spec) for spec in group]
        varying.setdefault(name, set()).update(
            key
            for key in {key for each in settings for key in each}
            if len({str(each.get(key)) for each in settings}) > 1
        )
    written = {name: keys - ignored for name, keys in varying.items() if keys - ignored}
    usual = _usual([spec for spec in specs if names[spec.id] in written], names)
    texts = {}
    for spec in specs:
        name = names[spec.id]
        settings = _settings(spec) if name in written else {}
        keys = sorted(written.get(name, set()) & set(settings))
        texts[spec.id] = " ".join(
            f"{key}={settings[key]}" for key in keys if (key, str(settings[key])) not in usual[name]
        )
    return texts


def _usual(
    specs: Sequence[Spec], names: Mapping[str, object]
) -> dict[object, set[tuple[str, str]]]:
    """Name → the settings, with their values, that more than half of its runs have."""
    counts: dict[object, Counter[tuple[str, str]]] = {}
    totals = Counter(names[spec.id] for spec in specs)
    for spec in specs:
        settings = _settings(spec).items()
        counts.setdefault(names[spec.id], Counter()).update((key, str(v)) for key, v in settings)
    return {
        name: {pair for pair, number in of_name.items() if 2 * number > totals[name]}
        for name, of_name in counts.items()
    }


def _settings(spec: Spec) -> dict[str, object]:
    sized_by = "width" if spec.param_budget is None else "param_budget"
    return {sized_by: getattr(spec, sized_by), **spec.training.model_dump()}
