"""Samples of trained networks: the weights they need, the files they become, and their judge."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

import tasks
from bench.cli import main
from bench.core.records import Record, SampleRecord
from bench.core.store import Store
from bench.measure import media, samples, weights
from tests.support.commands import ROOT
from tests.support.harness import not_drawn

PROFILE = """
description = "two updates, kept"
seeds = [0, 1]
param_budget = 5_000
models = ["gru"]

[training]
learning_rate = 0.003
max_steps = 2
validate_every = 2
num_validation = 5
batch_size = 4

[[grid]]
study = "generation"
task = "char_text"
lengths = [16]
keep_weights = true

[[grid]]
study = "generation"
task = "audio"
task_fields = { levels = 16, conditional = true }
lengths = [100]
seeds = [0]
keep_weights = true

[[grid]]
study = "generation"
task = "markov_source"
lengths = [4]
seeds = [0]
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Results of the profile: all weights are kept, except those of the Markov source."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "kept.toml").write_text(PROFILE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        not_drawn(monkeypatch)
        monkeypatch.setattr(media, "DPI", 40)
        assert main(run(folder)) == 0
        yield folder / "results"


def run(folder: Path) -> list[str]:
    profile, results = str(folder / "kept.toml"), str(folder / "results")
    return [
        "run",
        "--debug",
        "--no-speed",
        "--device",
        "cpu",
        "--profile",
        profile,
        "--results",
        results,
    ]


def sample(results: Path, *arguments: str) -> list[str]:
    return ["sample", "--results", str(results), *arguments]


def records(results: Path, task: str) -> list[Record]:
    return [record for record in Store(results).read_all()[0] if record.spec.task.name == task]


def test_weights_are_kept_where_a_profile_asks(results: Path) -> None:
    for record in records(results, "char_text"):
        network = weights.trained(results, record.spec, record.backend)
        task = tasks.load("char_text", length=16)
        batch = next(task.evaluation("test", record.spec.seed, 100_000))
        bits = task.objective.score.values(network(batch.x)[0], batch).mean().item()
        assert record.outcome is not None
        assert math.isclose(bits, record.outcome.test_score, rel_tol=1e-5)  # of the same weights
    for record in records(results, "markov_source"):
        assert not weights.path(results, record.spec, record.backend).exists()


def test_a_run_whose_weights_are_missing_is_run_again(results: Path) -> None:
    record = records(results, "char_text")[0]
    path = weights.path(results, record.spec, record.backend)
    before = path.read_bytes()
    path.unlink()
    assert main(run(results.parent)) == 0
    assert path.read_bytes() == before


def test_text_begins_with_its_prompt_and_depends_on_its_seed(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def drawn(*more: str) -> str:
        capsys.readouterr()
        arguments = ["gru", "--task", "char_text", "--number", "3", "--prompt", "To be", *more]
        assert main(sample(results, *arguments)) == 0
        (text,) = [line for line in capsys.readouterr().out.splitlines() if line[-4:] == ".txt"]
        return Path(text).read_text()

    first = drawn()
    before = len(samples.read_all(Store(results))[0])
    assert drawn("--prompt", "Not to") != first
    assert len(samples.read_all(Store(results))[0]) == before + 1  # another prompt, another file
    assert first.count("To be") >= 3
    assert drawn("--naive") == first  # the stepper computes what forward computes
    assert drawn("--seed", "1") != first
    assert drawn("--temperature", "0.5") != first


def test_sounds_are_files_that_play(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where they are longer than the 100 steps of a training sequence."""

    def heard(*more: str) -> tuple[np.ndarray, bytes]:
        capsys.readouterr()
        arguments = ["gru", "--task", "audio", "--number", "2", "--condition", "pluck C#", *more]
        assert main(sample(results, *arguments)) == 0
        paths = {Path(line).suffix: Path(line) for line in capsys.readouterr().out.splitlines()}
        rate, sound = wavfile.read(paths[".wav"])
        assert rate == 8000
        return sound, paths[".png"].read_bytes()

    sound, picture = heard()
    assert len(sound) == 2 * (100 + 8000 // 4)
    assert sound.dtype == np.int16
    assert np.abs(sound).max() > 0
    assert picture.startswith(b"\x89PNG")
    longer, _ = heard("--steps", "150")
    assert len(longer) == 2 * (150 + 8000 // 4)
    assert np.array_equal(heard("--steps", "150", "--naive")[0], longer)
    made = [each for each in samples.read_all(Store(results))[0] if each.condition == "pluck C#"]
    assert {each.steps for each in made} == {None, 150}
    assert "synthetic" in made[0].task_label


def test_the_report_shows_the_samples(results: Path) -> None:
    assert main(sample(results, "gru", "--task", "audio", "--number", "2")) == 0
    profile = str(results.parent / "kept.toml")
    assert main(["report", "--device", "cpu", "--profile", profile, "--results", str(results)]) == 0
    page = (results / "report.md").read_text()
    assert "## Generation" in page
    pictures = [made.picture for made in samples.read_all(Store(results))[0] if made.picture]
    assert pictures
    assert all(f"]({picture})" in page for picture in pictures)
    likelihood = (results / "tables" / "likelihood.csv").read_text()
    assert "mean,mean_low,mean_high,seeds" in likelihood.splitlines()[0]
    assert likelihood.count("\n") == 4
    assert (results / "figures" / "likelihood.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("gru --task markov_source", "unknown task with weights 'markov_source'"),
        ("lstm --task char_text", "unknown model with weights 'lstm'; valid: gru"),
        ("gru --task char_text --length 17", "unknown length with weights '17'; valid: 16"),
        ("gru --task char_text --condition 3", "--condition: char_text has no conditions"),
        ("gru --task audio --condition oboe", "unknown condition 'oboe'"),
        ("gru --task char_text --prompt " + "x" * 17, "17 characters; valid: 16 at most"),
        ("gru --task audio --prompt none.wav", "valid: a WAV file"),
        ("gru --task char_text --judge", "--judge needs a conditional model"),
        ("gru --task audio --steps 9 --judge", "--judge with --steps"),
        ("gru --task char_text --temperature 0", "temperature 0.0; valid: more than 0"),
    ],
)
def test_a_request_that_cannot_be_met_ends_with_one_line(
    arguments: str, said: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(sample(results, *arguments.split())) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_image_has_its_own_number_of_steps(capsys: pytest.CaptureFixture[str]) -> None:
    committed = ROOT / "results" / "reference" / "cpu"
    assert main(sample(committed, "pixelcnn", "--steps", "7")) == 2
    assert "--steps 7: an image of this task has" in capsys.readouterr().err


def test_without_weights_the_error_names_the_setting_that_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(sample(tmp_path, "gru")) == 2
    assert "holds no weights" in capsys.readouterr().err


def test_a_damaged_file_of_weights_is_an_error(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = records(results, "audio")[0]
    path = weights.path(results, record.spec, record.backend)
    content = path.read_bytes()
    for damaged in (b"", content[:100], content[:-4], b"\x80\x04" + content):
        path.write_bytes(damaged)
        assert main(sample(results, "gru", "--task", "audio")) == 2
        assert "cannot read the weights" in capsys.readouterr().err
    path.write_bytes(content)


def test_a_record_of_samples_cannot_point_to_another_picture(results: Path) -> None:
    assert main(sample(results, "gru", "--task", "audio", "--number", "1", "--seed", "5")) == 0
    (made,) = [each for each in samples.read_all(Store(results))[0] if each.seed == 5]
    path = results / made.path
    number = len(samples.read_all(Store(results))[0])
    text = path.read_text()
    path.write_text(text.replace(f'"{made.picture}"', '"../../secret.png"'))
    assert len(samples.read_all(Store(results))[0]) == number - 1
    (damaged,) = samples.read_all(Store(results))[1]
    assert "the picture belongs to another record" in damaged.reason
    path.write_text("[" * 100_000)
    assert len(samples.read_all(Store(results))[0]) == number - 1
    path.write_text(text)
    assert SampleRecord.model_validate_json(text) in samples.read_all(Store(results))[0]


def test_the_judge_recognises_real_images_and_rejects_noise(
    real_mnist: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "NUM_STEPS", 200)
    samples._classifier.cache_clear()
    task = tasks.load("mnist_generation", length=49, conditional=True)
    batch = next(task.evaluation("validation", 0, 1000))
    assert batch.condition is not None
    found = samples.agreement(task, batch.y, batch.condition)
    assert found.share > 0.6
    assert found.low < found.share < found.high
    assert abs(found.share - found.on_real) < 0.1
    wrong = samples.agreement(task, batch.y, (batch.condition + 1) % 10)
    assert wrong.share < 0.1
    noise = torch.randint(2, batch.y.shape, generator=torch.Generator().manual_seed(0))
    assert samples.agreement(task, noise, batch.condition).share < 0.25
    samples._classifier.cache_clear()


def test_a_grid_has_one_row_per_condition() -> None:
    ink = torch.rand(30, 7, 7, generator=torch.Generator().manual_seed(0))
    names = [str(i // 15) for i in range(30)]
    figure = media.grid(tasks.Pictures(ink=ink), names)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1"]
    canvas = axes.images[0].get_array()
    assert canvas is not None
    assert np.allclose(canvas[1:8, 1:8], 0.04 + 0.96 * ink[0])
    assert np.allclose(canvas[9:16, 9:16], 0.04 + 0.96 * ink[16])
