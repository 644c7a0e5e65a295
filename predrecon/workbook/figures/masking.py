"""Pictures of masks (notebook 01)."""

import html
import unicodedata

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.style import BRANCHES, finish

_STYLE = {
    "context": "background:#0072B2;color:#fff",
    "target": "background:#D55E00;color:#000",
    "masked": "background:#CC79A7;color:#000",
    "unused": "background:#EEE;color:#666",
    "both": "background:#D55E00;color:#000;outline:3px solid #0072B2",
}


def sentence_html(tokens: list[str], roles: list[str], caption: str) -> str:
    """Tokens as coloured chips; `roles` are `context`, `target`, `masked`, `unused` or `both`.

    The role is also a tooltip, and a legend names the colours in use.
    """
    chip = '<span title="{role}" style="{style};{box}">{text}</span>'
    box = "padding:1px 5px;margin:1px;border-radius:4px;display:inline-block;font-family:monospace"
    parts = [
        chip.format(role=role, style=_STYLE[role], box=box, text=html.escape(token))
        for token, role in zip(tokens, roles, strict=True)
    ]
    legend = " ".join(
        chip.format(role=role, style=_STYLE[role], box=box, text=role)
        for role in _STYLE
        if role in roles
    )
    return (
        f'<figure style="max-width:900px;margin:0">'
        f'<div dir="{_direction(tokens)}" style="line-height:1.9">{" ".join(parts)}'
        f'</div><figcaption style="margin-top:6px">{html.escape(caption)} {legend}</figcaption>'
        "</figure>"
    )


def _direction(tokens: list[str]) -> str:
    """Which way a text runs: that of most of its letters."""
    kinds = [unicodedata.bidirectional(letter) for token in tokens[1:-1] for letter in token]
    return "rtl" if sum(k in ("R", "AL") for k in kinds) > kinds.count("L") else "ltr"


def block_diagram(context: np.ndarray, targets: np.ndarray, length: int) -> go.Figure:
    """Who sees which position: one row a sample.

    Args:
        context: `[B, C]` positions; targets: `[B, K, T]` positions; length: L.
    """
    grid = np.zeros((len(context), length))
    np.put_along_axis(grid, np.asarray(context), 1, axis=1)
    np.put_along_axis(grid, np.asarray(targets).reshape(len(grid), -1), 2, axis=1)
    names = ["seen by neither", "context", "target"]
    colors = [BRANCHES["unused"], BRANCHES["context"], BRANCHES["target"]]
    scale = [[i / 3 + j / 3, c] for i, c in enumerate(colors) for j in (0, 1)]
    fig = go.Figure(
        go.Heatmap(
            z=grid,
            zmin=-0.5,
            zmax=2.5,
            colorscale=scale,
            xgap=1,
            ygap=2,
            customdata=np.array(names)[grid.astype(int)],
            hovertemplate="sample %{y}, position %{x}: %{customdata}<extra></extra>",
            showscale=False,
        )
    )
    for shown, color in zip(names, colors, strict=True):
        marker = dict(color=color, symbol="square", size=12)
        fig.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=shown)
    fig.update_yaxes(autorange="reversed", dtick=1, title="sample", showgrid=False)
    fig.update_xaxes(title="position (token)", showgrid=False)
    return finish(fig, "Block masks of one batch: targets are cut out of the context", height=340)


def coverage(table: pd.DataFrame) -> go.Figure:
    """How often a position is context, target or masked.

    Args:
        table: columns `position, branch, share`; `branch` is a key of the mask colours.
    """
    fig = go.Figure()
    for branch, part in table.groupby("branch", sort=False):
        style = dict(color=BRANCHES[branch], width=2)
        fig.add_scatter(x=part["position"], y=part["share"], name=branch, mode="lines", line=style)
    fig.update_xaxes(title="position (token)")
    fig.update_yaxes(title="share of samples", tickformat=".0%", range=[0, 1])
    return finish(fig, "Coverage by position: contiguous blocks seldom reach the ends")


def token_fates(table: pd.DataFrame) -> go.Figure:
    """Shares of chosen tokens: columns `fate, expected, drawn`."""
    fig = go.Figure()
    for column, color in (("expected", BRANCHES["unused"]), ("drawn", BRANCHES["masked"])):
        fig.add_bar(
            x=table["fate"],
            y=table[column],
            name=column,
            marker_color=color,
            text=[f"{v:.1%}" for v in table[column]],
            textposition="outside",
            cliponaxis=False,
        )
    fig.update_yaxes(title="share of chosen tokens", tickformat=".0%")
    return finish(fig, "BERT's 80 / 10 / 10: what happens to a chosen token", height=360)


def masking_view(
    context: np.ndarray, targets: np.ndarray, length: int, shares: pd.DataFrame
) -> go.Figure:
    """`block_diagram` above `coverage`, on one axis of positions.

    Args:
        context: `[B, C]`; targets: `[B, K, T]`; length: L.
        shares: of `coverage`.
    """
    fig = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.08)
    diagram, neither, *_ = block_diagram(context, targets, length).data
    fig.add_traces([diagram, neither], rows=1, cols=1)
    for line in coverage(shares).data:
        fig.add_trace(line, row=2, col=1)
    fig.update_yaxes(autorange="reversed", title="sample", showgrid=False, row=1, col=1)
    fig.update_yaxes(title="share of samples", tickformat=".0%", range=[0, 1], row=2, col=1)
    fig.update_xaxes(title="position (token)", row=2, col=1)
    return finish(fig, "Block masks, and how often a position is covered", height=500)
