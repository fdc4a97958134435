"""Profile → specs: every default resolved, every width found, every bad value refused."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import models
import tasks
from bench.core.errors import RequestError, one_line, unknown
from bench.core.spec import Part, Spec, SpeedSpec, Subject, Training
from bench.plan import plugins
from bench.plan.profile import TUNED, Grid, ModelChoice, Profile, SpeedGrid, Study, checked_fields
from bench.plan.rates import RATES, Rates, tuned_rate
from bench.plan.rates import load as load_rates


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to take of a profile; an empty tuple takes everything."""

    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Unsupported:
    """A model that a task is nothing for."""

    task: str
    model: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    specs: tuple[Spec, ...]
    unsupported: tuple[Unsupported, ...]
    studies: Mapping[str, frozenset[Study]]
    """Spec id → the parts of the report it belongs to: those of every grid that names it."""
    kept: frozenset[str] = frozenset()
    """Ids of the specs whose weights are kept."""
    left_out: tuple[str, ...] = ()
    """A sentence for each selected length that a task can't have."""


def task_of(spec: Subject) -> tasks.Task:
    return tasks.load(spec.task.name, **spec.task.fields)


def model_of(spec: Subject) -> models.Model:
    return models.load(spec.model.name, **spec.model.fields)


def network_of(spec: Subject) -> models.Network:
    """A freshly initialised network for the spec, from PyTorch's default generator."""
    return models.build(model_of(spec), task_of(spec).signature, spec.width, spec.extra_width)


def labels(specs: Sequence[Spec]) -> dict[str, tuple[str, str]]:
    """Spec id → label of its task and of its model, for tables and figures.

    Runs that differ in nothing but a training setting (a sweep of rates, say) have it in the label.
    """
    return with_settings(
        specs,
        {
            spec.id: (label(task_of(spec), spec.task.name), label(model_of(spec), spec.model.name))
            for spec in specs
        },
    )


def with_settings(
    specs: Sequence[Spec], found: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """These labels; that of a model has what tells runs apart that have the same one otherwise."""
    alike: dict[tuple[str, str, int, int], list[Spec]] = {}
    for spec in specs:
        alike.setdefault((*found[spec.id], spec.length, spec.seed), []).append(spec)
    varying: dict[tuple[str, str], set[str]] = {}
    for (task, model, _, _), group in alike.items():
        settings = [_settings(spec) for spec in group]
        varying.setdefault((task, model), set()).update(
            key
            for key in {key for each in settings for key in each}
            if len({str(each.get(key)) for each in settings}) > 1
        )
    told = {}
    for spec in specs:
        task, model = found[spec.id]
        settings = _settings(spec)
        extra = [f"{key}={settings[key]}" for key in sorted(varying[task, model] & set(settings))]
        told[spec.id] = task, " ".join([model, *extra])
    return told


def _settings(spec: Spec) -> dict[str, object]:
    sized_by = "width" if spec.param_budget is None else "param_budget"
    return {sized_by: getattr(spec, sized_by), **spec.training.model_dump()}


def thresholds(specs: Sequence[Spec]) -> dict[str, float | None]:
    """Spec id → the score that counts as solved; None: the task has no horizon."""
    return {spec.id: task_of(spec).solved for spec in specs}


def label(part: tasks.Task | models.Model, name: str) -> str:
    """The name, each field that differs from its default, and a task's note.

    Without `length`, and without fields that only hold what others stand for (`repr=False`).
    """
    changed = {
        field.name: getattr(part, field.name)
        for field in dataclasses.fields(part)
        if field.name != "length" and field.repr and getattr(part, field.name) != field.default
    }
    note = f"({part.note})" if isinstance(part, tasks.Task) and part.note else ""
    said = [name, *(f"{key}={value}" for key, value in changed.items()), note]
    return " ".join(filter(None, said))


def make_plan(
    profile: Profile, selection: Selection, *, source: str = "profile", rates: Path = RATES
) -> Plan:
    """Every spec of the profile within the selection, each once; `source` names it in errors.

    A selected length, seed, task or model that the profile does not list is run as well. Raises
    `RequestError` for whatever the tasks and models refuse and where nothing is left.
    """
    for kind, chosen, valid in (
        ("task", selection.tasks, tasks.names()),
        ("model", selection.models, models.names()),
    ):
        for name in chosen:
            if name not in valid:
                raise unknown(kind, name, valid, f"--{kind}")

    tuned = load_rates(rates).rates
    specs: dict[str, Spec] = {}
    studies: dict[str, frozenset[Study]] = {}
    kept: set[str] = set()
    unsupported: list[Unsupported] = []
    refused: list[str] = []
    for place, grid, task_name in _grids(profile, selection, source):
        chosen = _chosen(profile, grid, selection, place)
        for task in _instances(grid, task_name, selection, place, refused):
            for choice, model in chosen:
                reason = model.supports(task.signature)
                if reason is None:
                    for spec in _specs(profile, grid, choice, selection, task, model, tuned, place):
                        specs[spec.id] = spec
                        studies[spec.id] = frozenset((*studies.get(spec.id, ()), grid.study))
                        if grid.keep_weights:
                            kept.add(spec.id)
                else:
                    missing = Unsupported(
                        task=label(task, task.task_name()),
                        model=label(model, model.model_name()),
                        reason=reason,
                    )
                    if missing not in unsupported:
                        unsupported.append(missing)
    served = {spec.length for spec in specs.values()}
    if refused and (not specs or set(selection.lengths) - served):
        raise RequestError(refused[0])
    if not specs and not unsupported:
        raise RequestError("the profile and the selection leave nothing to run")
    return Plan(
        specs=tuple(specs.values()),
        unsupported=tuple(unsupported),
        studies=studies,
        kept=frozenset(kept),
    )


def _grids(profile: Profile, selection: Selection, source: str) -> Iterator[tuple[str, Grid, str]]:
    """Each grid with its place in the profile and the name of its task."""
    named = {grid.task for grid in profile.grid}
    for i, grid in enumerate(profile.grid):
        place = f"{source}: grid.{i}"
        if grid.task != "*" and grid.task not in tasks.names():
            raise unknown("task", grid.task, [*tasks.names(), "*"], f"{place}.task")
        for name in tasks.names() if grid.task == "*" else [grid.task]:
            if (grid.task != "*" or name not in named) and (
                not selection.tasks or name in selection.tasks
            ):
                yield place, grid, name
    if "*" not in named:
        # What is asked for by name is run, and so is what a plug-in brings along.
        brought = [name for name in plugins.names() if name in tasks.names()]
        for name in selection.tasks or brought:
            if name not in named:
                yield f"task {name}", Grid(task=name), name


def make_speed_plan(
    profile: Profile, selection: Selection, specs: Sequence[Spec], *, source: str = "profile"
) -> tuple[SpeedSpec, ...]:
    """What to time: the step of every network that `specs` train, and the profile's own sweeps."""
    timed: dict[str, SpeedSpec] = {}
    fields = set(Subject.model_fields)
    seen: set[tuple[int, ...]] = set()
    for spec in specs:
        # Seeds of a network share its task and its model: most are passed over without an id.
        network = id(spec.task), id(spec.model), spec.width, spec.extra_width
        if network in seen:
            continue
        seen.add(network)
        subject = {field: getattr(spec, field) for field in fields}
        each = SpeedSpec(**subject, batch_size=1, measures=("step",))
        timed[each.id] = each
    for i, grid in enumerate(profile.speed):
        place = f"{source}: speed.{i}"
        if grid.task not in tasks.names():
            raise unknown("task", grid.task, tasks.names(), f"{place}.task")
        if selection.tasks and grid.task not in selection.tasks:
            continue
        chosen = _chosen(profile, grid, selection, place)
        for task in _instances(grid, grid.task, selection, place, []):
            for choice, model in chosen:
                if model.supports(task.signature) is not None:
                    continue
                subject = _subject(profile, grid, choice, task, model, place)
                for batch_size in grid.batch_sizes:
                    each = SpeedSpec(**subject, batch_size=batch_size, measures=grid.measures)
                    timed[each.id] = each
    return tuple(timed.values())


def _instances(
    grid: Grid | SpeedGrid, name: str, selection: Selection, place: str, refused: list[str]
) -> Iterator[tasks.Task]:
    """The task at each length; a selected length that it can't have goes to `refused`."""
    cls = tasks.task_class(name)
    fields = dict(grid.task_fields)
    if grid.lengths == "smallest":
        fields = {**cls.smallest, **fields}
        lengths = [fields.pop("length")]
    else:
        lengths = list(cls.lengths if grid.lengths == "default" else grid.lengths)
    fields = _checked(cls, fields, name, f"{place}.task_fields")
    if "length" in fields:
        raise RequestError(f"{place}.task_fields: length is given by lengths")
    for length in selection.lengths or lengths:
        try:
            yield cls(length=length, **fields)
        except ValueError as error:
            message = f"--length {length}: {error}" if selection.lengths else f"{place}: {error}"
            if not selection.lengths:
                raise RequestError(message) from None
            refused.append(message)


def _chosen(
    profile: Profile, grid: Grid | SpeedGrid, selection: Selection, place: str
) -> list[tuple[ModelChoice, models.Model]]:
    """The grid's models within the selection."""
    every = [(choice, _model(choice, place)) for choice in _choices(profile, grid, selection)]
    return [
        (choice, model)
        for choice, model in every
        if not selection.models or model.model_name() in selection.models
    ]


def _choices(profile: Profile, grid: Grid | SpeedGrid, selection: Selection) -> list[ModelChoice]:
    """The grid's models; else the profile's; else all there are.

    Selected ones that the profile names nowhere are added, but for the choice of another study.
    """
    listed = grid.models or profile.models
    if listed is None:
        return [ModelChoice(name=name) for name in models.names()]
    if grid.models is not None and isinstance(grid, Grid) and grid.study != "main":
        return listed
    holders = (profile, *profile.grid, *profile.speed)
    named = {choice.name for holder in holders for choice in holder.models or ()}
    return listed + [ModelChoice(name=name) for name in selection.models if name not in named]


def _checked(cls: type, fields: dict[str, Any], kind: str, place: str) -> dict[str, Any]:
    """Fields as a class declares them; any, where it stands in for one that is broken."""
    return fields if plugins.stands_in(cls) else checked_fields(cls, fields, kind, place)


def _model(choice: ModelChoice, place: str) -> models.Model:
    name = choice.name
    if name not in models.names():
        raise unknown("model", name, models.names(), f"{place}.models")
    cls = models.model_class(name)
    fields = _checked(cls, choice.fields, name, f"{place}.models")
    try:
        return cls(**fields)
    except ValueError as error:
        raise RequestError(f"{place}.models: {error}") from None


def _specs(
    profile: Profile,
    grid: Grid,
    choice: ModelChoice,
    selection: Selection,
    task: tasks.Task,
    model: models.Model,
    tuned: Rates,
    place: str,
) -> Iterator[Spec]:
    """A spec for each learning rate and seed."""
    subject = _subject(profile, grid, choice, task, model, place)
    settings = {
        **profile.training.model_dump(exclude_unset=True),
        **grid.training.model_dump(exclude_unset=True),
        **choice.training.model_dump(exclude_unset=True),
    }
    if "max_steps" not in settings:
        raise RequestError(f"{place}: training.max_steps is missing, here and in [training]")
    rates = settings.pop("learning_rate", TUNED)
    if rates == TUNED:
        name = model.model_name()
        rates = tuned_rate(tuned, task.task_name(), label(model, name), name)
    for rate in rates if isinstance(rates, list) else [rates]:
        training = Training(learning_rate=rate, **settings)
        for seed in selection.seeds or grid.seeds or profile.seeds:
            yield Spec(**subject, training=training, seed=seed)


def _subject(
    profile: Profile,
    grid: Grid | SpeedGrid,
    choice: ModelChoice,
    task: tasks.Task,
    model: models.Model,
    place: str,
) -> dict[str, Any]:
    """The fields of a `Subject`: the width is the one asked for, or what meets the budget."""
    if choice.width is not None:
        budget, width, extra_width = None, choice.width, 0
    else:
        budget = choice.param_budget or grid.param_budget or profile.param_budget
        broken = plugins.stands_in(type(task)) or plugins.stands_in(type(model))
        try:
            width, extra_width = (
                (1, 0) if broken else models.fit_width(model, task.signature, budget)
            )
        except ValueError as error:
            raise RequestError(f"{place}: {error}") from None
    return {
        "task": _part(task.task_name(), task.fields, task.version, place),
        "model": _part(model.model_name(), model.fields, model.version, place),
        "param_budget": budget,
        "width": width,
        "extra_width": extra_width,
        "plugin_sha256": plugins.hashes(type(task), type(model)),
    }


def _part(name: str, fields: dict[str, Any], version: int, place: str) -> Part:
    try:
        return Part(name=name, fields=fields, version=version)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{place}: {first['loc'][0]} of {one_line(name)}: {said}") from None
