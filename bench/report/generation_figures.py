"""Frames of generation → figures."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import pandas as pd
from matplotlib.figure import Figure

from bench.report.facets import Style, spread
from bench.report.figures import cost_against_length, shared_legend, titled_panels
from bench.report.generation import BASELINES

DASHES = dict(zip(BASELINES, (":", "--", "-."), strict=True))
MOST_PANELS = 12
NAIVE = " (naive)"


def likelihood_figure(table: pd.DataFrame, style: Style) -> Figure:
    """A panel a task and T: each model's score with its interval, baselines as lines."""
    groups = spread(list(table.groupby(["task", "T"], sort=False)), MOST_PANELS)
    figure, panels = titled_panels([f"{task}\nT = {length}" for (task, length), _ in groups])
    for panel, (_, group) in zip(panels, groups, strict=True):
        for place, row in enumerate(group.to_dict("records")):
            look = {**style[row["model"]], "linestyle": "none"}
            panel.plot(place, row["mean"], ms=7, **look)
            if row["mean_low"] is not None and row["mean_low"] == row["mean_low"]:
                panel.vlines(place, row["mean_low"], row["mean_high"], color=look["color"])
        for name, dash in DASHES.items():
            if name not in group or group[name].isna().all():
                continue
            panel.axhline(group[name].iloc[0], color="0.35", ls=dash, lw=1.2, label=name)
        panel.set_xlim(-0.5, len(group) - 0.5)
        panel.set_ylim(bottom=min(panel.get_ylim()[0], -0.04 * panel.get_ylim()[1]))
        panel.set_xticks(range(len(group)), group["model"], rotation=30, ha="right", fontsize=8)
        panel.set_ylabel(f"test {group['score'].iloc[0]}\n({group['unit'].iloc[0]})", fontsize=9)
        panel.grid(axis="x", visible=False)
    shared_legend(figure, panels, {})
    return figure


def sampling_figure(table: pd.DataFrame, style: Style) -> Figure:
    """Samples a second against T: cached, and naive as the same colour dotted."""
    naive = table.assign(model=table["model"] + NAIVE, per_s=table["naive_per_s"])
    both = pd.concat([table.assign(per_s=table["cached_per_s"]), naive])
    again = {
        f"{model}{NAIVE}": {**look, "linestyle": (0, (1, 2)), "alpha": 0.6}
        for model, look in style.items()
    }
    return cost_against_length(both, "per_s", "samples per second", {**style, **again})
