"""One part of a plan, for arrays of jobs that do not communicate."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.spec import Spec
from bench.plan.grid import Plan
from bench.run.estimate import rule_of_thumb


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Part `number`, counted from 1, of `count`; `ValueError` for a number out of range."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            most = max(self.count, 1)
            raise ValueError(f"'{self}'; valid: 1/{most} to {most}/{most}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse(text: str) -> Shard:
    """`2/8` is the second part of eight; `ValueError` for a text of another form."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not found:
        raise ValueError(f"{text!r}; valid: a part and their number, such as 1/8")
    return Shard(number=int(found[1]), count=int(found[2]))


def part(plan: Plan, shard: Shard) -> Plan:
    """The plan of one shard. A whole ladder, or a run that is in none, is in exactly one shard.

    They are dealt in rounds, the most expensive first, one per shard and round. Within a round, the
    more expensive ones go to the shards with the smaller cost so far. So two shards differ by at
    most one ladder or run in number, and by at most the most expensive of them in cost. Costs are
    the rule of thumb for a CPU, whatever the device and the records, so that all machines agree.
    """
    climbed = {spec.id for ladder in plan.ladders for spec in ladder.specs}
    units = [ladder.specs for ladder in plan.ladders]
    units += [(spec,) for spec in plan.specs if spec.id not in climbed]
    mine = {spec.id for unit in _dealt(units, shard) for spec in unit}
    return replace(
        plan,
        specs=tuple(spec for spec in plan.specs if spec.id in mine),
        ladders=tuple(each for each in plan.ladders if each.specs[0].id in mine),
    )


def _dealt(units: Sequence[tuple[Spec, ...]], shard: Shard) -> list[tuple[Spec, ...]]:
    """The units of one shard."""
    by_id = {unit[0].id: unit for unit in units}
    costs = {key: sum(rule_of_thumb(spec, "cpu") for spec in unit) for key, unit in by_id.items()}
    dealt = sorted(costs, key=lambda key: (-costs[key], key))
    loads = [0.0] * min(shard.count, len(dealt))
    mine = []
    for start in range(0, len(dealt), max(len(loads), 1)):
        least_first = sorted(range(len(loads)), key=lambda at: loads[at])
        for at, key in zip(least_first, dealt[start : start + len(loads)], strict=False):
            loads[at] += costs[key]
            if at == shard.number - 1:
                mine.append(by_id[key])
    return mine
