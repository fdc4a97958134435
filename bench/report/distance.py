"""Gradients by distance of the input: the frame made from records, and its panels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.core.records import ByDistance, Record
from bench.report import drawing, facets
from bench.report.facets import AT_THE_START, TRAINED, Style
from bench.report.runs import Labels, key, outcomes


def by_distance(records: Sequence[Record], labels: Labels, gradient: str) -> pd.DataFrame:
    """One row per task, T, model, seed, moment of training and distance.

    `gradient` is `loss_gradient` or `output_gradient` of the probes.
    """
    rows: list[dict[str, object]] = []
    found: list[ByDistance] = []
    for record, outcome in outcomes(records):
        if outcome.probes is None:
            continue
        about = {**key(labels[record.spec.id], record.spec.length), "seed": record.spec.seed}
        for moment, probe in (
            (AT_THE_START, outcome.probes.initial),
            (TRAINED, outcome.probes.trained),
        ):
            rows.append({**about, "moment": moment})
            found.append(getattr(probe, gradient))
    return repeated(
        rows,
        distance=[each.distances for each in found],
        value=[each.values for each in found],
    )


def repeated(
    rows: Sequence[dict[str, object]], **values: Sequence[Sequence[float | None]]
) -> pd.DataFrame:
    """Each row repeated for each of its values, with one column of values per keyword.

    Many runs may give millions of rows, so they are not built one by one.
    """
    if not rows:
        return pd.DataFrame()
    lengths = [len(each) for each in next(iter(values.values()))]
    frame = pd.DataFrame(list(rows))
    frame = frame.loc[frame.index.repeat(lengths)].reset_index(drop=True)
    for name, column in values.items():
        frame[name] = np.array([value for each in column for value in each], dtype=float)
    return frame


def draw_by_distance(panel: Axes, rows: pd.DataFrame, style: Style, floor: float) -> None:
    """Values against distance on logarithmic axes; values below `floor` are drawn at it.

    Line: geometric mean over seeds; band: range over seeds.
    """
    for model, look, i, _ in facets.lines(rows, style):
        line = rows[rows["model_label"] == model]
        values = line["value"].clip(lower=floor)
        logs = pd.Series(np.log(values.to_numpy()), index=values.index)
        middle = np.exp(logs.groupby(line["distance"]).mean().to_numpy())
        seeds = values.groupby(line["distance"])
        x = seeds.min().index.to_numpy()
        every = max(len(middle) // 5, 1)
        panel.plot(x, middle, label=model, lw=1.5, ms=4.5, markevery=(i % every, every), **look)
        panel.fill_between(x, seeds.min(), seeds.max(), color=look["color"], alpha=0.15, lw=0)
    furthest = max(rows["distance"].max(), 1)
    panel.set_xscale("symlog", linthresh=1, linscale=0.4)
    ticks = [0, *(c * 10**e for e in range(7) for c in (1, 3) if c * 10**e <= furthest)]
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_major_formatter(FuncFormatter(drawing.short))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(-0.1, furthest * 1.25)
    # An axis needs a height where all values lie on the floor; panels may share theirs.
    set_before = 0.0 if panel.get_autoscaley_on() else panel.get_ylim()[1]
    panel.set_ylim(floor / 2, max(3 * rows["value"].max(), 30 * floor, set_before))
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(FixedLocator(decades(floor, 1e12)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value, floor)))
    panel.tick_params(labelsize=8)
    panel.set_xlabel("distance to the last input (steps)", fontsize=9)


def decades(low: float, high: float) -> list[float]:
    """Every second power of ten, beginning at `low`."""
    return [10.0**power for power in range(round(np.log10(low)), round(np.log10(high)) + 1, 2)]


def _power(value: float, floor: float) -> str:
    power = str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{'≤ ' if value <= floor * 1.01 else ''}10{power}"
