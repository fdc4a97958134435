"""The command that makes a recorded run or timing again, or why there is none."""

import shlex
from pathlib import Path

from bench.core.records import Record, SpeedRecord
from bench.core.spec import SpeedSpec
from bench.plan.protocols import current_protocol, is_older


def command(record: Record | SpeedRecord, results: Path | str) -> str:
    """The command that makes this run again, with the same spec on the same kind of device."""
    spec, backend = record.spec, record.backend
    words = ["python", "-m", "bench", "speed" if isinstance(spec, SpeedSpec) else "run"]
    words += ["--again", spec.id, "--results", str(results), "--device", backend.device]
    if backend.threads != 1:
        words += ["--threads", str(backend.threads)]
    if backend.device == "cuda" and not backend.capture:
        words.append("--eager")
    for plugin in spec.plugin_sha256:
        words += ["--plugin", f"{plugin}.py"]
    return shlex.join(words)


def outdated(record: Record | SpeedRecord) -> str | None:
    """Why the present code cannot make it again with the same numbers; None: it can."""
    spec, commit = record.spec, record.machine.commit
    if not is_older(spec):
        return None
    made_by = f"commit {commit}" if commit else "an unknown commit"
    return (
        f"made by {made_by} with protocol {spec.protocol}; the present code, protocol "
        f"{current_protocol(spec)}, computes other numbers"
    )
