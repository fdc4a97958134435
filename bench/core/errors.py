"""Errors that end a command or a run, and how they are put into words."""

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

MOST_TRACEBACK = 4_000
"""Characters of a traceback that are kept: its end, where the error is."""


def one_line(text: str, most: int = 300) -> str:
    """The text on one line: escapes for what can't be printed, at most `most` characters."""
    words = " ".join(text[: 8 * most].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def message_of(error: BaseException) -> str:
    """The error's message; the errors of plug-ins may raise when they are asked for it."""
    try:
        return str(error)
    except Exception as another:
        return f"(its message raises {type(another).__name__})"


def short_reason(error: BaseException, user_files: Iterable[Path] = ()) -> str:
    """`ValueError: message (file.py:12)`.

    The place is the deepest frame in one of the user's files; without one, the deepest frame.
    """
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({Path(error.filename).name}:{error.lineno})"
        return f"{type(error).__name__}: {error.msg}{place}"
    frames = traceback.extract_tb(error.__traceback__)
    users = {str(path) for path in user_files}
    own = [frame for frame in frames if frame.filename in users]
    place = ""
    if frames:
        frame = (own or frames)[-1]
        place = f" ({Path(frame.filename).name}:{frame.lineno})"
    return f"{type(error).__name__}: {message_of(error)}{place}"


def traceback_of(error: BaseException) -> str:
    """The whole traceback, chained causes included; of a long one the end."""
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= MOST_TRACEBACK else f"…{text[1 - MOST_TRACEBACK :]}"


class RequestError(Exception):
    """A request that can't be met; ends the command with status 2.

    The message names the bad value, its place and the valid values.
    """


class StorageError(OSError):
    """A file can't be written; the message names the file and the reason."""


def unknown(kind: str, value: str, valid: Iterable[str], place: str = "") -> RequestError:
    """Error for an unknown name: suggests the nearest valid name and lists all of them."""
    choices = sorted(valid)
    nearest = difflib.get_close_matches(value, choices, n=1)
    return RequestError(
        (f"{place}: " if place else "")
        + f"unknown {kind} {value!r}; "
        + (f"did you mean {nearest[0]!r}? " if nearest else "")
        + f"valid: {', '.join(choices) or 'none'}"
    )
