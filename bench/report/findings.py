"""Records → frames of what long dependencies do to a network, a function a frame.

Gradients against distance, receptive fields, tests at other lengths, the sensitivity to the
learning rate. A frame is empty where no record has anything to say.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas are too wide for pyright to follow.)

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from bench.core.intervals import wilson
from bench.core.records import ByDistance, CurvePoint, Outcome, Probes, Record
from bench.plan.grid import task_of
from bench.plan.rates import Rates
from bench.report.claims import KERNEL_SIZES, dilated_field
from bench.report.facets import AT_THE_START, TRAINED
from bench.report.tables import Labels, counted, over_seeds
from models import model_class, names

ROW = ["task", "T", "model"]
CONVOLUTIONS_PER_LAYER = (1, 2)
DEPTHS = range(1, 11)


def gradients(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """Norm of the loss's gradient a task, T, model, seed, moment and distance."""
    return _by_distance(records, labels, "loss_gradient")


def influence(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """Norm of the last output's Jacobian a task, T, model, seed, moment and distance."""
    return _by_distance(records, labels, "output_gradient")


def _by_distance(records: Sequence[Record], labels: Labels, of: str) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    found: list[ByDistance] = []
    for record, outcome in _made(records):
        if outcome.probes is None:
            continue
        start, trained = outcome.probes.initial, outcome.probes.trained
        for moment, probe in ((AT_THE_START, start), (TRAINED, trained)):
            rows.append({**_key(record, labels), "seed": record.spec.seed, "moment": moment})
            found.append(getattr(probe, of))
    return _a_row_each(
        rows,
        distance=[each.distances for each in found],
        value=[each.values for each in found],
    )


def learning(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The validation score a task, T, model, seed and update; missing where it is not finite."""
    rows: list[dict[str, object]] = []
    curves: list[Sequence[CurvePoint]] = []
    for record, outcome in _made(records):
        score = outcome.score
        about = {"seed": record.spec.seed, "score": score.name, "unit": score.unit}
        about |= {"chance": score.chance}
        rows.append({**_key(record, labels), **about})
        curves.append(outcome.curve)
    return _a_row_each(
        rows,
        step=[[point.step for point in curve] for curve in curves],
        value=[
            [point.values[row["score"]] for point in curve]
            for row, curve in zip(rows, curves, strict=True)
        ],
    )


def _a_row_each(
    rows: Sequence[Mapping[str, object]], **values: Sequence[Sequence[float | None]]
) -> pd.DataFrame:
    """Each row as often as it has values, with a column of them for each keyword.

    Of many runs that is millions of rows, too many to be made one by one.
    """
    if not rows:
        return pd.DataFrame()
    lengths = [len(each) for each in next(iter(values.values()))]
    frame = pd.DataFrame(rows)
    frame = frame.loc[frame.index.repeat(lengths)].reset_index(drop=True)
    return frame.assign(
        **{name: [value for each in column for value in each] for name, column in values.items()}
    )


def _made(records: Sequence[Record]) -> Iterator[tuple[Record, Outcome]]:
    for record in records:
        if record.outcome is not None:
            yield record, record.outcome


def _key(record: Record, labels: Labels) -> dict[str, object]:
    task, model = labels[record.spec.id]
    family = model_class(record.spec.model.name).family
    return {"task": task, "T": record.spec.length, "model": model, "family": family}


def fields(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """Three receptive fields a task, T and model, in steps.

    `formula`: as the model's class computes it; None: without end. `measured`: by perturbation,
    the most that any seed saw; its `mark` is "≥" where no older input was there to change. The
    effective field at the start and after training: median, smallest and largest over seeds.
    """
    groups: dict[tuple, list[tuple[Record, Outcome, Probes]]] = {}
    for record, outcome in _made(records):
        if outcome.probes is not None:
            key = tuple(_key(record, labels).items())
            groups.setdefault(key, []).append((record, outcome, outcome.probes))
    rows = []
    for key, seeds in groups.items():
        record, outcome, _ = seeds[0]
        every = [probes for _, _, probes in seeds]
        measured = max(probes.measured_field for probes in every)
        seen = max(probes.seen_steps for probes in every)
        row: dict[str, object] = {
            **dict(key),
            "reach": task_of(record.spec).signature.reach,
            "formula": outcome.receptive_field,
            "mark": "≥" if measured >= seen else "=",
            "measured": measured,
        }
        for moment, probed in (
            ("start", [probes.initial for probes in every]),
            ("trained", [probes.trained for probes in every]),
        ):
            effective = pd.Series([probe.effective_field for probe in probed])
            row |= {
                f"effective_{moment}": effective.median(),
                f"effective_{moment}_min": effective.min(),
                f"effective_{moment}_max": effective.max(),
            }
        rows.append({**row, "seeds": len(seeds)})
    frame = pd.DataFrame(rows)
    if len(frame):  # whole numbers beside None, not floats beside nan
        frame["formula"] = pd.Series([row["formula"] for row in rows], dtype=object)
    return frame


def fields_table(found: pd.DataFrame) -> pd.DataFrame:
    """The same for people: `without end`, `≥ 170`, `40 (31–52)`."""
    if found.empty:
        return found
    table = found[[*ROW, "reach"]].copy()
    table["by_formula"] = ["without end" if pd.isna(steps) else steps for steps in found["formula"]]
    marks = zip(found["mark"], found["measured"], strict=True)
    table["by_perturbation"] = [f"{'≥ ' if mark == '≥' else ''}{steps}" for mark, steps in marks]
    for moment, name in (("start", "effective_at_the_start"), ("trained", "effective_trained")):
        columns = [f"effective_{moment}{end}" for end in ("", "_min", "_max")]
        table[name] = [
            f"{middle:g}" if low == high else f"{middle:g} ({low:g}–{high:g})"
            for middle, low, high in found[columns].itertuples(index=False)
        ]
    table["seeds"] = found["seeds"]
    return table


def cliff(runs: pd.DataFrame) -> pd.DataFrame:
    """Score and share solved against T for the models whose receptive field is finite and fixed.

    A model whose field grows with T, and one that was run at a single T, has no cliff and is left
    out. `covered`: the field is as long as the reach, so that the answer can depend on all it
    needs. Failed runs count as in every table: not solved, at chance.
    """
    made = counted(runs)
    if made.empty:
        return pd.DataFrame()
    ends = pd.to_numeric(made["receptive_field"])
    by_model = ends.groupby([made["task"], made["model"]])
    ended = by_model.transform("count") > 0
    fixed = (by_model.transform("nunique") == 1) & ended
    several = made.groupby(["task", "model"])["T"].transform("nunique") > 1
    made = made.assign(receptive_field=by_model.transform("first"))[fixed & several]
    rows = []
    for (task, length, model), seeds in made.groupby(ROW, sort=False):
        field, reach = int(seeds["receptive_field"].iloc[0]), int(seeds["reach"].iloc[0])
        row: dict[str, object] = {
            "task": task,
            "T": length,
            "model": model,
            "receptive_field": field,
            "reach": reach,
            "covered": field >= reach,
            "score": seeds["score_name"].iloc[0],
            "unit": seeds["unit"].iloc[0],
            "mean": seeds["score"].mean(),
            "min": seeds["score"].min(),
            "max": seeds["score"].max(),
            "chance": seeds["chance"].iloc[0],
            "seeds": len(seeds),
        }
        if seeds["solved_at"].notna().any():
            num_solved = int((seeds["solved"] == True).sum())  # noqa: E712  None is not False
            low, high = wilson(num_solved, len(seeds))
            row |= {
                "solved": num_solved,
                "share": num_solved / len(seeds),
                "share_low": low,
                "share_high": high,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def beyond(records: Sequence[Record], labels: Labels) -> pd.DataFrame:
    """The score at other lengths than the trained one, and at that one, where they were tested.

    `T` is the trained length, `factor` the tested length over it. A score that is not finite
    counts as chance.
    """
    rows = []
    for record, outcome in _made(records):
        if not outcome.beyond:
            continue
        tests = [(record.spec.length, outcome.test)]
        tests += [(other.length, other.test) for other in outcome.beyond]
        for length, test in tests:
            value = test[outcome.score.name]
            rows.append(
                {
                    **_key(record, labels),
                    "length": length,
                    "factor": length / record.spec.length,
                    "score": outcome.score.name,
                    "unit": outcome.score.said_unit,
                    "value": outcome.score.chance if value is None else value,
                    "chance": outcome.score.chance,
                }
            )
    if not rows:
        return pd.DataFrame()
    keys = [*ROW, "family", "length", "factor", "score", "unit"]
    return over_seeds(pd.DataFrame(rows), keys)


def rate_sensitivity(rates: Rates) -> pd.DataFrame:
    """The validation score of every rate that was tried; missing where a run of it failed."""
    frame = pd.DataFrame(
        [
            {
                "task": task,
                "model": model,
                "family": _family(model),
                "rate": tried.rate,
                "score": tried.score,
                "low": tried.low,
                "high": tried.high,
                "solved": tried.num_solved,
                "runs": tried.num_runs,
                "chosen": tried.rate == tuned.rate,
            }
            for task, by_model in rates.items()
            for model, tuned in by_model.items()
            for tried in tuned.tried
        ]
    )
    return frame.astype(dict.fromkeys(("score", "low", "high"), float)) if len(frame) else frame


def _family(label: str) -> str:
    """Of the model that a label begins with; a plug-in's is known where it is loaded."""
    name = label.split()[0]
    return model_class(name).family if name in names() else "other"


def field_by_depth() -> pd.DataFrame:
    """Receptive field of a causal network whose dilations double from layer to layer."""
    return pd.DataFrame(
        [
            {
                "kernel_size": size,
                "convolutions": convolutions,
                "depth": depth,
                "receptive_field": dilated_field(size, depth, convolutions),
            }
            for size in KERNEL_SIZES
            for convolutions in CONVOLUTIONS_PER_LAYER
            for depth in DEPTHS
        ]
    )
