"""The command that makes a recorded run or timing again."""

import shlex
from pathlib import Path

from bench.core.records import Record, SpeedRecord
from bench.core.spec import SpeedSpec


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
