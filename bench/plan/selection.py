"""The tasks, models, lengths and seeds of a profile that a command selects."""

from collections.abc import Sequence
from dataclasses import dataclass

import models
import tasks
from bench.core.errors import RequestError, one_line, unknown
from bench.plan.profile import ModelChoice, Profile, checked_fields, parsed


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The part of a profile that a command runs. An empty tuple selects everything."""

    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Names of plain models, and labels of variants such as `gru chrono=true`."""
    lengths: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Resolved(Selection):
    """A selection whose names have been checked."""

    choices: tuple[tuple[ModelChoice, models.Model], ...] = ()
    """The selected models, in the order of `models`."""

    def has_task(self, name: str) -> bool:
        return not self.tasks or name in self.tasks

    def choose(
        self,
        every: Sequence[tuple[ModelChoice, models.Model]],
        listed: Sequence[models.Model],
    ) -> list[tuple[ModelChoice, models.Model]]:
        """The models of a grid, `every`, that are selected.

        A name selects the plain model. If the grids of the task list only variants of it, as in the
        profile `paper`, the name selects these variants. `listed` holds the models of all these
        grids.
        """

        def selects(selected: models.Model, model: models.Model) -> bool:
            only_variants = selected not in listed and not _changed(selected)
            return model == selected or (only_variants and type(model) is type(selected))

        if not self.models:
            return list(every)
        return [
            (choice, model)
            for choice, model in every
            if any(selects(selected, model) for _, selected in self.choices)
        ]

    def not_listed(
        self, profile: Profile, found: Sequence[models.Model]
    ) -> list[tuple[ModelChoice, models.Model]]:
        """The selected models that the profile does not name, and variants missing in a grid.

        `found` holds the models that the grid lists.
        """
        holders = (profile, *profile.grid, *profile.speed)
        named = {choice.name for holder in holders for choice in holder.models or ()}
        everything = profile.models is None and any(not grid.models for grid in profile.grid)
        return [
            (choice, model)
            for choice, model in self.choices
            if model not in found and (_changed(model) or not (everything or choice.name in named))
        ]


def _changed(model: models.Model) -> bool:
    """Whether a field differs from its default."""
    return model != type(model)()


def resolve(selection: Selection) -> Resolved:
    """Check the selection. Raises `RequestError` for an unknown name or field."""
    for name in selection.tasks:
        if name not in tasks.names():
            raise unknown("task", name, tasks.names(), "--task")
    return Resolved(
        tasks=selection.tasks,
        models=selection.models,
        lengths=selection.lengths,
        seeds=selection.seeds,
        choices=tuple(map(_choice, selection.models)),
    )


def _choice(text: str) -> tuple[ModelChoice, models.Model]:
    """The model of a label: a name, then `field=value` for each field, separated by spaces."""
    name, *settings = text.split() or [""]
    if name not in models.names():
        raise unknown("model", one_line(name), models.names(), "--model")
    fields = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or not field or not value:
            raise RequestError(
                f"--model {one_line(text)}: {setting!r} is not of the form field=value"
            )
        fields[field] = parsed(value)
    cls = models.model_class(name)
    fields = checked_fields(cls, fields, name, "--model")
    try:
        return ModelChoice(name=name, fields=fields), cls(**fields)
    except ValueError as error:
        raise RequestError(f"--model: {error}") from None
