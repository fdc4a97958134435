"""TOML → validated Profile. Errors name the file, the key and the value."""

import ast
import contextlib
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
from bench.core.spec import Frozen, Implementation, Measure, Positive, Training
from bench.core.timings import SPEED_SECONDS
from bench.plan.catalogue import PROFILES

DEFAULT_MAX_STEPS = 2_000
"""Number of updates if neither the profile nor its grids set it."""
TUNED = "tuned"
"""Value of `learning_rate` that means the rate in `rates.toml`."""

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
Study = Literal["main", "variants", "receptive_field", "beyond", "generation"]
"""A part of the report. `main`: the comparison itself. `variants`: models with fields other than
their defaults. `receptive_field`: networks whose receptive field is shorter than the task needs.
`beyond`: tests at lengths that were not trained. `generation`: likelihoods and samples."""


class TrainingChoice(Training):
    """Any part of `Training`. The learning rate may also be "tuned", or a list to sweep."""

    learning_rate: Rate | Literal["tuned"] | list[Rate] = TUNED  # pyright: ignore
    max_steps: Positive | None = None  # pyright: ignore


class ModelChoice(Frozen):
    """A model, with its own fields, size and training settings if they differ from the grid's."""

    name: str
    fields: dict[str, Any] = {}
    width: Positive | None = None
    """Units per layer, instead of a budget of parameters."""
    param_budget: Positive | None = None
    training: TrainingChoice = TrainingChoice()

    @model_validator(mode="after")
    def _of_one_size(self) -> "ModelChoice":
        if self.width is not None and self.param_budget is not None:
            raise ValueError("give width or param_budget, not both")
        return self


def _named(choice: Any) -> Any:
    return {"name": choice} if isinstance(choice, str) else choice


Models = Annotated[
    list[Annotated[ModelChoice, BeforeValidator(_named)]],  # a name alone is a plain model
    Field(min_length=1),
]


class Networks(Frozen):
    """A task, its lengths and models, and the settings that differ from the profile's."""

    task: str
    task_fields: dict[str, Any] = {}
    lengths: Annotated[list[int], Field(min_length=1)] | Literal["default", "smallest"] = "default"
    """Dependency lengths. `default`: those of the task; `smallest`: its smallest instance."""
    models: Models | None = None
    param_budget: Positive | None = None


class Grid(Networks):
    """Networks that are trained. `task` may be `*`: every task that no other grid names."""

    seeds: Seeds | None = None
    training: TrainingChoice = TrainingChoice()
    study: Study = "main"
    """The part of the report that its runs belong to."""
    ladder: bool = False
    """Whether each model climbs the lengths from the shortest up until it fails two in a row. At
    each length, seeds run in order until they decide it. See `bench/plan/ladder.py`."""
    extended: bool = True
    """Whether failing runs of the ladder go on to the profile's `extend`."""
    keep_weights: bool = False
    """Whether the trained weights are kept, so that `sample` can use them."""


class SpeedGrid(Networks):
    """Networks whose training and inference are timed."""

    batch_sizes: Annotated[list[Positive], Field(min_length=1)] = [1, 64]
    """Numbers of sequences that are processed at once."""
    implementations: Annotated[tuple[Implementation, ...], Field(min_length=1)] = (
        "fastest",
        "stock",
    )
    """See `SpeedSpec.implementation`. `stock` is timed for `train` and `forward`, and only for
    models that have such an implementation."""
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = ("train", "forward", "step")
    """See `SpeedSpec.measures`."""

    @field_validator("models")
    @classmethod
    def _untrained(cls, models: list[ModelChoice] | None) -> list[ModelChoice] | None:
        for choice in models or ():
            if choice.training.model_fields_set:
                raise ValueError(f"training of {choice.name}: a speed grid trains nothing")
        return models


class Profile(Frozen):
    """Everything that a profile asks for."""

    description: str
    caveat: str = ""
    """A warning at the top of every report of this profile."""
    demonstration: bool = False
    """Whether the budgets are too small to decide the claims. The report then says so first, and
    shows the answers of the committed reference beside its own."""
    seeds: Seeds
    param_budget: Positive
    models: Models | None = None
    """The models of every grid that does not list its own. None: all models."""
    task_fields: dict[str, Any] = {}
    """Fields for every task that has them, unless its grid sets them."""
    training: TrainingChoice = TrainingChoice()
    extend: Positive | None = None
    """A second, larger number of updates. When all ladders are climbed, failing runs that did
    not diverge go on to it, the cheapest first."""
    grid: Annotated[list[Grid], Field(min_length=1)]
    time_every_network: bool = True
    """Whether a step and an update of every trained network are timed, besides `speed`."""
    speed: list[SpeedGrid] = []
    """Networks that are timed whether they are trained or not."""
    speed_rounds: Annotated[int, Field(ge=1, le=100)] = 5
    """Rounds over all networks that are timed. Each round times a network in a fresh process."""
    speed_seconds: Annotated[float, Field(gt=0, le=60)] = SPEED_SECONDS
    """Shortest time in seconds that a round spends on each measurement of a network."""
    refine: dict[str, Annotated[float, Field(gt=1, le=10)]] = {}
    """Family of models → a factor. After the grid of rates, a sweep also tries the best rate of
    these models times and divided by the factor."""


def names() -> list[str]:
    """Names of the project's own profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load(name: str, settings: Sequence[str] = ()) -> Profile:
    """The profile of this name or at this path, changed by `key=value` settings.

    Raises `RequestError` if the profile does not exist, is malformed or holds a bad value.
    """
    path = PROFILES / f"{name}.toml" if name in names() else Path(name)
    if path.suffix != ".toml":
        raise unknown("profile", name, names(), "--profile")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"--profile: can't read {path}: {reason}") from None
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # e.g. 5,000 digits, 1,000 brackets
        raise RequestError(f"{path}: malformed TOML: {one_line(str(error))}") from None
    profile = _validated(content, str(path))
    for setting in settings:
        place = f"--set {one_line(setting)}"
        _set(content, setting, place)
        profile = _validated(content, place)
    return profile


def parsed(text: str) -> Any:
    """A value as TOML or Python writes it, such as `true` or `True`, or else the text itself."""
    with contextlib.suppress(ValueError, RecursionError):
        return tomllib.loads(f"value = {text}")["value"]
    with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.literal_eval(text)
    return text


def _set(content: dict[str, Any], setting: str, place: str) -> None:
    """Change the profile's content by `key=value`; this replaces the values of grids and models."""
    key, equals, text = setting.partition("=")
    key, text = key.strip().removeprefix("training."), text.strip()
    if not equals or not key or not text:
        raise RequestError(f"{place}: not of the form key=value")
    if not setting.isprintable():
        raise RequestError(f"{place}: holds a line break or another unprintable character")
    value = parsed(text)
    grids = content["grid"] + content.get("speed", [])
    holders = grids + [
        choice
        for holder in (content, *grids)
        for choice in holder.get("models", [])
        if isinstance(choice, dict)
    ]
    owners = _task_fields()
    if key.startswith("task_fields."):
        field = key.removeprefix("task_fields.")
        if field not in owners:
            raise unknown("task field", one_line(field), owners, place)
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
                holder.pop("width", None)  # a model has either a width or a budget
    elif key in owners:
        raise RequestError(
            f"{place}: {key} is a field of {', '.join(owners[key])}; "
            f"write --set task_fields.{setting}"
        )
    else:
        keys = {*Training.model_fields, *_OF_GRIDS, *_OF_PROFILE}
        raise unknown("key", one_line(key), keys, place)


_OF_PROFILE = {
    "description",
    "seeds",
    "param_budget",
    "models",
    "extend",
    "speed_rounds",
    "speed_seconds",
    "time_every_network",
}
_OF_GRIDS = {"keep_weights", "ladder", "extended"}
"""Keys of a grid that can be set for all grids at once."""


def _task_fields() -> dict[str, list[str]]:
    """Name of a field, except `length` → names of the tasks that have it."""
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
        raise _explained(error.errors(include_url=False)[0], place) from None


_SCHEMAS = {"training": Training, "models": ModelChoice, "grid": Grid, "speed": SpeedGrid}
_VALID = {"learning_rate": 'a positive number, a list of them, or "tuned"'}
"""Valid values of keys that accept several types."""


def _explained(error: Any, place: str) -> RequestError:
    """One line for an error of pydantic."""
    # If a key accepts several types, pydantic appends one to the place, as `constrained-float`.
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
    """Check the fields of a task's or model's dataclass against their declared types.

    TOML has no None, so `"none"` stands for it in a field that accepts None and no text. Raises
    `RequestError` for an unknown or missing field, and for a value of another type.
    """
    from typing import get_type_hints

    hints, checked = {}, {}
    if fields:
        of_class = get_type_hints(cls)
        hints = {name: of_class[name] for name in cls.__dataclass_fields__}  # pyright: ignore
    for name, value in fields.items():
        if name not in hints:
            raise unknown(f"field of {kind}", name, hints, place)
        adapter = TypeAdapter(hints[name])
        if value == "none" and _accepts(adapter, None) and not _accepts(adapter, value):
            value = None
        try:
            checked[name] = adapter.validate_python(value, strict=True)
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


def _accepts(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
