"""How often a comparison finds a difference that is not there, or misses one that is."""

from collections.abc import Sequence

import numpy as np

from bench.compare.frames import Cell, judge_scores, judge_times
from bench.core.records import Record
from bench.core.timings import Times
from tests.support.records import SCORE, outcome, record, spec

NUM_COMPARISONS, NUM_PROCESSES, NUM_SEEDS = 400, 5, 5
NUM_TIMES, OF_ONE_MODEL = 56, 14
NUM_CELLS = 60


def slower(random: np.random.Generator, slowdown: float = 1.0) -> list[bool]:
    """Which of `OF_ONE_MODEL` slower times and then of all others are found to be slower.

    Processes differ by 5 to 15%, and each time has a scatter of its own.
    """
    scatter = random.uniform(0.05, 0.15, size=(NUM_TIMES, 1))
    a, b = np.exp(scatter * random.standard_normal((2, NUM_TIMES, NUM_PROCESSES)))
    b[:OF_ONE_MODEL] *= slowdown
    sides = [
        (Times(samples=(1.0,), per_process=before), Times(samples=(1.0,), per_process=after))
        for before, after in zip(map(tuple, a), map(tuple, b), strict=True)
    ]
    return [row["verdict"] == "slower" for row in judge_times(sides)]


def test_equal_times_rarely_give_an_alarm() -> None:
    random = np.random.default_rng(0)
    alarms = sum(any(slower(random)) for _ in range(NUM_COMPARISONS))
    assert alarms < 0.05 * NUM_COMPARISONS


def test_a_model_that_is_slower_by_a_quarter_is_found() -> None:
    random = np.random.default_rng(1)
    found = np.array([slower(random, 1.25)[:OF_ONE_MODEL] for _ in range(100)])
    assert found.any(axis=1).mean() > 0.95
    # A single time has a much smaller chance of being found.
    assert 0.2 < found.mean() < 0.5


class Scores:
    """Cells of a model at other seeds: solved, not solved, or solved by some of the seeds."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.made = record(spec())
        self.outcome = outcome()
        kinds = np.arange(NUM_CELLS) % 5
        self.chances = np.select(
            [kinds < 3, kinds == 3], [1.0, 0.0], random.uniform(0.2, 0.8, NUM_CELLS)
        )

    def runs(self, chance: float) -> list[Record]:
        """Runs of new seeds, of which each solves with this chance."""
        solved = self.random.random(NUM_SEEDS) < chance
        noise = np.abs(self.random.standard_normal(NUM_SEEDS))
        scores = np.where(solved, 1 - 0.01 * noise, 0.15 + 0.02 * noise)
        return [self._run(float(score)) for score in scores]

    def _run(self, score: float) -> Record:
        test = {**self.outcome.test, SCORE.name: score}
        made = self.outcome.model_copy(update={"test": test})
        return self.made.model_copy(update={"outcome": made})

    def verdicts(self, chances: Sequence[float]) -> list[object]:
        """Verdicts on the cells, where B solves with these chances."""
        cells = [
            Cell(a=self.runs(before), b=self.runs(after), paired=False, score=SCORE, solved_at=0.95)
            for before, after in zip(self.chances, chances, strict=True)
        ]
        return [row["verdict"] for row in judge_scores(cells)]


def test_other_seeds_of_the_same_code_rarely_give_an_alarm() -> None:
    scores = Scores(np.random.default_rng(2))
    num = NUM_COMPARISONS // 2  # each takes longer than a comparison of times
    alarms = sum("worse" in scores.verdicts(scores.chances.tolist()) for _ in range(num))
    assert alarms < 0.05 * num


def test_a_cell_that_no_seed_solves_any_more_is_found() -> None:
    scores = Scores(np.random.default_rng(3))
    broken = int(np.flatnonzero(scores.chances == 1)[0])
    chances = np.where(np.arange(NUM_CELLS) == broken, 0.0, scores.chances)
    found = [scores.verdicts(list(chances))[broken] == "worse" for _ in range(20)]
    assert all(found)
