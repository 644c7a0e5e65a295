"""Pictures of representations (notebooks 04 and 05)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.figures.panels import bars
from predrecon.figures.style import CLASSES, COLORS, error, finish, name

BETTER = {
    "spectral_entropy": "spectral entropy, Eq. 11 (higher is richer)",
    "effective_rank": "effective rank (higher is richer)",
    "stable_rank": "stable rank (higher is richer)",
    "alignment": "alignment, Eq. 14 (lower is tighter)",
    "uniformity": "uniformity (lower is more uniform)",
    "probe_gap": "probe gap (higher is less lexical)",
}


def probe_bars(table: pd.DataFrame) -> go.Figure:
    """Linear-probe scores: columns `title, metric, model, score, low, high`, published included."""
    fig = go.Figure()
    for model, part in table.groupby("model", sort=False):
        fig.add_bar(
            x=part["title"] + "<br>(" + part["metric"] + ")",
            y=part["score"],
            error_y=error(part, "score"),
            name=name(model),
            marker_color=COLORS[model],
            hovertemplate="%{x}: %{y:.3f}<extra>" + name(model) + "</extra>",
        )
    fig.update_yaxes(title="validation score", zeroline=True, zerolinecolor="#999")
    layout = dict(barmode="group", bargap=0.25, margin=dict(t=120))
    fig = finish(fig, "Linear probes on frozen encoders (higher is better)", height=460, **layout)
    return fig.update_layout(legend=dict(y=1.03))


def metric_bars(table: pd.DataFrame, pooling: str) -> go.Figure:
    """The six metrics of all tasks under one pooling: `tables.with_published`."""
    part = table[table["pooling"] == pooling]
    fig = bars(part, BETTER, "title", horizontal_spacing=0.07, vertical_spacing=0.25)
    fig = finish(fig, f"Geometry under {pooling} pooling", height=600, margin=dict(t=115, b=80))
    return fig.update_layout(legend=dict(y=1.1))


def length_control(table: pd.DataFrame) -> go.Figure:
    """`analysis.length_control`: uniformity over all pairs, and over pairs of equal length."""
    titles = ("all pairs", "pairs with the same number of tokens")
    fig = make_subplots(1, 2, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for col, column in enumerate(("uniformity", "equal_length"), start=1):
        for model, rows in table.groupby("model", sort=False):
            fig.add_bar(
                x=rows["title"],
                y=rows[column],
                name=name(model),
                legendgroup=model,
                showlegend=col == 1,
                marker_color=COLORS[model],
                row=1,
                col=col,
            )
    fig.update_yaxes(title="uniformity (lower is more uniform)", col=1)
    fig.update_annotations(font_size=13)
    heading = "Uniformity under mean pooling, with and without the effect of length"
    fig = finish(fig, heading, margin=dict(t=110, l=60, r=20, b=60), barmode="group")
    return fig.update_layout(legend=dict(y=1.14))


def eigenspectra(
    spectra: pd.DataFrame,
    task: str,
    pooling: str,
    title: str,
    published: pd.DataFrame | None = None,
) -> go.Figure:
    """Figures 7-10: share of variance by component (log) and its cumulative sum, a line a model.

    Args:
        spectra: of `analysis.spectra`.
        published: `analysis.published_spectra`, drawn dotted where it knows the task.
    """
    both = spectra if published is None else pd.concat([spectra, published])
    part = both[(both["task"] == task) & (both["pooling"] == pooling)]
    titles = ("share of variance", "cumulative share of variance")
    fig = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)
    for model, rows in part.groupby("model", sort=False):
        dash = "dot" if model.startswith("published") else "solid"
        line = dict(color=COLORS[model], width=2, dash=dash)
        common = dict(x=rows["rank"], name=name(model), legendgroup=model, line=line, mode="lines")
        fig.add_scatter(y=rows["share"], **common, row=1, col=1)
        fig.add_scatter(y=rows["cumulative"], showlegend=False, **common, row=1, col=2)
    floor = np.log10(max(1e-7, part["share"][part["share"] > 0].min()))
    fig.update_yaxes(type="log", range=[floor, 0], exponentformat="power", row=1, col=1)
    fig.update_yaxes(tickformat=".0%", range=[0, 1.02], row=1, col=2)
    fig.add_hline(y=0.9, line=dict(dash="dot", color="#555", width=1), row=1, col=2)
    fig.update_xaxes(title="principal component")
    fig.update_annotations(font_size=13)
    heading = f"Eigenspectrum, {title}, {pooling} pooling (a flatter curve is richer)"
    fig = finish(fig, heading, margin=dict(t=110, l=60, r=20, b=60))
    return fig.update_layout(legend=dict(y=1.14))


def embedding_map(points: pd.DataFrame, title: str) -> go.Figure:
    """2-D maps side by side: columns `model, method, x, y, label, text`.

    One row a method (PCA, UMAP), one column a model; colour is the label.
    """
    models, methods = points["model"].unique(), points["method"].unique()
    titles = [f"{name(model)}, {method}" for method in methods for model in models]
    fig = make_subplots(
        len(methods), len(models), subplot_titles=titles, horizontal_spacing=0.04,
        vertical_spacing=0.08,
    )  # fmt: skip
    labels = sorted(points["label"].unique())
    for (method, model, label), part in points.groupby(["method", "model", "label"], sort=False):
        color = CLASSES[labels.index(label) % len(CLASSES)]
        row, col = list(methods).index(method) + 1, list(models).index(model) + 1
        fig.add_scattergl(
            x=part["x"],
            y=part["y"],
            mode="markers",
            name=str(label),
            legendgroup=str(label),
            showlegend=row == col == 1,
            marker=dict(size=4, color=color, opacity=0.7),
            text=part["text"],
            hovertemplate="%{text}<extra>" + str(label) + "</extra>",
            row=row,
            col=col,
        )
    fig.update_xaxes(showticklabels=False, ticks="", showgrid=False)
    fig.update_yaxes(showticklabels=False, ticks="", showgrid=False)
    fig.update_annotations(font_size=13)
    margin = dict(t=100, l=20, r=20, b=20)
    fig = finish(fig, title, height=110 + 330 * len(methods), margin=margin)
    return fig.update_layout(legend=dict(y=1 + 0.13 / len(methods)))
