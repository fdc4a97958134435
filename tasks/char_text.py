"""Character text: the probability of a text, character by character.

    y   T o   b e ,   …      a window of T = `length` characters
    x   S T o   b e , …      the start token S, then the characters one step late

The score is bits per character. A window starts without any context, so that its first characters
cost most; T is the length of the context at its end, and longer windows can be predicted better.

The first 90% of the text are for training, the next 5% for validation, the last 5% for test.
Training windows start anywhere. Validation and test windows follow each other, and a rest that
is shorter than a window is not used. There is one id for each character of the training part, in
sorted order, and one more for all other characters.

The text of the project is eight tragedies of Shakespeare (Romeo and Juliet, Julius Caesar, Hamlet,
Othello, King Lear, Macbeth, Antony and Cleopatra, Coriolanus), 1,157,850 characters in the spelling
of the Globe edition (Clark & Wright 1866). It comes from the public-domain transcriptions of Open
Shakespeare 0.6 (Open Knowledge Foundation); spaces at the ends of lines are removed. Validation and
test are parts of Coriolanus.

Source: windows of characters as in Graves 2013 (arXiv:1308.0850, section 3).

Departures: the text and its division are our own.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks._contract import Batch, Split
from tasks._files import DataUnavailable
from tasks._likelihood import LikelihoodTask
from tasks._media import Texts
from tasks._named_files import changed

SHIPPED = Path(__file__).parent / "data" / "tragedies.txt.gz"
TRAINING, VALIDATION = 0.90, 0.95
"""Shares of the text at which the training and the validation part end."""
ENCODING = "utf-8-sig"
"""UTF-8; a byte-order mark, which some editors write at the start, is not part of the text."""
FEWEST_CHARACTERS = 20
"""Least length of a text, so that each part has a character."""


@dataclass(frozen=True, kw_only=True)
class CharText(LikelihoodTask):
    """y: (B, length) ids of characters; x: the id K, then the same one step late; output:
    (B, length, K) logits, where K counts the characters of the training part plus one.

    The score is bits per character; lower is better. Chance is the score of the `unigram` baseline.
    No score counts as solved.
    """

    version = 1
    kind = "local"
    smallest: ClassVar = {"length": 16}
    lengths: ClassVar = (64, 256)

    file: str | None = None
    """Path of a text in UTF-8, with or without a byte-order mark; None: the text of the project."""
    sources_sha256: str = field(default="", repr=False)
    """SHA-256 of that file; filled in where it is left empty."""
    num_characters: int = field(default=0, repr=False)
    """Number of different characters in its training part; filled in as well."""

    def __post_init__(self) -> None:
        if self.file is None and (self.sources_sha256 or self.num_characters):
            raise ValueError("sources_sha256 and num_characters of char_text; valid with `file`")
        longest = None
        if self.file is None:
            longest = len(_read(None, "")[0]["test"])
        elif not self.sources_sha256:
            try:
                content = Path(self.file).read_bytes()
                parts, characters = encoded(content.decode(ENCODING))
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise ValueError(f"file {self.file!r} of char_text: {reason}") from None
            longest = len(parts["test"])
            object.__setattr__(self, "sources_sha256", sha256(content).hexdigest())
            object.__setattr__(self, "num_characters", len(characters))
        if self.length < 1 or (longest is not None and self.length > longest):
            valid = "1 or more" if longest is None else f"1 to {longest}"
            raise ValueError(f"length {self.length} of char_text; valid: {valid}")

    @property
    def num_levels(self) -> int:
        # The field is read first, so that a run can be listed where its file is missing.
        return (self.num_characters or len(self.characters)) + 1

    @property
    def characters(self) -> str:
        """The characters of the ids from 0 on, without the last id for all other characters."""
        return _read(self.file, self.sources_sha256)[1]

    @property
    def sources(self) -> str:
        return f"{self.task_name()} {self.file} {self.sources_sha256}"

    def prepare(self) -> None:
        _read(self.file, self.sources_sha256)

    def shown(self, y: Tensor) -> Texts:
        signs = self.characters + "\N{REPLACEMENT CHARACTER}"
        return Texts(texts=tuple("".join(signs[i] for i in ids) for ids in y.tolist()))

    def prompt(self, text: str) -> Tensor:
        """The ids of the text itself."""
        if len(text) > self.length:
            raise ValueError(f"{len(text)} characters; valid: {self.length} at most")
        place = {sign: i for i, sign in enumerate(self.characters)}
        return torch.tensor([place.get(sign, len(place)) for sign in text], dtype=torch.long)

    def sample(self, n: int, generator: torch.Generator, split: Split = "train") -> Batch:
        device = generator.device
        ids_N = _ids(self.file, self.sources_sha256, split, device)
        last = len(ids_N) - self.length
        start_B1 = torch.randint(last + 1, (n, 1), generator=generator, device=device)
        return self.batch_of(ids_N[start_B1 + torch.arange(self.length, device=device)])

    def evaluation(self, split: Split, seed: int, batch_size: int) -> Iterator[Batch]:
        """Windows that follow each other through the whole part, for every seed."""
        ids_N = _ids(self.file, self.sources_sha256, split, torch.device("cpu"))
        y_BT = ids_N[: len(ids_N) // self.length * self.length].view(-1, self.length)
        for start in range(0, len(y_BT), batch_size):
            yield self.batch_of(y_BT[start : start + batch_size])


def encoded(text: str) -> tuple[dict[Split, Tensor], str]:
    """The parts of a text as ids, and the characters of the ids from 0 on.

    Raises `ValueError` where the text is too short for three parts.
    """
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    if len(points) < FEWEST_CHARACTERS:
        raise ValueError(f"a text of {len(points)} characters; valid: {FEWEST_CHARACTERS} or more")
    ends = [int(share * len(points)) for share in (TRAINING, VALIDATION)]
    known = np.unique(points[: ends[0]])
    place = np.searchsorted(known, points).clip(max=len(known) - 1)
    ids = torch.from_numpy(np.where(known[place] == points, place, len(known)))
    train, validation, test = ids.tensor_split(ends)
    characters = known.tobytes().decode("utf-32-le")
    return {"train": train, "validation": validation, "test": test}, characters


@lru_cache(maxsize=2)
def _read(file: str | None, expected_sha256: str) -> tuple[dict[Split, Tensor], str]:
    """The result of `encoded`; `DataUnavailable` where the file is missing or has changed."""
    if file is None:
        return encoded(gzip.decompress(SHIPPED.read_bytes()).decode())
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        tried = (file, error.strerror or str(error))
    else:
        if sha256(content).hexdigest() == expected_sha256:
            return encoded(content.decode(ENCODING))
        tried = changed(Path(file))
    raise DataUnavailable([tried], "put the text back, or plan again", what="the text of char_text")


@lru_cache(maxsize=6)
def _ids(file: str | None, sha256: str, split: Split, device: torch.device) -> Tensor:
    return _read(file, sha256)[0][split].to(device)
