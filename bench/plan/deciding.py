"""The smallest grids that decide the claims: one profile for each claim that runs can decide."""

import tomllib
from pathlib import Path

from bench.core.errors import unknown

CLAIMS = Path(__file__).parent / "claims"


def keys() -> list[str]:
    """Keys of the claims that have a grid."""
    return sorted(path.stem for path in CLAIMS.glob("*.toml"))


def profile_of(key: str) -> Path:
    """The profile that decides a claim; `RequestError` if no runs can."""
    if key not in keys():
        raise unknown("claim that runs decide", key, keys())
    return CLAIMS / f"{key}.toml"


def remedy(key: str) -> str | None:
    """The command that decides a claim, and how long it takes; None: no runs can decide it.

    A number after a key stands for a further implementation, which the same runs time: `e2`.
    """
    known = next((each for each in (key, key.rstrip("0123456789")) if each in keys()), None)
    if known is None:
        return None
    return f"python -m bench claim {known}   # {_description(known)}"


def listing() -> str:
    """One line per claim that runs can decide: its command, its runs and their time."""
    return "\n".join(filter(None, map(remedy, keys())))


def _description(key: str) -> str:
    return tomllib.loads(profile_of(key).read_text(encoding="utf-8"))["description"]
