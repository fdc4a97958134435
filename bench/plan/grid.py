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
from bench.plan.labels import label
from bench.plan.profile import (
    DEFAULT_MAX_STEPS,
    TUNED,
    Grid,
    ModelChoice,
    Profile,
    SpeedGrid,
    Study,
    checked_fields,
)
from bench.plan.rates import RATES, Rates, tuned_rate
from bench.plan.rates import load as load_rates
from bench.plan.selection import Resolved, Selection, resolve


@dataclass(frozen=True, kw_only=True)
class Unsupported:
    """A model that does not support a task."""

    task: str
    model: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every training run that a profile and a selection ask for."""

    specs: tuple[Spec, ...]
    unsupported: tuple[Unsupported, ...]
    studies: Mapping[str, frozenset[Study]]
    """Spec id → the parts of the report it belongs to: those of every grid that names it."""
    kept: frozenset[str] = frozenset()
    """Ids of the specs whose weights are kept."""
    left_out: tuple[str, ...] = ()
    """A sentence for each selected length that a task is not run at."""


def task_of(spec: Subject) -> tasks.Task:
    return tasks.load(spec.task.name, **spec.task.fields)


def model_of(spec: Subject) -> models.Model:
    return models.load(spec.model.name, **spec.model.fields)


def network_of(spec: Subject) -> models.Network:
    """A freshly initialised network for the spec, from PyTorch's default generator."""
    return models.build(model_of(spec), task_of(spec).signature, spec.width, spec.extra_width)


def thresholds(specs: Sequence[Spec]) -> dict[str, float | None]:
    """Spec id → the score that counts as solved; None: the task has no horizon."""
    return {spec.id: task_of(spec).solved for spec in specs}


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One task, one model and their settings: the specs of a row differ in rate and seed."""

    profile: Profile
    grid: Grid
    choice: ModelChoice
    task: tasks.Task
    model: models.Model
    place: str
    """Where the grid stands, for errors."""


def make_plan(
    profile: Profile, selection: Selection, *, source: str = "profile", rates: Path = RATES
) -> Plan:
    """Every spec of the profile within the selection, each once; `source` names it in errors.

    A selected task, model, length or seed that the profile does not list is run as well. Raises
    `RequestError` for a value that a task or a model refuses, for a selected length that no task
    can have, and if nothing is left to run.
    """
    chosen = resolve(selection)
    tuned = load_rates(rates).rates
    specs: dict[str, Spec] = {}
    studies: dict[str, frozenset[Study]] = {}
    kept: set[str] = set()
    unsupported: dict[Unsupported, None] = {}
    left_out: dict[tuple[str, int], str] = {}
    reached: set[int] = set()
    for row in _rows(profile, chosen, source, left_out):
        reached.add(row.task.length)
        reason = row.model.supports(row.task.signature)
        if reason is not None:
            unsupported[_unsupported(row, reason)] = None
            continue
        for spec in _specs(row, chosen, tuned):
            specs[spec.id] = spec
            studies[spec.id] = frozenset((*studies.get(spec.id, ()), row.grid.study))
            if row.grid.keep_weights:
                kept.add(spec.id)
    for (_, length), sentence in left_out.items():
        if length not in reached:
            raise RequestError(f"--length: {sentence}")
    if not specs and not unsupported:
        raise RequestError("the profile and the selection leave nothing to run")
    return Plan(
        specs=tuple(specs.values()),
        unsupported=tuple(unsupported),
        studies=studies,
        kept=frozenset(kept),
        left_out=tuple(left_out.values()),
    )


def _unsupported(row: _Row, reason: str) -> Unsupported:
    return Unsupported(
        task=label(row.task, row.task.task_name()),
        model=label(row.model, row.model.model_name()),
        reason=reason,
    )


def _rows(
    profile: Profile, selection: Resolved, source: str, left_out: dict[tuple[str, int], str]
) -> Iterator[_Row]:
    """Tasks and models of every grid, at every length; what can't be had goes to `left_out`."""
    grids = list(_grids(profile, selection, source))
    for name in {name: None for _, _, name in grids}:
        rivals = [grid for _, grid, of_task in grids if of_task == name]
        for length in selection.lengths:
            if not any(_has_length(grid, name, length, rivals) for grid in rivals):
                left_out[name, length] = (
                    f"{name} at T = {length} is left out: the profile has this task only in "
                    f"studies that do not list this length"
                )
    for place, grid, name in grids:
        rivals = [other for _, other, of_task in grids if of_task == name]
        every = _models(profile, grid, selection, place)
        listed = [model for other in rivals for _, model in _models(profile, other, selection, "")]
        models_of_grid = selection.choose(every, listed)
        for task in _instances(profile, grid, name, selection, rivals, place, left_out):
            for choice, model in models_of_grid:
                yield _Row(
                    profile=profile, grid=grid, choice=choice, task=task, model=model, place=place
                )


def _grids(profile: Profile, selection: Resolved, source: str) -> Iterator[tuple[str, Grid, str]]:
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
        # A task that is selected by name is run, and so is one that a plug-in defines.
        brought = [name for name in plugins.names() if name in tasks.names()]
        for name in selection.tasks or brought:
            if name not in named:
                yield f"task {name}", Grid(task=name), name


def make_speed_plan(
    profile: Profile, selection: Selection, specs: Sequence[Spec], *, source: str = "profile"
) -> tuple[SpeedSpec, ...]:
    """What to time: the step of every network that `specs` train, and the profile's own sweeps."""
    chosen = resolve(selection)
    timed: dict[str, SpeedSpec] = {}
    for subject in _networks(specs):
        each = SpeedSpec(**subject, batch_size=1, measures=("step",))
        timed[each.id] = each
    for i, grid in enumerate(profile.speed):
        place = f"{source}: speed.{i}"
        if grid.task not in tasks.names():
            raise unknown("task", grid.task, tasks.names(), f"{place}.task")
        if selection.tasks and grid.task not in selection.tasks:
            continue
        rivals = [other for other in profile.speed if other.task == grid.task]
        every = _models(profile, grid, chosen, place)
        models_of_grid = chosen.choose(every, [model for _, model in every])
        for task in _instances(profile, grid, grid.task, chosen, rivals, place, {}):
            for choice, model in models_of_grid:
                if model.supports(task.signature) is not None:
                    continue
                subject = _subject(profile, grid, choice, task, model, place)
                for batch_size in grid.batch_sizes:
                    each = SpeedSpec(**subject, batch_size=batch_size, measures=grid.measures)
                    timed[each.id] = each
    return tuple(timed.values())


def _networks(specs: Sequence[Spec]) -> Iterator[dict[str, Any]]:
    """The fields of a `Subject` for each network, once."""
    seen: set[tuple[int, ...]] = set()
    for spec in specs:
        # The seeds of a network share its task and its model: most are skipped without an id.
        network = id(spec.task), id(spec.model), spec.width, spec.extra_width
        if network not in seen:
            seen.add(network)
            yield {field: getattr(spec, field) for field in Subject.model_fields}


def _fields(profile: Profile, grid: Grid | SpeedGrid, name: str) -> dict[str, Any]:
    """The task's fields in this grid; with `length` where the grid asks for the smallest."""
    cls = tasks.task_class(name)
    own = {field.name for field in dataclasses.fields(cls)}
    shared = {field: value for field, value in profile.task_fields.items() if field in own}
    smallest = cls.smallest if grid.lengths == "smallest" else {}
    return {**smallest, **shared, **grid.task_fields}


def _lengths(grid: Grid | SpeedGrid, name: str) -> list[int]:
    """The lengths that a grid lists for a task."""
    cls = tasks.task_class(name)
    if grid.lengths == "smallest":
        return [{**cls.smallest, **grid.task_fields}["length"]]
    return list(cls.lengths if grid.lengths == "default" else grid.lengths)


def _has_length(
    grid: Grid | SpeedGrid, name: str, length: int, rivals: Sequence[Grid | SpeedGrid]
) -> bool:
    """Whether a selected length belongs to this grid, one of the `rivals` with the same task.

    It belongs to the grids that list it. A length that none of them lists belongs to the main
    study.
    """
    if any(length in _lengths(other, name) for other in rivals):
        return length in _lengths(grid, name)
    return not isinstance(grid, Grid) or grid.study == "main"


def _instances(
    profile: Profile,
    grid: Grid | SpeedGrid,
    name: str,
    selection: Resolved,
    rivals: Sequence[Grid | SpeedGrid],
    place: str,
    left_out: dict[tuple[str, int], str],
) -> Iterator[tasks.Task]:
    """The task at each length; a selected length that it can't have goes to `left_out`."""
    cls = tasks.task_class(name)
    fields = _fields(profile, grid, name)
    if grid.lengths == "smallest":
        del fields["length"]
    fields = checked_fields(cls, fields, name, f"{place}.task_fields")
    if "length" in fields:
        raise RequestError(f"{place}.task_fields: length is given by lengths")
    for length in selection.lengths or _lengths(grid, name):
        if selection.lengths and not _has_length(grid, name, length, rivals):
            continue
        try:
            yield cls(length=length, **fields)
        except ValueError as error:
            if not selection.lengths:
                raise RequestError(f"{place}: {error}") from None
            left_out[name, length] = f"{name} at T = {length} is left out: {error}"


def _models(
    profile: Profile, grid: Grid | SpeedGrid, selection: Resolved, place: str
) -> list[tuple[ModelChoice, models.Model]]:
    """The models that a grid lists, and in the main study those that are only selected."""
    listed = grid.models or profile.models
    if listed is None:
        listed = [ModelChoice(name=name) for name in models.names()]
    found = [(choice, _model(choice, place)) for choice in listed]
    if grid.models is None or not isinstance(grid, Grid) or grid.study == "main":
        found += selection.not_listed(profile, [model for _, model in found])
    return found


def _model(choice: ModelChoice, place: str) -> models.Model:
    name = choice.name
    if name not in models.names():
        raise unknown("model", name, models.names(), f"{place}.models")
    cls = models.model_class(name)
    fields = checked_fields(cls, choice.fields, name, f"{place}.models")
    try:
        return cls(**fields)
    except ValueError as error:
        raise RequestError(f"{place}.models: {error}") from None


def _specs(row: _Row, selection: Resolved, tuned: Rates) -> Iterator[Spec]:
    """A spec for each learning rate and seed."""
    profile, grid, task, model = row.profile, row.grid, row.task, row.model
    subject = _subject(profile, grid, row.choice, task, model, row.place)
    settings = {
        **profile.training.model_dump(exclude_unset=True),
        **grid.training.model_dump(exclude_unset=True),
        **row.choice.training.model_dump(exclude_unset=True),
    }
    if settings.get("max_steps") is None:
        settings["max_steps"] = DEFAULT_MAX_STEPS
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
        try:
            width, extra_width = models.fit_width(model, task.signature, budget)
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
