"""Audio: µ-law, the synthesiser, and WAV files of the user."""

import dataclasses
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from bench.plan.labels import label
from bench.run.request import unavailable
from tasks import DataUnavailable, _synthesiser
from tasks._recordings import files_below, samples, split_by_name
from tasks._synthesiser import CLIP_SAMPLES, LOWEST_HZ, SAMPLE_RATE, clips
from tasks.audio import Audio, from_mu_law, mu_law

CPU = torch.device("cpu")


def test_mu_law_by_hand() -> None:
    x = np.array([-1.0, -0.1, 0.0, 0.1, 1.0])
    compressed = np.log(1 + 25.5) / np.log(256)  # of 0.1
    expected = [0, round(127.5 * (1 - compressed)), 128, round(127.5 * (1 + compressed)), 255]
    assert mu_law(x, 256).tolist() == expected
    assert mu_law(x, 2).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("levels", [2, 16, 255, 256])
def test_from_mu_law_inverts_mu_law(levels: int) -> None:
    ids = np.arange(levels)
    x = from_mu_law(ids, levels)
    assert (np.diff(x) > 0).all()
    assert (x[0], x[-1]) == pytest.approx((-1, 1))
    assert (mu_law(x, levels) == ids).all()


def test_a_plucked_string_follows_the_recurrence() -> None:
    y = _synthesiser._pluck(200.0, np.random.default_rng(0))
    slow = y.copy()
    for t in range(40, CLIP_SAMPLES):
        slow[t] = (slow[t - 40] + (slow[t - 41] if t > 40 else 0.0)) / 2
    assert np.array_equal(y, slow)
    assert abs(y[:40].mean()) < 1e-12  # a mean would never decay


def spectrum_peak_hz(sound: np.ndarray) -> float:
    size = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)[size.argmax()]


def test_a_label_is_the_instrument_and_the_pitch_that_is_heard() -> None:
    sounds, labels = clips("test")
    assert sounds.shape == (72, CLIP_SAMPLES)
    assert sorted(set(labels.tolist())) == list(range(36))
    assert np.abs(sounds).max() <= 1
    for sound, kind in zip(sounds, labels, strict=True):
        if kind < 12:  # harmonic tones: the first harmonic is the loudest
            octaves = np.log2(spectrum_peak_hz(sound) / LOWEST_HZ) - kind / 12
            assert abs(octaves - round(octaves)) < 20 / 1200


def test_the_label_says_synthetic_where_no_folder_is_given(tmp_path: Path) -> None:
    assert label(Audio(length=5), "audio") == "audio (synthetic)"
    assert label(Audio(length=5, conditional=True), "audio") == "audio conditional=True (synthetic)"
    folder = constants(tmp_path)
    assert label(Audio(length=5, folder=str(folder)), "audio") == f"audio folder={folder}"


def test_a_window_lies_within_a_clip_and_can_start_anywhere() -> None:
    task = Audio(length=7_990, levels=256)
    bank = task._clips("train", CPU)
    assert bank.num_windows == 288 * 11
    drawn = {tuple(row) for row in task.sample(300, task.generator("train", 0)).y[:, :50].tolist()}
    sounds = [mu_law(sound, 256).tolist() for sound in clips("train")[0]]
    valid = {tuple(sound[start : start + 50]) for sound in sounds for start in range(11)}
    assert drawn <= valid
    assert len(drawn) > 250


def test_evaluation_goes_through_every_clip() -> None:
    task = Audio(length=3_000)
    y = torch.cat([batch.y for batch in task.evaluation("test", 0, 10)])
    sounds = torch.from_numpy(mu_law(clips("test")[0], 256)).long()
    assert torch.equal(y, sounds[:, :6_000].reshape(144, 3_000))


# WAV files of the user


def write_wav(path: Path, sound: np.ndarray, dtype: type = np.int16, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if dtype is np.uint8:
        stored = (128 + 127 * sound).round().astype(dtype)
    elif np.issubdtype(dtype, np.integer):
        stored = (np.iinfo(dtype).max * sound).astype(dtype)
    else:
        stored = sound.astype(dtype)
    wavfile.write(path, rate, stored)


def constants(folder: Path, num_files: int = 20) -> Path:
    """Files of 30 and more samples, each with one constant value."""
    for i in range(num_files):
        write_wav(folder / f"part{i % 3}" / f"{i}.wav", np.full(30 + i, i / num_files))
    return folder


@pytest.mark.parametrize(
    ("dtype", "within"),
    [(np.uint8, 0.012), (np.int16, 1e-4), (np.int32, 1e-8), (np.float32, 1e-7), (np.float64, 0)],
)
def test_formats_are_the_same_sound(tmp_path: Path, dtype: type, within: float) -> None:
    sound = 0.8 * np.sin(np.arange(500) / 9)
    write_wav(tmp_path / "a.wav", sound, dtype)
    assert np.abs(samples(tmp_path / "a.wav", 8000) - sound).max() <= within
    both = np.stack([sound, np.zeros(500)], 1)
    write_wav(tmp_path / "b.wav", both, dtype)
    assert np.abs(samples(tmp_path / "b.wav", 8000) - sound / 2).max() <= within


def test_unsigned_bytes_are_centred_on_128(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 8000, np.array([0, 64, 128, 192], np.uint8))
    assert samples(tmp_path / "a.wav", 8000).tolist() == [-1, -0.5, 0, 0.5]


def test_another_sampling_rate_is_the_same_pitch(tmp_path: Path) -> None:
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    write_wav(tmp_path / "a.wav", sound, rate=44_100)
    x = samples(tmp_path / "a.wav", 8000)
    assert len(x) == 8000
    assert spectrum_peak_hz(x) == pytest.approx(440, abs=1)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert np.abs(x - expected)[100:-100].max() < 0.01


def test_files_are_split_whole_and_by_name(tmp_path: Path) -> None:
    folder = constants(tmp_path, 30)
    files = files_below(folder)
    assert len(files) == 30
    parts = split_by_name(folder, files)
    assert [len(parts[split]) for split in ("train", "validation", "test")] == [24, 3, 3]
    assert sorted(path for part in parts.values() for path in part) == files
    assert split_by_name(folder, files[::-1]) == parts


def test_windows_never_cross_from_file_to_file(tmp_path: Path) -> None:
    task = Audio(length=25, folder=str(constants(tmp_path)))
    seen: dict[str, set[int]] = {}
    for split in ("train", "validation", "test"):
        evaluated = list(task.evaluation(split, 0, 7))
        drawn = task.sample(200, task.generator(split, 0), split)
        for batch in [drawn, *evaluated]:
            assert (batch.y == batch.y[:, :1]).all()
            seen.setdefault(split, set()).update(batch.y[:, 0].tolist())
    assert [len(seen[split]) for split in ("train", "validation", "test")] == [16, 2, 2]
    assert len(seen["train"] | seen["validation"] | seen["test"]) == 20


def test_files_shorter_than_a_window_are_left_out(tmp_path: Path) -> None:
    folder = str(constants(tmp_path))
    assert len(Audio(length=40, folder=folder)._clips("train", CPU).start) < 10
    with pytest.raises(DataUnavailable, match="no file of the train part has 99 samples"):
        Audio(length=99, folder=folder).prepare()


def test_changed_files_make_another_task(tmp_path: Path) -> None:
    folder = constants(tmp_path)
    first = Audio(length=9, folder=str(folder))
    assert Audio(**first.fields) == first == Audio(length=9, folder=str(folder))
    first.prepare()
    write_wav(folder / "part0" / "0.wav", np.full(30, 0.99))
    changed = Audio(length=9, folder=str(folder))
    assert changed.sources_sha256 != first.sources_sha256
    (folder / "part0" / "0.wav").rename(folder / "part0" / "00.wav")  # sorted as before
    assert Audio(length=9, folder=str(folder)).sources_sha256 != changed.sources_sha256
    stale = dataclasses.replace(first, sources_sha256="0" * 64)
    with pytest.raises(DataUnavailable, match="has changed since the run was planned"):
        stale.prepare()


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = constants(tmp_path)
    (folder / "noise.wav").write_bytes(b"not a WAV file")
    (folder / "short.WAV").write_bytes((folder / "part0" / "0.wav").read_bytes()[:20])
    write_wav(folder / "nan.wav", np.array([0.0, np.nan]), np.float32)
    write_wav(folder / "empty.wav", np.zeros(0))
    with pytest.raises(DataUnavailable) as error:
        Audio(length=9, folder=str(folder)).prepare()
    message = str(error.value)
    assert message.startswith("sound of audio is not available")
    for name in ("noise.wav", "short.WAV", "nan.wav", "empty.wav"):
        assert name in message
    assert "part0" not in message
    assert len(error.value.tried) == 4


def test_a_file_that_is_cut_off_is_used_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = constants(tmp_path)
    whole = folder / "whole.wav"
    write_wav(whole, np.full(4000, 0.5))
    half = folder / "half.wav"
    half.write_bytes(whole.read_bytes()[: 44 + 4000])
    for length in (9, 10):
        Audio(length=length, folder=str(folder)).prepare()
    assert [record.getMessage() for record in caplog.records] == [
        f"{half} is cut off; the 0.25 s that are there are used"
    ]
    assert len(samples(half, 8000)) == 2000


def test_samples_beyond_full_scale_are_clipped_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = constants(tmp_path)
    loud = folder / "loud.wav"
    write_wav(loud, np.array([0.5, -2.5, 1.0] * 20), np.float32)
    write_wav(folder / "full.wav", np.array([1.0, -1.0] * 20), np.float32)
    for levels in (16, 256):
        Audio(length=9, levels=levels, folder=str(folder)).prepare()
    assert [record.getMessage() for record in caplog.records] == [
        f"{loud} has samples up to 2.5; those beyond ±1 are clipped"
    ]
    assert samples(loud, 8000)[:3].tolist() == [0.5, -1, 1]


def test_chunks_that_hold_no_sound_give_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.wav"
    write_wav(path, np.full(100, 0.5))
    content = path.read_bytes() + b"note" + (4).to_bytes(4, "little") + b"text"
    path.write_bytes(content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:])
    assert len(samples(path, 8000)) == 100
    assert not caplog.records


def test_worker_processes_leave_the_warning_to_their_parent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "loud.wav"
    write_wav(path, np.full(100, 1.5), np.float32)
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    samples(path, 8000)
    assert not caplog.records


def test_damaged_files_do_not_stop_synthetic_sounds(tmp_path: Path) -> None:
    folder = constants(tmp_path)
    (folder / "noise.wav").write_bytes(b"not a WAV file")
    bad, good = Audio(length=9, folder=str(folder)), Audio(length=9)
    assert list(unavailable([bad, good])) == [bad.sources]
    assert list(unavailable([good, bad])) == [bad.sources]


def test_a_folder_needs_three_files(tmp_path: Path) -> None:
    assert Audio(length=9, folder=str(constants(tmp_path / "three", 3))).sources_sha256
    with pytest.raises(ValueError, match="2 WAV files; valid: 3 or more"):
        Audio(length=9, folder=str(constants(tmp_path / "two", 2)))
