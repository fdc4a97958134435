"""Sequences sampled from a trained network, the files they become, and their judge.

The judge is a classifier of real sequences, which checks that samples match their condition.

Shape letters: B sequences, T steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from bench.core.errors import RequestError, unknown
from bench.core.files import write_whole
from bench.core.intervals import wilson
from bench.core.records import Agreement, Record, SampleRecord, now
from bench.core.store import Damaged, Store
from bench.measure import weights
from bench.plan.grid import model_of, task_of
from bench.plan.labels import label
from tasks import Task

EVERY = "all"
"""Stands for every condition in turn."""

HIDDEN = 256
NUM_STEPS, BATCH = 4000, 128
LEARNING_RATE = 1e-3
DROPOUT = 0.2
"""Settings of the classifier that judges samples."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The request for samples."""

    number: int = 16
    steps: int | None = None
    """Steps of a sample; None: as many as the network was trained on."""
    condition: str | None = None
    """A condition's name; `all` or None: each condition of the task in turn."""
    prompt: str | None = None
    temperature: float = 1.0
    seed: int = 0
    cached: bool = True
    judged: bool = False
    """Whether a classifier checks that the samples match their condition."""


def choose(
    results: Path, records: Sequence[Record], model: str, task: str | None, length: int | None
) -> Record:
    """The longest, then best tested run of a model (label or name) whose weights are kept.

    Raises `RequestError` if there is none.
    """
    kept = [
        record
        for record in records
        if record.outcome and weights.path(results, record.spec, record.backend).is_file()
    ]
    if not kept:
        raise RequestError(
            f"{results} holds no weights; python -m bench run --keep-weights keeps them, and so "
            "does a profile with keep_weights = true"
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
    return max(kept, key=_merit)


def _merit(record: Record) -> tuple[int, float]:
    assert record.outcome is not None
    score = record.outcome.test_score
    return record.spec.length, score if record.outcome.score.higher_is_better else -score


def draw(
    results: Path, record: Record, wanted: Wanted, on_step: Callable[[int], object] | None = None
) -> tuple[SampleRecord, Tensor, Tensor | None]:
    """The record of the samples, their ids (B, T) and their conditions (B,), if there are any."""
    task, network = task_of(record.spec), weights.trained(results, record.spec, record.backend)
    condition_B, prompt_BP = _conditions(task, wanted), _prompt(task, wanted)
    _check(task, wanted)
    try:
        y_BT = models.generate(
            network,
            wanted.steps or task.signature.num_steps,
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
    if wanted.judged and condition_B is not None:
        found = agreement(task, y_BT, condition_B)
    made = SampleRecord(
        spec=record.spec,
        backend=record.backend,
        label=label(model_of(record.spec), record.spec.model.name),
        task_label=label(task, record.spec.task.name),
        number=wanted.number,
        steps=wanted.steps,
        condition=wanted.condition,
        prompt=wanted.prompt,
        temperature=wanted.temperature,
        seed=wanted.seed,
        agreement=found,
        created=now(),
    )
    return made, y_BT, condition_B


def _check(task: Task, wanted: Wanted) -> None:
    """Raise `RequestError` for options that do not fit the task."""
    if wanted.judged and not task.condition_names:
        raise RequestError(
            f"--judge needs a conditional model; {task.task_name()} has no conditions"
        )
    if wanted.steps in (None, task.signature.num_steps):
        return
    if task.signature.grid is not None:
        pixels = task.signature.num_steps
        raise RequestError(f"--steps {wanted.steps}: an image of this task has {pixels} pixels")
    if wanted.judged:
        raise RequestError("--judge with --steps: the judge only reads sequences of task length")


def _conditions(task: Task, wanted: Wanted) -> Tensor | None:
    names = task.condition_names
    if not names:
        if wanted.condition is not None:
            raise RequestError(f"--condition: {task.task_name()} has no conditions")
        return None
    if wanted.condition in (None, EVERY):
        # Equal conditions stand together, so that a grid of samples has one row for each.
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
    """Write the samples as files of their kind, and the record; returns the paths."""
    from bench.measure import media  # matplotlib is slow to import

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


def read_all(store: Store) -> tuple[list[SampleRecord], list[Damaged]]:
    """All valid records of samples, and the files that are not valid records."""
    records, damaged = store.read_below("samples", SampleRecord)
    there = [
        record
        if record.picture is None or (store.root / record.picture).is_file()
        else record.model_copy(update={"picture": None})
        for record in records
    ]
    return there, damaged


def agreement_line(found: Agreement) -> str:
    return (
        f"a classifier finds the requested condition in {found.share:.1%} of {found.num_samples} "
        f"samples ({found.low:.1%} to {found.high:.1%}; in {found.on_real:.1%} of real sequences)"
    )


def agreement(task: Task, y_BT: Tensor, condition_B: Tensor) -> Agreement:
    """Agreement of sampled ids (B, T) with the classes (B,) they were conditioned on."""
    classifier = _classifier(task)
    right = int((_classes(classifier, task, y_BT) == condition_B).sum())
    num_real = num_right = 0
    for batch in task.evaluation("test", 0, 500):
        assert batch.condition is not None
        num_real += len(batch)
        num_right += int((_classes(classifier, task, batch.y) == batch.condition).sum())
    low, high = wilson(right, len(y_BT))
    return Agreement(
        share=right / len(y_BT),
        low=low,
        high=high,
        num_samples=len(y_BT),
        on_real=num_right / num_real,
    )


@lru_cache(maxsize=2)
def _classifier(task: Task) -> nn.Module:
    """A network with one hidden layer, trained on whole sequences of the task's training stream."""
    generator = task.generator("train", 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = nn.Sequential(
            nn.Linear(task.signature.num_steps, HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, task.signature.num_conditions),
        )
        optimizer = torch.optim.Adam(classifier.parameters(), LEARNING_RATE)
        for step in range(NUM_STEPS):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / NUM_STEPS)
            batch = task.sample(BATCH, generator)
            assert batch.condition is not None
            loss = F.cross_entropy(classifier(_read(task, batch.y)), batch.condition)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


def _read(task: Task, y_BT: Tensor) -> Tensor:
    """Ids scaled to [0, 1], (B, T)."""
    return y_BT / (task.signature.num_outputs - 1)


@torch.inference_mode()
def _classes(classifier: nn.Module, task: Task, y_BT: Tensor) -> Tensor:
    return classifier(_read(task, y_BT)).argmax(1)
