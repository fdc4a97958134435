"""How numbers and times are written in sentences."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(items: Sequence[str], most: int, noun: str) -> str:
    """`a`, `a, b and c`, or `a, b and 2 more tasks`; a single further item is named as well."""
    left = len(items) - most
    if left > 1:
        return f"{', '.join(items[:most])} and {left:,} more {noun}s"
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `1 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
