"""A spec's id: the same for the same question, another for another."""

from typing import Any

import pytest
from pydantic import ValidationError

from bench.core.spec import Part, Spec
from tests.support.records import spec


def test_ids_are_pinned() -> None:
    assert spec().id == "3fb920ea64b06c00"
    assert spec(task="adding", model="lstm", length=200, seed=3).id == "96b4babb5bb2f181"


def test_a_copy_with_other_values_has_ids_of_its_own() -> None:
    one = spec()
    known = one.id, one.network
    seeded = one.model_copy(update={"seed": 1})
    assert seeded.id == spec(seed=1).id != known[0]
    assert seeded.network == known[1]
    wider = one.model_copy(update={"width": 11}, deep=True)
    assert wider.network != known[1]
    assert (one.id, one.network) == known


def test_the_id_outlives_json() -> None:
    assert Spec.model_validate_json(spec().model_dump_json()).id == spec().id


CHANGES: list[dict[str, Any]] = [
    {"task": Part(name="adding", fields={"length": 10}, version=1)},
    {"task": Part(name="copy_memory", fields={"length": 11}, version=1)},
    {"task": Part(name="copy_memory", fields={"length": 10, "more": 1}, version=1)},
    {"task": Part(name="copy_memory", fields={"length": 10}, version=2)},
    {"model": Part(name="gru", fields={}, version=1)},
    {"model": Part(name="tcn", fields={"kernel_size": 3}, version=1)},
    {"model": Part(name="tcn", fields={}, version=2)},
    {"param_budget": 12_501},
    {"width": 11},
    {"extra_width": 1},
    {"seed": 1},
    {"protocol": 99},
    {"plugin_sha256": {"mine": "00"}},
    *(
        {"training": spec().training.model_copy(update=change)}
        for change in (
            {"optimizer": "sgd"},
            {"learning_rate": 0.002},
            {"cooldown": 0.1},
            {"clip_norm": None},
            {"batch_size": 33},
            {"max_steps": 101},
            {"validate_every": 99},
            {"num_validation": 501},
            {"stop_when_solved": False},
        )
    ),
]


def test_every_field_is_part_of_the_id() -> None:
    ids = {spec().id} | {spec().model_copy(update=change).id for change in CHANGES}
    assert len(ids) == len(CHANGES) + 1
    changed = {key for change in CHANGES for key in change}
    assert changed == set(Spec.model_fields)
    training = {
        key
        for change in CHANGES
        if "training" in change
        for key in type(spec().training).model_fields
        if getattr(change["training"], key) != getattr(spec().training, key)
    }
    assert training == set(type(spec().training).model_fields)


@pytest.mark.parametrize("name", ["../up", "", "a/b", "a b", "x" * 65])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        Part(name=name, fields={"length": 1}, version=1)


@pytest.mark.parametrize("fields", [{}, {"length": "10"}, {"length": 1.5}, {"length": True}])
def test_a_task_has_a_length(fields: dict[str, Any]) -> None:
    content = spec().model_dump() | {"task": {"name": "adding", "fields": fields, "version": 1}}
    with pytest.raises(ValidationError, match="length"):
        Spec.model_validate(content)


def test_a_rate_is_positive_and_finite() -> None:
    for rate in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValidationError):
            spec(learning_rate=rate)
