"""Published values: they name what is there, and only runs of their settings stand beside them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from scipy.stats import t as student

import models
from bench.core.records import Record
from bench.core.spec import Spec
from bench.plan import profile
from bench.plan.grid import Selection, make_plan
from bench.report.data import Data
from bench.report.reference import runs_of_the_paper
from bench.report.section import is_unfolded
from bench.report.sections import published
from tests.support import reports
from tests.support.records import outcome, record

COMPARED = [entry for entry in published.load() if entry.ours]
PLANNED = make_plan(profile.load("paper"), Selection()).specs


def settings_of(task: str, model: str, length: int) -> Spec:
    """What the paper's profile trains, at its first seed."""
    return next(
        spec
        for spec in PLANNED
        if (spec.task.name, spec.model.name, spec.length) == (task, model, length)
    )


ADDING = settings_of("adding", "tcn", 600)
PIXELS = settings_of("pixel_mnist", "lstm", 784)


def planted(of: Spec, *values: float | None, **changes: Any) -> list[Record]:
    """Records of this configuration, a seed a value of the metric that was published."""
    (metric,) = (
        entry.metric
        for entry in COMPARED
        if (entry.task, entry.ours) == (of.task.name, of.model.name)
    )
    return [
        record(
            of.model_copy(update={"seed": seed, **changes}),
            outcome=outcome(test={"recall": 1.0, "cross_entropy": 0.1, metric: value}),
        )
        for seed, value in enumerate(values)
    ]


def row_of(records: list[Record], of: Spec) -> Any:
    table = published.comparison(records)
    found = table[(table["task"] == of.task.name) & (table["model"] == of.model.name.upper())]
    assert len(found) == 1
    others = table.drop(found.index)
    assert set(others["agree"]) == {"not run"}
    return found.iloc[0]


@pytest.mark.parametrize("entry", published.load(), ids=lambda entry: f"{entry.task} {entry.model}")
def test_every_published_value_is_of_a_task_and_metric_of_ours(
    entry: published.Published,
) -> None:
    task = entry.instance()
    (metric,) = (each for each in task.objective.all_metrics if each.name == entry.metric)
    assert entry.unit == metric.unit
    assert entry.unit.startswith("share") == (0.1 < entry.value < 1 and metric.higher_is_better)


@pytest.mark.parametrize("entry", COMPARED, ids=lambda entry: f"{entry.task} {entry.model}")
def test_one_configuration_of_ours_stands_beside_a_published_value(
    entry: published.Published,
) -> None:
    assert entry.ours in models.names()
    assert entry.profile in profile.names()
    configurations = {
        spec.model_copy(update={"seed": 0}).id
        for spec in make_plan(profile.load(entry.profile), Selection()).specs
        if spec.model.name == entry.ours
        and spec.task.name == entry.task
        and spec.task.fields == entry.instance().fields
    }
    assert len(configurations) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"profile": None}, "give both"),
        ({"ours": None}, "give both"),
        ({"source": "Somebody, somewhere"}, "source"),
        ({"metrics": "accuracy"}, "metrics"),
    ],
)
def test_a_malformed_entry_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        published.Published.model_validate({**COMPARED[0].model_dump(), **change})


@pytest.mark.parametrize(
    ("of", "values", "agree"),
    [
        (ADDING, (4e-5, 5e-5, 9e-5), "yes"),  # 5.8e-5 was published
        (ADDING, (1.0e-6, 1.1e-6, 1.2e-6), "ours is better"),
        (ADDING, (1.0e-3, 1.1e-3, 1.2e-3), "ours is worse"),
        (ADDING, (5.8e-5,), "too few seeds"),
        (ADDING, (4e-5, 9e-5), "too few seeds"),
        (ADDING, (), "not run"),
        (PIXELS, (0.80, 0.85, 0.95), "yes"),  # 0.872 was published
        (PIXELS, (0.970, 0.975, 0.980), "ours is better"),
        (PIXELS, (0.500, 0.505, 0.510), "ours is worse"),
    ],
)
def test_agreement_is_lying_where_one_further_run_would(
    of: Spec, values: tuple[float, ...], agree: str
) -> None:
    row = row_of(planted(of, *values), of)
    assert row["agree"] == agree
    assert row["seeds"] == len(values)
    assert math.isnan(row["low"]) == math.isnan(row["high"]) == (len(values) < 3)
    assert math.isnan(row["ours"]) == (not values)


def test_a_loss_is_compared_on_the_logarithm() -> None:
    row = row_of(planted(ADDING, 1e-6, 1e-5, 1e-4), ADDING)
    assert row["ours"] == pytest.approx(1e-5)
    # s of these three logarithms is the distance of two; one further run adds its own variance.
    half_width = student.ppf(0.975, 2) * math.log(10) * math.sqrt(1 + 1 / 3)
    assert row["low"] == pytest.approx(1e-5 * math.exp(-half_width))
    assert row["high"] == pytest.approx(1e-5 * math.exp(half_width))


def test_a_loss_of_zero_and_seeds_far_apart_have_an_interval() -> None:
    row = row_of(planted(ADDING, 0.0, 1e150, 1e300), ADDING)
    assert (row["low"], row["high"], row["agree"]) == (0.0, math.inf, "too wide")


@pytest.mark.parametrize(
    "changes",
    [
        {"width": ADDING.width + 1},
        {"param_budget": 12_500},
        {"training": ADDING.training.model_copy(update={"learning_rate": 1e-3})},
        {"training": ADDING.training.model_copy(update={"max_steps": 2})},
        {"model": ADDING.model.model_copy(update={"version": ADDING.model.version + 1})},
        {"task": settings_of("adding", "tcn", 400).task},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_run_of_other_settings_is_no_reproduction(changes: dict[str, Any]) -> None:
    records = planted(ADDING, 5e-5, 6e-5, 7e-5, **changes)
    assert set(published.comparison(records)["agree"]) == {"not run"}


def test_a_row_without_an_interval_says_why() -> None:
    def why(records: list[Record]) -> str:
        return row_of(records, ADDING)["missing"]

    plan = "each of 15,600 updates on 32 sequences of 600 steps"
    num_seeds = len({spec.seed for spec in PLANNED if spec.length == 600})
    assert why([]) == f"0 of {num_seeds} runs made, {plan}"
    assert why(planted(ADDING, 5e-5)) == f"1 of {num_seeds} runs made, {plan}"
    assert why(planted(ADDING, 5e-5, width=3)).endswith(f"{plan}; 1 run has other settings")
    assert why([record(ADDING, None, status="skipped", error="no data")]) == "skipped: no data"
    assert math.isnan(why(planted(ADDING, 5e-5, 6e-5, 7e-5)))  # pyright: ignore[reportArgumentType]


def test_a_row_that_no_profile_plans_says_so() -> None:
    entry = next(each for each in COMPARED if each.task == "adding")
    row = published._compared(entry, [], {})
    assert row["missing"] == "the profile paper does not plan it"


def test_runs_of_an_older_protocol_are_compared_too() -> None:
    older = planted(ADDING, 5e-5, 6e-5, protocol=ADDING.protocol - 1)
    assert row_of(older, ADDING)["seeds"] == 2


def test_committed_runs_stand_beside_values_that_the_folder_has_no_run_of() -> None:
    def row(records: list[Record]) -> Any:
        table = published.comparison(records, committed)
        return table[table["task_label"].eq("adding") & table["model"].eq("TCN")].iloc[0]

    committed = planted(ADDING, 5e-5, 6e-5, 7e-5)
    assert (row([])["seeds"], row([])["agree"]) == (3, "yes")
    assert row([])["made_on"] == f"{committed[0].machine.cpu}; in results/reference/paper"
    own = row(planted(ADDING, 1e-3))
    assert (own["seeds"], own["made_on"]) == (1, committed[0].machine.cpu)
    skipped = [record(ADDING, None, status="skipped", error="no data")]
    assert row(skipped)["seeds"] == 3


def test_the_committed_runs_with_published_settings_are_found() -> None:
    table = published.comparison([], runs_of_the_paper())
    assert table["seeds"].sum() > 0
    assert runs_of_the_paper(Path("nowhere")) == []


def test_seeds_that_the_profile_does_not_list_count() -> None:
    records = planted(ADDING, *[5e-5 + seed * 1e-6 for seed in range(8)])
    assert row_of(records, ADDING)["seeds"] == 8 > len({spec.seed for spec in PLANNED})


def test_failed_runs_count_at_chance_and_skipped_ones_not_at_all() -> None:
    good = planted(ADDING, 5e-5, None)
    failed = record(ADDING.model_copy(update={"seed": 8}), score=None)
    skipped = record(ADDING.model_copy(update={"seed": 9}), score=None, status="skipped")
    row = row_of([*good, failed, skipped], ADDING)
    assert row["seeds"] == 3
    assert row["ours"] == pytest.approx((5e-5 / 6 / 6) ** (1 / 3))


def test_the_loss_of_untrained_weights_counts_at_chance_and_their_accuracy_as_it_is() -> None:
    def untrained(of: Spec, value: float) -> Record:
        (made,) = planted(of, value)
        assert made.outcome is not None
        changed = made.outcome.model_copy(update={"best_step": 0})
        return made.model_copy(update={"outcome": changed})

    assert row_of([untrained(ADDING, 2.3)], ADDING)["ours"] == pytest.approx(1 / 6)
    assert row_of([untrained(PIXELS, 0.2)], PIXELS)["ours"] == pytest.approx(0.2)


def test_an_interval_that_holds_chance_is_too_wide_to_tell() -> None:
    row = row_of(planted(ADDING, 1e-7, 1e-5, 1e-3), ADDING)
    assert row["low"] < 5.8e-5 < 1 / 6 < row["high"]
    assert (row["agree"], row["better"]) == ("too wide", 2)


def test_chance_that_was_published_agrees_with_chance() -> None:
    of = settings_of("copy_memory", "lstm", 1000)
    chance = 10 * math.log(8) / 1020
    records = [
        record(
            of.model_copy(update={"seed": seed}),
            outcome=outcome(test={"recall": 0.125, "cross_entropy": chance + 1e-6 * seed}),
        )
        for seed in range(3)
    ]
    assert row_of(records, of)["agree"] == "yes"  # 0.0204 was published


@pytest.mark.parametrize(("ours", "agree"), [(5.84e-5, "yes"), (5.86e-5, "ours is worse")])
def test_a_published_value_is_known_as_far_as_it_was_printed(ours: float, agree: str) -> None:
    assert row_of(planted(ADDING, ours, ours, ours), ADDING)["agree"] == agree  # printed: 5.8e-5


def test_context_is_what_stands_beside_none_of_ours() -> None:
    table = published.context()
    assert len(table) + len(COMPARED) == len(published.load())
    assert set(table["model"]) & {"IndRNN", "TrellisNet", "S4"}
    assert table[["published", "source"]].notna().to_numpy().all()


def test_published_numbers_are_open_only_beside_runs_that_they_are_compared_with() -> None:
    small = reports.source(*reports.planted())
    assert not is_unfolded(published.SECTION, Data(small))
    committed = replace(small, with_published_settings=planted(ADDING, 5e-5))
    assert is_unfolded(published.SECTION, Data(committed))
    compared = settings_of("copy_memory", "gru", 1000)
    assert is_unfolded(published.SECTION, Data(reports.source([compared], [])))
    other = compared.model_copy(
        update={"training": compared.training.model_copy(update={"max_steps": 7})}
    )
    assert not is_unfolded(published.SECTION, Data(reports.source([other], [])))
