"""What a command selects of a profile: tasks, models, lengths and seeds."""

import ast
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import models
import tasks
from bench.core.errors import RequestError, one_line, unknown
from bench.plan.profile import ModelChoice, Profile, checked_fields


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to take of a profile; an empty tuple takes everything."""

    tasks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Names, which select plain models, and labels such as `gru chrono=true`."""
    lengths: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Resolved(Selection):
    """A selection whose names were found."""

    choices: tuple[tuple[ModelChoice, models.Model], ...] = ()
    """The models selected, in the order of `models`."""

    def choose(
        self,
        every: Sequence[tuple[ModelChoice, models.Model]],
        listed: Sequence[models.Model],
    ) -> list[tuple[ModelChoice, models.Model]]:
        """Those of a grid's models that are selected.

        A name selects the plain model. If the grids of the task list other forms of it alone, as
        those of the paper do, the name selects these. `listed` holds the models of all these grids.
        """
        if not self.models:
            return list(every)
        return [pair for pair in every if self._selects(pair[1], listed)]

    def _selects(self, model: models.Model, listed: Sequence[models.Model]) -> bool:
        for _, selected in self.choices:
            if model == selected:
                return True
            plain = not _changed(selected) and type(model) is type(selected)
            if plain and selected not in listed:
                return True
        return False

    def not_listed(
        self, profile: Profile, found: Sequence[models.Model]
    ) -> list[tuple[ModelChoice, models.Model]]:
        """The selected models that the profile names nowhere, and selected variants not in a grid.

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
    """The selection with its models; `RequestError` for an unknown name or field."""
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
    """The model of a label: its name, then `field=value` for each field, separated by spaces."""
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
        fields[field] = _value(value)
    cls = models.model_class(name)
    fields = checked_fields(cls, fields, name, "--model")
    try:
        return ModelChoice(name=name, fields=fields), cls(**fields)
    except ValueError as error:
        raise RequestError(f"--model: {error}") from None


def _value(text: str) -> Any:
    """A value as TOML or Python writes it, as in `true` and `True`; else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
