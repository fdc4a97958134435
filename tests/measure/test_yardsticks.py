"""Both sides of a yardstick compute the same, and every yardstick runs."""

from pathlib import Path
from typing import Any

import pytest
import torch

import models
import tasks
from bench.core.store import Store
from bench.measure import timing, yardsticks
from bench.report.sections.cost import yardstick_table
from tests.support.records import BACKEND


def both(task_name: str, **fields: Any) -> tuple[tasks.Task, models.Network, models.Network]:
    task = tasks.load(task_name, length=40)
    torch.manual_seed(0)
    network = models.network("tcn", task.signature, width=6, num_blocks=4, **fields).double()
    return task, network, network.stock()


@pytest.mark.parametrize("task_name", ["copy_memory", "adding"])
@pytest.mark.parametrize(
    "fields",
    [
        {"kernel_size": 1, "extra_width": 0},
        {"kernel_size": 2, "extra_width": 5},
        {"kernel_size": 7, "gated": True},
        {"kernel_size": 3, "residual": False},
    ],
)
def test_the_textbook_computes_the_same(task_name: str, fields: dict[str, Any]) -> None:
    task, network, textbook = both(task_name, **fields)
    batch = task.sample(3, task.generator("train", 0))
    x = batch.x if task.signature.input == "token" else batch.x.double()
    for last_only in (False, True):
        ours, theirs = network(x, last_only=last_only)[0], textbook(x, last_only=last_only)[0]
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
        ours.square().sum().backward()
        theirs.square().sum().backward()
        for one, other in (
            (network.head.weight, textbook.head.weight),
            *zip(
                network.core.blocks.parameters(),  # pyright: ignore
                textbook.core.blocks.parameters(),  # pyright: ignore
                strict=True,
            ),
        ):
            assert one.grad is not None
            assert other.grad is not None
            assert torch.allclose(one.grad.flatten(), other.grad.flatten(), rtol=0, atol=1e-9)
        network.zero_grad()
        textbook.zero_grad()


def test_every_listed_yardstick_can_be_measured() -> None:
    listed = yardsticks.load()
    assert {yardstick.kind for yardstick in listed} == set(yardsticks.KINDS)
    assert len({yardstick.name for yardstick in listed}) == len(listed)
    for yardstick in listed:
        assert (yardstick.at_least is None) != (yardstick.at_most is None)
        assert yardstick.task.name in tasks.names()
        assert {yardstick.model.name, yardstick.rival or yardstick.model.name} <= {*models.names()}


FEW = """
[[yardstick]]
name = "{kind}"
kind = "{kind}"
what = "a trial"
at_least = 1e-9
task = {{ name = "{task}", fields = {{ length = 5 }} }}
model = {{ name = "tcn", fields = {{ kernel_size = 3, num_blocks = 2 }}, width = 20 }}
rival = "lstm"
"""


@pytest.mark.parametrize("kind", sorted(yardsticks.KINDS))
def test_every_comparison_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "library":
        pytest.importorskip("pytorch_tcn")
    task = "markov_source" if kind == "sampling" else "copy_memory"
    (tmp_path / "few.toml").write_text(FEW.format(kind=kind, task=task))
    (listed,) = yardsticks.load(tmp_path / "few.toml")
    monkeypatch.setattr(yardsticks, "load", lambda: [listed])
    few = {"ROUNDS": 4, "SAMPLED_ROUNDS": 2, "LATE": 200, "TRAINED_STEPS": 2}
    for name, value in few.items():
        monkeypatch.setattr(yardsticks, name, value)
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 1e-4)
    state = torch.random.get_rng_state()
    (made,) = yardsticks.run(tmp_path, BACKEND, "cpu")
    assert torch.equal(state, torch.random.get_rng_state())
    assert Store(tmp_path).read_yardsticks() == ([made], [])
    said = yardsticks.line(made)
    if kind == "capture":
        assert (made.status, made.error) == ("skipped", "there is no GPU here")
        assert "skipped: there is no GPU here" in said
        return
    assert made.status == "ok"
    assert len(made.times) >= 2
    assert made.ratio > 0
    assert f"{kind}: " in said
    assert "met" in said
    (row,) = yardstick_table([made]).to_dict("records")
    assert row["target_met"] == "yes"
