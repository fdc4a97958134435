"""Fingerprint of the machine, the versions and the commit that made a record."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from bench.core.spec import Count, Frozen

ROOT = Path(__file__).parent.parent.parent
"""The folder of the project."""
CODE = ("bench/", "models/", "tasks/")
"""Folders in which a file that is not committed counts as a change."""
CHANGES = "+changes"


class Machine(Frozen):
    """The machine that made a record, without host or user name: records are published."""

    cpu: str
    instructions: str | None = None
    """Vector instructions that PyTorch uses, and the processor's family and model, as in `AVX512,
    family 25, model 17`: different processors of a cloud may have the same name. None in older
    records."""
    cores: Count
    memory_bytes: Count
    gpu: str | None
    system: str
    python: str
    torch: str
    numpy: str
    numba: str | None = None
    """None if it is not installed, and in older records."""
    commit: str | None
    """Commit of the project; ends in `+changes` if the work tree differed from it."""

    @property
    def had_changes(self) -> bool:
        """Whether the work tree had changes that were not committed."""
        return self.commit is not None and self.commit.endswith(CHANGES)

    def computes_like(self, other: "Machine") -> bool:
        """Whether runs on the CPU have the same numbers on both: processor and versions agree."""
        same = ("cpu", "system", "python", "torch", "numpy")
        # Older records do not name these.
        unless_unknown = ("instructions", "numba")
        return all(getattr(self, name) == getattr(other, name) for name in same) and all(
            len({getattr(self, name), getattr(other, name)} - {None}) < 2 for name in unless_unknown
        )

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
        instructions=_instructions(torch.backends.cpu.get_cpu_capability()),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=numpy.__version__,
        numba=_version("numba"),
        commit=commit(),
    )


def _version(package: str) -> str | None:
    """The version of an installed package; it is not imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    return _cpu_info().get("model name") or platform.processor() or platform.machine()


def _instructions(vectors: str) -> str:
    numbers = {"family": _cpu_info().get("cpu family"), "model": _cpu_info().get("model")}
    return ", ".join([vectors, *(f"{name} {number}" for name, number in numbers.items() if number)])


@cache
def _cpu_info() -> dict[str, str]:
    """What Linux says of the first processor; empty on other systems."""
    try:
        first, *_ = Path("/proc/cpuinfo").read_text().split("\n\n")
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def commit() -> str | None:
    """Short hash of the checked-out commit; None if the project is not a git checkout."""

    def git(*words: str) -> str:
        command = ["git", *words]
        return subprocess.check_output(
            command, cwd=ROOT, stderr=subprocess.DEVNULL, text=True, timeout=10
        )

    try:
        found = git("status", "--porcelain", "--untracked-files=all", "--", ".", ":!results")
        new = tuple(f"?? {folder}" for folder in CODE)
        changed = [line for line in found.splitlines() if line[:2] != "??" or line.startswith(new)]
        return git("rev-parse", "--short=12", "HEAD").strip() + (CHANGES if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
