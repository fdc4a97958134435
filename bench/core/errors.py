"""What ends a command, told in one line."""

import difflib
from collections.abc import Iterable


def one_line(text: str, most: int = 300) -> str:
    """Spaces for line breaks, escapes for what can't be printed, at most so many characters."""
    words = " ".join(text[: 8 * most].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def message_of(error: BaseException) -> str:
    """Its message, whatever a plug-in's own kind of error makes of that."""
    try:
        return str(error)
    except Exception as another:
        return f"(its message raises {type(another).__name__})"


class RequestError(Exception):
    """Names the bad value, its place and the valid choices; ends the command with status 2."""


class StorageError(OSError):
    """A file can't be written; the message names it and says why."""


def unknown(kind: str, value: str, valid: Iterable[str], place: str = "") -> RequestError:
    """`value` is no `kind`: says the nearest spelling and every valid one."""
    choices = sorted(valid)
    nearest = difflib.get_close_matches(value, choices, n=1)
    return RequestError(
        (f"{place}: " if place else "")
        + f"unknown {kind} {value!r}; "
        + (f"did you mean {nearest[0]!r}? " if nearest else "")
        + f"valid: {', '.join(choices) or 'none'}"
    )
