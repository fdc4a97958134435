"""Samples of a trained network: as ids, as files that a person looks at, hears or reads."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import models
from bench import judge, media, weights
from bench.backend import Backend
from bench.errors import RequestError, unknown
from bench.execute import now
from bench.files import json_below, read_json, write_whole
from bench.plan import label, model_of, task_of
from bench.spec import Frozen, Spec
from bench.store import UTC, Record, Store
from tasks import Task

EVERY = "all"
"""In the place of a condition: each of them in turn."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for."""

    number: int = 16
    condition: str | None = None
    """The name of one; `all`: each in turn; None: each in turn where the task has any."""
    prompt: str | None = None
    temperature: float = 1.0
    seed: int = 0
    cached: bool = True
    judged: bool = False
    """Whether a classifier is to say if the samples are what was asked for."""


class SampleRecord(Frozen):
    """What was sampled, beside its files."""

    spec: Spec
    backend: Backend
    label: str
    task_label: str
    number: int
    condition: str | None
    prompt: str | None
    temperature: float
    seed: int
    agreement: judge.Agreement | None = None
    picture: str | None = None
    """Of some of the samples, below the results."""
    created: UTC

    @property
    def path(self) -> Path:
        """Where it lies below the results; its files lie beside it."""
        asked = [self.condition or "", f"t{self.temperature:g}", f"seed{self.seed}"]
        plain = "-".join(
            "".join(c if c.isalnum() or c in ".-" else "_" for c in part[:40])
            for part in asked
            if part
        )
        return Path("samples", f"{self.spec.place}-{self.spec.id}-{plain}.json")


def choose(
    results: Path, records: Sequence[Record], model: str, task: str | None, length: int | None
) -> Record:
    """The run of this model, by label or name, whose weights are kept and which tested best.

    Raises `RequestError` where there is none.
    """
    kept = [
        record
        for record in records
        if record.outcome and weights.path(results, record.spec, record.backend).is_file()
    ]
    if not kept:
        raise RequestError(
            f"{results} holds no weights; a profile keeps them where it says keep_weights, "
            "as in --profile generation"
        )
    for kind, wanted, of in (
        ("task", task, lambda record: {record.spec.task.name, record.outcome.task_label}),
        ("model", model, lambda record: {record.spec.model.name, record.outcome.label}),
        ("length", length, lambda record: {record.spec.length}),
    ):
        valid = {str(name) for record in kept for name in of(record)}
        kept = [record for record in kept if wanted is None or wanted in of(record)]
        if not kept:
            raise unknown(f"{kind} with weights", str(wanted), valid)
    return max(kept, key=lambda record: (record.spec.length, _merit(record)))


def _merit(record: Record) -> float:
    assert record.outcome is not None
    score = record.outcome.test_score
    return score if record.outcome.score.higher_is_better else -score


def draw(
    results: Path, record: Record, wanted: Wanted, on_step: Callable[[int], object] | None = None
) -> tuple[SampleRecord, Tensor, Tensor | None]:
    """The record of the samples, their ids (B, T) and conditions (B,), where there are any."""
    task, network = task_of(record.spec), weights.trained(results, record.spec, record.backend)
    condition_B = _conditions(task, wanted)
    prompt_BP = _prompt(task, wanted)
    try:
        y_BT = models.generate(
            network,
            task.signature.num_steps,
            batch_size=wanted.number,
            condition=condition_B,
            prompt=prompt_BP,
            temperature=wanted.temperature,
            generator=torch.Generator().manual_seed(wanted.seed),
            cached=wanted.cached,
            on_step=on_step,
        )
    except ValueError as error:
        raise RequestError(f"{record.spec.name}: {error}") from None
    found = None
    if wanted.judged:
        if condition_B is None:
            raise RequestError("--judge: nothing was asked of these samples; valid: conditions")
        found = judge.agreement(task, y_BT, condition_B)
    made = SampleRecord(
        spec=record.spec,
        backend=record.backend,
        label=label(model_of(record.spec), record.spec.model.name),
        task_label=label(task, record.spec.task.name),
        number=wanted.number,
        condition=wanted.condition,
        prompt=wanted.prompt,
        temperature=wanted.temperature,
        seed=wanted.seed,
        agreement=found,
        created=now(),
    )
    return made, y_BT, condition_B


def _conditions(task: Task, wanted: Wanted) -> Tensor | None:
    names = task.condition_names
    if not names:
        if wanted.condition is not None:
            raise RequestError(f"--condition: {task.task_name()} has none")
        return None
    if wanted.condition in (None, EVERY):
        # A block of each, so that a grid of samples has a row of each.
        each = -(-wanted.number // len(names))
        return torch.arange(len(names)).repeat_interleave(each)[: wanted.number]
    if wanted.condition not in names:
        raise unknown("condition", wanted.condition, [*names, EVERY], "--condition")
    return torch.full((wanted.number,), names.index(wanted.condition))


def _prompt(task: Task, wanted: Wanted) -> Tensor | None:
    if wanted.prompt is None:
        return None
    try:
        prompt_P = task.prompt(wanted.prompt)
    except ValueError as error:
        raise RequestError(f"--prompt: {error}") from None
    return prompt_P.expand(wanted.number, -1)


def save(
    results: Path, record: SampleRecord, y_BT: Tensor, condition_B: Tensor | None
) -> list[Path]:
    """Write the samples as files of their kind and the record beside them; returns where."""
    task = task_of(record.spec)
    names = task.condition_names
    rows = [] if condition_B is None else [names[i] for i in condition_B.tolist()]
    base = results / record.path
    written = []
    for ending, content in media.files(task.shown(y_BT), y_BT, rows).items():
        path = base.with_name(f"{base.stem}{ending}")
        write_whole(path, content)
        written.append(path)
        if ending == ".png":
            record = record.model_copy(update={"picture": path.relative_to(results).as_posix()})
    return [*written, Store(results).write(record)]


def read_all(results: Path) -> list[SampleRecord]:
    """What was sampled, by its path; a file that is no such record is passed over."""
    found = []
    for path in sorted(json_below(results / "samples")):
        with contextlib.suppress(OSError, ValueError):
            record = SampleRecord.model_validate_json(read_json(path))
            picture = record.path.with_suffix(".png")
            there = picture.as_posix() if (results / picture).is_file() else None
            if path == results / record.path and record.picture == there:
                found.append(record)
    return found


def agreement_line(found: judge.Agreement) -> str:
    return (
        f"a classifier finds what was asked for in {found.share:.1%} of {found.num_samples} "
        f"samples ({found.low:.1%} to {found.high:.1%}; in {found.on_real:.1%} of real ones)"
    )
