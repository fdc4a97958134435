"""Compiled kernels on disk that no longer fit the source."""

import contextlib
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_CALLED = (
    *("_lanes.py", "_lane_rows.py", "_stack_products.py", "_mamba_kernels.py"),
    *("_compiled.py", "_compiled_gated.py", "_exp.py", "_tanh.py"),
)
"""Files of compiled functions that kernels in other files call."""


@cache
def drop_stale_kernels() -> None:
    """Delete compiled kernels that are older than the functions they call.

    Numba compiles a function again if its own file has changed. It does not see that another file
    has changed, whose functions it calls. Call this before a kernel is loaded.
    """
    changed = max((_FOLDER / name).stat().st_mtime for name in _CALLED)
    for index in _FOLDER.glob("__pycache__/*.nbi"):
        with contextlib.suppress(OSError):  # another process may have deleted it
            if index.stat().st_mtime < changed:
                index.unlink()
