"""Runs and timings of older protocols, which are reported until they are repeated."""

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import TypeVar

import models
from bench.core.records import Record, SpeedRecord
from bench.core.spec import PROTOCOL, SPEED_PROTOCOL, Spec, SpeedSpec
from bench.plan.grid import Plan

AnyRecord = TypeVar("AnyRecord", Record, SpeedRecord)


def current_protocol(spec: Spec | SpeedSpec) -> int:
    """The version that a new run or a new timing has."""
    return PROTOCOL if isinstance(spec, Spec) else SPEED_PROTOCOL


def is_older(spec: Spec | SpeedSpec) -> bool:
    return spec.protocol < current_protocol(spec)


def comparison_key(spec: Spec | SpeedSpec) -> Hashable:
    """What all runs of a mean, or all timings of a row, have in common except the protocol."""
    network = _network(spec)
    if isinstance(spec, Spec):
        return network, spec.training
    return network, spec.batch_size, spec.implementation


def _network(spec: Spec | SpeedSpec) -> str:
    """The id of the network, with the present version of a model that is still the same."""
    name, version = spec.model.name, spec.model.version
    cls = models.model_class(name) if name in models.names() else None
    if cls is None or version == cls.version or not cls.is_same_in(version):
        return spec.network
    present = spec.model.model_copy(update={"version": cls.version})
    return spec.model_copy(update={"model": present}).network


def newest(records: Iterable[AnyRecord]) -> list[AnyRecord]:
    """The records of the newest protocol in each cell, so that no mean has two protocols."""
    records = list(records)
    cells = [comparison_key(record.spec) for record in records]
    latest: dict[Hashable, int] = {}
    for cell, record in zip(cells, records, strict=True):
        latest[cell] = max(latest.get(cell, 0), record.spec.protocol)
    return [
        record
        for cell, record in zip(cells, records, strict=True)
        if record.spec.protocol == latest[cell]
    ]


def with_stand_ins(plan: Plan, recorded: Iterable[Spec]) -> Plan:
    """The plan, in which a recorded run of an older protocol replaces the run that repeats it.

    `recorded` are the specs of `newest` records.
    """
    older = {(comparison_key(spec), spec.seed): spec for spec in recorded if is_older(spec)}
    if not older:
        return plan
    specs = [older.get((comparison_key(spec), spec.seed), spec) for spec in plan.specs]
    pairs = zip(plan.specs, specs, strict=True)
    studies = {spec.id: plan.studies[planned.id] for planned, spec in pairs}
    return replace(plan, specs=tuple(specs), studies=studies)
