"""Two results folders side by side: records → frames → one page.

A is what there was, B what there is now: two commits, two machines, or two models. Differences are
B minus A and ratios B over A. Nothing is averaged over backends or machines.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

import itertools
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from bench.errors import RequestError, one_line, unknown
from bench.markup import template
from bench.plan import with_settings
from bench.report import TEMPLATES, html, markdown_table, write
from bench.spec import Spec, SpeedSpec
from bench.stats import paired_difference, ratio_of_medians, share_difference
from bench.store import Damaged, MetricInfo, Record, SpeedRecord, Store, Times
from bench.tables import COUNTED, Labels, ends, environment, listed

TOLERANCE = 0.1
"""How much slower is no regression: 10%."""
MOST_LINES = 3
"""Of a kind, in the summary."""
SAME, OTHER_VERSIONS, OTHER_MACHINE = "same", "same, other versions", "another"
TIMED = {"train": "training step", "forward": "whole sequence", "step": "streaming step"}
Place = TypeVar("Place", bound=Hashable)
AnyRecord = TypeVar("AnyRecord", Record, SpeedRecord)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two folders."""

    name: str
    """A or B."""
    folder: Path
    runs: Sequence[Record]
    speed: Sequence[SpeedRecord]
    damaged: Sequence[Damaged]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found."""

    a: Side
    b: Side
    models: tuple[str, str] | None
    """The two models compared; None: each with itself."""
    tolerance: float
    scores: pd.DataFrame
    """A row a configuration, on the seeds that both have."""
    times: pd.DataFrame
    """A row a network, batch size and what was timed."""
    left: pd.DataFrame
    """What was compared with nothing."""

    @property
    def worse(self) -> pd.DataFrame:
        return _of_verdict(self.scores, "worse")

    @property
    def slower(self) -> pd.DataFrame:
        """On the same machine: another one's times say nothing of the code."""
        slower = _of_verdict(self.times, "slower")
        return slower[slower["machine"] != OTHER_MACHINE] if len(slower) else slower

    @property
    def num_regressions(self) -> int:
        return len(self.worse) + len(self.slower)


def read(folder: Path, name: str) -> Side:
    """Every record below a folder; `RequestError` where there is none."""
    if not folder.is_dir():
        raise RequestError(f"{name}: {folder} is not a folder")
    store = Store(folder)
    runs, damaged = store.read_all()
    speed, damaged_speed = store.read_speed()
    if not runs and not speed:
        raise RequestError(f"{name}: {folder} holds no record; valid: a folder of results")
    return Side(name=name, folder=folder, runs=runs, speed=speed, damaged=damaged + damaged_speed)


def compare(
    a: Side, b: Side, *, models: tuple[str, str] | None = None, tolerance: float = TOLERANCE
) -> Comparison:
    """Each configuration with itself, or the first model in A with the second in B.

    A model is named by its label, or by its name where no label is so. Raises `RequestError` for
    one that a folder does not have.
    """
    plain = _plain_labels(a, b)
    specs = {record.spec.id: record.spec for record in (*a.runs, *b.runs)}
    labels = plain | with_settings(list(specs.values()), plain)
    by_model = models is not None
    if models is not None:
        a, b = (
            _only(side, model, labels, plain) for side, model in zip((a, b), models, strict=True)
        )
    scores, compared = _scores(a, b, labels, by_model=by_model)
    times, timed = _times(a, b, labels, tolerance, by_model=by_model)
    return Comparison(
        a=a,
        b=b,
        models=models,
        tolerance=tolerance,
        scores=scores,
        times=times,
        left=_left(a, b, labels, compared | timed),
    )


def _plain_labels(a: Side, b: Side) -> Labels:
    """As recorded; those of runs that failed from others of the same task or model."""
    known: dict[str, str] = {}
    records = [*a.runs, *a.speed, *b.runs, *b.speed]
    for record in records:
        content = record.outcome if isinstance(record, Record) else record.speed
        if content is not None:
            known[_task_key(record.spec, length=False)] = content.task_label
            known[_model_key(record.spec)] = content.label
    return {
        record.spec.id: (
            known.get(_task_key(record.spec, length=False), record.spec.task.name),
            known.get(_model_key(record.spec), record.spec.model.name),
        )
        for record in records
    }


def _key(*content: object) -> str:
    return json.dumps(content, sort_keys=True)


def _task_key(spec: Spec | SpeedSpec, *, length: bool = True) -> str:
    """The data: the task's version is part of it."""
    fields = {key: value for key, value in spec.task.fields.items() if length or key != "length"}
    return _key(spec.task.name, fields, spec.task.version)


def _model_key(spec: Spec | SpeedSpec) -> str:
    return _key("model", spec.model.name, spec.model.fields)


def _configuration(spec: Spec | SpeedSpec) -> str:
    """All that was asked for, but for the seed and the code that answers it.

    The versions of model and protocol and a plug-in's source may differ: what they change is what a
    comparison is for.
    """
    size = (spec.param_budget, spec.width, spec.extra_width)
    how = spec.training.model_dump() if isinstance(spec, Spec) else spec.batch_size
    return _key(_task_key(spec), _model_key(spec), size, how)


def _question(spec: Spec | SpeedSpec, *, by_model: bool) -> str:
    """What both sides have to agree in."""
    if not by_model:
        return _configuration(spec)
    return _key(_task_key(spec), None if isinstance(spec, Spec) else spec.batch_size)


def _only(side: Side, model: str, labels: Labels, plain: Labels) -> Side:
    """The runs and times of one model."""
    records = [*side.runs, *side.speed]
    for names in (
        {spec_id: label for spec_id, (_, label) in labels.items()},
        {spec_id: label for spec_id, (_, label) in plain.items()},
        {record.spec.id: record.spec.model.name for record in records},
    ):
        if any(names[record.spec.id] == model for record in records):
            return replace(
                side,
                runs=[record for record in side.runs if names[record.spec.id] == model],
                speed=[record for record in side.speed if names[record.spec.id] == model],
            )
    valid = {labels[record.spec.id][1] for record in records}
    raise unknown("model", model, valid, f"--models: {side.name}")


def _pairs(a: Iterable[Place], b: Iterable[Place]) -> list[tuple[Place, Place]]:
    """Places that both have; where there is none, the one of each that has the most records."""
    of_a, of_b = Counter(a), Counter(b)
    shared = [(place, place) for place in of_a if place in of_b]
    if shared or not of_a or not of_b:
        return shared
    return [(of_a.most_common(1)[0][0], of_b.most_common(1)[0][0])]


def _matches(
    a: Iterable[AnyRecord], b: Iterable[AnyRecord], *, by_model: bool
) -> Iterator[tuple[list[AnyRecord], list[AnyRecord]]]:
    """Records of one configuration in A, and of one in B that answers the same question."""
    grouped: list[dict[str, dict[str, list[AnyRecord]]]] = [{}, {}]
    for questions, records in zip(grouped, (a, b), strict=True):
        for record in records:
            question = questions.setdefault(_question(record.spec, by_model=by_model), {})
            question.setdefault(_configuration(record.spec), []).append(record)
    of_a, of_b = grouped
    for question in of_a:
        if question in of_b:
            yield from itertools.product(of_a[question].values(), of_b[question].values())


def _arrow(a: object, b: object) -> str:
    """One value where both have the same, else both."""
    return str(a) if a == b else f"{a} → {b}"


def _changed(a: Spec | SpeedSpec, b: Spec | SpeedSpec) -> str | None:
    """In what the code differs that answered the same question."""
    said = []
    if a.protocol != b.protocol:
        said.append(f"protocol {a.protocol} → {b.protocol}")
    if a.model.name == b.model.name and a.model.version != b.model.version:
        said.append(f"model version {a.model.version} → {b.model.version}")
    for name in a.plugin_sha256.keys() & b.plugin_sha256.keys():
        if a.plugin_sha256[name] != b.plugin_sha256[name]:
            said.append(f"source of {name}")
    return ", ".join(said) or None


def _scores(
    a: Side, b: Side, labels: Labels, *, by_model: bool
) -> tuple[pd.DataFrame, set[tuple[str, Path]]]:
    """The table, and which records are in it."""
    counted = [[run for run in side.runs if run.status in COUNTED] for side in (a, b)]
    # What a score means and when it counts as solved is the same for both: as B has it.
    known = {
        _task_key(run.spec): (run.outcome.score, run.outcome.solved_at)
        for run in itertools.chain(*counted)
        if run.outcome is not None
    }
    rows, compared = [], set()
    places = ([run.backend.name for run in runs] for runs in counted)
    for place_a, place_b in _pairs(*places):
        of_a, of_b = (
            [run for run in runs if run.backend.name == place]
            for runs, place in zip(counted, (place_a, place_b), strict=True)
        )
        for runs_a, runs_b in _matches(of_a, of_b, by_model=by_model):
            by_seed_a, by_seed_b = _current(runs_a), _current(runs_b)
            seeds = sorted(by_seed_a.keys() & by_seed_b.keys())
            task = _task_key(runs_a[0].spec)
            if not seeds or task not in known:
                continue
            score, solved_at = known[task]
            pairs = [(by_seed_a[seed], by_seed_b[seed]) for seed in seeds]
            if any(run.outcome and run.outcome.score.name != score.name for run, _ in pairs):
                continue
            spec_a, spec_b = pairs[0][0].spec, pairs[0][1].spec
            rows.append(
                {
                    "task": labels[spec_a.id][0],
                    "T": spec_a.length,
                    "model": _arrow(labels[spec_a.id][1], labels[spec_b.id][1]),
                    "backend": _arrow(place_a, place_b),
                    "changed": _changed(spec_a, spec_b),
                    **_score_row(pairs, score, solved_at),
                }
            )
            for pair in pairs:
                compared |= {(side.name, run.path) for side, run in zip((a, b), pair, strict=True)}
    return _sorted(rows, ["task", "T", "model", "backend"]), compared


def _current(runs: Iterable[Record]) -> dict[int, Record]:
    """Seed → run, of the code that made the newest run: two versions make no mean."""
    newest = max(runs, key=lambda run: run.created)

    def code(run: Record) -> object:
        return run.spec.protocol, run.spec.model.version, run.spec.plugin_sha256

    return {run.spec.seed: run for run in runs if code(run) == code(newest)}


def _score_row(
    pairs: Sequence[tuple[Record, Record]], score: MetricInfo, solved_at: float | None
) -> dict[str, object]:
    values_a, values_b = ([_value(run, score) for run in runs] for runs in zip(*pairs, strict=True))
    n = len(pairs)
    found = paired_difference(values_b, values_a)
    low, high = ends(found, -1.0, score.unit)
    row: dict[str, object] = {
        "score": score.name,
        "better": "higher" if score.higher_is_better else "lower",
        "seeds": n,
        "a": sum(values_a) / n,
        "b": sum(values_b) / n,
        "difference": found.mean,
        "low": low,
        "high": high,
    }
    fewer = more = False
    if solved_at is not None:
        solved_a, solved_b = (
            sum(_solves(run, score, solved_at) for run in runs) for runs in zip(*pairs, strict=True)
        )
        share_low, share_high = share_difference(solved_b, solved_a, n)
        fewer, more = share_high < 0, share_low > 0
        row |= {
            "solved_a": solved_a,
            "solved_b": solved_b,
            "share_low": share_low,
            "share_high": share_high,
        }
    sign = 1 if score.higher_is_better else -1
    # An interval's ends in the direction that is better.
    bounds = None if low is None or high is None else sorted((sign * low, sign * high))
    if all(_numbers(run) == _numbers(other) for run, other in pairs):
        verdict = "identical"
    elif fewer or (bounds and bounds[1] < 0):
        verdict = "worse"
    elif more or (bounds and bounds[0] > 0):
        verdict = "better"
    else:
        verdict = "one seed" if n == 1 else "no clear difference"
    return row | {"verdict": verdict}


def _value(run: Record, score: MetricInfo) -> float:
    """The score as a report counts it: at chance where there is none."""
    return score.chance if run.outcome is None else run.outcome.test_score


def _solves(run: Record, score: MetricInfo, solved_at: float) -> bool:
    return run.outcome is not None and score.reaches(run.outcome.test_score, solved_at)


def _numbers(run: Record) -> object:
    """What is the same wherever the same arithmetic was done: everything but times."""
    if run.outcome is None:
        return run.status
    kept = {"steps", "best_step", "stopped", "test", "num_test", "curve"}
    return run.outcome.model_dump(include=kept, exclude={"curve": {"__all__": {"seconds"}}})


def _times(
    a: Side, b: Side, labels: Labels, tolerance: float, *, by_model: bool
) -> tuple[pd.DataFrame, set[tuple[str, Path]]]:
    """The table, and which records are in it."""
    rows, compared = [], set()
    places = ([_timed_at(record) for record in side.speed] for side in (a, b))
    for place_a, place_b in _pairs(*places):
        of_a, of_b = (
            [record for record in side.speed if _timed_at(record) == place]
            for side, place in zip((a, b), (place_a, place_b), strict=True)
        )
        for records_a, records_b in _matches(of_a, of_b, by_model=by_model):
            measured_a, measured_b = _measured(records_a), _measured(records_b)
            for measure, what in TIMED.items():
                if measure not in measured_a or measure not in measured_b:
                    continue
                (record_a, times_a), (record_b, times_b) = measured_a[measure], measured_b[measure]
                spec_a, spec_b = record_a.spec, record_b.spec
                assert record_a.speed is not None
                assert record_b.speed is not None
                rows.append(
                    {
                        "timed": what,
                        "task": labels[spec_a.id][0],
                        "T": spec_a.length,
                        "batch": spec_a.batch_size,
                        "model": _arrow(labels[spec_a.id][1], labels[spec_b.id][1]),
                        "parameters": _arrow(
                            record_a.speed.num_parameters, record_b.speed.num_parameters
                        ),
                        "machine": _machines(record_a, record_b),
                        "changed": _changed(spec_a, spec_b),
                        **_time_row(times_a, times_b, tolerance),
                    }
                )
                compared |= {(a.name, record_a.path), (b.name, record_b.path)}
    return _sorted(rows, ["timed", "task", "T", "batch", "model"]), compared


def _timed_at(record: SpeedRecord) -> tuple[str, str]:
    return record.backend.name, record.machine.slug


def _measured(records: Iterable[SpeedRecord]) -> dict[str, tuple[SpeedRecord, Times]]:
    """Measure → times, the newest of each."""
    found = {}
    for record in sorted(records, key=lambda record: record.created):
        if record.speed is not None:
            streaming = record.speed.streaming
            for measure, work in (
                ("train", record.speed.train),
                ("forward", record.speed.forward),
                ("step", None if streaming is None else streaming.step),
            ):
                if work is not None:
                    found[measure] = record, work.times
    return found


def _machines(a: SpeedRecord, b: SpeedRecord) -> str:
    """Whether the times tell of the code or of what it ran on."""
    hardware = ("cpu", "cores", "gpu", "system")
    if a.backend != b.backend or any(
        getattr(a.machine, part) != getattr(b.machine, part) for part in hardware
    ):
        return OTHER_MACHINE
    return SAME if a.machine.slug == b.machine.slug else OTHER_VERSIONS


def _time_row(a: Times, b: Times, tolerance: float) -> dict[str, object]:
    low, high = ratio_of_medians(b.samples, a.samples) or (None, None)
    if low is None or high is None:
        verdict = "one sample"
    elif low > 1 + tolerance:
        verdict = "slower"
    elif high < 1 / (1 + tolerance):
        verdict = "faster"
    else:
        verdict = "no clear difference"
    return {
        "a_ms": 1e3 * a.median,
        "b_ms": 1e3 * b.median,
        "ratio": b.median / a.median,
        "low": low,
        "high": high,
        "verdict": verdict,
    }


def _sorted(rows: Sequence[Mapping[str, object]], by: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows).sort_values(by, ignore_index=True) if rows else pd.DataFrame()


def _left(a: Side, b: Side, labels: Labels, compared: set[tuple[str, Path]]) -> pd.DataFrame:
    """What stands in no row of the other tables, with the reason and how many there are."""
    rows = [
        {
            "in": side.name,
            "what": "run" if isinstance(record, Record) else "times",
            "task": labels[record.spec.id][0],
            "model": labels[record.spec.id][1],
            "T": record.spec.length,
            "reason": _reason(record, other),
        }
        for side, other in ((a, b), (b, a))
        for record in (*side.runs, *side.speed)
        if (side.name, record.path) not in compared
    ]
    if not rows:
        return pd.DataFrame()
    keys = ["in", "what", "task", "model", "reason"]
    return pd.DataFrame(
        [
            {**dict(zip(keys, key, strict=True)), "T": listed(group["T"]), "count": len(group)}
            for key, group in pd.DataFrame(rows).groupby(keys, sort=False)
        ]
    )


def _reason(record: Record | SpeedRecord, other: Side) -> str:
    if record.status in ("failed", "skipped"):
        return f"{record.status}: {record.error}"
    if isinstance(record, Record):
        there = {run.backend.name for run in other.runs}
        place, kind = record.backend.name, f"no run of {record.backend.name}"
    else:
        there = {_timed_at(timed) for timed in other.speed}
        place, kind = _timed_at(record), "no times of this machine and backend"
    if place not in there:
        return f"{kind} in {other.name}"
    return f"no counterpart in {other.name}"


def _of_verdict(table: pd.DataFrame, verdict: str) -> pd.DataFrame:
    return table[table["verdict"] == verdict] if len(table) else table


def write_comparison(folder: Path, found: Comparison) -> str:
    """Write `compare.md`, `compare.html`, `scores.csv`, `times.csv` and `left.csv`.

    Returns a summary that a person reads in ten seconds. The same records give the same files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"--output: can't make {folder}: {reason}") from None
    for name, table in (("scores", found.scores), ("times", found.times), ("left", found.left)):
        write(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    title = f"{_name(found, 0)} beside {_name(found, 1)}"
    page = template(TEMPLATES, "compare.md.jinja").render(
        found=found,
        title=title,
        summary=_summary(found),
        environment=markdown_table(_environment(found)),
        scores=markdown_table(_without_empty(found.scores)),
        times=markdown_table(_without_empty(found.times)),
        left=markdown_table(found.left),
    )
    write(folder / "compare.md", page)
    write(folder / "compare.html", html(page, title, folder))
    return "\n".join([*_summary(found), f"The page is {folder / 'compare.html'}"])


def _name(found: Comparison, at: int) -> str:
    folder = (found.a, found.b)[at].folder
    return f"{folder}" if found.models is None else f"{found.models[at]} of {folder}"


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    return table.dropna(axis="columns", how="all")


def _environment(found: Comparison) -> pd.DataFrame:
    """Machines, versions and commits on both sides, of runs and of times."""
    frames = [
        environment(records).rename(columns={"runs": "records"}).assign(**{"in": side.name})
        for side in (found.a, found.b)
        for records in [[*side.runs, *side.speed]]
    ]
    table = pd.concat(frames, ignore_index=True)
    return table[["in", *table.columns.drop("in")]]


def _summary(found: Comparison) -> list[str]:
    """At most 14 lines."""
    lines = []
    for at, side in enumerate((found.a, found.b)):
        failed = sum(run.status == "failed" for run in side.runs)
        lines.append(
            f"{side.name}: {_name(found, at)}, {len(side.runs)} runs"
            + (f" ({failed} failed)" if failed else "")
            + f", {len(side.speed)} networks timed"
        )
    lines.append(_counts("scores", found.scores))
    lines += _named(
        found.worse,
        lambda row: (
            f"worse: {row['model']} on {row['task']}, T={row['T']}: {row['score']} "
            f"{row['a']:.3g} → {row['b']:.3g}{_solved(row)}"
        ),
    )
    other = _on_another(found.times)
    lines.append(_counts("times", found.times))
    if len(found.times):
        ratios = found.times.groupby("timed", sort=False)["ratio"].median()
        lines.append(
            "medians of B over A: "
            + ", ".join(f"{what} {ratio:.2f} ×" for what, ratio in ratios.items())
        )
    if other:
        lines.append(f"{other} times are of two machines or backends: none counts as a regression")
    lines += _named(
        found.slower,
        lambda row: (
            f"slower: {row['timed']} of {row['model']} on {row['task']}, T={row['T']}, "
            f"batch {row['batch']}: {row['ratio']:.2f} × ({row['low']:.2f} to {row['high']:.2f})"
        ),
    )
    counts = found.left.groupby("in")["count"].sum().to_dict() if len(found.left) else {}
    lines.append(
        "compared with nothing: "
        + (", ".join(f"{count} records of {side}" for side, count in counts.items()) or "none")
    )
    lines.append(f"regressions: {found.num_regressions or 'none'}")
    return [one_line(line, most=500) for line in lines]


def _on_another(times: pd.DataFrame) -> int:
    return int((times["machine"] == OTHER_MACHINE).sum()) if len(times) else 0


def _solved(row: Mapping[str, object]) -> str:
    if row.get("solved_a") is None or row["solved_a"] != row["solved_a"]:
        return ""
    return f", solved by {row['solved_a']:g} → {row['solved_b']:g} of {row['seeds']} seeds"


def _counts(what: str, table: pd.DataFrame) -> str:
    if table.empty:
        return f"{what}: none in both"
    counts = Counter(table["verdict"])
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    return f"{what}: {len(table)} in both: {said}"


def _named(table: pd.DataFrame, line: Callable[[Mapping[str, object]], str]) -> list[str]:
    """The first of these, and how many more there are; at most `MOST_LINES` lines."""
    rows = [line(row) for row in table.to_dict("records")]
    if len(rows) <= MOST_LINES:
        return rows
    kept = MOST_LINES - 1
    return [*rows[:kept], f"and {len(rows) - kept} more like these"]
