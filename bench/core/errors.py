"""Errors that end a command or a run, and their texts."""

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

MOST_TRACEBACK = 4_000
"""Largest number of characters kept of a traceback. The end is kept, since it names the error."""


class RequestError(Exception):
    """The command asks for something impossible; it ends with status 2.

    The message names the bad value, its place and the valid values.
    """


class StorageError(OSError):
    """A file can't be written; the message names the file and the reason."""


def one_line(text: str, most: int = 300) -> str:
    """The text on one line of at most `most` characters, with escapes for unprintable ones."""
    words = " ".join(text[: 8 * most].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def message_of(error: BaseException) -> str:
    """The error's message. An error class of a plug-in may fail to give one."""
    try:
        return str(error)
    except Exception as another:
        return f"(its message raises {type(another).__name__})"


def short_reason(error: BaseException, user_files: Iterable[Path] = ()) -> str:
    """`ValueError: message (file.py:12)`.

    The place is the deepest frame in one of the user's files; without one, the deepest frame.
    """
    if isinstance(error, SyntaxError) and error.filename:
        message, places = error.msg, [(error.filename, error.lineno)]
    else:
        message = message_of(error)
        places = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
        users = {str(path) for path in user_files}
        places = [place for place in places if place[0] in users] or places
    text = f"{type(error).__name__}: {message}"
    return f"{text} ({Path(places[-1][0]).name}:{places[-1][1]})" if places else text


def traceback_of(error: BaseException) -> str:
    """The traceback with its chained causes; a long one is cut at the beginning."""
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= MOST_TRACEBACK else f"…{text[1 - MOST_TRACEBACK :]}"


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
