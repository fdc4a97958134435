"""One record as one screen of text: what was run, how it ended, and how to run it again."""

from pathlib import Path

from bench.core.ending import Ending, ending
from bench.core.records import Outcome, Record, SpeedRecord
from bench.core.spec import Part, Spec
from bench.core.wording import counted, duration
from bench.plan.again import command, outdated
from bench.run.progress import call_time, medians, name_of

NUM_POINTS = 16
"""Validations that a learning curve shows at most."""
BAR = 40
"""Characters of the longest bar of a learning curve."""


def screen(record: Record | SpeedRecord, results: Path) -> str:
    """The text that `show` prints."""
    blocks = [[name_of(record.spec)], _rows(_identity(record))]
    if isinstance(record, Record) and record.outcome is not None:
        outcome = record.outcome
        scores = _scores(outcome, ending(outcome, record.spec.training, outcome.solved_at))
        blocks += [_rows(scores), learning_curve(outcome), _rows(_cost(outcome))]
    elif isinstance(record, SpeedRecord) and record.speed is not None:
        times = {
            name: f"{call_time(each.median)}, 90% of calls between "
            f"{call_time(each.percentile(5))} and {call_time(each.percentile(95))}"
            for name, each in medians(record.speed).items()
        }
        blocks.append(_rows({"parameters": f"{record.speed.num_parameters:,}", **times}))
    if record.error is not None:
        blocks.append(_rows({"error": record.error}))
    if record.traceback is not None:
        blocks.append([record.traceback.rstrip()])
    why_not = outdated(record)
    if why_not is None:
        blocks.append(["To run it again:", f"  {command(record, results)}"])
    else:
        blocks.append([f"It cannot be run again: it was {why_not}."])
    return "\n\n".join("\n".join(block) for block in blocks)


def learning_curve(outcome: Outcome) -> list[str]:
    """One row per validation: the update, the score, and a bar from the lowest to the highest."""
    score, points = outcome.score.name, outcome.curve
    if len(points) > NUM_POINTS:
        last = len(points) - 1
        points = [points[round(i * last / (NUM_POINTS - 1))] for i in range(NUM_POINTS)]
    known = [value for point in points if (value := point.values[score]) is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    lines = [f"  {'update':>8}  validation {score}"]
    for point in points:
        value = point.values[score]
        if value is None:
            lines.append(f"  {point.step:8}  not finite")
            continue
        length = 1 + round((BAR - 1) * (value - low) / (high - low)) if high > low else 1
        lines.append(f"  {point.step:8}  {value:8.4g}  {'█' * length}")
    return lines


def _rows(entries: dict[str, str]) -> list[str]:
    return [f"  {key:20} {value}" for key, value in entries.items()]


def _identity(record: Record | SpeedRecord) -> dict[str, str]:
    spec, machine = record.spec, record.machine
    size = f"width {spec.width}" + (f"+{spec.extra_width}" if spec.extra_width else "")
    if spec.param_budget is not None:
        size += f", from a budget of {spec.param_budget:,} parameters"
    entries = {
        "id": spec.id,
        "status": record.status,
        "task": _part(spec.task),
        "model": _part(spec.model),
        "size": size,
    }
    if isinstance(spec, Spec):
        settings = spec.training.model_dump(exclude_none=True)
        entries["training"] = ", ".join(f"{key}={value}" for key, value in settings.items())
    else:
        entries["timed"] = ", ".join(spec.measures)
    entries["code"] = f"protocol {spec.protocol}, commit {machine.commit or 'not known'}"
    hardware = machine.gpu or machine.cpu
    entries["made on"] = f"{record.backend.name}, {hardware}, {record.created}"
    return entries


def _part(part: Part) -> str:
    fields = [f"{name}={value}" for name, value in part.fields.items()]
    return f"{part.name} ({', '.join([*fields, f'version {part.version}'])})"


def _scores(outcome: Outcome, ended: Ending) -> dict[str, str]:
    score = outcome.score
    why = {
        "solved": "solved, so that training stopped early",
        "budget": "the budget of updates was spent",
        "diverged": "the loss was no longer finite",
    }[outcome.stopped]
    still = {
        "improving": ", and it was still improving",
        "converged": ", and it had stopped improving",
        "at chance": ", and it was at chance",
    }.get(ended, "")
    entries = {"ended": f"after {counted(outcome.steps, 'update')}: {why}{still}"}
    for metric in outcome.metrics:
        value = outcome.test[metric.name]
        text = "not finite" if value is None else f"{value:.4g}"
        text += f" {metric.said_unit}; chance {metric.chance:.4g}"
        if metric is score and outcome.solved_at is not None:
            text += f", threshold {outcome.solved_at:.4g}: "
            text += "solved" if outcome.solved else "not solved"
        entries[f"test {metric.name}"] = text
    for name, value in outcome.baselines.items():
        entries[f"baseline {name}"] = f"{value:.4g}"
    return entries


def _cost(outcome: Outcome) -> dict[str, str]:
    field = outcome.receptive_field
    entries = {
        "parameters": f"{outcome.num_parameters:,}",
        "receptive field": "unlimited" if field is None else counted(field, "step"),
        "training": duration(outcome.train_seconds),
        "whole run": duration(outcome.total_seconds),
    }
    if outcome.latency is not None:
        latency = outcome.latency
        entries["latency"] = (
            f"{latency.sequence_ms:.3g} ms per sequence, {latency.step_us:.3g} µs per step"
        )
    if outcome.peak_memory_bytes is not None:
        entries["peak GPU memory"] = f"{outcome.peak_memory_bytes / 1e6:,.0f} MB"
    return entries
