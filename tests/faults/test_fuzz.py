"""Arbitrary profiles, records and names are read or refused; none crashes or writes elsewhere."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.core.backend import Backend
from bench.core.errors import RequestError
from bench.core.records import Filed, Outcome, Record, SpeedRecord, YardstickRecord
from bench.core.spec import Part, Spec, SpeedSpec, Yardstick
from bench.core.store import Damaged, Store
from bench.measure import checkpoint
from bench.plan import catalogue, profile
from bench.plan.grid import Selection, make_plan
from bench.plan.profile import Grid, ModelChoice, Profile, SpeedGrid, TrainingChoice
from bench.report import page
from bench.report.markup import file_name
from tests.support.harness import Note, not_drawn, repeated
from tests.support.records import MACHINE, outcome, record, spec, speed_record, yardstick_record
from tests.support.reports import source


def cases(times: int) -> settings:
    """The same examples in every run, without a deadline and without stored failures."""
    return settings(
        max_examples=times,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TEXT = st.text(st.characters(codec=None))
"""Every character, including halves of surrogate pairs."""
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308, math.inf, math.nan]),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


def refused_or_valid(load: Callable[[], object]) -> bool:
    """Whether the profile was refused; the refusal must be one line of moderate length."""
    try:
        found = load()
    except RequestError as error:
        found = str(error)
    if isinstance(found, str):
        assert found.isprintable()
        assert len(found) < 2_000
        return True
    assert isinstance(found, Profile)
    with contextlib.suppress(RequestError):
        make_plan(found, Selection())
    return False


FRAGMENTS = st.sampled_from(
    [
        *("[", "]", "[[grid]]", "[[speed]]", "[training]", "=", "{", "}", "\n", '"', "'''", "\\u"),
        *("seeds", "models", "lengths", "learning_rate", "9" * 5000, "nan", "1e999", "0x", "\0"),
        *("[" * 5000, "a." * 2000, "1979-05-27T07:32:00Z", "true", "\ufeff", "-", "#", ","),
    ]
)

LINES = st.sampled_from(
    [
        *('description = "made up"', "seeds = [0]", "param_budget = 2000", "models = ['rnn']"),
        *("[training]", "max_steps = 1", "[[grid]]", 'task = "adding"', "lengths = [5]"),
        *('"a\\nb\\u001b[2J" = 1', "[[speed]]", "seeds = '\\n'", 'task = "a\\nb"', "x.y.z = 1"),
        *(f"seeds = {'[' * 3000}", f"param_budget = {'9' * 5000}", "param_budget = 1979-05-27"),
    ]
)
WHOLE = """description = "made up"
seeds = [0]
param_budget = 2000
%s
[training]
max_steps = 1
%s
[[grid]]
task = "adding"
%s
"""


@repeated(few=100, many=1000)
def test_a_profile_of_arbitrary_text_is_refused_or_valid(
    times: int, tmp_path: Path, record_property: Note
) -> None:
    path, refused = tmp_path / "any.toml", 0

    @cases(times)
    @given(
        st.lists(FRAGMENTS | TEXT, max_size=20).map("".join)
        | st.lists(LINES, max_size=12).map("\n".join)
        | st.tuples(*[LINES | st.just("")] * 3).map(lambda parts: WHOLE % parts)
        | st.binary()
    )
    def holds(content: str | bytes) -> None:
        nonlocal refused
        is_text = isinstance(content, str)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if is_text else content)
        refused += refused_or_valid(lambda: profile.load(str(path)))
        assert catalogue._description(path).count("\n") == 0

    holds()
    record_property("figure", f"{times} texts as a profile, {refused} refused, 0 crashes")


def toml(value: Any) -> str:
    """A value as TOML. Values that TOML lacks give text that is not valid TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def now_and_then(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual values, and in one case of twenty any value."""
    return st.integers(0, 19).flatmap(lambda draw: usual if draw else ANYTHING)


def of(kind: type, *required: str) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with the fields of a pydantic model as keys."""
    keys = {name: now_and_then(VALUES.get(name, ANYTHING)) for name in kind.model_fields}  # pyright: ignore
    optional = {name: keys[name] for name in keys if name not in required}
    return st.fixed_dictionaries({name: keys[name] for name in required}, optional=optional)


SIZES = st.integers(1, 50)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("param_budget", "max_steps", "batch_size", "width", "speed_rounds"), SIZES),
    **dict.fromkeys(("validate_every", "num_validation"), SIZES),
    "description": st.just("made up"),
    "seeds": st.lists(st.integers(0, 9), min_size=1),
    "learning_rate": st.just("tuned") | st.floats(1e-5, 1e-1),
    "optimizer": st.sampled_from(["adam", "sgd"]),
    "cooldown": st.floats(0, 1),
    "speed_seconds": st.floats(0.001, 60),
    "clip_norm": st.just("none") | st.floats(0.1, 1),
    "stop_when_solved": st.booleans(),
    "study": st.sampled_from(["main", "variants"]),
    "task": st.sampled_from(["copy_memory", "adding", "*"]),
    "name": st.sampled_from(["tcn", "rnn"]),
    "fields": st.dictionaries(TEXT, LEAVES, max_size=2),
    "task_fields": st.dictionaries(TEXT, LEAVES, max_size=2),
    "lengths": st.lists(SIZES, min_size=1) | st.just("default"),
    "batch_sizes": st.lists(SIZES, min_size=1),
}
VALUES["training"] = of(TrainingChoice)
VALUES["models"] = st.lists(st.just("tcn") | of(ModelChoice, "name"), min_size=1, max_size=3)
VALUES["grid"] = st.lists(of(Grid, "task"), min_size=1, max_size=2)
VALUES["speed"] = st.lists(of(SpeedGrid, "task"), max_size=2)
SETTINGS = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda key: st.tuples(st.just(key), now_and_then(VALUES[key]))
    )
    | st.tuples(TEXT, ANYTHING),
    max_size=2,
)


@repeated(few=100, many=1000)
def test_a_profile_of_arbitrary_values_is_refused_or_valid(
    times: int, tmp_path: Path, record_property: Note
) -> None:
    path, refused = tmp_path / "any.toml", 0
    required = [name for name, field in Profile.model_fields.items() if field.is_required()]

    @cases(times)
    @given(of(Profile, *required), SETTINGS)
    def holds(content: dict[str, Any], changes: list[tuple[str, Any]]) -> None:
        nonlocal refused
        lines = [f"{toml(key)} = {toml(value)}" for key, value in content.items()]
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        chosen = [f"{key}={toml(value)}" for key, value in changes]
        refused += refused_or_valid(lambda: profile.load(str(path), chosen))

    holds()
    record_property("figure", f"{times} mappings as a profile, {refused} refused, 0 crashes")


# --- records -------------------------------------------------------------------------------------

WRITTEN: dict[str, Record | SpeedRecord | YardstickRecord] = {
    "runs": record(spec(), 0.5),
    "speed": speed_record(train_ms=1.0, step_ms=1.0, receptive_field=9),
    "yardsticks": yardstick_record(),
}


def places(content: Any, at: tuple = ()) -> Iterator[tuple]:
    """The path to everything inside a parsed record."""
    yield at
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*at, key))


def changed(content: Any, at: tuple, new: Any) -> Any:
    if not at:
        return new
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[at[0]] = changed(content[at[0]], at[1:], new)
    return copy


def within(content: Any, at: tuple) -> Any:
    for key in at:
        content = content[key]
    return content


def like(value: Any) -> st.SearchStrategy[Any]:
    """Other values of the same type."""
    if isinstance(value, bool | None):
        return st.booleans() | st.none()
    if isinstance(value, int):
        return st.integers(0, 99) | NUMBERS
    if isinstance(value, float):
        return st.floats(0, 1) | NUMBERS
    return TEXT if isinstance(value, str) else ANYTHING


@st.composite
def mutated(draw: st.DrawFn, one: Filed, below: tuple = ()) -> bytes:
    """A real record with a few values replaced, and sometimes a few bytes."""
    content = json.loads(one.model_dump_json())
    leaves = [
        at
        for at in places(content)
        if at[: len(below)] == below and not isinstance(within(content, at), dict | list)
    ]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(leaves))
        usual = like(within(content, at))
        content = changed(content, at, draw(usual if below else now_and_then(usual)))
    text = json.dumps(content).encode()
    if not below and draw(st.integers(0, 3)) == 0:
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(st.binary(max_size=8)) + text[start + draw(st.integers(0, 9)) :]
    return text


@pytest.mark.parametrize("folder", WRITTEN)
@repeated(few=100, many=1000)
def test_a_file_of_arbitrary_bytes_is_a_record_or_damaged(
    times: int, folder: str, tmp_path: Path, record_property: Note
) -> None:
    one = WRITTEN[folder]
    store, good = Store(tmp_path), 0
    path = store.write(one)

    @cases(times)
    @given(mutated(one) | st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
    def holds(content: bytes) -> None:
        nonlocal good
        path.write_bytes(content)
        found = store.read(path, type(one))  # pyright: ignore[reportArgumentType]
        if isinstance(found, Damaged):
            assert found.reason
            assert found.reason.isprintable()
            return
        good += 1
        assert store.root / found.path == path
        store.write(found)  # a valid record is unchanged by writing and reading
        assert store.read(path, type(one)) == found  # pyright: ignore[reportArgumentType]

    holds()
    record_property("figure", f"{times} files as a record of {folder}, {good} valid, 0 crashes")


@repeated(few=5, many=100)
def test_a_report_of_any_valid_record_can_be_written(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Note
) -> None:
    not_drawn(monkeypatch)
    store, read = Store(tmp_path), 0
    one, other = record(spec(), 0.5), record(spec(seed=1))
    path = store.write(one)

    @cases(times)
    @given(mutated(one, below=("outcome",)))
    def holds(content: bytes) -> None:
        nonlocal read
        path.write_bytes(content)
        found = store.read(path)
        valid = [] if isinstance(found, Damaged) else [found]
        damaged = [found] if isinstance(found, Damaged) else []
        records = [other, *valid]
        read += len(valid)
        page.write_report(tmp_path, source([one.spec, other.spec], records, damaged=damaged))

    holds()
    record_property("figure", f"{times} reports, {read} of a changed record, 0 crashes")


# --- the names of files --------------------------------------------------------------------------

NAMES = TEXT | st.sampled_from(
    ["..", ".", "", "a/b", "../../up", "/etc/passwd", "a\0b", "a\nb", "CON", "x" * 300, "tcn", "é"]
)
FIELDS = st.dictionaries(NAMES, LEAVES | st.lists(LEAVES, max_size=2), max_size=3)


@repeated(few=100, many=1000)
def test_every_file_made_from_names_and_fields_lies_in_its_folder(
    times: int, tmp_path: Path, record_property: Note
) -> None:
    results, inside = (tmp_path / "results").resolve(), 0
    store = Store(results)

    def check(path: Path, folder: str) -> None:
        nonlocal inside
        assert len(os.fsencode(path.name)) < 200  # a temporary name beside it is longer
        resolved = Path(os.path.realpath(path))
        assert resolved.is_relative_to(results / folder)
        assert resolved == path
        inside += 1

    @cases(times)
    @given(NAMES | st.just("tcn"), NAMES | st.just("adding"), FIELDS, NUMBERS, st.integers(), NAMES)
    def holds(
        model: str, task: str, fields: dict[str, Any], length: Any, seed: int, other: str
    ) -> None:
        with contextlib.suppress(ValidationError):
            parts = {
                "task": Part(name=task, fields={**fields, "length": length}, version=1),
                "model": Part(name=model, fields=fields, version=1),
            }
            one = Spec.model_validate({**spec().model_dump(), **parts, "seed": seed})
            assert Spec.model_validate_json(one.model_dump_json()).id == one.id
            check(store.write(record(one)), "runs")
            assert store.read(store.root / record(one).path) == record(one)
            place = checkpoint.Place(results=results, spec=one, backend=Backend(device="cpu"))
            check(place.path, "checkpoints")
            subject = speed_record(train_ms=1.0).spec.model_dump() | parts
            timed = speed_record(train_ms=1.0).model_copy(
                update={"spec": SpeedSpec.model_validate(subject)}
            )
            check(results / timed.path, "speed")
        with contextlib.suppress(ValidationError):
            yardstick = yardstick_record().yardstick.model_dump() | {"name": other}
            machine = MACHINE.model_copy(update={"cpu": task, "gpu": other or None})
            of_it = {"yardstick": Yardstick.model_validate(yardstick), "machine": machine}
            check(results / yardstick_record().model_copy(update=of_it).path, "yardsticks")
        name = f"learning_{file_name(other)}.png"
        check(results / "figures" / name, "figures")

    holds()
    record_property("figure", f"{times} specs, {inside} paths, none outside the results folder")


@repeated(few=100, many=1000)
def test_an_error_of_any_text_can_be_kept(times: int, tmp_path: Path) -> None:
    store = Store(tmp_path)

    @cases(times)
    @given(TEXT | TEXT.map(lambda text: text * 5000))
    def holds(error: str) -> None:
        one = record(spec(), None, error=error)
        path = store.write(one)
        assert store.read(path) == one
        assert path.stat().st_size < 100_000

    holds()


@pytest.mark.parametrize(
    "field", [math.nan, math.inf, {"a"}, frozenset("ab"), 2**64, "\ud800", {1: 2}, object(), b"x"]
)
def test_a_field_that_json_cannot_hold_is_refused(field: object) -> None:
    with pytest.raises(ValidationError, match="a value that JSON does not keep"):
        Part(name="adding", fields={"length": 1, "x": [field]}, version=1)


def test_numbers_that_are_not_finite_never_reach_a_file() -> None:
    for change in ({"train_seconds": math.nan}, {"test": {"recall": math.inf}}):
        with pytest.raises(ValidationError, match="finite"):
            Outcome.model_validate(outcome().model_dump() | change)
