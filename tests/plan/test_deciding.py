"""The smallest grids that decide the claims."""

from pathlib import Path

import pytest

from bench.cli import main
from bench.core.store import Store
from bench.plan import deciding, profile
from bench.plan.grid import Selection, make_plan, make_speed_plan
from bench.report.claims.verdict import Answer, Verdict
from bench.report.data import Data
from bench.report.page import claims_page
from tests.support.commands import PROFILE
from tests.support.reports import planted, source

REFERENCE = profile.load("reference")


@pytest.mark.parametrize("key", deciding.keys())
def test_the_grid_of_a_claim_is_a_part_of_the_reference(key: str) -> None:
    chosen = profile.load(str(deciding.profile_of(key)))
    plan, whole = (make_plan(each, Selection()) for each in (chosen, REFERENCE))
    if not chosen.speed:
        assert {spec.id for spec in plan.specs} < {spec.id for spec in whole.specs}
        longer = [spec.id for ladder in plan.ladders for spec in ladder.longer.values()]
        assert set(longer) < whole.studies.keys()
        return
    timed = make_speed_plan(chosen, Selection(), plan.specs)
    every = make_speed_plan(REFERENCE, Selection(), whole.specs)
    assert {spec.id for spec in timed} < {spec.id for spec in every}


def verdict(key: str, word: Answer) -> Verdict:
    return Verdict(key=key, claim="it", verdict=word, sentence="so", figure="cliff")


def test_an_open_verdict_names_the_command_that_decides_it() -> None:
    remedy = verdict("a", "undecided").remedy
    assert remedy is not None
    assert remedy.startswith("python -m bench claim a   # one task beyond 100 steps")
    assert " 2 cores" in remedy
    assert verdict("e2", "not tested").remedy == verdict("e", "not tested").remedy
    assert "claim d2 " in (verdict("d2", "undecided").remedy or "")
    assert verdict("a", "supported").remedy is None
    assert verdict("c", "undecided").remedy is None


def test_the_page_of_claims_shows_the_command() -> None:
    page = claims_page(Data(source(*planted())), ())
    assert page.count("\n    python -m bench claim a   # ") == 1
    assert "claim c " not in page


def test_the_command_runs_the_grid_and_prints_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claim", "c"]) == 2
    assert "valid: a, b, d2, e, f" in capsys.readouterr().err
    assert main(["claim"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[4] for line in listed] == ["a", "b", "d2", "e", "f"]
    monkeypatch.setattr(deciding, "CLAIMS", tmp_path)
    (tmp_path / "a.toml").write_text(PROFILE.format(steps=4))
    arguments = ["claim", "a", "--results", str(tmp_path / "results"), "--workers", "1"]
    assert main([*arguments, "--plan"]) == 0
    assert "8 runs, 0 recorded" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "8 runs in" in said.err
    assert said.out.splitlines()[-1].startswith("Recurrent networks can't learn")
    assert "Not tested: no recurrent network has runs on a task that needs more" in said.out


def test_a_claim_on_speed_takes_times_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deciding, "CLAIMS", tmp_path)
    timed = (
        '[[speed]]\ntask = "copy_memory"\nlengths = [3]\nmeasures = ["step"]\nbatch_sizes = [1]\n'
    )
    untimed = PROFILE.replace("speed_rounds", "time_every_network = false\nspeed_rounds")
    models = 'models = ["tcn", "gru"]\n'
    (tmp_path / "f.toml").write_text(f"{untimed.format(steps=4)}\n{timed}{models}")
    results = tmp_path / "results"
    assert main(["claim", "f", "--results", str(results)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("Convolutional step-by-step inference is inefficient (")
    assert "Undecided: " in said
    assert "2 more ratios of times" in said
    store = Store(results)
    assert not store.read_all()[0]
    assert len(store.read_speed()[0]) == 2
