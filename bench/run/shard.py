"""A machine's part of a plan, for arrays of jobs that know nothing of each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.spec import Spec
from bench.run.estimate import rule_of_thumb


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which part, counted from 1, of how many; `ValueError` names the valid ones."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            most = max(self.count, 1)
            raise ValueError(f"'{self}'; valid: 1/{most} to {most}/{most}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse(text: str) -> Shard:
    """`2/8` is the second part of eight; `ValueError` for what is none."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not found:
        raise ValueError(f"{text!r}; valid: a part of the whole, as 1/8 to 8/8")
    return Shard(number=int(found[1]), count=int(found[2]))


def part(specs: Sequence[Spec], shard: Shard) -> tuple[Spec, ...]:
    """The specs of one shard, in their order; every spec is in exactly one.

    They are dealt in rounds, the costliest first, one to each shard: of a round, the costliest to
    the shard that has the least so far. So no two shards differ by more than one run in number, nor
    by more than the costliest run in cost. A cost is the rule of thumb's for a CPU, whatever the
    device and the records: every machine deals alike.
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
