"""The first screen of the page: the answer, its figure, what to pick, and the evidence behind it.

Everything is computed from the frames of the report, for whatever tasks and models they hold.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import pandas as pd

from bench.core.wording import counted, listed
from bench.plan.rates import Rates
from bench.report import times
from bench.report.choosing import Problem, choose, preference
from bench.report.claims.against import front_of
from bench.report.claims.cells import Cell, by_task, of_family
from bench.report.data import Data
from bench.report.evidence import Evidence
from bench.report.frame import span
from bench.report.points import step_measure
from bench.report.runs import COUNTED
from tasks import names as task_names
from tasks import task_class

SIDES = ("convolutional", "recurrent")
"""The two families that the question is about."""
MOST_ROWS = 8
MOST_NAMED = 3
CASE = ["task_label", "T", "batch"]
"""Columns that say what two networks were timed on."""
DECISION = ("pick", "T", "runner-up", "evidence", "training", "step", "state")
"""Columns of the decision table after the task."""


DEMONSTRATION = "This is a demonstration: its budgets are too small to decide the claims."
FIGURE = "reach"
"""Name of the figure that carries the answer."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """The contents of the first screen."""

    question: str = "Convolution or recurrence: how far back does each remember, and at what cost?"
    caveat: str
    """What to know before everything else; empty: nothing."""
    answer: Sequence[str]
    columns: Sequence[str] = ("task (kind of problem)", *DECISION)
    decision: Sequence[Sequence[str | None]]
    """Rows with one text per column; None where it is not known."""
    rule: str = (
        "The pick solves the longest T. Ties are broken by fewer updates, then by the faster step. "
        "The evidence is the number of seeds that solve this T, the number that ran, and how sure "
        "the pick is. It is decided if no planned run that is missing can change it, and the "
        "runner-up does not solve this T or needs more updates (by the 95% interval of their "
        "ratio). It is close if it is not clear which of the two needs fewer. It is undecided if "
        "missing runs could change it; python -m bench choose lists them. Training is the median "
        "number of updates of a run times the time of an update that was timed alone. Times with "
        "“about” are those of runs that shared the machine."
    )
    evidence: Sequence[tuple[str, str]]
    verdicts: Sequence[tuple[str, str, str]]
    """The key, the word and the claim of each verdict."""


def screen(data: Data, points: Sequence[Mapping[str, Any]], evidence: Sequence[Evidence]) -> Screen:
    """The first screen, from the points of the report and the evidence on models."""
    # A network that was not timed itself may have the step and the state of another length.
    streaming: dict[str, dict[str, float]] = {}
    measures = (step_measure(data), data.step_us), ("state_bytes", data.state_bytes)
    for measure, found in measures:
        for spec in data.source.specs:
            if spec.id in found:
                streaming.setdefault(spec.network, {})[measure] = found[spec.id]
    known = [{**streaming.get(point["network"], {}), **point} for point in points]
    rows = decision(data, known, evidence)
    caveats = [DEMONSTRATION if data.source.demonstration else "", data.source.caveat]
    return Screen(
        caveat=" ".join(filter(None, caveats)),
        answer=answer(data),
        decision=[[_with_kind(row), *(row[column] for column in DECISION)] for row in rows],
        evidence=background(data),
        verdicts=[(each.key, each.word, each.claim) for each in data.verdicts],
    )


def _with_kind(row: Mapping[str, Any]) -> str:
    """The task of a row, with its kind in brackets."""
    name = row["name"]
    kind = task_class(name).kind if name in task_names() else None
    return f"{row['task']} ({kind})" if kind else row["task"]


def answer(data: Data) -> list[str]:
    """Which family remembers further, at which size, and what training and a step cost."""
    said = reach(data)
    sizes = set(data.main["budget"].dropna())
    if said and len(sizes) == 1:
        said[-1] += f" These networks have about {sizes.pop():,} parameters."
    return [*said, *_costs(data)]


def reach(data: Data) -> list[str]:
    """Which family solves the longest T of each task, and where more runs may change this.

    A family is ahead for certain where the failure of the other one counts against it. A task
    without decided lengths of both families compares nothing.
    """
    furthest: dict[str, dict[str, int]] = {}
    unbeaten: set[tuple[str, str, int]] = set()
    for network, found in data.horizons_at_equal_size:
        task, side, length = network["task_label"], network["family"], found.length or 0
        if side in SIDES:
            of_task = furthest.setdefault(task, {})
            of_task[side] = max(of_task.get(side, 0), length)
            unbeaten |= {(task, side, length)} if found.failed is None else set()
    both: list[str] = []
    ahead: dict[str, list[str]] = {side: [] for side in SIDES}
    so_far: dict[str, list[str]] = {side: [] for side in SIDES}
    not_run: dict[str, list[str]] = {side: [] for side in SIDES}
    cells = dict(by_task(data.cells))
    for task, lengths in furthest.items():
        if len(lengths) < len(SIDES):
            continue
        ours, theirs = (lengths[side] for side in SIDES)
        if ours == theirs:
            both += [task] if ours else []
            continue
        first, second = SIDES if ours > theirs else SIDES[::-1]
        if (task, second, lengths[second]) in unbeaten:
            not_run[second].append(task)
            continue
        certain = _is_ahead(cells[task], first, second, lengths[first], data.rates)
        (ahead if certain else so_far)[first].append(task)
    said = []
    if furthest and all(len(lengths) < len(SIDES) for lengths in furthest.values()):
        said.append("The families can't be compared yet: no task has decided lengths of both.")
    if both:
        single = [task for task in both if len(data.lengths[task]) == 1]
        several = [task for task in both if task not in single]
        parts = [
            f"the {which} T{' tested' if of is single else ''} on {listed(of, MOST_NAMED, 'task')}"
            for which, of in (("longest", several), ("only", single))
            if of
        ]
        said.append(f"Both families solve {' and '.join(parts)}.")
    if any(ahead.values()):
        parts = _by_side(ahead, "solves the longest T")
        said.append(f"{parts[0].upper()}{parts[1:]}.")
    if any(so_far.values()):
        said.append(f"So far, {_by_side(so_far, 'is ahead')}; more runs may change this.")
    said += [
        f"On {listed(tasks, MOST_NAMED, 'task')} the families can't be compared yet: longer T of "
        f"the best {side} network are not decided."
        for side, tasks in not_run.items()
        if tasks
    ]
    return said


def _by_side(tasks: Mapping[str, Sequence[str]], does: str) -> str:
    """`a convolutional network is ahead on A and B; a recurrent network is ahead on C`."""
    return "; ".join(
        f"a {side} network {does} on {listed(of_side, MOST_NAMED, 'task')}"
        for side, of_side in tasks.items()
        if of_side
    )


def _is_ahead(of_task: Sequence[Cell], first: str, second: str, length: int, rates: Rates) -> bool:
    """Whether the first family solves this T, and a failure of the second up to it counts."""
    solves = any(cell.solves and cell.length == length for cell in of_family(of_task, first))
    others = of_family(of_task, second)
    front = front_of(others, rates) if others else None
    if not solves or front is None or front.failing is None or front.missing:
        return False
    return front.failing.length <= length


def _costs(data: Data) -> list[str]:
    """How the fastest networks of both families compare, in training and in a step of one stream.

    Other implementations are compared in training alone: most of their step is the call from
    Python.
    """
    timed = times.plain(data.leading)
    one = timed["batch"] == 1
    sizes = sorted(set(timed["batch"][timed["train_ms"].notna() & ~one]))
    several = " or ".join(f"{size:,}" for size in sizes)
    works = (
        (f"a training update with {several} sequences", ~one, "train_ms"),
        ("a training update with 1 sequence", one, "train_ms"),
        ("a streaming step", one, "step_ms"),
    )
    said: list[str] = []
    for work, rows, column in works:
        ratios = _ratios(timed[rows], column)
        if ratios.empty:
            continue
        times_as_long = f"{span(ratios)} times as long"
        if said:
            said.append(f"{work[0].upper()}{work[1:]} takes {times_as_long} ({_cases(ratios)}).")
        else:
            said.append(
                f"On {data.device}, {work} takes {times_as_long} with the fastest {SIDES[0]} "
                f"network as with the fastest {SIDES[1]} one ({_cases(ratios)})."
            )
    for rows in times.implementations(times.plain(data.timed))[1:]:
        ratios = _ratios(rows, "train_ms")
        if said and len(ratios):
            said.append(
                f"With {times.implementation(rows)}, a training update takes {span(ratios)} times "
                f"as long with the {SIDES[0]} network as with the fastest {SIDES[1]} one "
                f"({_fastest(rows, SIDES[1], ratios.index)}; {_cases(ratios)})."
            )
    if said and (timed["variant"] == "").all():
        said[-1] += " These models have default settings."
    return said


def _ratios(timed: pd.DataFrame, column: str) -> pd.Series:
    """The least time of the first family over that of the second, per task, T and batch size."""
    known = timed[timed[column].notna() & timed["family"].isin(SIDES)]
    least = known.pivot_table(index=CASE, columns="family", values=column, aggfunc="min")
    least = least.reindex(columns=list(SIDES))
    return (least[SIDES[0]] / least[SIDES[1]]).dropna()


def _fastest(timed: pd.DataFrame, side: str, cases: pd.Index) -> str:
    """Which models of a family have the shortest training updates: `lstm` or `gru or lstm`."""
    known = timed[timed["train_ms"].notna() & (timed["family"] == side)]
    least = known.loc[known.groupby(CASE)["train_ms"].idxmin()].set_index(CASE)
    return " or ".join(name for name, _ in Counter(least.loc[cases, "model_label"]).most_common())


def _cases(ratios: pd.Series) -> str:
    """What ratios are made of: how many cases, and which T."""
    lengths = f"T = {span(ratios.index.get_level_values('T'))}"
    if len(ratios) == 1:
        return f"{ratios.index[0][0]}, {lengths}"
    return f"{len(ratios)} cases, {lengths}"


def decision(
    data: Data, points: Sequence[Mapping[str, Any]], evidence: Sequence[Evidence]
) -> list[dict[str, Any]]:
    """What to pick per task: the model that solves the longest dependency.

    Among equals, it is the one that needs the fewest updates there, then the one with the faster
    step.
    The runner-up is another model than the pick, not a variant of it.
    The evidence says how sure the pick is.
    Tasks that were tested at a single T come after the others, and tasks that no model solves come
    last.
    """
    step = step_measure(data)
    cells = {(p["task_label"], p["model_label"], p["T"]): p for p in points}
    ranked: dict[str, list[dict[str, Any]]] = {}
    for network, found in data.horizons_at_equal_size:
        model = network["model_label"]
        cell = cells.get((network["task_label"], model, found.length), {})
        order = preference(cell.get("solved_after", inf), cell.get(step), model)
        rank = (-(found.length or 0), *order)
        about = {"task": network["task"], "model": model, "name": network["model"]}
        entry = {**cell, **about, "rank": rank}
        entry["reached"] = found.reached
        ranked.setdefault(network["task_label"], []).append({**entry, "solves": bool(cell)})
    rows = []
    for task, entries in ranked.items():
        best, *others = sorted(entries, key=lambda entry: entry["rank"])
        other = next((each for each in others if each["name"] != best["name"]), None)
        row = {"task": task, "name": best["task"], **_picked(best, other, step)}
        here = [each for each in evidence if each.task == task]
        if sure := _how_sure(best, here):
            row["evidence"] += f", {sure}"
        rows.append(row)
    rows.sort(key=lambda row: (row["pick"] is None, len(data.lengths.get(row["task"], ())) < 2))
    return rows[:MOST_ROWS]


def _how_sure(best: Mapping[str, Any], here: Sequence[Evidence]) -> str | None:
    """What `choose` says of the pick, among models of its size, at the longest T that it solves.

    None: nothing.
    """
    at = [each for each in here if each.model == best["model"] and each.length == best.get("T")]
    if not at or at[0].kind is None:
        return None
    alike = [each for each in here if each.spec.param_budget == at[0].spec.param_budget]
    answer = choose(Problem(kind=at[0].kind, length=at[0].length), alike)
    return answer.sure if answer.pick == best["model"] else "undecided"


def _picked(best: Mapping[str, Any], other: Mapping[str, Any] | None, step: str) -> dict[str, Any]:
    """A row of the decision table; the pick is None where no model solves the task."""
    if not best["solves"]:
        return dict.fromkeys(DECISION)
    train_s, alone = best.get("train_s", best.get("run_s")), "train_s" in best
    return {
        "pick": best["model"],
        "T": best["reached"],
        "runner-up": f"{other['model']} ({other['reached']})" if other else None,
        "evidence": f"{best['solved']}/{best['seeds']}",
        "training": None if train_s is None else f"{'' if alone else 'about '}{train_s:,.3g} s",
        "step": f"{best[step]:.3g} µs" if step in best else None,
        "state": f"{best['state_bytes']:,.0f} bytes" if "state_bytes" in best else None,
    }


def background(data: Data) -> list[tuple[str, str]]:
    """What stands behind the answer: name → value."""
    made = data.runs[data.runs["status"].isin(COUNTED)]
    seeds = made.groupby(["task_label", "model_label", "T"])["seed"].nunique()
    found = [
        ("runs", f"{len(made):,} of {len(data.runs):,} planned"),
        ("seeds per point", span(seeds)),
        ("tasks", str(made["task_label"].nunique())),
        ("models", str(made["model_label"].nunique())),
    ]
    if "ended" in made and len(made):
        ended = Counter(made["ended"].dropna())
        found.append(("ended", ", ".join(f"{n} {how}" for how, n in ended.most_common())))
    elif len(made) and made["solved"].notna().any():
        judged = made[made["solved"].notna()]
        found.append(
            ("solved", f"{int(judged['solved'].sum()):,} of {counted(len(judged), 'run')}")
        )
    machines = {record.machine.gpu or record.machine.cpu for record in data.source.records}
    if machines:
        found.append(("machine", ", ".join(sorted(machines))))
    return found
