"""The paper's figures 2 to 6 and the two charts of its public code, with intervals.

All take `tables.geometry_with_published`: a row a task, pooling, metric and model, with
`value, low, high`.
"""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.panels import CUT, bars, titled, view
from predrecon.workbook.figures.style import broken, error, finish, name, point, stroke

_ABLATED = ("spectral_entropy_sigma2", "semantic_probe", "uniformity")
SPOKES = {  # True: higher is better
    "spectral_entropy_sigma2": ("spectral<br>entropy, σ²", True),
    "effective_rank": ("effective rank", True),
    "stable_rank": ("stable rank", True),
    "alignment": ("alignment", False),
    "uniformity": ("uniformity", False),
    "probe_gap": ("probe gap", True),
}


def pooling_ablation(table: pd.DataFrame, task: str, title: str) -> go.Figure:
    """Figure 2: three metrics of one task under the four poolings; the published hybrid beside."""
    part = table[(table["task"] == task) & table["metric"].isin(_ABLATED)]
    shown = part[part["model"] != "published mlm"]
    panels = {metric: titled(metric) for metric in _ABLATED}
    fig = bars(shown, panels, "pooling", horizontal_spacing=0.07)
    fig.update_xaxes(tickfont_size=10)
    return finish(fig, f"Pooling ablation, {title} ({CUT})")


def alignment_uniformity(table: pd.DataFrame, pooling: str) -> go.Figure:
    """Figures 3-6: alignment against uniformity, and how far classes lie apart, of all tasks.

    Left a point a task and model, published ones open. Right the mean distance within classes over
    that between them; at 1 nothing separates the classes.
    """
    part = table[table["pooling"] == pooling]
    titles = ("alignment against uniformity", "distance within classes / between")
    fig = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.12)
    for model, rows in part.groupby("model", sort=False):
        by = {metric: m.set_index("title") for metric, m in rows.groupby("metric")}
        x, y = by["uniformity"], by["alignment"].reindex(by["uniformity"].index)
        marker = point(model)
        fig.add_scatter(
            x=x["value"],
            y=y["value"],
            error_x=error(x),
            error_y=error(y),
            text=x.index,
            name=name(model),
            legendgroup=model,
            mode="markers",
            marker=marker,
            hovertemplate="%{text}: uniformity %{x:.3f}, alignment %{y:.3f}",
            cliponaxis=False,
            row=1,
            col=1,
        )
        if "intra_inter_ratio" in by:
            ratio = by["intra_inter_ratio"]
            fig.add_scatter(
                x=broken(ratio.index.to_series()),
                y=ratio["value"],
                error_y=error(ratio),
                name=name(model),
                legendgroup=model,
                showlegend=False,
                mode="markers",
                marker=marker,
                cliponaxis=False,
                row=1,
                col=2,
            )
    fig.add_hline(y=1, line=dict(dash="dot", color="#555", width=1), row=1, col=2)
    seen = {m: view(rows) for m, rows in part.groupby("metric")}
    fig.update_xaxes(title=titled("uniformity", " "), range=seen["uniformity"], row=1, col=1)
    fig.update_yaxes(title=titled("alignment", " "), range=seen["alignment"], row=1, col=1)
    ratios = dict(range=seen.get("intra_inter_ratio"), row=1, col=2)
    fig.update_yaxes(title="ratio (lower is better separated)", **ratios)
    fig.update_xaxes(tickfont_size=11, row=1, col=2)
    heading = f"Alignment, uniformity and classes, {pooling} pooling ({CUT})"
    return finish(fig, heading, height=450, scattermode="group")


def radar(table: pd.DataFrame, task: str, title: str, pooling: str) -> go.Figure:
    """The public code's chart: six metrics of one task at a glance, outwards is better.

    Every spoke runs from the worst to the best value of any model under any pooling: it tells who
    leads where, not by how much, which is in the tables.
    """
    every = table[table["task"] == task].pivot_table(
        index="metric", columns=["pooling", "model"], values="value", sort=False
    )
    every = every.reindex([m for m in SPOKES if m in every.index])
    wide = every[pooling].dropna(axis=1)
    up = pd.Series({m: 1 if SPOKES[m][1] else -1 for m in wide.index})
    low, high = every.mul(up, axis=0).min(axis=1), every.mul(up, axis=0).max(axis=1)
    scaled = wide.mul(up, axis=0).sub(low, axis=0)
    scaled = scaled.div((high - low).where(high > low, 1), axis=0)
    spokes = [SPOKES[m][0] for m in wide.index]
    fig = go.Figure()
    for model in scaled:
        r, told = [*scaled[model], scaled[model].iloc[0]], [*wide[model], wide[model].iloc[0]]
        fig.add_scatterpolar(
            r=r,
            theta=[*spokes, spokes[0]],
            name=name(model),
            customdata=told,
            mode="lines+markers",
            line=stroke(model),
            marker=point(model, 7),
            hovertemplate="%{theta}: %{customdata:.3f}<extra>" + name(model) + "</extra>",
        )
    axis = dict(range=[0, 1.05], tickvals=[0, 0.5, 1], ticktext=["", "", "best"])
    between = dict(angle=180 / len(spokes), tickangle=180 / len(spokes))  # clear of the spokes
    fig.update_polars(radialaxis=axis | between | dict(tickfont_size=11, gridcolor="#D9D9D9"))
    fig.update_polars(angularaxis=dict(gridcolor="#D9D9D9"))
    heading = f"Who leads in what, {title}, {pooling} pooling (outwards is better; no scale)"
    return finish(fig, heading, height=480, margin=dict(l=70, r=70, b=40))


def probe_comparison(table: pd.DataFrame, pooling: str) -> go.Figure:
    """The public code's chart: semantic and token probe of all tasks under one pooling."""
    panels = {metric: titled(metric, " ") for metric in ("semantic_probe", "token_probe")}
    part = table[table["pooling"] == pooling]
    fig = bars(part, panels, "title", columns=2, horizontal_spacing=0.08)
    heading = f"What the embeddings hold, {pooling} pooling ({CUT})"
    return finish(fig, heading, height=440)
