"""The figures below the answer and the table of fairness: what they choose, and what they say."""

import re
from dataclasses import replace
from typing import Any

import pytest

from bench.core.records import Beyond, Record, SpeedRecord
from bench.core.spec import Spec
from bench.plan.labels import labels
from bench.plan.rates import Tried, Tuned
from bench.report import times
from bench.report.data import Data
from bench.report.points import points
from bench.report.section import Picture, Section
from bench.report.sections import (
    fairness,
    front_beyond,
    front_compute,
    front_scores,
    front_speed,
    front_width,
)
from bench.report.sections.beyond import beyond
from tests.support.records import outcome, record, spec, speed_record
from tests.support.reports import planted, source


def pictures(section: Section, data: Data) -> list[Picture]:
    return [item for item in section.build(data) if isinstance(item, Picture)]


def drawn(section: Section, data: Data) -> str:
    """The title of the one figure, which can be drawn."""
    (picture,) = pictures(section, data)
    assert picture.draw().axes
    return picture.title


def made(*cells: tuple[str, int, float], **changes: Any) -> tuple[list[Spec], list[Record]]:
    """Specs and records of three seeds per model, T and score."""
    specs = [spec(model=m, length=T, seed=seed) for m, T, _ in cells for seed in range(3)]
    scores = [score for *_, score in cells for _ in range(3)]
    records = [record(s, score, **changes) for s, score in zip(specs, scores, strict=True)]
    return specs, records


def timed(*cells: tuple[str, int, float]) -> list[SpeedRecord]:
    return [speed_record(m, T, batch_size=32, train_ms=ms, step_ms=ms) for m, T, ms in cells]


def test_the_scores_show_the_best_model_of_each_family() -> None:
    cells = [("tcn", 10, 1.0), ("gru", 10, 0.97), ("gru", 20, 0.2), ("lstm", 10, 0.4)]
    data = Data(source(*made(*cells)))
    assert set(front_scores.best_of_families(data)["model_label"]) == {"tcn", "gru"}
    title = drawn(front_scores.SECTION, data)
    assert title == "Both families solve the longest T on copy_memory"


def test_of_models_that_reach_equally_far_the_better_score_is_shown() -> None:
    data = Data(source(*made(("tcn", 10, 1.0), ("gru", 10, 0.3), ("lstm", 10, 0.4))))
    assert set(front_scores.best_of_families(data)["model_label"]) == {"tcn", "lstm"}


def test_the_least_training_time_is_that_of_a_model_that_solves_the_task() -> None:
    cells = [("tcn", 10, 1.0), ("gru", 10, 1.0), ("rnn", 10, 0.2), ("gru", 20, 1.0)]
    speed = timed(("tcn", 10, 30.0), ("gru", 10, 50.0), ("rnn", 10, 1.0), ("gru", 20, 60.0))
    data = Data(source(*made(*cells), speed=speed))
    title = drawn(front_compute.SECTION, data)
    assert title == "Fastest to train: tcn on copy_memory (T = 10, 3 s)"
    (picture,) = pictures(front_compute.SECTION, data)
    for panel in picture.draw().axes:
        ticks = [*panel.get_xticklabels(), *panel.get_xticklabels(minor=True)]
        shown_labels = [tick.get_text() for tick in ticks if tick.get_text()]
        assert shown_labels
        assert all(re.fullmatch(r"[0-9.]+[kMGT]?", label) for label in shown_labels)
    shown = front_compute.at_one_length(points(data)[1], data.solved_at)
    assert {(p["model_label"], p["T"]) for p in shown} == {("tcn", 10), ("gru", 10), ("rnn", 10)}


def test_the_title_names_the_fastest_on_every_task_and_the_figure_has_a_few() -> None:
    tasks = ("copy_memory", "adding", "selective_copy", "associative_recall")
    found = [
        {"task_label": task, "model_label": model, "T": 10, "train_s": 2.0, "solved": 5, "seeds": 5}
        for number, task in enumerate(tasks)
        for model in ("tcn", "gru", "lstm", "rnn", "mamba")[: number + 1]
    ]
    assert front_compute.message(found).count("T = 10") == len(tasks)
    shown = front_compute.of_most_models(found)
    assert list(dict.fromkeys(p["task_label"] for p in shown)) == list(tasks[:0:-1])


def test_without_timings_nothing_is_said_of_training_time() -> None:
    assert pictures(front_compute.SECTION, Data(source(*planted()))) == []


def test_longer_sequences_name_the_models_that_still_solve_them() -> None:
    def tested(score: float, further: float) -> Any:
        beyond = (Beyond(length=40, test={"recall": further}, num_test=10),)
        return outcome(score, beyond=beyond)

    specs = [spec(model=model, seed=seed) for model in ("tcn", "gru") for seed in range(3)]
    records = [
        record(of, outcome=tested(1.0, 0.99 if of.model.name == "gru" else 0.3)) for of in specs
    ]
    title = drawn(front_beyond.SECTION, Data(source(specs, records)))
    assert title == (
        "Beyond the trained length, copy_memory (trained at T = 10, tested at 40) is solved by gru"
    )
    short = [record(of, outcome=tested(float(of.model.name == "tcn"), 0.3)) for of in specs]
    data = Data(source(specs, short))
    title = drawn(front_beyond.SECTION, data)
    assert title.endswith("is solved by no model")
    found = beyond(data.records, data.source.labels)
    shown = front_beyond.at_the_longest_solved(found, front_beyond.solved_cells(data))
    assert set(shown["model_label"]) == {"tcn"}  # the gru does not solve T = 10 itself
    # One seed that solves T = 10 does not make the cell solved.
    one = [record(specs[0], outcome=tested(1.0, 0.3))]
    assert pictures(front_beyond.SECTION, Data(source(specs, one))) == []
    none = [record(of, outcome=tested(0.5, 0.3)) for of in specs]
    assert pictures(front_beyond.SECTION, Data(source(specs, none))) == []


def test_the_speed_compares_the_fastest_of_each_family_at_the_longest_length() -> None:
    speed = [
        speed_record(model, length, batch_size=batch, train_ms=ms, step_ms=step)
        for model, ms, step in (("tcn", 10.0, 3.0), ("gru", 20.0, 2.0), ("rnn", 30.0, 1.0))
        for length in (10, 100)
        for batch in (1, 64)
    ]
    slow = speed_record("tcn", 100, batch_size=64, train_ms=90.0, implementation="stock")
    data = Data(source(*planted(), speed=[*speed, slow]))
    title = drawn(front_speed.SECTION, data)
    assert title == (
        "At T = 100 tcn trains at 2 times the speed of gru (batch 64); a step of tcn takes 3 times "
        "as long as one of rnn; a state of tcn has 1 times the bytes of gru"
    )
    shown = front_speed.of_one_task(times.plain(data.timed))
    assert set(shown["implementation"]) == {"fastest", "stock"}


def test_sizes_are_compared_within_a_cell() -> None:
    specs, records = made(("tcn", 10, 1.0), ("gru", 10, 0.3))
    wide = [of.model_copy(update={"param_budget": 50_000, "width": 20}) for of in specs]
    larger = [record(of, 1.0) for of in wide]
    both = [*specs, *wide]
    data = Data(replace(source(both, [*records, *larger]), labels=labels(both)))
    title = drawn(front_width.SECTION, data)
    assert title == (
        "On copy_memory (T = 10), with 4 times the parameters, 1 of 2 networks score higher by "
        "more than 0.05, and 0 lower; only the larger size solves the task: gru on copy_memory; "
        "where both sizes solve a task, the larger one takes 1 times as many updates"
    )
    faster = [record(of, outcome=outcome(1.0, steps=50)) for of in wide[:3]]
    same = Data(replace(source(both, [*records, *faster]), labels=labels(both)))
    assert drawn(front_width.SECTION, same) == (
        "On copy_memory (T = 10), with 4 times the parameters, no score changes by more than 0.05; "
        "where both sizes solve a task, the larger one takes 0.5 times as many updates"
    )
    assert pictures(front_width.SECTION, Data(source(specs, records))) == []


def test_fairness_counts_trials_and_settled_runs() -> None:
    data = Data(source(*planted()))
    tried = tuple(
        Tried(rate=rate, num_runs=4, num_solved=0, updates=100, seconds=1) for rate in (0.001, 0.01)
    )
    rates = {"copy_memory": {"tcn": Tuned(rate=0.001, tried=tried)}}
    table = fairness.fairness(data.runs, rates, {"gru"}).set_index("model_label")
    assert table.loc["tcn", "tuning_trials"] == 8
    assert table.loc["tcn", "rates_tried"] == 2
    assert table["tuning_trials"].isna()["gru"]
    assert table.loc["tcn", "settled"] == pytest.approx(5 / 6)
    assert list(table["implementation"]) == ["fastest", "fastest, beside stock"]
    assert table.loc["tcn", "sequences"] == 100 * 32
