"""How long a run takes: a rule of thumb, corrected by records."""

import pytest

from bench.estimate import Estimator, rule_of_thumb
from bench.plan import network_of
from models import num_parameters
from tests.records import BACKEND, outcome, record, spec


def test_a_network_of_a_given_width_is_counted() -> None:
    wide = spec(max_steps=1000).model_copy(update={"param_budget": None, "width": 40})
    same = wide.model_copy(update={"param_budget": num_parameters(network_of(wide))})
    assert rule_of_thumb(wide, "cpu") == pytest.approx(rule_of_thumb(same, "cpu"))
    narrow = wide.model_copy(update={"width": 10})
    assert rule_of_thumb(narrow, "cpu") < rule_of_thumb(wide, "cpu")


def test_records_correct_the_rule() -> None:
    run = spec(length=10)
    rule = rule_of_thumb(run, "cpu")
    slow = outcome().model_copy(update={"total_seconds": 3 * rule})
    estimator = Estimator(BACKEND, [record(run, outcome=slow)])
    assert estimator.seconds(spec(length=10, seed=1)) == pytest.approx(3 * rule)
    longer = spec(length=40)
    assert estimator.seconds(longer) == pytest.approx(3 * rule_of_thumb(longer, "cpu"))
    assert estimator.seconds(spec(model="gru")) == rule_of_thumb(spec(model="gru"), "cpu")
