"""Samples as files: a grid of pictures, sounds with their spectrograms, or text."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.io import wavfile
from torch import Tensor

from tasks import Media, Pictures, Sounds

MOST_SHOWN, PER_ROW = 100, 10
"""Pictures in a grid, and in each of its rows."""
MOST_HEARD = 8
"""Sounds that are written to the file and drawn."""
SILENCE_S = 0.25
"""Pause between two sounds in a file."""
DPI = 160


def files(shown: Media | None, y_BT: Tensor, names: Sequence[str]) -> dict[str, bytes]:
    """File ending → content. `names` holds the condition of each sample, or nothing."""
    if isinstance(shown, Pictures):
        return {".png": _png(grid(shown, names))}
    if isinstance(shown, Sounds):
        return {".wav": _wav(shown), ".png": _png(spectrograms(shown, names))}
    if shown is None:
        lines = [" ".join(map(str, ids)) for ids in y_BT.tolist()]
    else:
        rule = "-" * 72
        lines = [f"{text}\n{rule}" for text in shown.texts]
    return {".txt": ("\n".join(lines) + "\n").encode()}


def grid(pictures: Pictures, names: Sequence[str]) -> Figure:
    """At most `MOST_SHOWN` pictures, ten per row; with conditions, one row for each condition."""
    ink = pictures.ink.cpu().numpy()
    rows = [("", ink[i : i + PER_ROW]) for i in range(0, len(ink), PER_ROW)]
    if names:
        of_name = {name: [each == name for each in names] for name in names}
        rows = [(name, ink[chosen][:PER_ROW]) for name, chosen in of_name.items()]
    rows = rows[: MOST_SHOWN // PER_ROW]
    height, width = ink.shape[1:]
    # Every picture has a line of background on each side.
    cells = np.zeros((len(rows), PER_ROW, height + 1, width + 1))
    for r, (_, row) in enumerate(rows):
        cells[r, : len(row), 1:, 1:] = 0.04 + 0.96 * row
    canvas = np.pad(np.block([list(row) for row in cells]), ((0, 1), (0, 1)))
    figure = Figure(figsize=(5, 5 * canvas.shape[0] / canvas.shape[1] + 0.1), layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    middles = [r * (height + 1) + height / 2 for r in range(len(rows))]
    axes.set_xticks([])
    axes.set_yticks(middles, [name for name, _ in rows], fontsize=8)
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    return figure


def spectrograms(sounds: Sounds, names: Sequence[str]) -> Figure:
    """One row per sound: its wave, and its power in decibels by frequency and time."""
    samples = sounds.samples[:MOST_HEARD].cpu().numpy()
    figure = Figure(figsize=(9, 2.2 * len(samples) + 0.4), layout="constrained")
    axes = figure.subplots(len(samples), 2, squeeze=False)
    window = min(256, max(samples.shape[1] // 4, 2))
    for i, ((wave, spectrum), sound) in enumerate(zip(axes, samples, strict=True)):
        wave.plot(np.arange(len(sound)) / sounds.rate, sound, linewidth=0.5, color="black")
        wave.set(xlabel="time (s)", ylim=(-1, 1), ylabel="amplitude")
        power = spectrum.specgram(
            sound + 1e-6 * np.hanning(len(sound)), NFFT=window, Fs=sounds.rate, noverlap=window // 2
        )[3]
        figure.colorbar(power, ax=spectrum, label="dB")
        spectrum.set(xlabel="time (s)", ylabel="frequency (Hz)")
        if names:
            wave.set_title(names[i], fontsize=9)
    return figure


def _wav(sounds: Sounds) -> bytes:
    """The first sounds one after the other, as 16-bit samples."""
    silence = np.zeros(int(SILENCE_S * sounds.rate))
    parts = [part for sound in sounds.samples[:MOST_HEARD] for part in (sound.numpy(), silence)]
    buffer = io.BytesIO()
    wavfile.write(buffer, sounds.rate, np.round(32767 * np.concatenate(parts)).astype(np.int16))
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
