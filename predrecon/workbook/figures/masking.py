"""Figures of masks (notebook 01)."""

import html
import unicodedata

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from predrecon.workbook.figures.panels import grid
from predrecon.workbook.figures.style import BRANCHES, finish

_STYLE = {
    "context": "background:#0072B2;color:#fff",
    "target": "background:#D55E00;color:#000",
    "masked": "background:#CC79A7;color:#000",
    "unused": "background:rgba(128,128,128,0.2)",
    "both": "background:#D55E00;color:#000;outline:3px solid #0072B2",
}
_CHIP = "padding:1px 5px;margin:1px;border-radius:4px;display:inline-block;font-family:monospace"


def sentence_html(tokens: list[str], roles: list[str], caption: str) -> str:
    """Tokens as coloured chips; `roles` are `context`, `target`, `masked`, `unused` or `both`.

    The role is also a tooltip, and a legend names the colours in use.
    """

    def chip(text: str, role: str) -> str:
        return f'<span title="{role}" style="{_STYLE[role]};{_CHIP}">{html.escape(text)}</span>'

    chips = " ".join(chip(*pair) for pair in zip(tokens, roles, strict=True))
    legend = " ".join(chip(role, role) for role in _STYLE if role in roles)
    kinds = [unicodedata.bidirectional(letter) for token in tokens[1:-1] for letter in token]
    direction = "rtl" if kinds.count("R") + kinds.count("AL") > kinds.count("L") else "ltr"
    return (
        f'<figure style="max-width:900px;margin:0">'
        f'<div dir="{direction}" style="line-height:1.9">{chips}</div>'
        f'<figcaption style="margin-top:6px">{html.escape(caption)} {legend}</figcaption></figure>'
    )


def block_diagram(context: np.ndarray, targets: np.ndarray, length: int) -> go.Figure:
    """Which branch sees which position, a row per sample: `context [B, C]`, `targets [B, K, T]`."""
    branches = np.zeros((len(context), length), dtype=int)
    np.put_along_axis(branches, np.asarray(context), 1, axis=1)
    np.put_along_axis(branches, np.asarray(targets).reshape(len(branches), -1), 2, axis=1)
    names = ["seen by neither", "context", "target"]
    colors = [BRANCHES[branch] for branch in ("unused", "context", "target")]
    scale = [[(i + j) / 3, color] for i, color in enumerate(colors) for j in (0, 1)]
    look = dict(zmin=-0.5, zmax=2.5, colorscale=scale, showscale=False, xgap=1, ygap=2)
    hover = "sample %{y}, position %{x}: %{customdata}<extra></extra>"
    cells = dict(z=branches, customdata=np.array(names)[branches], hovertemplate=hover)
    fig = go.Figure(go.Heatmap(**cells, **look))
    for branch, color in zip(names, colors, strict=True):  # a heatmap has no legend of its own
        marker = dict(color=color, symbol="square", size=12)
        fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=branch)
    fig.update_yaxes(autorange="reversed", dtick=1, title="sample", showgrid=False)
    fig.update_xaxes(title="position (token)", showgrid=False)
    return finish(fig, "Block masks of one batch: targets are cut out of the context", height=340)


def coverage(table: pd.DataFrame) -> go.Figure:
    """How often a position is context, target or masked: columns `position, branch, share`."""
    fig = go.Figure()
    for branch, rows in table.groupby("branch", sort=False):
        look = dict(mode="lines", line=dict(color=BRANCHES[branch], width=2))
        fig.add_scatter(x=rows["position"], y=rows["share"], name=branch, **look)
    fig.update_xaxes(title="position (token)")
    fig.update_yaxes(title="share of samples", tickformat=".0%", range=[0, 1])
    return finish(fig, "Coverage by position: contiguous blocks seldom reach the ends")


def token_fates(table: pd.DataFrame) -> go.Figure:
    """Shares of chosen tokens: columns `fate, expected, drawn`."""
    fig, look = go.Figure(), dict(texttemplate="%{y:.1%}", textposition="outside", cliponaxis=False)
    for column, color in (("expected", BRANCHES["unused"]), ("drawn", BRANCHES["masked"])):
        fig.add_bar(x=table["fate"], y=table[column], name=column, marker_color=color, **look)
    fig.update_yaxes(title="share of chosen tokens", tickformat=".0%")
    return finish(fig, "BERT's 80 / 10 / 10: what happens to a chosen token", height=360)


def masking_view(
    context: np.ndarray, targets: np.ndarray, length: int, shares: pd.DataFrame
) -> go.Figure:
    """`block_diagram` above `coverage`, on one axis of positions."""
    options = dict(shared_xaxes=True, row_heights=[0.55, 0.45])
    fig, (above, below), _ = grid(["", ""], 1, 0, cell=180, gap=30, **options)
    blocks, lines = block_diagram(context, targets, length), coverage(shares)
    fig.add_traces(blocks.data[:2], rows=1, cols=1)
    fig.add_traces(lines.data, rows=2, cols=1)
    fig.update_yaxes(autorange="reversed", title="sample", showgrid=False, **above)
    fig.update_yaxes(lines.layout.yaxis.to_plotly_json(), **below)
    fig.update_xaxes(title="position (token)", **below)
    return finish(fig, "Block masks, and how often a position is covered", height=500)
