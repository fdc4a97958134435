"""Data, scores, thresholds and valid fields, pinned. Changed data need a raised version."""

import math
from typing import Any

import pytest
import torch
from torch.nn import CrossEntropyLoss

import tasks
from tasks import Split
from tasks._likelihood import some_training
from tasks._synthesiser import clips
from tests.support.fingerprints import digest_of, draw, fingerprint_of

LN_8 = math.log(8)


@pytest.mark.parametrize(
    ("name", "fields", "fingerprint"),
    [
        ("copy_memory", {}, "v1 b957bcf6b9d2efe0"),
        ("adding", {}, "v1 02612f8e27329d25"),
        ("adding", {"markers": "halves"}, "v1 f776f18e77dd8465"),
        ("variable_adding", {}, "v1 c83f3247668fe19c"),
        ("markov_source", {}, "v1 be12ca2f19ec6b47"),
        ("selective_copy", {}, "v1 2f479a9b2ca4a7d7"),
        ("associative_recall", {"num_pairs": 5, "vocabulary": 64}, "v1 321d3fb12a35a827"),
        ("group_product", {"group": "A5"}, "v1 0270bf4ce5ceee9a"),
        ("char_text", {}, "v1 30d9c75e62620aec"),
        ("audio", {"levels": 16, "conditional": True}, "v1 c7e46cd2cb0fa6ca"),
    ],
)
def test_the_first_batch_is_pinned(name: str, fields: dict[str, Any], fingerprint: str) -> None:
    assert fingerprint_of(tasks.load(name, length=20, **fields)) == fingerprint


def test_the_synthetic_sounds_are_pinned() -> None:
    splits: tuple[Split, ...] = ("train", "validation", "test")
    digests = [digest_of(*map(torch.from_numpy, clips(split))) for split in splits]
    assert digests == ["e9d93fb46e7331d0", "849d4247953ab044", "614ade539dadb6f2"]


SIZES: dict[str, tuple[dict[str, Any], tuple[int, ...], float | None]] = {
    "copy_memory": ({"length": 20}, (10, 10, 40, 31), 0.95),
    "adding": ({"length": 20}, (2, 1, 20, 20), 0.95),
    "variable_adding": ({"length": 20}, (2, 1, 20, 20), 0.95),
    "markov_source": ({"length": 20}, (9, 8, 52, 20), 0.05 * 2.3262868),
    "selective_copy": ({"length": 20}, (10, 8, 30, 21), 0.95),
    "associative_recall": ({"length": 40}, (16, 8, 40, 38), 0.95),
    "group_product": ({"length": 20}, (6, 6, 20, 20), 0.95),
    "pixel_mnist": ({"length": 60, "side": 7}, (1, 10, 60, 60), 0.50),
    "permuted_mnist": ({"length": 196}, (1, 10, 196, 196), None),
    "char_text": ({"length": 20}, (75, 74, 20, 20), None),
    "audio": ({"length": 20}, (257, 256, 20, 20), None),
}
"""Fields; the numbers of inputs, outputs and steps, and the reach; the score of a solved task."""
SUMS = {"within_tolerance": 0.0784, "mean_squared_error": 1 / 6}
DIGITS = {"accuracy": 0.1135, "cross_entropy": math.log(10)}
CHANCES: dict[str, dict[str, float]] = {
    "copy_memory": {"recall": 1 / 8, "faultless": 8.0**-10, "cross_entropy": 10 * LN_8 / 40},
    **{"adding": SUMS, "variable_adding": SUMS, "pixel_mnist": DIGITS, "permuted_mnist": DIGITS},
    "selective_copy": {"recall": 1 / 8, "faultless": 8.0**-10},
    "associative_recall": {"recall": 1 / 8, "faultless": 1 / math.perm(8, 4)},
    "group_product": {
        "last_accuracy": 1 / 6,
        "accuracy": (1 + 19 / 6) / 20,
        "faultless": 6.0**-19,
    },
    "markov_source": {"gap_bits": 2.3262868, "bits": 3.0},
    "char_text": {"bits_per_dim": 4.882108, "nats": 67.680394},
    "audio": {"bits_per_dim": 7.895641, "nats": 109.456833},
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_thresholds_and_chances_are_pinned(name: str) -> None:
    fields, sizes, solved = SIZES[name]
    task = tasks.load(name, **fields)
    found = task.signature
    assert (found.num_inputs, found.num_outputs, found.num_steps, found.reach) == sizes
    assert task.solved == (None if solved is None else pytest.approx(solved))
    assert {m.name: m.chance for m in task.objective.all_metrics} == pytest.approx(CHANCES[name])


DEFAULTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "copy_memory": ({"length": 3}, (5, 20, 100)),
    "adding": ({"length": 8}, (20, 50, 200)),
    "variable_adding": ({"length": 8}, (50,)),
    "markov_source": ({"length": 4}, (5, 20, 50)),
    "selective_copy": ({"length": 12}, (16, 64, 256)),
    "associative_recall": ({"length": 8, "num_pairs": 2, "vocabulary": 16}, (32, 64, 128)),
    "group_product": ({"length": 6}, (8, 32, 128)),
    "pixel_mnist": ({"length": 49, "side": 7}, (49, 100, 196)),
    "permuted_mnist": ({"length": 49, "side": 7}, (49, 100, 196)),
    "mnist_generation": ({"length": 49}, (49, 196)),
    "char_text": ({"length": 16}, (64, 256)),
    "audio": ({"length": 64, "levels": 16}, (256, 1024)),
}


def test_default_sizes_are_pinned() -> None:
    classes = {name: tasks.task_class(name) for name in DEFAULTS}
    assert {name: (cls.smallest, cls.lengths) for name, cls in classes.items()} == DEFAULTS


@pytest.mark.parametrize("name", ["adding", "variable_adding"])
def test_adding_counts_answers_that_are_off_by_less_than_0_04(name: str) -> None:
    task = tasks.load(name, length=8)
    batch = draw(task, n=4)
    errors = torch.tensor([0.0399, -0.0399, 0.0401, -0.0401])
    output = (batch.y + errors[:, None]).unsqueeze(1)
    within, squared = (metric.values(output, batch) for metric in task.objective.all_metrics)
    assert within.tolist() == [1, 1, 0, 0]
    assert squared.tolist() == pytest.approx(errors.square().tolist(), rel=1e-3)


def test_streams_have_2000_sequences_and_baselines_read_a_million_steps() -> None:
    task = tasks.load("markov_source", length=8)
    for split in ("validation", "test"):
        assert sum(map(len, task.evaluation(split, 0, 300))) == 2000
    assert [len(batch) for batch in some_training(task)] == [500] * math.ceil(2**20 / (500 * 40))


def test_targets_of_padding_are_those_that_pytorch_ignores() -> None:
    assert CrossEntropyLoss().ignore_index == tasks.IGNORE


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("copy_memory", {"length": 0}, "length 0 of copy_memory; valid: 1 or more"),
        ("adding", {"length": 1}, "length 1 of adding; valid: 2 or more"),
        ("adding", {"length": 9, "markers": "near"}, r"markers 'near'.*anywhere, halves"),
        ("variable_adding", {"length": 1}, "length 1 of variable_adding; valid: 2 or more"),
        ("variable_adding", {"length": 8, "shortest": 9}, "shortest 9 of .*: 2 to length 8"),
        ("variable_adding", {"length": 8, "shortest": 1}, "shortest 1 of .*: 2 to length 8"),
        ("pixel_mnist", {"length": 50}, "squares 1, 4, 9"),
        ("pixel_mnist", {"length": 841}, "up to 784"),
        ("pixel_mnist", {"length": 49, "side": 8}, "side 8 of .*; valid: 7, 14, 28"),
        ("pixel_mnist", {"length": 48, "side": 7}, "49 or more"),
        ("mnist_generation", {"length": 64}, "length 64 of mnist_generation; valid: 49, 196, 784"),
        ("mnist_generation", {"length": 49, "levels": 3}, "levels 3 of .*; valid: 2, 256"),
        (
            "mnist_generation",
            {"length": 49, "levels": 256, "binarised": "stochastic"},
            "binarised stochastic of .*; valid with levels 2",
        ),
        (
            "mnist_generation",
            {"length": 49, "binarised": "dithered"},
            "binarised 'dithered' of .*; valid: threshold, stochastic",
        ),
        ("markov_source", {"length": 0}, "length 0 of markov_source; valid: 1 or more"),
        ("markov_source", {"length": 3, "noise": 0.0}, "noise 0.0 of .*between 0 and 1"),
        ("markov_source", {"length": 3, "noise": 1.0}, "noise 1.0 of .*between 0 and 1"),
        ("char_text", {"length": 10**6}, "length 1000000 of char_text; valid: 1 to 57893"),
        ("char_text", {"length": 5, "file": "/nowhere"}, "file '/nowhere' of .*: No such file"),
        ("char_text", {"length": 5, "sources_sha256": "0"}, "valid with `file`"),
        ("audio", {"length": 8001}, "length 8001 of audio; valid: 1 to 8000"),
        ("audio", {"length": 5, "levels": 1}, "levels 1 of audio; valid: 2 to 256"),
        ("audio", {"length": 5, "levels": 257}, "levels 257 of audio; valid: 2 to 256"),
        ("audio", {"length": 5, "folder": "/nowhere"}, "folder '/nowhere' of .*: 0 WAV files"),
        ("audio", {"length": 5, "sources_sha256": "0"}, "valid with `folder`"),
        ("audio", {"length": 5, "folder": "/", "conditional": True}, "valid without `folder`"),
    ],
)
def test_bad_fields_are_refused(name: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tasks.load(name, **fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("copy_memory", {"length": 1}),
        ("adding", {"length": 2}),
        ("variable_adding", {"length": 2, "shortest": 2}),
        ("markov_source", {"length": 1}),
        *[("pixel_mnist", {"length": side**2, "side": side}) for side in (7, 14, 28)],
        ("pixel_mnist", {"length": 784}),
        *[("mnist_generation", {"length": side**2, "levels": 256}) for side in (7, 14, 28)],
        ("char_text", {"length": 57_893}),
        ("audio", {"length": 8000, "levels": 256}),
        ("audio", {"length": 1, "levels": 2}),
    ],
)
def test_fields_at_the_limits_are_valid(name: str, fields: dict[str, Any]) -> None:
    assert tasks.load(name, **fields).fields.items() >= fields.items()
