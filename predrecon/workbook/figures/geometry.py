"""Pictures of representations (notebooks 04 and 05)."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.panels import CUT, bars, spectrum_panels, stacked, titled
from predrecon.workbook.figures.style import CLASSES, POINTS, broken, error, fill, finish, name

_SIX = (
    "spectral_entropy",
    "effective_rank",
    "stable_rank",
    "alignment",
    "uniformity",
    "probe_gap",
)
BETTER = {metric: titled(metric, " ") for metric in _SIX}
_SCORES = {"mcc": "MCC", "f1": "F1", "spearman": "Spearman ρ"}


def probe_bars(table: pd.DataFrame) -> go.Figure:
    """Linear-probe scores: columns `title, metric, model, score, low, high`, published included."""
    fig = go.Figure()
    for model, part in table.groupby("model", sort=False):
        fig.add_bar(
            x=part["title"] + "<br>(" + part["metric"].replace(_SCORES) + ")",
            y=part["score"],
            error_y=error(part, "score"),
            name=name(model),
            marker=fill(model),
            hovertemplate="%{x}: %{y:.3f}<extra>" + name(model) + "</extra>",
        )
    fig.update_yaxes(title="validation score", zeroline=True, zerolinecolor="#999")
    heading, layout = "Linear probes on frozen encoders (higher is better)", dict(bargap=0.25)
    return finish(fig, heading, height=460, barmode="group", **layout)


def metric_bars(table: pd.DataFrame, pooling: str) -> go.Figure:
    """The six metrics of all tasks under one pooling: `tables.geometry_with_published`."""
    part = table[table["pooling"] == pooling]
    size = stacked(len(BETTER), 2, cell=170, gap=75)
    plot = size.pop("plot")
    fig = bars(part, BETTER, "title", columns=2, horizontal_spacing=0.08, **size)
    return finish(fig, f"Geometry under {pooling} pooling ({CUT})", plot=plot)


def length_control(table: pd.DataFrame) -> go.Figure:
    """`length.length_control` over seeds: uniformity over all pairs, and those of equal length."""
    titles = ("all pairs", "pairs with the same number of tokens")
    fig = make_subplots(1, 2, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for col, metric in enumerate(("uniformity", "equal_length"), start=1):
        for model, rows in table[table["metric"] == metric].groupby("model", sort=False):
            fig.add_bar(
                x=broken(rows["title"]),
                y=rows["value"],
                error_y=error(rows),
                name=name(model),
                legendgroup=model,
                showlegend=col == 1,
                marker=fill(model),
                row=1,
                col=col,
            )
    fig.update_yaxes(title="uniformity (lower is more uniform)", col=1)
    fig.update_xaxes(tickfont_size=11)
    heading = "Uniformity under mean pooling, with and without the effect of length"
    return finish(fig, heading, barmode="group")


def eigenspectra(
    spectra: pd.DataFrame,
    task: str,
    pooling: str,
    title: str,
    published: pd.DataFrame | None = None,
) -> go.Figure:
    """Figures 7-10: share of variance by component (log) and its sum, a line a model and seed.

    Args:
        spectra: of `geometry.seed_spectra`; several seeds are thin lines.
        published: `geometry.published_spectra`, drawn dotted where it knows the task.
    """
    both = spectra if published is None else pd.concat([spectra, published])
    part = both[(both["task"] == task) & (both["pooling"] == pooling)]
    titles = ("share of variance", "cumulative share of variance")
    fig = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)
    spectrum_panels(fig, part)
    heading = f"Eigenspectrum, {title}, {pooling} pooling (a flatter curve is richer)"
    return finish(fig, heading)


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
        look = labels.index(label) % len(CLASSES)
        row, col = list(methods).index(method) + 1, list(models).index(model) + 1
        fig.add_scattergl(
            x=part["x"],
            y=part["y"],
            mode="markers",
            name=str(label),
            legendgroup=str(label),
            showlegend=row == col == 1,
            marker=dict(size=5, color=CLASSES[look], symbol=POINTS[look], opacity=0.7),
            text=part["text"],
            hovertemplate="%{text}<extra>" + str(label) + "</extra>",
            row=row,
            col=col,
        )
    fig.update_xaxes(showticklabels=False, ticks="", showgrid=False)
    fig.update_yaxes(showticklabels=False, ticks="", showgrid=False)
    fig = finish(fig, title, plot=330 * len(methods), margin=dict(l=20, b=20))
    return fig.update_layout(legend_itemsizing="constant")
