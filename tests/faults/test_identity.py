"""A spec's id: any one thing changed changes it, and nothing else does."""

import json
import math
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from bench.core.records import Record, SpeedRecord
from bench.core.spec import Spec, SpeedSpec
from tests.support.commands import ROOT
from tests.support.harness import repeated
from tests.support.records import record, spec, speed_record

SPEC = spec(task="copy_memory", model="tcn", length=10)
SPEED_SPEC = speed_record(train_ms=1.0, step_ms=1.0).spec


def others(kind: Any, value: Any) -> Iterator[Any]:
    """Other values of a field's type than the one it has."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from others(args[0], value)
    elif origin in (Union, types.UnionType):
        for option in args:
            if option is type(None):
                if value is not None:
                    yield None
            else:
                yield from others(option, value)
    elif origin is Literal:
        yield from (option for option in args if option != value)
    elif origin is tuple:
        yield value[:-1]
        yield (*value, value[0]) if value[-1] != value[0] else value[::-1] * 2
    elif origin is dict:
        yield {**value, "another": 1 if args[1] is Any else "00"}
        for key in value:
            yield {**value, key: value[key] + 1 if isinstance(value[key], int) else "ff"}
    elif kind is bool:
        yield not value
    elif kind is int:
        yield (value or 0) + 1
    elif kind is float:
        yield 0.5 if value is None else value / 2
        yield math.nextafter(value or 0.5, 0.0)
    elif kind is str:
        yield f"{value}x"
    else:
        raise AssertionError(f"no other values of a {kind} are known here")


def changed(model: BaseModel, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(Field, everything with that field alone changed), of the model and the models inside it."""
    content = model.model_dump()
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            for where, inner in changed(value, f"{place}{name}."):
                yield where, {**content, name: inner}
        else:
            kind = Annotated[field.annotation, *field.metadata] if field.metadata else None
            for other in others(kind or field.annotation, value):
                assert other != value
                yield f"{place}{name}", {**content, name: other}


@pytest.mark.parametrize("one", [SPEC, SPEED_SPEC], ids=["spec", "speed spec"])
def test_any_one_field_changed_changes_the_id(one: Spec | SpeedSpec) -> None:
    ids, places = [one.id], set()
    for place, content in changed(one):
        if place in ("task.fields", "task.name") and "length" not in content["task"]["fields"]:
            continue
        try:
            other = type(one).model_validate(content)
        except ValueError as error:
            raise AssertionError(f"{place} of {content}") from error
        ids.append(other.id)
        places.add(place)
    assert len(set(ids)) == len(ids)

    def leaves(kind: type[BaseModel], place: str = "") -> set[str]:
        return {
            leaf
            for name, field in kind.model_fields.items()
            for leaf in (
                leaves(field.annotation, f"{place}{name}.")
                if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
                else {f"{place}{name}"}
            )
        }

    assert places == leaves(type(one))


@pytest.mark.parametrize("kind", [Record, SpeedRecord])
def test_no_field_of_an_id_is_left_out_of_a_record(kind: type[BaseModel]) -> None:
    one = record(SPEC) if kind is Record else speed_record(train_ms=1.0, step_ms=1.0)
    again = type(one).model_validate_json(one.model_dump_json())
    assert (again.spec.id, again.path) == (one.spec.id, one.path)


def reordered(content: Any) -> Any:
    """The same with the keys of every mapping the other way round."""
    if isinstance(content, dict):
        return {key: reordered(content[key]) for key in reversed(content)}
    return [reordered(each) for each in content] if isinstance(content, list) else content


def test_nothing_changed_leaves_the_id_as_it_is() -> None:
    for one in (SPEC, SPEED_SPEC):
        for content in (one.model_dump(), json.loads(one.model_dump_json())):
            assert type(one).model_validate(content).id == one.id
            assert type(one).model_validate(reordered(content)).id == one.id


TASK = """
from dataclasses import dataclass
from typing import ClassVar
from tasks.copy_memory import CopyMemory

@dataclass(frozen=True, kw_only=True)
class Mine(CopyMemory):
    version = VERSION
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (3,)
    later: int = 0
    knobs: tuple = ("a", "b")
"""
MODEL = """
from dataclasses import dataclass
from models.rnn import Rnn

@dataclass(frozen=True, kw_only=True)
class Mine(Rnn):
    version = VERSION
"""
ASK = """
import sys
from pathlib import Path
from bench.plan import grid, plugins, profile
if __name__ == "__main__":
    for path in sys.argv[2:]:
        plugins.load(Path(path))
    for spec in grid.make_plan(profile.load(sys.argv[1]), grid.Selection()).specs:
        print(spec.id)
"""
PROFILE = """
description = "ids"
seeds = [0, 1]
param_budget = 2000
speed_rounds = 1
speed_seconds = 0.01

[training]
max_steps = 2
learning_rate = 0.01

[[grid]]
task = "task_of_mine"
models = ["model_of_mine", "rnn"]

[[grid]]
task = "copy_memory"
lengths = [4]
models = ["model_of_mine", "tcn"]
"""


def planned(folder: Path, hash_seed: str = "0") -> list[str]:
    """The ids of a plan with a task and a model of one's own, made in a process of its own."""
    files = [folder / name for name in ("ids.toml", "task_of_mine.py", "model_of_mine.py")]
    command = [sys.executable, "-c", ASK, *map(str, files)]
    environment = {"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "ids.toml").write_text(PROFILE)
    (tmp_path / "task_of_mine.py").write_text(TASK.replace("VERSION", "1"))
    (tmp_path / "model_of_mine.py").write_text(MODEL.replace("VERSION", "1"))
    return tmp_path


@repeated(few=2, many=8)
def test_another_process_and_hash_seed_plan_the_same_ids(times: int, mine: Path) -> None:
    ids = planned(mine)
    assert len(set(ids)) == 8
    for seed in range(1, times):
        assert planned(mine, str(seed)) == ids


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "old", "new", "touched"),
    [
        ("task_of_mine.py", "version = 1", "version = 2", {0, 1, 2, 3}),
        ("task_of_mine.py", "@dataclass", "# why\n@dataclass", {0, 1, 2, 3}),
        ("task_of_mine.py", '"a"', '"c"', {0, 1, 2, 3}),
        ("model_of_mine.py", "version = 1", "version = 2", {0, 1, 4, 5}),
    ],
)
def test_a_version_or_a_source_changed_changes_its_ids_alone(
    name: str, old: str, new: str, touched: set[int], mine: Path
) -> None:
    before = planned(mine)
    path = mine / name
    path.write_text(path.read_text().replace(old, new))
    after = planned(mine)
    assert {i for i in range(8) if before[i] != after[i]} == touched
