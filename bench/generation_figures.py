"""Frames of generation → figures."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# (The annotations of pandas and matplotlib are too wide for pyright to follow.)

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.figures import Style, shared_legend, titled_panels

BASELINES = {"uniform": ":", "unigram": "--", "markov-1": "-."}


def likelihood_figure(table: pd.DataFrame, style: Style) -> Figure:
    """A panel a task and T: each model's score with its interval, and baselines as lines."""
    groups = list(table.groupby(["task", "T"], sort=False))
    figure, axes = titled_panels([f"{task}, T = {length}" for (task, length), _ in groups])
    for panel, (_, group) in zip(axes, groups, strict=True):
        for place, row in enumerate(group.itertuples()):
            look = style[row.model]
            panel.plot(place, row.mean, color=look["color"], marker=look["marker"], markersize=7)
            if row.mean_low == row.mean_low and row.mean_low is not None:
                panel.vlines(place, row.mean_low, row.mean_high, color=look["color"])
        for name, dash in BASELINES.items():
            panel.axhline(group[name].iloc[0], color="0.35", linestyle=dash, linewidth=1.2)
        panel.set_xticks(range(len(group)), list(group["model"]), rotation=30, ha="right")
        panel.set_ylabel(f"test {group['score'].iloc[0]}\n({group['unit'].iloc[0]})")
        panel.grid(axis="x", visible=False)
    lines = [
        Line2D([], [], color="0.35", linestyle=dash, linewidth=1.2, label=name)
        for name, dash in BASELINES.items()
    ]
    shared_legend(figure, lines)
    return figure
