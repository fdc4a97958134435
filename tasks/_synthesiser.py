"""Synthetic sounds: harmonic tones, chirps and plucked strings, as no recordings are shipped.

    harmonic   Σ_h a_h sin(2π h f t + φ_h), a_h = h^−s, up to 0.45 of the sampling rate, decaying
    chirp      a sine whose frequency rises or falls linearly, by at most an octave
    pluck      y_t = (y_{t−N} + y_{t−N−1}) / 2 after a burst of N random samples of mean 0

Source of the plucked string: Karplus & Strong 1983 (Computer Music Journal 7(2)). N samples are
its period, so that its frequency is rounded to that of a whole N. Each clip has a random octave, a
detuning of up to 10 cents, a random loudness, and noise at 0.2% of full scale. The generator is
seeded by the split alone, so that clips are the same everywhere up to the last bit of a sine.
"""

import numpy as np

from tasks._contract import Split

SAMPLE_RATE = 8_000
"""Samples per second."""
CLIP_SAMPLES = 8_000
INSTRUMENTS = ("harmonic", "chirp", "pluck")
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
LOWEST_HZ = 130.8128
"""C3, the lowest note. The highest is B4."""
NUM_OCTAVES = 2
CENTS = 10.0
"""Largest detuning."""
NOISE = 0.002
"""Standard deviation of the noise; full scale is 1."""
MOST_HARMONICS = 8
NUM_CLIPS: dict[Split, int] = {"train": 8, "validation": 2, "test": 2}
"""Number of clips of each instrument and pitch class."""
SEEDS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


def clips(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Sounds (N, CLIP_SAMPLES) in [−1, 1] and their labels (N,): 12 · instrument + pitch class."""
    random = np.random.default_rng([SEEDS[split], SAMPLE_RATE])
    sounds, labels = [], []
    for instrument, play in enumerate((_harmonic, _chirp, _pluck)):
        for pitch_class in range(len(PITCH_CLASSES)):
            for _ in range(NUM_CLIPS[split]):
                octave = random.integers(NUM_OCTAVES) + random.uniform(-CENTS, CENTS) / 1200
                hz = LOWEST_HZ * 2 ** (octave + pitch_class / 12)
                sound = play(hz, random)
                sound *= random.uniform(0.2, 0.9) / np.abs(sound).max()
                sound += NOISE * random.standard_normal(CLIP_SAMPLES)
                sounds.append(sound.clip(-1, 1))
                labels.append(len(PITCH_CLASSES) * instrument + pitch_class)
    return np.stack(sounds), np.array(labels)


def _seconds() -> np.ndarray:
    return np.arange(CLIP_SAMPLES) / SAMPLE_RATE


def _harmonic(hz: float, random: np.random.Generator) -> np.ndarray:
    num_harmonics = min(MOST_HARMONICS, int(0.45 * SAMPLE_RATE / hz))
    number = np.arange(1, num_harmonics + 1)[:, None]
    phase = 2 * np.pi * (number * hz * _seconds() + random.random((num_harmonics, 1)))
    tone = (number ** -random.uniform(1.0, 2.0) * np.sin(phase)).sum(0)
    return tone * np.exp(-random.uniform(0.0, 3.0) * _seconds())


def _chirp(hz: float, random: np.random.Generator) -> np.ndarray:
    end_hz = hz * 2 ** random.uniform(-1.0, 1.0)
    t, duration = _seconds(), CLIP_SAMPLES / SAMPLE_RATE
    turns = hz * t + (end_hz - hz) * t**2 / (2 * duration)
    return np.sin(2 * np.pi * (turns + random.random()))


def _pluck(hz: float, random: np.random.Generator) -> np.ndarray:
    # The mean of two neighbours adds a delay of half a sample.
    period = round(SAMPLE_RATE / hz - 0.5)
    y = np.zeros(1 + CLIP_SAMPLES + period)  # the first sample is the zero before the burst
    burst = random.uniform(-1.0, 1.0, period)
    y[1 : 1 + period] = burst - burst.mean()
    for start in range(1 + period, len(y) - period + 1, period):
        before = y[start - period - 1 : start]
        y[start : start + period] = (before[1:] + before[:-1]) / 2
    return y[1 : 1 + CLIP_SAMPLES]
