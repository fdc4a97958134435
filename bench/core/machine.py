"""Fingerprint of the machine, the versions and the commit behind a record."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from bench.core.spec import Count, Frozen

ROOT = Path(__file__).parent.parent.parent
"""The project."""


class Machine(Frozen):
    """Where a record was made. No host or user name: records are published."""

    cpu: str
    cores: Count
    memory_bytes: Count
    gpu: str | None
    system: str
    python: str
    torch: str
    numpy: str
    commit: str | None
    """Commit of the project; ends in `+changes` where the work tree differs from it."""

    @property
    def slug(self) -> str:
        """As a folder name: what decides how fast something runs, the commit aside."""
        # Its memory is left out: a virtual machine has a little more or less at each start.
        decides = [self.cpu, self.cores, self.gpu, self.system, self.python, self.torch, self.numpy]
        digest = hashlib.sha256(repr(decides).encode()).hexdigest()[:8]
        name = "".join(c if c.isalnum() else "-" for c in (self.gpu or self.cpu).lower())
        return f"{'-'.join(filter(None, name.split('-')))[:40]}-{digest}"


@cache
def fingerprint() -> Machine:
    import numpy
    import torch

    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=numpy.__version__,
        commit=commit(),
    )


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """Short hash of the checked-out commit; None if the project is not a git checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
