"""What a task and a model are called: plain names for data, labels for people."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import models
import tasks
from bench.core.spec import Spec, Subject


@dataclass(frozen=True, kw_only=True)
class Label:
    """How a task and a model are identified in tables and figures."""

    task: str
    """The task's name."""
    task_variant: str
    """The task's fields that differ from their defaults, `length` aside: `side=7`."""
    model: str
    """The model's name."""
    variant: str
    """The model's fields that differ from their defaults: `chrono=True`; empty: a plain model."""
    family: str

    @property
    def task_label(self) -> str:
        """For people: `pixel_mnist side=7`."""
        return _joined(self.task, self.task_variant)

    @property
    def model_label(self) -> str:
        """For people: `gru chrono=True`."""
        return _joined(self.model, self.variant)


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


def family(model: str) -> str:
    """The family of the model of this name; `other` where no such model is loaded."""
    return models.model_class(model).family if model in models.names() else "other"


def variant(part: tasks.Task | models.Model) -> str:
    """Each field that differs from its default, and a task's note.

    `length` is left out, and so are fields that repeat what others say (`repr=False`).
    """
    changed = [
        f"{field.name}={getattr(part, field.name)}"
        for field in dataclasses.fields(part)
        if field.name != "length" and field.repr and getattr(part, field.name) != field.default
    ]
    note = f"({part.note})" if isinstance(part, tasks.Task) and part.note else ""
    return _joined(*changed, note)


def label(part: tasks.Task | models.Model, name: str) -> str:
    """The name and what differs from the defaults: `gru chrono=True`."""
    return _joined(name, variant(part))


def label_of(subject: Subject) -> Label:
    """The label of one network on one task, whatever is done with it.

    A task or a model that is not loaded here, of a plug-in say, has its plain name alone.
    """
    task, model = subject.task, subject.model
    return Label(
        task=task.name,
        task_variant=variant(tasks.load(task.name, **task.fields))
        if task.name in tasks.names()
        else "",
        model=model.name,
        variant=variant(models.load(model.name, **model.fields))
        if model.name in models.names()
        else "",
        family=family(model.name),
    )


def labels(specs: Sequence[Spec]) -> dict[str, Label]:
    """Spec id → label.

    Runs that differ only in a training setting, such as the learning rate of a sweep, have that
    setting in their variant.
    """
    by_network = {spec.network: spec for spec in specs}
    of_network = {network: label_of(spec) for network, spec in by_network.items()}
    found = {spec.id: of_network[spec.network] for spec in specs}
    settings = differing_settings(specs, found)
    return {
        spec_id: dataclasses.replace(each, variant=_joined(each.variant, settings[spec_id]))
        for spec_id, each in found.items()
    }


def differing_settings(specs: Iterable[Spec], names: Mapping[str, object]) -> dict[str, str]:
    """Spec id → the settings in which runs of the same name, length and seed differ, as text."""
    specs = list(specs)
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
    texts = {}
    for spec in specs:
        settings = _settings(spec)
        keys = sorted(varying[names[spec.id]] & set(settings))
        texts[spec.id] = " ".join(f"{key}={settings[key]}" for key in keys)
    return texts


def _settings(spec: Spec) -> dict[str, object]:
    sized_by = "width" if spec.param_budget is None else "param_budget"
    return {sized_by: getattr(spec, sized_by), **spec.training.model_dump()}
