"""`--keep-weights`, and the example of the docs that streams through the kept weights."""

import re
from pathlib import Path

import pytest
import torch

import models
from bench.cli import main
from bench.core.backend import Backend
from bench.measure import weights
from bench.plan.grid import Selection, task_of
from bench.run.request import make_request
from tests.support.commands import PROFILE, ROOT, records, selectors
from tests.support.harness import not_drawn


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of four runs of a profile that keeps no weights itself."""
    not_drawn(monkeypatch)
    (tmp_path / "few.toml").write_text(PROFILE.format(steps=4))
    assert run(tmp_path, "--keep-weights", "--seed", "0") == 0
    return tmp_path / "results"


def run(folder: Path, *more: str) -> int:
    chosen = selectors(str(folder / "few.toml"), folder / "results")
    return main(["run", "--debug", "--no-speed", *chosen, *more])


def test_the_weights_of_any_run_are_kept_and_loaded_without_the_harness(results: Path) -> None:
    found = records(results)
    assert len(found) == 4
    for record in found.values():
        task = task_of(record.spec)
        network = models.load(weights.path(results, record.spec, record.backend))
        batch = next(task.evaluation("test", record.spec.seed, 100_000))
        score = task.objective.score.values(network(batch.x)[0], batch).mean().item()
        assert record.outcome is not None
        assert score == pytest.approx(record.outcome.test_score, rel=1e-5)


def test_a_recorded_run_is_repeated_for_its_weights_and_no_other_is(results: Path) -> None:
    spec, record = next(iter(records(results).items()))
    path = weights.path(results, record.spec, record.backend)
    before = path.read_bytes()
    path.unlink()
    assert run(results.parent, "--seed", "0") == 0
    assert not path.exists()
    assert run(results.parent, "--again", spec) == 0
    assert not path.exists()
    assert run(results.parent, "--keep-weights", "--seed", "0") == 0
    assert path.read_bytes() == before
    path.unlink()
    assert run(results.parent, "--again", spec, "--keep-weights") == 0
    assert path.read_bytes() == before


def test_tasks_that_the_profile_does_not_list_keep_theirs_too(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(PROFILE.format(steps=4))
    request = make_request(
        results=tmp_path / "results",
        selection=Selection(tasks=("adding",), lengths=(4,)),
        device="cpu",
        profile_name=str(tmp_path / "few.toml"),
        keep_weights=True,
    )
    assert request.plan.kept == {spec.id for spec in request.plan.specs} != set()


def test_the_reference_keeps_weights_that_are_still_read() -> None:
    """They were written before files said what network they hold."""
    folder = ROOT / "results" / "reference" / "cpu"
    backend = Backend(device="cpu", threads=1)
    kept = [
        each
        for each in records(folder).values()
        if weights.path(folder, each.spec, backend).is_file()
    ]
    assert kept
    network = weights.trained(folder, kept[0].spec, backend)
    assert not network.training


def test_the_streaming_example_of_the_docs_runs(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n([^`]*models\.load\([^`]*)```", page)
    assert len(example.splitlines()) <= 10
    monkeypatch.chdir(results.parent)
    values: dict[str, object] = {}
    exec(example, values)
    y_t, net = values["y_t"], values["net"]
    assert isinstance(y_t, torch.Tensor)
    assert isinstance(net, models.Network)
    assert y_t.shape == (1, net.head.out_features)
