"""The subset of a stream that a run validates on."""

import pytest
import torch

import tasks
from bench.measure import train as loop
from bench.measure.evaluation import evaluate, spread
from bench.measure.train import train
from tasks import Batch
from tasks.adding import Adding
from tests.support.training import tiny


@pytest.mark.parametrize(("total", "number"), [(2000, 500), (7, 3), (3, 5), (5, 5), (2001, 2000)])
def test_a_subset_has_one_sequence_of_each_part_of_a_stream(total: int, number: int) -> None:
    class Numbered(Adding):
        def evaluation(self, split, seed, batch_size):
            for start in range(0, total, batch_size):
                ids = torch.arange(start, min(start + batch_size, total))
                yield Batch(x=ids, y=10 * ids, lengths=100 * ids, condition=1000 * ids)

    found = [spread(Numbered(length=2), "validation", 0, number, of) for of in (4, 250)]
    assert all(len(batch) == 4 for batch in found[0][:-1])
    for batches in found:
        x, y, lengths, condition = (
            torch.cat([getattr(batch, name) for batch in batches]).tolist()
            for name in ("x", "y", "lengths", "condition")
        )
        kept = min(total, number)
        assert len(x) == kept
        for part, place in enumerate(x):
            assert part * total // kept <= place < (part + 1) * total // kept
        assert y == [10 * place for place in x]
        assert lengths == [100 * place for place in x]
        assert condition == [1000 * place for place in x]


def test_a_subset_of_sounds_has_every_kind_and_is_the_same_for_every_model_and_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.Tensor] = []

    def spy(network, task, batches, device):
        batches = list(batches)
        seen.append(torch.cat([batch.x for batch in batches]))
        return evaluate(network, task, batches[:1], device)

    task = tasks.load("audio", length=64, levels=16, conditional=True)
    kinds = torch.cat(
        [b.condition for b in spread(task, "validation", 0, 500, 250) if b.condition is not None]
    )
    assert set(kinds.tolist()) == set(range(36))
    assert kinds.bincount().max() < 20
    monkeypatch.setattr(loop, "evaluate", spy)
    for model, seed in (("gru", 0), ("rnn", 1)):
        train(tiny("audio", model, length=64, seed=seed, max_steps=1), "cpu")
    first, _, _, other, *_ = seen  # each run has two validations, then its test
    assert torch.equal(first, other)
