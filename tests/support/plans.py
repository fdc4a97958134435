"""A small profile, and the plan of any profile."""

from bench.plan import profile
from bench.plan.grid import Plan, Selection, make_plan

SMALL = """
description = "small"
seeds = [0, 1]
param_budget = 10_000

[training]
max_steps = 5
learning_rate = 0.01

[[grid]]
task = "copy_memory"
lengths = [2, 3]
models = ["gru", { name = "tcn", fields = { kernel_size = 3 } }]
"""


def plan_of(name: object, *settings: str, **selection: tuple) -> Plan:
    return make_plan(profile.load(str(name), settings), Selection(**selection))
