"""One part of a plan, for arrays of jobs that do not communicate."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.spec import Spec
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


def part(specs: Sequence[Spec], shard: Shard) -> tuple[Spec, ...]:
    """The specs of one shard, in their order; every spec is in exactly one shard.

    The specs are dealt in rounds, the most expensive first, one per shard and round. Within a
    round, the more expensive specs go to the shards with the smaller cost so far. So two shards
    differ by at most one run in number, and by at most the most expensive run in cost. Costs are
    the rule of thumb for a CPU, whatever the device and the records, so that all machines agree.
    """
    costs = {spec.id: rule_of_thumb(spec, "cpu") for spec in specs}
    dealt = sorted(costs, key=lambda spec_id: (-costs[spec_id], spec_id))
    loads = [0.0] * min(shard.count, len(dealt))
    mine = set()
    for start in range(0, len(dealt), max(len(loads), 1)):
        least_first = sorted(range(len(loads)), key=lambda at: loads[at])
        for at, spec_id in zip(least_first, dealt[start : start + len(loads)], strict=False):
            loads[at] += costs[spec_id]
            if at == shard.number - 1:
                mine.add(spec_id)
    return tuple(spec for spec in specs if spec.id in mine)
