"""WAV files below a folder: found, split by name, and read as one channel in [−1, 1]."""

import logging
import multiprocessing
import warnings
from fractions import Fraction
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from tasks._contract import Split

logger = logging.getLogger(__name__)

FEWEST_FILES = 3
"""Least number of files: one for each split."""
HELD_OUT = 0.1
"""Share of the files for validation, and the same share for test."""


def files_below(folder: Path) -> list[Path]:
    """Every file whose name ends in `.wav` or `.WAV`, sorted; `ValueError` for too few files."""
    found = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() == ".wav" and path.is_file()
    )
    if len(found) < FEWEST_FILES:
        raise ValueError(f"{len(found)} WAV files; valid: {FEWEST_FILES} or more")
    return found


def split_by_name(folder: Path, files: list[Path]) -> dict[Split, list[Path]]:
    """A tenth of the files, or at least one, for test; as many for validation; the rest to train.

    Files are ordered by the SHA-256 of their names within the folder.
    """
    order = sorted(
        files, key=lambda path: sha256(path.relative_to(folder).as_posix().encode()).digest()
    )
    num_held_out = max(1, round(HELD_OUT * len(files)))
    return {
        "test": order[:num_held_out],
        "validation": order[num_held_out : 2 * num_held_out],
        "train": order[2 * num_held_out :],
    }


def samples(path: Path, sample_rate: int) -> np.ndarray:
    """The sound of a file, (N,) doubles in [−1, 1]: channels averaged, resampled to `sample_rate`.

    A file that is cut off is read as far as it goes, and samples beyond ±1 are clipped; both give
    a warning. Raises `ValueError` for a file without sound, and any error of SciPy for a damaged
    file.
    """
    # This is imported here because a process that trains on other tasks does not need it.
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", wavfile.WavFileWarning)
        rate, raw = wavfile.read(path)
    if rate < 1 or raw.size == 0:
        raise ValueError("no samples")
    # SciPy also warns of chunks that hold no sound, which does not matter here.
    if any("EOF" in str(warning.message) for warning in caught):
        _warn_once(path, f"is cut off; the {len(raw) / rate:.3g} s that are there are used")
    x = raw.astype(np.float64)
    if raw.dtype == np.uint8:  # the only unsigned format
        x = (x - 128) / 128
    elif np.issubdtype(raw.dtype, np.integer):
        x /= -float(np.iinfo(raw.dtype).min)
    if x.ndim == 2:
        x = x.mean(1)
    if not np.isfinite(x).all():
        raise ValueError("samples that are not finite numbers")
    if (peak := np.abs(x).max()) > 1:
        _warn_once(path, f"has samples up to {peak:.3g}; those beyond ±1 are clipped")
    ratio = Fraction(sample_rate, rate)
    if ratio != 1:
        x = resample_poly(x, ratio.numerator, ratio.denominator)
    return x.clip(-1, 1)


@cache
def _warn_once(path: Path, what: str) -> None:
    """Warn of a file. Worker processes don't, since the process that starts them reads it first."""
    if multiprocessing.parent_process() is None:
        logger.warning("%s %s", path, what)
