"""Seeds decide a cell: by 80% of those planned, and no later than they have to."""

import pytest

from bench.core.decision import Decision


def of(num_solved: int, num_failed: int, num_seeds: int = 5) -> Decision:
    return Decision(num_solved=num_solved, num_failed=num_failed, num_seeds=num_seeds)


@pytest.mark.parametrize(
    ("found", "solved", "text"),
    [
        (of(5, 0), True, "5/5"),
        (of(4, 1), True, "4/5"),
        (of(3, 2), False, "3/5"),
        (of(0, 5), False, "0/5"),
        (of(4, 0), True, "decided 4/4"),
        (of(0, 2), False, "decided 0/2"),
        (of(2, 2), False, "decided 2/4"),
        (of(3, 0), None, "3/3, open"),
        (of(3, 1), None, "3/4, open"),
        (of(0, 1), None, "0/1, open"),
        (of(0, 0), None, "0/0, open"),
    ],
)
def test_four_of_five_seeds_solve_a_cell(found: Decision, solved: bool | None, text: str) -> None:
    assert (found.solved, str(found)) == (solved, text)


@pytest.mark.parametrize(
    ("num_seeds", "needed"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (9, 8), (10, 8), (15, 12)]
)
def test_other_numbers_of_seeds_need_80_percent(num_seeds: int, needed: int) -> None:
    assert of(needed, 0, num_seeds).solved is True
    assert of(needed - 1, 0, num_seeds).solved is None
    assert of(0, num_seeds - needed + 1, num_seeds).solved is False
    assert of(0, num_seeds - needed, num_seeds).solved is None


def test_every_order_of_outcomes_ends_at_the_same_decision() -> None:
    for num_solved in range(6):
        whole = of(num_solved, 5 - num_solved).solved
        for solved in range(num_solved + 1):
            for failed in range(6 - num_solved):
                assert of(solved, failed).solved in (None, whole)
