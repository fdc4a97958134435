"""Selective copy, associative recall and group products: oracles, chance, and distances."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import tasks
from tasks import Batch, Split, Task
from tasks._contract import IGNORE
from tasks.group_product import GROUPS, products
from tests.support.fingerprints import draw

EVERY = [
    ("selective_copy", {"length": 10}),
    ("selective_copy", {"length": 40}),
    ("associative_recall", {"length": 8, "num_pairs": 2, "vocabulary": 6}),
    ("associative_recall", {"length": 65}),
    *(("group_product", {"length": 17, "group": group}) for group in GROUPS),
    ("group_product", {"length": 9, "read": "last"}),
]
every_task = pytest.mark.parametrize(("name", "fields"), EVERY)


def answers(task: Task, x: list[int]) -> list[int]:
    """The answers of one sequence, by the words of the task's description."""
    if task.task_name() == "selective_copy":
        return [each for each in x if each < 8]
    if task.task_name() == "associative_recall":
        pairs, half = 2 * task.fields["num_pairs"], task.fields["vocabulary"] // 2
        value_of = dict(zip(x[:pairs:2], x[1:pairs:2], strict=True))
        return [value_of[key] - half for key in x[pairs:] if key]
    table = products(task.fields["group"])
    steps = list(itertools.accumulate(x, lambda a, b: table[a][b]))
    return steps if task.signature.per == "step" else steps[-1:]


def logits(task: Task, batch: Batch) -> torch.Tensor:
    """Logits that give the oracle's answer where one is due and class 0 elsewhere."""
    rows = []
    for x, y in zip(batch.x.tolist(), batch.y.reshape(len(batch), -1).tolist(), strict=True):
        due = iter(answers(task, x))
        rows.append([next(due) if each != IGNORE else 0 for each in y])
        assert next(due, None) is None
    return F.one_hot(torch.tensor(rows), task.signature.num_outputs).float()


@every_task
def test_an_oracle_scores_one_from_the_input_alone(name: str, fields: dict[str, Any]) -> None:
    task = tasks.load(name, **fields)
    batch = draw(task, n=50)
    output = logits(task, batch)
    for metric in task.objective.all_metrics:
        assert (metric.values(output, batch) == 1).all()
    assert task.objective.loss(100 * output, batch) == pytest.approx(0, abs=1e-6)


@every_task
def test_the_best_predictor_without_memory_scores_chance(name: str, fields: dict[str, Any]) -> None:
    """It sees the present input alone: no class is more frequent, whatever that input is."""
    task = tasks.load(name, **fields)
    batch = draw(task, n=4000)
    num_steps = batch.y.shape[1] if batch.y.ndim == 2 else 1
    x, y = batch.x[:, -num_steps:], batch.y.reshape(len(batch), -1)
    if name == "group_product":
        x, y = x[:, 1:], y[:, 1:]  # the first product is the first input
        if num_steps == 1:
            x, y = batch.x[:, -1:], batch.y[:, None]
    counts = torch.zeros(task.signature.num_inputs, task.signature.num_outputs)
    due = y != IGNORE
    counts.index_put_((x[due], y[due]), torch.ones(int(due.sum())), accumulate=True)
    shares = counts.max(1).values.sum() / counts.sum()
    # The largest of several counts is above the mean by a few standard errors of the rarest row.
    rarest = counts.sum(1)[counts.sum(1) > 0].min()
    assert task.chance <= shares + 1e-6 <= task.chance + 5 * (task.chance / rarest) ** 0.5


def test_targets_that_are_not_scored_change_nothing() -> None:
    for name in ("selective_copy", "associative_recall"):
        task = tasks.load(name, length=40)
        batch, output = draw(task, n=8), torch.randn(8, task.signature.num_steps, 1)
        output = output.repeat(1, 1, task.signature.num_outputs).requires_grad_()
        task.objective.loss(output, batch).backward()
        assert output.grad is not None
        assert not output.grad[batch.y == IGNORE].any()
        other = torch.where((batch.y == IGNORE)[..., None], -output, output)
        for metric in task.objective.all_metrics:
            assert torch.equal(metric.values(output, batch), metric.values(other, batch))


def test_selective_copy_places_every_symbol_alike() -> None:
    batch = draw(tasks.load("selective_copy", length=20), n=4000)
    stretch = batch.x[:, :20]
    assert ((stretch < 8).sum(1) == 10).all()
    assert (stretch != 9).all()
    assert (batch.x[:, 20:] == 9).all()
    # Each step holds a symbol in half of the sequences, the last one too: 4 standard errors.
    assert ((stretch < 8).float().mean(0) - 0.5).abs().max() < 0.032
    steps = (stretch < 8).nonzero()[:, 1].view(4000, 10)
    distances = torch.arange(20, 30) - steps
    assert (distances[:, 0].max(), distances[:, 9].min()) == (20, 10)  # steps 0 and 19
    for answer in range(10):
        seen = distances[:, answer].unique()
        assert 10 <= seen.min() <= seen.max() <= 20  # from length − 10 … reach − 1
        assert len(seen) >= 6  # no fixed lag finds a symbol


def test_associative_recall_queries_each_key_once_and_mostly_soon() -> None:
    task = tasks.load("associative_recall", length=128, num_pairs=8, vocabulary=64)
    batch = draw(task, n=3000)
    keys, queries = batch.x[:, :16:2], batch.x[:, 16:]
    assert (keys.sort(1).values.diff(dim=1) > 0).all()
    assert (batch.x[:, 1:16:2].sort(1).values.diff(dim=1) > 0).all()
    assert ((keys >= 1) & (keys < 32)).all()
    assert torch.equal((queries > 0).sum(1), torch.full((3000,), 8))
    assert torch.equal(queries.sort(1).values[:, -8:], keys.sort(1).values)
    assert not queries[:, 1::2].any()
    share = (queries[:, ::2] > 0).float().mean(0)
    assert share[0] > 0.8
    assert share[0] > share[5] > share[20]
    assert share[-1] > 0
    assert (batch.y != IGNORE).nonzero()[:, 1].max() + 1 == task.signature.reach + 1


def test_associative_recall_draws_slots_as_one_after_the_other_would() -> None:
    """Two of four slots without replacement, against the probabilities by hand."""
    task = tasks.load("associative_recall", length=12, num_pairs=2, vocabulary=16)
    weights = [slot ** (0.01 - 1) for slot in (1, 2, 3, 4)]
    expected = {
        (i, j): weights[i] / sum(weights) * weights[j] / (sum(weights) - weights[i])
        for i, j in itertools.permutations(range(4), 2)
    }
    x = draw(task, n=20_000).x
    found: Counter[tuple[int, ...]] = Counter()
    for row in x.tolist():
        found[tuple(row[4:].index(key) // 2 for key in row[:4:2])] += 1
    for order, probability in expected.items():
        assert found[order] / 20_000 == pytest.approx(probability, abs=0.015)  # 4 standard errors


@pytest.mark.parametrize(("group", "order"), [("Z2", 2), ("Z5", 5), ("S3", 6), ("A5", 60)])
def test_tables_are_those_of_groups(group: Any, order: int) -> None:
    table = torch.tensor(products(group))
    assert table.shape == (order, order)
    everyone = torch.arange(order)
    assert torch.equal(table[0], everyone)  # 0 is the identity
    assert torch.equal(table[:, 0], everyone)
    assert torch.equal(table.sort(1).values, everyone.expand(order, order))  # inverses
    assert torch.equal(table[table], table[everyone[:, None, None], table])  # associative
    assert torch.equal(table, table.T) == group.startswith("Z")


def test_the_left_permutation_of_a_product_is_applied_first() -> None:
    elements = list(itertools.permutations(range(3)))
    swap, cycle = elements.index((1, 0, 2)), elements.index((1, 2, 0))
    assert elements[products("S3")[swap][cycle]] == (2, 1, 0)


@every_task
def test_splits_share_no_sequence(name: str, fields: dict[str, Any]) -> None:
    many = {"vocabulary": 64} if name == "associative_recall" else {}
    task = tasks.load(name, **{**fields, "length": 60, **many})
    names: tuple[Split, ...] = ("train", "validation", "test")
    splits = [
        {tuple(x) for x in task.sample(500, task.generator(split, 0), split).x.tolist()}
        for split in names
    ]
    assert not any(a & b for a, b in itertools.combinations(splits, 2))


@pytest.mark.parametrize(
    ("name", "times"),
    [("selective_copy", (2, 4)), ("associative_recall", (2, 4)), ("group_product", (2, 4, 8))],
)
def test_a_trained_network_is_tested_on_longer_sequences(name: str, times: tuple[int, ...]) -> None:
    task = tasks.load(name, length=32)
    assert [other.length for other in task.beyond()] == [32 * each for each in times]
    assert {other.signature.num_inputs for other in task.beyond()} == {task.signature.num_inputs}


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("selective_copy", {"length": 9}, "length 9 of selective_copy; valid: 10 or more"),
        ("associative_recall", {"length": 15}, "valid with 4 pairs: 16 or more"),
        ("associative_recall", {"length": 40, "num_pairs": 0}, "num_pairs 0"),
        ("associative_recall", {"length": 40, "vocabulary": 9}, "10 or more"),
        ("group_product", {"length": 0}, "length 0 of group_product"),
        ("group_product", {"length": 5, "group": "S4"}, "valid: Z2, Z5, S3, A5, Z60"),
        ("group_product", {"length": 5, "read": "first"}, "valid: every, last"),
    ],
)
def test_invalid_fields_are_refused(name: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tasks.load(name, **fields)
