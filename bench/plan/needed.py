"""The commands that make missing evidence."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tasks
from bench.core.spec import Spec
from bench.plan.grid import model_of, task_of
from bench.plan.labels import changed_fields, label
from tasks import Kind

Verb = Literal["run", "speed", "tune"]


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Where the evidence is kept, and the profile that says how it is made."""

    profile: str
    results: str
    plugins: tuple[str, ...] = ()
    """Files of the plug-ins."""
    copy_of: str | None = None
    """The folder that is copied to `results` first, so that it stays as it is."""

    @property
    def words(self) -> list[str]:
        return ["--profile", self.profile, "--results", self.results, *self.plugin_words]

    @property
    def plugin_words(self) -> list[str]:
        return [word for path in self.plugins for word in ("--plugin", path)]


def command(verb: Verb, specs: Sequence[Spec], length: int, folder: Folder, *settings: str) -> str:
    """The command that runs or times these models on one task at a length, with these settings.

    `tune` tunes their learning rates on the task instead, with the lengths of its own profile.
    """
    spec = specs[0]
    words = ["--results", "results/tuning", *folder.plugin_words]
    words = [*_bench(verb), *(words if verb == "tune" else folder.words), "--task", spec.task.name]
    words += [word for each in specs for word in ("--model", name_of(each))]
    if verb == "tune":
        return shlex.join(words)
    # The fields of the task that are not the defaults are settings too.
    fields = (f"task_fields.{field}" for field in changed_fields(task_of(spec)))
    words += ["--length", str(length)]
    return shlex.join([*words, *(w for each in (*fields, *settings) for w in ("--set", each))])


def name_of(spec: Spec) -> str:
    """The model as `--model` selects it: `gru chrono=True`."""
    return label(model_of(spec), spec.model.name)


def of_kind(kind: Kind, length: int, folder: Folder) -> str | None:
    """The command that runs every task of a kind at a length; None: no task has this length."""
    names = [name for name in tasks.names() if _has(name, kind, length)]
    chosen = [word for name in names for word in ("--task", name)]
    words = [*_bench("run"), *folder.words, *chosen, "--length", str(length)]
    return shlex.join(words) if names else None


def _bench(verb: Verb) -> list[str]:
    return ["python", "-m", "bench", verb]


def _has(name: str, kind: Kind, length: int) -> bool:
    """Whether this task is of the kind and accepts the length with its default fields."""
    cls = tasks.task_class(name)
    if cls.kind != kind:
        return False
    try:
        cls(length=length)
    except ValueError:
        return False
    return True
