"""How much of the uniformity ratio is the pooler: random queries and fitted ones."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.panels import titled
from predrecon.workbook.figures.style import COLORS, finish, name

_MARKS = {  # colours of no arm, symbols that tell them apart without colour
    "mean": ("diamond", "#000000"),
    "weighted fitted": ("triangle-up", "#009E73"),
    "attention fitted": ("x", "#882255"),
}
_DRAWS = "#777777"
_PUBLISHED = {"mean": "dash", "random attention": "dot"}
_CLAIM = (5, 10)  # the paper speaks of "5-10 x"


def pooler_spread(
    table: pd.DataFrame, ratios: pd.DataFrame, published: pd.DataFrame, metric: str = "uniformity"
) -> go.Figure:
    """Above, a panel a task: the ratio hybrid / MLM-only by training seed; below, the first task.

    A box is all pairs of random poolers, one of each model's draws; marks are poolers that leave
    nothing to chance. Without pairs (one arm alone) only the lower panel is drawn.

    Args:
        table: of `poolers.spread`; below, every random draw of the first task is a point.
        ratios: of `poolers.ratios`; published: of `poolers.published_ratios`.
        metric: of the lower panel.
    """
    told = table[table["metric"] == metric]
    if told.empty:
        raise ValueError(f"metric={metric!r}: the table has no such rows, nothing to draw.")
    first, tasks = told["title"].iloc[0], list(dict.fromkeys(ratios["title"]))
    below = f"{first}: {titled(metric, ' ')}, by pooler and training seed"
    if tasks:
        columns, plot = len(tasks), 520
        specs = [[{}] * columns, [{"colspan": columns}, *[None] * (columns - 1)]]
        fig = make_subplots(
            2, columns, specs=specs, subplot_titles=[*tasks, below], row_heights=[0.5, 0.5],
            vertical_spacing=95 / plot, horizontal_spacing=0.015,
        )  # fmt: skip
        _ratio_panels(fig, ratios, published, tasks)
    else:
        columns, plot = 1, 230
        fig = make_subplots(1, 1, subplot_titles=[below])
    _values(fig, told[told["title"] == first], row=2 if tasks else 1)
    models = ", ".join(name(model) for model in dict.fromkeys(told["model"]))
    heading = "Uniformity ratio hybrid / MLM-only: how much of it is the pooler?"
    heading = heading if tasks else f"{metric.capitalize()} by pooler: {models}"
    return finish(fig, heading, plot=plot, boxmode="group")


def _ratio_panels(fig: go.Figure, ratios: pd.DataFrame, published: pd.DataFrame, tasks: list[str]):
    """Row 1: a column a task, a logarithmic axis that all share."""
    seeds = sorted(ratios["seed"].unique())
    ends = [-0.5, len(seeds) - 0.5]
    named: set[str] = set()

    def add(trace: go.Scatter | go.Box, col: int):
        trace.update(legendgroup=trace.name, showlegend=trace.name not in named)
        named.add(trace.name)
        fig.add_trace(trace, row=1, col=col)

    for col, title in enumerate(tasks, start=1):
        part = ratios[ratios["title"] == title]
        part = part.assign(x=part["seed"].map(seeds.index))
        crossed = part[part["basis"] == "own draw"]
        add(
            go.Box(
                x=crossed["x"] - 0.12, y=crossed["ratio"], width=0.4,
                name="random attention, all pairs of draws", boxpoints="outliers",
                line=dict(width=1.2, color=_DRAWS), marker=dict(size=3, color=_DRAWS),
                fillcolor="#E4E4E4",
            ),
            col,
        )  # fmt: skip
        for pooler, (symbol, color) in _MARKS.items():
            one = part[(part["pooler"] == pooler) & (part["basis"] == "same draw")]
            add(
                go.Scatter(
                    x=one["x"] + 0.27, y=one["ratio"], name=pooler, mode="markers",
                    marker=dict(symbol=symbol, color=color, size=9),
                    hovertemplate="%{y:.2f}<extra>" + pooler + "</extra>",
                ),
                col,
            )  # fmt: skip
        known = published[published["task"] == part["task"].iloc[0]].set_index("pooler")["ratio"]
        for pooler in [pooler for pooler in _PUBLISHED if pooler in known]:
            label = {"mean": "published, mean"}.get(pooler, "published, attention (one draw)")
            line = dict(color="#D55E00", width=1.8, dash=_PUBLISHED[pooler])
            add(go.Scatter(x=ends, y=[known[pooler]] * 2, name=label, mode="lines", line=line), col)
        fig.add_hrect(
            y0=_CLAIM[0], y1=_CLAIM[1], fillcolor="#D55E00", opacity=0.1, line_width=0,
            layer="below", row=1, col=col,
        )  # fmt: skip
        fig.add_hline(y=1, line=dict(color="#555555", width=1), row=1, col=col)
    ticks = dict(tickvals=list(range(len(seeds))), ticktext=list(map(str, seeds)))
    fig.update_xaxes(title="training seed", range=ends, showgrid=False, **ticks, row=1)
    marks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    fig.update_yaxes(type="log", tickvals=marks, matches="y", showticklabels=False, row=1)
    fig.update_yaxes(title="ratio (shaded: 5 to 10)", showticklabels=True, row=1, col=1)


def _values(fig: go.Figure, told: pd.DataFrame, row: int):
    """A box a pooler, training seed and model; every random draw is a point."""
    for model, rows in told.groupby("model", sort=False):
        rows = rows.sort_values("seed", kind="stable")
        fig.add_box(
            x=[rows["seed"].map("seed {}".format), rows["pooler"]][::-1],
            y=rows["value"],
            name=name(model),
            legendgroup=model,
            offsetgroup=model,
            boxpoints="all",
            jitter=0.5,
            pointpos=0,
            fillcolor="rgba(0,0,0,0)",
            line=dict(width=1, color=COLORS[model]),
            marker=dict(size=4, color=COLORS[model]),
            row=row,
            col=1,
        )
    fig.update_xaxes(tickfont_size=11, row=row, col=1)
