"""Processes that write records to one folder and may be killed; run by `python -m`, without torch.

    killed FOLDER KILLS             pairs of writers, one after the other, killed at random
    at_once FOLDER WRITERS RECORDS  WRITERS processes, RECORDS records each, none killed

The last line of the output is a summary in JSON. A record counts as finished once its writer has
reported it, after `Store.write` has returned.
"""

import builtins
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.core.records import CurvePoint, Record
from bench.core.store import Store
from tests.support.records import outcome, record, spec

MOST_DELAY_S = 0.03
"""Longest time from the first finished record of a pair to its kill."""
PIECE_BYTES, PAUSE_S = 2000, 1e-3
SHARED_SEED = 2**31 - 1
"""Seed of a record that every writer writes repeatedly."""


def realistic(seed: int, score: float = 1.0) -> Record:
    """A record as large as that of a run with a hundred validations: about 20 kB."""
    values: dict[str, float | None] = {"recall": score, "cross_entropy": 0.123456789}
    point = CurvePoint(
        step=0, seconds=1.23456, train_loss=0.5, validation_loss=0.123456789, values=values
    )
    curve = tuple(point.model_copy(update={"step": 100 * i}) for i in range(100))
    return record(spec(seed=seed), outcome=outcome(score, curve=curve))


def write_slowly() -> None:
    """Write files in pieces from now on, as on a slow disk, so that a kill falls between pieces."""
    opened = builtins.open

    def slow(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        file: Any = opened(path, mode, *arguments, **named)
        if "b" in mode and set(mode) & set("wxa"):
            write = file.write

            def pieces(content: bytes) -> int:
                for start in range(0, len(content), PIECE_BYTES):
                    write(content[start : start + PIECE_BYTES])
                    file.flush()
                    time.sleep(PAUSE_S)
                return len(content)

            file.write = pieces
        return file

    builtins.open = slow


def fork(does: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            does()
        finally:
            os._exit(1)
    return pid


def write_for_ever(store: Store, first_seed: int, said: int) -> None:
    """Write an own record, then the shared one, until killed; report each finished one."""
    write_slowly()
    for seed in range(first_seed, first_seed + 1_000_000):
        store.write(realistic(seed))
        os.write(said, f"{seed}\n".encode())
        store.write(realistic(SHARED_SEED, score=seed / 2**31))


def killed(folder: Path, num_kills: int) -> dict[str, object]:
    store, moments = Store(folder), random.Random(0)
    finished: list[int] = []
    for pair in range(num_kills // 2):
        says, said = os.pipe()
        firsts = [1_000_000 * (2 * pair + i) for i in range(2)]
        pids = [fork(partial(write_for_ever, store, first, said)) for first in firsts]
        os.close(said)
        heard = os.read(says, 65536)
        time.sleep(moments.uniform(0, MOST_DELAY_S))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        while more := os.read(says, 65536):
            heard += more
        os.close(says)
        finished += map(int, heard.split())
    return {"finished": finished}


def write_some(store: Store, first_seed: int, num_records: int, names: Path) -> None:
    """Write own records, and the shared one after each; keep the temporary names."""
    replace, used = os.replace, []

    def noted(source: Path, target: Path) -> None:
        used.append(str(source))
        replace(source, target)

    os.replace = noted  # pyright: ignore
    for seed in range(first_seed, first_seed + num_records):
        store.write(realistic(seed))
        store.write(realistic(SHARED_SEED, score=seed / 2**31))
        if not isinstance(store.read(store.root / realistic(SHARED_SEED).path), Record):
            os._exit(3)
    names.write_text("\n".join(used))
    os._exit(0)


def at_once(folder: Path, num_writers: int, num_records: int) -> dict[str, object]:
    store = Store(folder)
    names = [folder.parent / f"names-{i}" for i in range(num_writers)]
    pids = [
        fork(partial(write_some, store, i * num_records, num_records, names[i]))
        for i in range(num_writers)
    ]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return {"codes": codes, "names": [path.read_text().split("\n") for path in names]}


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    does = {"killed": killed, "at_once": at_once}[what]
    print(json.dumps(does(Path(where), *map(int, numbers))))
