"""TOML → validated Profile. Errors name the file, the key and the value."""

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

import tasks
from bench.core.errors import RequestError, one_line, unknown
from bench.core.spec import Frozen, Measure, Positive, Training
from bench.plan.catalogue import PROFILES

DEFAULT_MAX_STEPS = 2_000
"""Updates of a run if neither the profile nor its grids say how many."""
TUNED = "tuned"
"""A learning rate taken from the committed tuning run."""

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
Study = Literal["main", "variants", "receptive_field", "beyond", "generation"]
"""A part of the report. `main`: the comparison itself; `variants`: other forms of a model beside
it; `receptive_field`: networks whose field stops short of the task; `beyond`: lengths that were
not trained; `generation`: likelihoods, and samples of what was learned."""


class TrainingChoice(Training):
    """What a profile may say of `Training`: any part of it, and rates to be tuned or swept."""

    learning_rate: Rate | Literal["tuned"] | list[Rate] = TUNED  # pyright: ignore
    max_steps: Positive | None = None  # pyright: ignore


class ModelChoice(Frozen):
    """A model with fields other than its defaults, a size or a training of its own."""

    name: str
    fields: dict[str, Any] = {}
    width: Positive | None = None
    """Units a layer; no budget is met."""
    param_budget: Positive | None = None
    """Of this model, in place of the grid's."""
    training: TrainingChoice = TrainingChoice()
    """What differs from the grid's training."""

    @model_validator(mode="after")
    def _of_one_size(self) -> "ModelChoice":
        if self.width is not None and self.param_budget is not None:
            raise ValueError("give width or param_budget, not both")
        return self


def _named(choice: Any) -> Any:
    return {"name": choice} if isinstance(choice, str) else choice


Models = Annotated[
    list[Annotated[ModelChoice, BeforeValidator(_named)]],  # a bare name is a model as it comes
    Field(min_length=1),
]


class Grid(Frozen):
    """A task, its lengths, and what differs from the profile's own settings."""

    task: str
    """A task's name, or `*`: every task that no other grid names."""
    task_fields: dict[str, Any] = {}
    lengths: Annotated[list[int], Field(min_length=1)] | Literal["default", "smallest"] = "default"
    """Dependency lengths; `default`: the task's own; `smallest`: its smallest instance."""
    models: Models | None = None
    param_budget: Positive | None = None
    seeds: Seeds | None = None
    training: TrainingChoice = TrainingChoice()
    study: Study = "main"
    """The part of the report that its runs belong to."""
    keep_weights: bool = False
    """Whether the trained weights are kept, to sample from."""


class SpeedGrid(Frozen):
    """Networks whose training and inference are timed."""

    task: str
    task_fields: dict[str, Any] = {}
    lengths: Annotated[list[int], Field(min_length=1)] | Literal["default", "smallest"] = "default"
    batch_sizes: Annotated[list[Positive], Field(min_length=1)] = [1, 64]
    """Sequences at once."""
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = ("train", "forward", "step")
    """What is timed: see `SpeedSpec.measures`."""
    models: Models | None = None
    param_budget: Positive | None = None

    @field_validator("models")
    @classmethod
    def _untrained(cls, models: list[ModelChoice] | None) -> list[ModelChoice] | None:
        for choice in models or ():
            if choice.training.model_fields_set:
                raise ValueError(f"training of {choice.name}: nothing is trained here")
        return models


class Profile(Frozen):
    """How much is run."""

    description: str
    caveat: str = ""
    """A warning that stands before everything else in the reports of this profile."""
    seeds: Seeds
    param_budget: Positive
    models: Models | None = None
    """Models of every grid that names none; by default all there are."""
    task_fields: dict[str, Any] = {}
    """Fields of every task that has them; a grid's own come first."""
    training: TrainingChoice = TrainingChoice()
    grid: Annotated[list[Grid], Field(min_length=1)]
    speed: list[SpeedGrid] = []
    """What is timed beside the streaming step of every network that is trained."""


def names() -> list[str]:
    """The profiles that come with the project."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load(name: str, settings: Sequence[str] = ()) -> Profile:
    """The profile of this name or at this path, with `key=value` settings over its own.

    Raises `RequestError` where the profile does not exist, is malformed or holds a bad value.
    """
    path = PROFILES / f"{name}.toml" if name in names() else Path(name)
    if path.suffix != ".toml":
        raise unknown("profile", name, names(), "--profile")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"--profile: can't read {path}: {reason}") from None
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 1,000 brackets
        raise RequestError(f"{path}: malformed TOML: {one_line(str(error))}") from None
    profile = _validated(content, str(path))
    for setting in settings:
        profile = _validated(_with_setting(content, setting), f"--set {one_line(setting)}")
    return profile


def _with_setting(content: dict[str, Any], setting: str) -> dict[str, Any]:
    """Set `key=value` for the whole profile: a grid's or a model's own value gives way."""
    place = f"--set {one_line(setting)}"
    key, equals, text = setting.partition("=")
    key, text = key.strip().removeprefix("training."), text.strip()
    if not equals or not key or not text:
        raise RequestError(f"{place}: not of the form key=value")
    if not setting.isprintable():
        raise RequestError(f"{place}: holds a line break or another character that is not text")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a bare word: --set learning_rate=tuned
    grids = content["grid"] + content.get("speed", [])
    holders = grids + [
        choice
        for holder in (content, *grids)
        for choice in holder.get("models", [])
        if isinstance(choice, dict)
    ]
    if key.startswith("task_fields."):
        field = key.removeprefix("task_fields.")
        if field not in _task_fields():
            raise unknown("task field", one_line(field), _task_fields(), place)
        content["task_fields"] = {**content.get("task_fields", {}), field: value}
        for grid in grids:
            grid.get("task_fields", {}).pop(field, None)
    elif key in Training.model_fields:
        content.setdefault("training", {})[key] = value
        for holder in holders:
            holder.get("training", {}).pop(key, None)
    elif key in _OF_GRIDS:
        for grid in content["grid"]:
            grid[key] = value
    elif key in _OF_PROFILE:
        content[key] = value
        for holder in holders:
            holder.pop(key, None)
            if key == "param_budget":
                holder.pop("width", None)  # the other way to say how large
    elif owners := _task_fields().get(key):
        raise RequestError(
            f"{place}: {key} is a field of {', '.join(owners)}; write --set task_fields.{setting}"
        )
    else:
        raise unknown(
            "key", one_line(key), {*Training.model_fields, *_OF_GRIDS, *_OF_PROFILE}, place
        )
    return content


_OF_PROFILE = {"description", "seeds", "param_budget", "models"}
_OF_GRIDS = {"keep_weights"}
"""Keys of a grid that can be set for all grids at once."""


def _task_fields() -> dict[str, list[str]]:
    """Field → names of the tasks that have it, `length` aside."""
    owners: dict[str, list[str]] = {}
    for name in tasks.names():
        for field in dataclasses.fields(tasks.task_class(name)):
            if field.repr and field.name != "length":
                owners.setdefault(field.name, []).append(name)
    return owners


def _validated(content: dict[str, Any], place: str) -> Profile:
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _explained(first, place) from None


_SCHEMAS = {"training": Training, "models": ModelChoice, "grid": Grid, "speed": SpeedGrid}
_VALID = {"learning_rate": 'a positive number, a list of them, or "tuned"'}
"""Valid values of keys that take several types, in words."""


def _explained(error: Any, place: str) -> RequestError:
    """One line for pydantic's first complaint."""
    # If a key takes several types, pydantic appends the name of one, as in `constrained-float`.
    *parents, key = [part for part in error["loc"] if re.fullmatch(r"\w+", str(part))] or [""]
    where = one_line(".".join(map(str, [*parents, key])))
    if error["type"] == "extra_forbidden":
        schema = next((schema for part, schema in _SCHEMAS.items() if part in parents), Profile)
        return unknown("key", one_line(str(key)), schema.model_fields, f"{place}: {where}")
    if error["type"] == "missing":
        return RequestError(f"{place}: {where} is missing")
    said = one_line(error["msg"].removeprefix("Value error, "))
    if key in _VALID:
        said = f"valid: {_VALID[str(key)]}"
    return RequestError(f"{place}: {where} = {one_line(repr(error['input']))}; {said}")


def checked_fields(cls: type, fields: dict[str, Any], kind: str, place: str) -> dict[str, Any]:
    """The fields of a task's or model's dataclass, each of its declared type.

    Raises `RequestError` for an unknown field, a value of another type, or a field that is missing.
    """
    from typing import get_type_hints

    if not fields:
        return {}
    of_class = get_type_hints(cls)
    hints = {name: of_class[name] for name in cls.__dataclass_fields__}  # pyright: ignore
    checked = {}
    for name, value in fields.items():
        if name not in hints:
            raise unknown(f"field of {kind}", name, hints, place)
        try:
            checked[name] = TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            value = one_line(repr(value))
            raise RequestError(f"{place}: {name} = {value} of {kind}: {message}") from None
    for field in dataclasses.fields(cls):
        if (
            field.init
            and field.name not in (*checked, "length")
            and field.default is field.default_factory is dataclasses.MISSING
        ):
            raise RequestError(f"{place}: {field.name} of {kind} is missing")
    return checked
