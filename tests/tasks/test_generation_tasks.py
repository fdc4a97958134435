"""Generation tasks: which ids they predict from which, and that their bits are correct."""

import dataclasses
import math
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

import models
import tasks
from bench.core.store import Store
from bench.measure.evaluation import evaluate
from bench.plan.labels import label
from tasks import Batch, DataUnavailable, _likelihood
from tasks._likelihood import LikelihoodTask, bits_of_simple_predictors, pair_counts
from tasks._mnist import images
from tasks.char_text import CharText, encoded
from tasks.markov_source import CYCLE, NUM_SCORED, MarkovSource
from tests.support.commands import ROOT
from tests.support.fingerprints import draw

pytestmark = pytest.mark.usefixtures("stand_in_mnist")

CLASSES = [
    cls for name in tasks.names() if issubclass(cls := tasks.task_class(name), LikelihoodTask)
]
TASKS = [cls(**cls.smallest) for cls in CLASSES]
CONDITIONAL = [task for task in TASKS if "conditional" in task.fields]


def name_of(task: tasks.Task) -> str:
    return task.task_name()


@pytest.fixture(params=TASKS, ids=name_of)
def task(request: pytest.FixtureRequest) -> LikelihoodTask:
    return request.param


def every_batch(task: tasks.Task, n: int = 6) -> list[Batch]:
    return [
        draw(task, n=n),
        *task.evaluation("validation", 0, 500),
        *task.evaluation("test", 0, 500),
    ]


def test_the_input_is_the_target_one_step_late(task: LikelihoodTask) -> None:
    signature, num_levels = task.signature, task.num_levels
    assert (signature.num_inputs, signature.num_outputs) == (num_levels + 1, num_levels)
    assert signature.per == "step"
    for batch in every_batch(task):
        assert torch.equal(batch.x[:, 1:], batch.y[:, :-1])
        assert (batch.x[:, 0] == num_levels).all()
        assert 0 <= batch.y.min() <= batch.y.max() < num_levels
        assert batch.y.shape[1] == signature.num_steps


def test_the_output_at_a_step_changes_the_loss_of_that_step_alone(task: LikelihoodTask) -> None:
    batch = draw(task)
    output = torch.randn(4, task.signature.num_steps, task.num_levels)
    changed = output.clone()
    changed[:, -1] = torch.randn(4, task.num_levels)
    both = [task.nats(each, batch) for each in (output, changed)]
    assert torch.equal(both[0][:, :-1], both[1][:, :-1])
    assert not torch.equal(both[0][:, -1], both[1][:, -1])


def table_score(task: LikelihoodTask, table: Tensor) -> float:
    """The score of a predictor that looks its logits up by the last id, (K + 1, K)."""
    batches = list(task.evaluation("test", 0, 200))
    total = sum(
        task.objective.score.values(table[b.x].float(), b).double().sum().item() for b in batches
    )
    return total / sum(map(len, batches))


def test_baselines_are_the_scores_of_such_predictors(task: LikelihoodTask) -> None:
    num_levels = task.num_levels
    train = pair_counts(_likelihood.some_training(task), num_levels, task.num_scored)
    unigram = (train.sum(0) + 1) / (train.sum() + num_levels)
    markov = (train + unigram) / (train.sum(1, keepdim=True) + 1)
    expected = {
        "uniform": table_score(task, torch.zeros(num_levels + 1, num_levels)),
        "unigram": table_score(task, unigram.log().expand(num_levels + 1, num_levels)),
        "markov-1": table_score(task, markov.log()),
    }
    assert task.baselines() == pytest.approx(expected, abs=1e-4)  # single precision
    assert task.chance == pytest.approx(expected["unigram"], abs=0.03)


def test_simple_predictors_by_hand() -> None:
    # Ids 0 and 1; training has 0 0 1 once and the test 1 0 1 once.
    train = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    test = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = bits_of_simple_predictors(train, test)
    one = 2 / 5  # (1 + 1) / (3 + 2)
    assert found["uniform"] == 1
    assert found["unigram"] == pytest.approx(-(2 * math.log2(one) + math.log2(1 - one)) / 3)
    after_start, after_0, after_1 = one / 2, (1 + one) / 3, 1 - one
    expected = -(math.log2(after_start) + math.log2(after_1) + math.log2(after_0)) / 3
    assert found["markov-1"] == pytest.approx(expected)


def test_counted_pairs_by_hand() -> None:
    y = torch.tensor([[1, 0, 1], [0, 0, 0]])
    batch = Batch(x=_likelihood.one_step_late(y, 2), y=y)
    assert pair_counts([batch], 2, 3).tolist() == [[2, 1], [1, 0], [1, 1]]
    assert pair_counts([batch], 2, 1).tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("name", ["mnist_generation", "char_text", "audio"])
def test_bits_and_nats_are_those_of_the_probabilities(name: str) -> None:
    task = tasks.load(name, **tasks.task_class(name).smallest)
    batch = draw(task)
    steps, levels = task.signature.num_steps, task.signature.num_outputs
    output = torch.zeros(4, steps, levels)
    bits, nats = (metric.values(output, batch) for metric in task.objective.all_metrics)
    assert bits.tolist() == pytest.approx([math.log2(levels)] * 4)
    assert nats.tolist() == pytest.approx([steps * math.log(levels)] * 4)
    assert task.objective.loss(output, batch).item() == pytest.approx(math.log(levels))


@pytest.mark.parametrize("plain", CONDITIONAL, ids=name_of)
def test_a_condition_is_the_class_of_the_sequence(plain: LikelihoodTask) -> None:
    task = dataclasses.replace(plain, conditional=True)
    assert plain.signature.num_conditions == 0
    assert task.signature.num_conditions == len(task.condition_names) > 1
    assert draw(plain).condition is None
    classes = set()
    for batch in every_batch(task, 500):
        assert batch.condition is not None
        assert batch.condition.shape == (len(batch),)
        assert batch.condition.dtype == torch.int64
        classes |= set(batch.condition.tolist())
        part = batch.part(1, 3).to("cpu")
        assert part.condition is not None
        assert torch.equal(part.condition, batch.condition[1:3])
    assert classes == set(range(task.signature.num_conditions))


# The Markov source


def source_output(task: MarkovSource, batch: Batch, sees_answer: bool = False) -> Tensor:
    """Logits of the source itself, or of a predictor that sees the answer."""
    follows, other = task.probabilities
    probabilities = torch.full((*batch.y.shape, 8), other)
    expected = batch.y.clone()
    if not sees_answer:
        expected[:, task.length :] = following(batch.y[:, : -task.length])
    return probabilities.scatter_(2, expected.unsqueeze(2), follows).log()


def following(y: Tensor) -> Tensor:
    return torch.tensor([CYCLE[(CYCLE.index(i) + 1) % 8] for i in range(8)])[y]


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_the_source_itself_has_no_gap_on_any_sequence(length: int) -> None:
    task = MarkovSource(length=length)
    batch = draw(task, n=300)
    gap = task.objective.score.values(source_output(task, batch), batch)
    assert gap.abs().max() < 1e-6  # single precision
    bits = task.objective.metrics[0].values(source_output(task, batch), batch)
    error = bits.std().item() / math.sqrt(300)
    assert bits.mean().item() == pytest.approx(task.entropy_bits, abs=5 * error)


@pytest.mark.parametrize("sharpness", [0.5, 0.9, 1.1, 2.0])
def test_any_other_predictor_has_a_gap(sharpness: float) -> None:
    task = MarkovSource(length=5)
    batch = draw(task, n=2000)
    gap = task.objective.score.values(sharpness * source_output(task, batch), batch)
    assert gap.mean() > 4 * gap.std() / math.sqrt(2000)


def test_a_predictor_that_sees_the_answer_is_below_the_source() -> None:
    task = MarkovSource(length=5)
    batch = draw(task, n=500)
    gap = task.objective.score.values(source_output(task, batch, sees_answer=True), batch)
    assert gap.mean() < -5 * gap.std() / math.sqrt(500)


@pytest.mark.parametrize("name", ["rnn", "tcn"])
def test_after_training_a_model_is_above_the_entropy_and_approaches_it(name: str) -> None:
    task = MarkovSource(length=2)
    torch.manual_seed(0)
    network = models.network(name, task.signature, width=16)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    generator = task.generator("train", 0)
    for _ in range(80):
        batch = task.sample(16, generator)
        optimizer.zero_grad()
        task.objective.loss(network(batch.x)[0], batch).backward()
        optimizer.step()
    found = evaluate(network, task, task.evaluation("test", 0, 500), "cpu")
    gap, error = found.values["gap_bits"], found.score_error
    assert gap is not None
    assert error is not None
    assert error < 0.01
    assert -4 * error < gap < 0.5 * task.chance


def test_the_entropy_by_hand() -> None:
    task = MarkovSource(length=5, noise=0.5)
    follows = 0.5 + 0.5 / 8
    expected = -follows * math.log2(follows) - 7 / 16 * math.log2(1 / 16)
    assert task.entropy_bits == pytest.approx(expected)
    assert task.chance == pytest.approx(3 - expected)
    assert task.solved == pytest.approx(0.05 * task.chance)


@pytest.mark.parametrize("length", [1, 3, 50])
def test_each_id_depends_on_the_one_t_steps_before(length: int) -> None:
    task = MarkovSource(length=length, noise=0.2)
    y = draw(task, n=2000).y
    assert y.shape == (2000, length + NUM_SCORED)
    cause, effect = y[:, :-length].flatten(), y[:, length:].flatten()
    counts = torch.bincount(cause * 8 + effect, minlength=64).view(8, 8).double()
    shares = counts / counts.sum(1, keepdim=True)
    expected = torch.full((8, 8), 0.2 / 8).double()
    expected[torch.arange(8), following(torch.arange(8))] += 0.8
    # With 8,000 pairs per row, a standard deviation is at most 0.0045.
    assert (shares - expected).abs().max() < 0.02
    assert (y.flatten().bincount() / y.numel() - 1 / 8).abs().max() < 0.01
    assert set(y[:, 0].tolist()) == set(range(8))


def test_nearer_ids_carry_no_information() -> None:
    y = draw(MarkovSource(length=4), n=20_000).y
    for lag in (1, 2, 3):
        pairs = (y[:, 10] * 8 + y[:, 10 - lag]).bincount(minlength=64) / 20_000
        assert (pairs - 1 / 64).abs().max() < 0.005  # six standard deviations


def test_one_step_of_memory_is_enough_for_a_lag_of_one_alone() -> None:
    near, far = MarkovSource(length=1), MarkovSource(length=2)
    assert near.baselines()["markov-1"] < near.solved / 10
    assert far.baselines()["markov-1"] == pytest.approx(far.chance, abs=0.03)


def test_the_first_ids_are_not_scored() -> None:
    task = MarkovSource(length=6)
    batch = draw(task)
    output = source_output(task, batch)
    other = output.clone()
    other[:, :6] = torch.randn(4, 6, 8)
    for metric in task.objective.all_metrics:
        assert torch.equal(metric.values(output, batch), metric.values(other, batch))
    assert task.objective.loss(output, batch) == task.objective.loss(other, batch)


# MNIST


@pytest.mark.parametrize("length", [49, 196, 784])
@pytest.mark.parametrize("levels", [2, 256])
def test_pixels_are_cut_evenly(length: int, levels: int) -> None:
    task = tasks.load("mnist_generation", length=length, levels=levels)
    side = math.isqrt(length)
    assert task.signature.grid == (side, side)
    assert task.signature.reach == length
    grey, _ = images("test", side, torch.device("cpu"))
    y = torch.cat([batch.y for batch in task.evaluation("test", 0, 77)])
    if levels == 2:
        assert torch.equal(y, (grey >= 0.5).long())
    else:
        assert ((y / 255 - grey).abs() <= 0.5 / 255 + 1e-6).all()
    if levels == 256 and side == 28:
        assert torch.equal(y, (255 * grey).round().long())


@pytest.mark.parametrize("length", [49, 784])
def test_grey_is_the_probability_of_ink_drawn_once(length: int) -> None:
    task = tasks.load("mnist_generation", length=length, binarised="stochastic")
    grey, _ = images("test", math.isqrt(length), torch.device("cpu"))
    y = torch.cat([batch.y for batch in task.evaluation("test", 0, 77)])
    assert set(y.unique().tolist()) == {0, 1}
    # Five standard deviations of a sum of Bernoulli draws, and of one within a band of greys.
    for low, high in ((0, 1), (0.2, 0.4), (0.6, 0.8)):
        band = (grey >= low) & (grey <= high)
        deviation = (grey * (1 - grey))[band].sum().sqrt()
        assert abs(y[band].sum() - grey[band].sum()) < 5 * deviation
    again = torch.cat([batch.y for batch in task.evaluation("test", 1, 100)])
    assert torch.equal(y, again)
    assert not torch.equal(
        y[:200], torch.cat([b.y for b in task.evaluation("validation", 0, 9)])[:200]
    )
    flat = tasks.load("mnist_generation", length=length)
    assert task.baselines()["markov-1"] > flat.baselines()["markov-1"]


# Text


def test_the_text_of_the_project_is_the_one_that_is_described() -> None:
    task = CharText(length=1000)
    batches = list(task.evaluation("test", 0, 9))
    assert sum(map(len, batches)) == 57
    text = "".join(task.characters[i] for b in batches for i in b.y.flatten().tolist())
    assert "CORIOLANUS" in text
    assert text.isascii()
    digest = sha256(text.encode()).hexdigest()
    assert digest[:16] == "79fb354b5d7e8b2a"


def test_windows_are_pieces_of_the_text_and_parts_do_not_overlap(tmp_path: Path) -> None:
    text = "".join(f"{i:04d}é" for i in range(400))  # 2,000 characters, 100 in a part held out
    path = tmp_path / "numbers.txt"
    path.write_text(text)
    task = CharText(length=30, file=str(path))

    def read(y: Tensor) -> list[str]:
        return ["".join(task.characters[i] for i in row) for row in y.tolist()]

    # 1,771 windows start in the training part; the chance that one is missed is about 1e-6.
    drawn = set(read(draw(task, n=40_000).y.unique(dim=0)))
    assert drawn == {text[start : start + 30] for start in range(1771)}
    for split, start in {"validation": 1800, "test": 1900}.items():
        (batch,) = task.evaluation(split, 0, 100)  # pyright: ignore[reportArgumentType]
        assert read(batch.y) == [text[start + 30 * i : start + 30 * (i + 1)] for i in range(3)]


def test_characters_that_training_never_met_share_an_id() -> None:
    parts, characters = encoded("ab" * 45 + "azbz?" + "zaaaa")
    assert characters == "ab"
    assert parts["train"].tolist() == [0, 1] * 45
    assert parts["validation"].tolist() == [0, 2, 1, 2, 2]
    assert parts["test"].tolist() == [2, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="a text of 19 characters; valid: 20 or more"):
        encoded("a" * 19)


def test_a_byte_order_mark_is_not_a_character_of_the_text(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_text("ein Würfel " * 40, encoding="utf-8")
    marked.write_text("ein Würfel " * 40, encoding="utf-8-sig")
    first, second = (CharText(length=9, file=str(path)) for path in (plain, marked))
    second.prepare()
    assert second.characters == first.characters == "".join(sorted(set("ein Würfel ")))
    assert second.num_levels == first.num_levels
    for one, other in zip(
        first.evaluation("test", 0, 9), second.evaluation("test", 0, 9), strict=True
    ):
        assert one.y.equal(other.y)


def test_another_text_is_another_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("first " * 100)
    first = CharText(length=9, file=str(path))
    first.prepare()
    assert first.fields["sources_sha256"] == sha256(path.read_bytes()).hexdigest()
    assert label(first, "char_text") == f"char_text file={path}"
    again = CharText(**first.fields)
    assert again == first
    path.write_text("other " * 100)
    other = CharText(length=9, file=str(path))
    assert other.fields != first.fields
    assert other.generator("train", 0).initial_seed() != first.generator("train", 0).initial_seed()
    missing = dataclasses.replace(first, sources_sha256="0" * 64)
    assert missing.signature.num_outputs == len(set("first ")) + 1  # without reading the file
    with pytest.raises(DataUnavailable, match="has changed since the run was planned"):
        missing.prepare()
    path.unlink()
    assert CharText(**other.fields).signature == other.signature
    with pytest.raises(DataUnavailable, match=r"mine\.txt: No such file"):
        dataclasses.replace(other, sources_sha256="1" * 64).prepare()


def test_no_committed_run_is_below_the_entropy_of_its_source() -> None:
    folder = ROOT / "results" / "reference" / "cpu"
    found = [r for r in Store(folder).read_all()[0] if r.spec.task.name == "markov_source"]
    assert {r.spec.model.name for r in found} == {"gru", "lstm", "rnn", "tcn", "wavenet"}
    for record in found:
        assert record.outcome is not None
        # A leak is bits below; the sampling error of a paired gap over 64,000 ids is about 0.005.
        assert record.outcome.test_score > -0.02
        assert record.outcome.test_score < record.outcome.score.chance + 0.02
