"""Fingerprint of the machine, the versions and the commit that made a record."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from bench.core.spec import Count, Frozen

ROOT = Path(__file__).parent.parent.parent
"""The folder of the project."""


class Machine(Frozen):
    """The machine that made a record, without host or user name: records are published."""

    cpu: str
    cores: Count
    memory_bytes: Count
    gpu: str | None
    system: str
    python: str
    torch: str
    numpy: str
    commit: str | None
    """Commit of the project; ends in `+changes` if the work tree differed from it."""

    @property
    def slug(self) -> str:
        """Name of the machine's folder. It depends on everything that affects speed, except the
        commit and the memory, which differs a little at each start of a virtual machine."""
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
        command = ["git", *words]
        return subprocess.check_output(
            command, cwd=ROOT, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
