"""How much of the uniformity ratio is due to the pooler: random queries and fitted ones."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.audit.poolers import LARGE
from predrecon.workbook.figures.panels import titled
from predrecon.workbook.figures.style import COLORS, finish, name

_MARKS = {  # colours that no arm has, symbols that work without colour
    "mean": ("diamond", "#000000"),
    "weighted fitted": ("triangle-up", "#009E73"),
    "attention fitted": ("x", "#882255"),
}
_PUBLISHED = {  # in the legend, and how its line is drawn
    "mean": ("published, mean", "dash"),
    "random attention": ("published, attention (one draw)", "dot"),
}


def pooler_spread(
    table: pd.DataFrame, ratios: pd.DataFrame, published: pd.DataFrame, metric: str = "uniformity"
) -> go.Figure:
    """Above, a panel per task: the ratio hybrid / MLM-only by training seed; below, the first task.

    A box shows all pairs of random poolers, one draw per model, from the lowest ratio to the
    highest, with quartiles; marks are poolers without a random draw. Without pairs (one arm alone)
    only the lower panel is drawn.

    Args:
        table, ratios, published: from `poolers.spread`, `ratios` and `published_ratios`.
        metric: shown in the lower panel, where every random draw is a point.
    """
    rows = table[table["metric"] == metric]
    if rows.empty:
        raise ValueError(f"metric={metric!r}: the table has no such rows, nothing to draw.")
    first, tasks = rows["title"].iloc[0], list(ratios["title"].unique())
    titles, plot = [*tasks, f"{first}: {titled(metric, ' ')}, by pooler, all training seeds"], 230
    if tasks:
        plot, columns = 520, len(tasks)
        specs = [[{}] * columns, [{"colspan": columns}, *[None] * (columns - 1)]]
        spacing = dict(vertical_spacing=95 / plot, horizontal_spacing=0.015)
        fig = make_subplots(2, columns, specs=specs, subplot_titles=titles, **spacing)
        _ratio_panels(fig, ratios, published, tasks)
        pairs = ratios.loc[ratios["basis"] == "own draw", "ratio"]
        heading = (
            f"Uniformity, hybrid / MLM-only: {(pairs >= LARGE).sum():,} of {len(pairs):,} pairs of "
            f"random poolers reach {LARGE}"
        )
    else:
        fig = make_subplots(1, 1, subplot_titles=titles)
        models = ", ".join(name(model) for model in rows["model"].unique())
        heading = f"{metric.capitalize()} by pooler: {models}"
    place, points = (
        dict(row=2 if tasks else 1, col=1),
        dict(boxpoints="all", jitter=0.5, pointpos=0),
    )
    for model, part in rows[rows["title"] == first].groupby("model", sort=False):
        values, color = dict(x=part["pooler"], y=part["value"]), COLORS[model]
        look = dict(line=dict(width=1, color=color), marker=dict(size=4, color=color))
        look |= dict(fillcolor="rgba(0,0,0,0)", name=name(model), offsetgroup=model)
        fig.add_box(**values, **points, **look, **place)
    fig.update_xaxes(tickfont_size=11, **place)
    return finish(fig, heading, plot=plot, boxmode="group")


def _ratio_panels(fig: go.Figure, ratios: pd.DataFrame, published: pd.DataFrame, tasks: list[str]):
    """Row 1: a column per task, with a shared logarithmic axis."""
    seeds = sorted(ratios["seed"].unique())
    edges = [-0.5, len(seeds) - 0.5]
    ratios = ratios.assign(x=ratios["seed"].map(seeds.index))
    grey = "#777777"
    box = dict(line=dict(width=1.2, color=grey), marker=dict(size=3, color=grey), width=0.4)
    box |= dict(name="random attention, all pairs of draws", fillcolor="#E4E4E4")
    for col, title in enumerate(tasks, start=1):
        place, rows = dict(row=1, col=col), ratios[ratios["title"] == title]
        pairs, same = (rows[rows["basis"] == basis] for basis in ("own draw", "same draw"))
        ends = pairs.groupby("x")["ratio"].quantile([0, 0.25, 0.5, 0.75, 1]).unstack()
        sides = "lowerfence q1 median q3 upperfence".split()
        quartiles = dict(zip(sides, ends.to_numpy().T, strict=True))
        fig.add_box(x=ends.index - 0.12, **quartiles, **box, **place)
        for pooler, (symbol, color) in _MARKS.items():
            marks = same[same["pooler"] == pooler]
            look = dict(mode="markers", marker=dict(symbol=symbol, color=color, size=9))
            look |= dict(hovertemplate="%{y:.2f}<extra>" + pooler + "</extra>", name=pooler)
            fig.add_scatter(x=marks["x"] + 0.27, y=marks["ratio"], **look, **place)
        lines = published[published["task"] == rows["task"].iloc[0]].set_index("pooler")["ratio"]
        for pooler in [pooler for pooler in _PUBLISHED if pooler in lines]:
            label, dash = _PUBLISHED[pooler]
            look = dict(mode="lines", line=dict(color="#D55E00", width=1.8, dash=dash), name=label)
            fig.add_scatter(x=edges, y=[lines[pooler]] * 2, **look, **place)
        look = dict(fillcolor="#D55E00", opacity=0.1, line_width=0, layer="below")
        fig.add_hrect(y0=5, y1=10, **look, **place)  # the paper speaks of "5-10 x"
        fig.add_hline(y=1, line=dict(color="#555555", width=1), **place)
    ticks = dict(tickvals=list(range(len(seeds))), ticktext=list(map(str, seeds)))
    fig.update_xaxes(title="training seed", range=edges, showgrid=False, **ticks, row=1)
    marks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    fig.update_yaxes(type="log", tickvals=marks, matches="y", showticklabels=False, row=1)
    fig.update_yaxes(title="ratio (shaded: 5 to 10)", showticklabels=True, row=1, col=1)
