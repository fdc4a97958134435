"""Profile → specs: resolves all defaults, finds all widths and checks all values."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import models
import tasks
from bench.core.errors import RequestError, one_line, unknown
from bench.core.spec import Measure, Part, Spec, SpeedSpec, Subject, Training
from bench.plan import plugins
from bench.plan.labels import label
from bench.plan.ladder import Ladder, ladders_of
from bench.plan.profile import (
    DEFAULT_MAX_STEPS,
    TUNED,
    Grid,
    ModelChoice,
    Networks,
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
    """The training runs that a profile and a selection ask for, or may need for a ladder."""

    specs: tuple[Spec, ...]
    unsupported: tuple[Unsupported, ...]
    studies: Mapping[str, frozenset[Study]]
    """Spec id → the studies of all grids that contain the spec. Includes longer runs of ladders."""
    ladders: tuple[Ladder, ...] = ()
    """The lengths that models climb. All runs of them, with their first budget, are in `specs`."""
    only_climbed: frozenset[str] = frozenset()
    """Ids of the specs that belong to ladders alone, so that they may turn out not to be needed."""
    kept: frozenset[str] = frozenset()
    """Ids of the specs whose trained weights are kept."""
    left_out: tuple[str, ...] = ()
    """A sentence for each task and selected length that do not fit together."""


def task_of(spec: Subject) -> tasks.Task:
    return tasks.load(spec.task.name, **spec.task.fields)


def model_of(spec: Subject) -> models.Model:
    return models.load(spec.model.name, **spec.model.fields)


def network_of(spec: Subject) -> models.Network:
    """A newly initialised network for the spec, drawn from PyTorch's default generator."""
    return models.build(model_of(spec), task_of(spec).signature, spec.width, spec.extra_width)


def thresholds(specs: Sequence[Spec]) -> dict[str, float | None]:
    """Spec id → the score that counts as solved. None if the task has no horizon."""
    return {spec.id: task_of(spec).solved for spec in specs}


def check_objectives(specs: Sequence[Spec]) -> None:
    """Build the objective of each task of a plug-in, so that its errors are found before training.

    The project's own tasks are left out, since the objective of some reads files.
    """
    for spec in {spec.task.model_dump_json(): spec for spec in specs}.values():
        task = task_of(spec)
        if plugins.hashes(type(task)):
            with suppress(tasks.DataUnavailable):
                _ = task.objective


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One task and one model of a grid. Its specs differ in learning rate and seed alone."""

    profile: Profile
    grid: Networks
    choice: ModelChoice
    task: tasks.Task
    model: models.Model
    place: str
    """Place of the grid in the profile, for errors."""


def make_plan(
    profile: Profile, selection: Selection, *, source: str = "profile", rates: Path = RATES
) -> Plan:
    """All specs of the profile within the selection, each once. Errors name the `source`.

    A selected task, model, length or seed that the profile does not list is run as well. Raises
    `RequestError` for a value that a task or a model refuses, for a selected length that no
    selected task can have, and if nothing is left to run.
    """
    chosen = resolve(selection)
    tuned = load_rates(rates).rates
    specs: dict[str, Spec] = {}
    studies: dict[str, frozenset[Study]] = {}
    kept: set[str] = set()
    climbed: list[tuple[Spec, int | None]] = []
    fixed: set[str] = set()
    unsupported: dict[Unsupported, None] = {}
    reached: set[int] = set()
    grids = list(_grids(profile, chosen, source))
    left_out = _without_a_study(grids, chosen.lengths)
    for row in _rows(profile, grids, chosen, left_out):
        assert isinstance(row.grid, Grid)
        reached.add(row.task.length)
        reason = row.model.supports(row.task.signature)
        if reason is not None:
            task = label(row.task, row.task.task_name())
            model = label(row.model, row.model.model_name())
            unsupported[Unsupported(task=task, model=model, reason=reason)] = None
            continue
        of_row = list(_specs(row, row.grid, chosen, tuned))
        if row.grid.ladder:
            extend = _checked_extend(row, of_row)
            climbed += [(spec, extend) for spec in of_row]
        else:
            fixed |= {spec.id for spec in of_row}
        for spec in of_row:
            specs[spec.id] = spec
            studies[spec.id] = frozenset((*studies.get(spec.id, ()), row.grid.study))
            if row.grid.keep_weights:
                kept.add(spec.id)
    for (_, length), sentence in left_out.items():
        if length not in reached:
            raise RequestError(f"--length: {sentence}")
    if not specs and not unsupported:
        raise RequestError("the profile and the selection leave nothing to run")
    ladders = ladders_of(climbed)
    for key, longer in ((k, each) for one in ladders for k, each in one.longer.items()):
        studies[longer.id] = studies[key]
        kept |= {longer.id} if key in kept else set()
    return Plan(
        specs=tuple(specs.values()),
        unsupported=tuple(unsupported),
        studies=studies,
        ladders=ladders,
        only_climbed=frozenset(specs) - fixed,
        kept=frozenset(kept),
        left_out=tuple(left_out.values()),
    )


def _checked_extend(row: _Row, specs: Sequence[Spec]) -> int | None:
    """The second budget of a ladder. Raises `RequestError` if the ladder can't be climbed."""
    assert isinstance(row.grid, Grid)
    if row.task.solved is None:
        task = label(row.task, row.task.task_name())
        raise RequestError(f"{row.place}.ladder: {task} has no score that counts as solved")
    extend = row.profile.extend if row.grid.extended else None
    most = max((spec.training.max_steps for spec in specs), default=0)
    if extend is not None and extend <= most:
        raise RequestError(f"extend = {extend}; valid: more than the {most} updates of {row.place}")
    return extend


Placed = tuple[str, Networks, str]
"""A grid between its place in the profile and the name of its task."""


def _grids(profile: Profile, selection: Resolved, source: str) -> Iterator[Placed]:
    """The training grids of the selected tasks. `*` is replaced by the tasks it stands for."""
    named = {grid.task for grid in profile.grid}
    for i, grid in enumerate(profile.grid):
        place = f"{source}: grid.{i}"
        if grid.task != "*" and grid.task not in tasks.names():
            raise unknown("task", grid.task, [*tasks.names(), "*"], f"{place}.task")
        for name in tasks.names() if grid.task == "*" else [grid.task]:
            if (grid.task != "*" or name not in named) and selection.has_task(name):
                yield place, grid, name
    if "*" not in named:
        # A task that is selected by name is run, and so is one that a plug-in defines.
        of_plugins = [name for name in plugins.names() if name in tasks.names()]
        for name in selection.tasks or of_plugins:
            if name not in named:
                yield f"task {name}", Grid(task=name), name


def _without_a_study(grids: Sequence[Placed], lengths: Sequence[int]) -> dict[tuple[str, int], str]:
    """Task and length → a sentence, if the selected length belongs to no grid of the task."""
    left_out = {}
    for name in dict.fromkeys(name for _, _, name in grids):
        rivals = [grid for _, grid, of_task in grids if of_task == name]
        for length in lengths:
            if not any(_has_length(grid, name, length, rivals) for grid in rivals):
                left_out[name, length] = (
                    f"{name} at T = {length} is left out: the profile has this task only in "
                    f"studies that do not list this length"
                )
    return left_out


WHOLE: tuple[Measure, ...] = ("train", "forward")
"""What is timed of a stock implementation, which need not have a stepper."""


def make_speed_plan(
    profile: Profile, selection: Selection, specs: Sequence[Spec], *, source: str = "profile"
) -> tuple[SpeedSpec, ...]:
    """What to time: the profile's speed grids and, unless it says otherwise, one step of every
    network in `specs` and one of its updates, with the batch of its runs."""
    chosen = resolve(selection)
    timed: dict[str, SpeedSpec] = {}
    for subject, batch_size in _networks(specs) if profile.time_every_network else ():
        for each in (
            SpeedSpec(**subject, batch_size=1, measures=("step",)),
            SpeedSpec(**subject, batch_size=batch_size, measures=("train",)),
        ):
            timed[each.id] = each
    grids: list[Placed] = []
    for i, grid in enumerate(profile.speed):
        place = f"{source}: speed.{i}"
        if grid.task not in tasks.names():
            raise unknown("task", grid.task, tasks.names(), f"{place}.task")
        if chosen.has_task(grid.task):
            grids.append((place, grid, grid.task))
    for row in _rows(profile, grids, chosen, {}):
        assert isinstance(row.grid, SpeedGrid)
        if row.model.supports(row.task.signature) is None:
            subject = _subject(row)
            for batch_size, name in product(row.grid.batch_sizes, row.grid.implementations):
                measures: tuple[Measure, ...] = row.grid.measures
                if name == "stock":
                    measures = tuple(each for each in measures if each in WHOLE)
                if measures and (name == "fastest" or row.model.has_stock):
                    each = SpeedSpec(
                        **subject,
                        batch_size=batch_size,
                        measures=measures,
                        implementation=name,
                    )
                    timed[each.id] = each
    return tuple(timed.values())


def _rows(
    profile: Profile,
    grids: Sequence[Placed],
    selection: Resolved,
    left_out: dict[tuple[str, int], str],
) -> Iterator[_Row]:
    """The selected tasks and models of every grid, at every length.

    A selected length that a task can't have is added to `left_out`.
    """
    for place, grid, name in grids:
        same_task = [(at, other) for at, other, of_task in grids if of_task == name]
        rivals = [other for _, other in same_task]
        listed = [m for at, other in same_task for _, m in _models(profile, other, selection, at)]
        chosen = selection.choose(_models(profile, grid, selection, place), listed)
        lengths = _lengths(grid, name)
        if selection.lengths:
            lengths = [each for each in selection.lengths if _has_length(grid, name, each, rivals)]
        cls, fields = tasks.task_class(name), _fields(profile, grid, name, place)
        for length in lengths:
            try:
                task = cls(length=length, **fields)
            except ValueError as error:
                if not selection.lengths:
                    raise RequestError(f"{place}: {error}") from None
                left_out[name, length] = f"{name} at T = {length} is left out: {error}"
                continue
            for choice, model in chosen:
                yield _Row(
                    profile=profile, grid=grid, choice=choice, task=task, model=model, place=place
                )


def _networks(specs: Sequence[Spec]) -> Iterator[tuple[dict[str, Any], int]]:
    """The fields of a `Subject` for each different network, and the batch size of its runs."""
    seen: set[tuple[int, ...]] = set()
    for spec in specs:
        batch_size = spec.training.batch_size
        # Specs that differ only in the seed share these objects, so that no id has to be computed.
        network = id(spec.task), id(spec.model), spec.width, spec.extra_width, batch_size
        if network not in seen:
            seen.add(network)
            yield {field: getattr(spec, field) for field in Subject.model_fields}, batch_size


def _fields(profile: Profile, grid: Networks, name: str, place: str) -> dict[str, Any]:
    """The checked fields of the task in this grid, without its length."""
    cls = tasks.task_class(name)
    own = {field.name for field in dataclasses.fields(cls)}
    fields = dict(cls.smallest) if grid.lengths == "smallest" else {}
    fields.pop("length", None)
    fields |= {field: value for field, value in profile.task_fields.items() if field in own}
    fields |= grid.task_fields
    if "length" in fields:
        raise RequestError(f"{place}.task_fields: length is given by lengths")
    return checked_fields(cls, fields, name, f"{place}.task_fields")


def _lengths(grid: Networks, name: str) -> list[int]:
    """The lengths that a grid lists for a task."""
    cls = tasks.task_class(name)
    if grid.lengths == "smallest":
        return [cls.smallest["length"]]
    return list(cls.lengths if grid.lengths == "default" else grid.lengths)


def _has_length(grid: Networks, name: str, length: int, rivals: Sequence[Networks]) -> bool:
    """Whether a selected length belongs to this grid. `rivals` are all grids with this task.

    A length belongs to the grids that list it. If no grid lists it, it belongs to the main study.
    """
    if any(length in _lengths(other, name) for other in rivals):
        return length in _lengths(grid, name)
    return not isinstance(grid, Grid) or grid.study == "main"


def _models(
    profile: Profile, grid: Networks, selection: Resolved, place: str
) -> list[tuple[ModelChoice, models.Model]]:
    """The models that a grid lists and, in the main study, selected models that it does not."""
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


def _specs(row: _Row, grid: Grid, selection: Resolved, tuned: Rates) -> Iterator[Spec]:
    """A spec for each learning rate and seed."""
    subject = _subject(row)
    settings: dict[str, Any] = {}
    for each in (row.profile, grid, row.choice):
        settings |= each.training.model_dump(exclude_unset=True)
    if settings.get("max_steps") is None:
        settings["max_steps"] = DEFAULT_MAX_STEPS
    rates = settings.pop("learning_rate", TUNED)
    if rates == TUNED:
        name = row.model.model_name()
        rates = tuned_rate(tuned, row.task.task_name(), label(row.model, name), name)
    for rate in rates if isinstance(rates, list) else [rates]:
        training = Training(learning_rate=rate, **settings)
        for seed in selection.seeds or grid.seeds or row.profile.seeds:
            yield Spec(**subject, training=training, seed=seed)


def _subject(row: _Row) -> dict[str, Any]:
    """The fields of a `Subject`, with the given width or the one that meets the budget."""
    choice, task, model = row.choice, row.task, row.model
    budget, width, extra_width = None, choice.width, 0
    if width is None:
        budget = choice.param_budget or row.grid.param_budget or row.profile.param_budget
        try:
            width, extra_width = models.fit_width(model, task.signature, budget)
        except ValueError as error:
            raise RequestError(f"{row.place}: {error}") from None
    return {
        "task": _part(task.task_name(), task.fields, task.version, row.place),
        "model": _part(model.model_name(), model.fields, model.version, row.place),
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
