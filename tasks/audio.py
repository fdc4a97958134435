"""Audio: the probability of a sound, sample by sample.

    y   127 140 152 …      a window of T = `length` samples at 8 kHz, µ-law in `levels` steps
    x    S  127 140 …      the start token S, then the samples one step late

The score is bits per sample. Training windows start anywhere in a clip; validation and test windows
follow each other through every clip.

Without `folder`, the sounds are synthetic (`tasks/_synthesiser.py`): harmonic tones, chirps and
plucked strings in 12 pitch classes, 36 kinds in all. With `folder`, they are the WAV files below
it, with channels averaged and resampled. The SHA-256 of a file's name decides whether the file is
for training, validation or test. A file that is cut off is read as far as it goes, and samples
beyond ±1 are clipped; a warning names the file.

Source: µ-law and the categorical output of WaveNet (van den Oord et al. 2016, arXiv:1609.03499,
section 2.2), with µ = 255 as in ITU-T G.711.

Departures: the sounds are our own or the user's, and `levels` may be fewer than 256.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks._contract import Batch, Split
from tasks._files import DataUnavailable
from tasks._idx import one_line
from tasks._likelihood import LikelihoodTask
from tasks._media import Sounds
from tasks._named_files import changed, sha256_below
from tasks._recordings import files_below, samples, split_by_name
from tasks._synthesiser import CLIP_SAMPLES, INSTRUMENTS, PITCH_CLASSES, SAMPLE_RATE, clips

MU = 255


def mu_law(x: np.ndarray, levels: int) -> np.ndarray:
    """Ids below `levels` of samples in [−1, 1]: sgn(x) · ln(1 + µ|x|) / ln(1 + µ), rounded."""
    compressed = np.sign(x) * np.log1p(MU * np.abs(x)) / np.log1p(MU)
    return np.floor((compressed + 1) / 2 * (levels - 1) + 0.5).astype(np.uint8)


def from_mu_law(ids: np.ndarray, levels: int) -> np.ndarray:
    """The samples in [−1, 1] that ids stand for: the inverse of `mu_law`."""
    compressed = 2 * ids / (levels - 1) - 1
    return np.sign(compressed) * np.expm1(np.abs(compressed) * np.log1p(MU)) / MU


@dataclass(frozen=True, kw_only=True)
class Audio(LikelihoodTask):
    """y: (B, length) ids below `levels`; x: the id `levels`, then the same one step late;
    condition: (B,) 12 · instrument + pitch class where `conditional`; output: (B, length, levels)
    logits.

    The score is bits per sample; lower is better. Chance is the score of the `unigram` baseline. No
    score counts as solved.
    """

    version = 1
    kind = "local"
    smallest: ClassVar = {"length": 64, "levels": 16}
    lengths: ClassVar = (256, 1024)

    levels: int = 256
    """Number of values of a sample."""
    conditional: bool = False
    """Whether the network knows the instrument and the pitch class."""
    folder: str | None = None
    """Folder with WAV files; None: synthetic sounds."""
    sources_sha256: str = field(default="", repr=False)
    """SHA-256 of the files below `folder`; filled in where it is left empty."""

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 256:
            raise ValueError(f"levels {self.levels} of audio; valid: 2 to 256")
        if self.length < 1 or (self.folder is None and self.length > CLIP_SAMPLES):
            valid = f"1 to {CLIP_SAMPLES}" if self.folder is None else "1 or more"
            raise ValueError(f"length {self.length} of audio; valid: {valid}")
        if self.folder is None and self.sources_sha256:
            raise ValueError("sources_sha256 of audio; valid with `folder`")
        if self.folder is not None and self.conditional:
            raise ValueError("conditional of audio; valid without `folder`: files have no labels")
        if self.folder is not None and not self.sources_sha256:
            try:
                found = _sha256_of(Path(self.folder))
            except (OSError, ValueError) as error:
                raise ValueError(f"folder {self.folder!r} of audio: {_reason(error)}") from None
            object.__setattr__(self, "sources_sha256", found)

    @property
    def num_levels(self) -> int:
        return self.levels

    @property
    def num_conditions(self) -> int:
        return len(INSTRUMENTS) * len(PITCH_CLASSES) if self.conditional else 0

    @property
    def note(self) -> str:
        return "synthetic" if self.folder is None else ""

    @property
    def sources(self) -> str:
        return f"{self.task_name()} {self.folder} {self.sources_sha256}"

    def prepare(self) -> None:
        for split in ("train", "validation", "test"):
            self._clips(split, torch.device("cpu"))

    @property
    def condition_names(self) -> tuple[str, ...]:
        if not self.conditional:
            return ()
        return tuple(f"{kind} {pitch}" for kind in INSTRUMENTS for pitch in PITCH_CLASSES)

    def shown(self, y: Tensor) -> Sounds:
        samples_BT = torch.from_numpy(from_mu_law(y.cpu().numpy(), self.levels)).float()
        return Sounds(samples=samples_BT, rate=SAMPLE_RATE)

    def prompt(self, text: str) -> Tensor:
        """The beginning of the WAV file that the text names, at most half a window."""
        try:
            sound = samples(Path(text), SAMPLE_RATE)
        except Exception as error:  # SciPy raises many types for a damaged file
            raise ValueError(f"{text!r}: {_reason(error)}; valid: a WAV file") from None
        return torch.from_numpy(mu_law(sound[: self.length // 2], self.levels)).long()

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        bank = self._clips(split, device)
        draw = torch.randint(bank.num_windows, (n,), generator=generator, device=device)
        # Windows are numbered through all clips; a clip has one for each sample it can start at.
        clip = torch.searchsorted(bank.windows_until, draw, right=True)
        return self._windows(bank, clip, bank.start[clip] + draw - bank.windows_before[clip])

    def evaluation(self, split: Split, seed: int, batch_size: int) -> Iterator[Batch]:
        """Windows that follow each other through every clip, for every seed."""
        bank = self._clips(split, torch.device("cpu"))
        counts = (bank.windows_until - bank.windows_before - 1) // self.length + 1
        clip = torch.arange(len(counts)).repeat_interleave(counts)
        number = torch.arange(len(clip)) - (counts.cumsum(0) - counts)[clip]
        start = bank.start[clip] + number * self.length
        for first in range(0, len(clip), batch_size):
            part = slice(first, first + batch_size)
            yield self._windows(bank, clip[part], start[part])

    def _windows(self, bank: "Bank", clip_B: Tensor, start_B: Tensor) -> Batch:
        steps = torch.arange(self.length, device=start_B.device)
        y_BT = bank.ids[start_B[:, None] + steps].long()
        return self.batch_of(y_BT, bank.label[clip_B] if self.conditional else None)

    def _clips(self, split: Split, device: torch.device) -> "Bank":
        return _bank(split, self.length, self.levels, self.folder, self.sources_sha256, device)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bank:
    """The clips of a split, one after the other, without those shorter than a window."""

    ids: Tensor
    """All samples as ids: (samples,) uint8."""
    start: Tensor
    """Index of each clip's first sample: (clips,)."""
    label: Tensor
    """12 · instrument + pitch class of each clip, 0 for recordings: (clips,)."""
    windows_before: Tensor
    """Number of windows that start in the clips before each: (clips,)."""
    windows_until: Tensor
    """The same plus the windows that start in the clip itself: (clips,)."""
    num_windows: int


@lru_cache(maxsize=6)
def _bank(
    split: Split,
    length: int,
    levels: int,
    folder: str | None,
    sources_sha256: str,
    device: torch.device,
) -> Bank:
    ids, labels = _sounds(levels, folder, sources_sha256)[split]
    long = [i for i, clip in enumerate(ids) if len(clip) >= length]
    if not long:
        reason = f"no file of the {split} part has {length} samples at {SAMPLE_RATE} Hz"
        remedy = "give longer files or a shorter length"
        raise DataUnavailable([(str(folder), reason)], remedy, what="sound of audio")
    sizes = torch.tensor([len(ids[i]) for i in long])
    num_windows = sizes - length + 1
    until = num_windows.cumsum(0)
    return Bank(
        ids=torch.from_numpy(np.concatenate([ids[i] for i in long])).to(device),
        start=(sizes.cumsum(0) - sizes).to(device),
        label=torch.tensor([labels[i] for i in long]).to(device),
        windows_before=(until - num_windows).to(device),
        windows_until=until.to(device),
        num_windows=int(until[-1]),
    )


@lru_cache(maxsize=2)
def _sounds(
    levels: int, folder: str | None, sources_sha256: str
) -> dict[Split, tuple[list[np.ndarray], list[int]]]:
    """The clips of each split as uint8 ids, and their labels; `DataUnavailable` names bad files."""
    splits: tuple[Split, ...] = ("train", "validation", "test")
    if folder is None:
        made = {}
        for split in splits:
            sounds, labels = clips(split)
            made[split] = [mu_law(sound, levels) for sound in sounds], labels.tolist()
        return made
    root, tried = Path(folder), []
    try:
        by_split = split_by_name(root, files_below(root))
        if _sha256_of(root) != sources_sha256:
            tried.append(changed(root))
    except (OSError, ValueError) as error:
        tried.append((folder, _reason(error)))
        by_split = {}
    read = {}
    for split, paths in by_split.items():
        read[split] = []
        for path in paths:
            try:
                read[split].append(mu_law(samples(path, SAMPLE_RATE), levels))
            except Exception as error:  # SciPy raises many types for a damaged file
                tried.append((str(path), _reason(error)))
    if tried:
        remedy = "repair the files, or plan again without them"
        raise DataUnavailable(tried, remedy, what="sound of audio")
    return {split: (read[split], [0] * len(read[split])) for split in splits}


def _sha256_of(folder: Path) -> str:
    return sha256_below(folder, files_below(folder))


def _reason(error: Exception) -> str:
    """The error's text in one line."""
    text = getattr(error, "strerror", None) or str(error)
    return one_line(text) or type(error).__name__
