"""Embeddings in two dimensions (notebook 05c)."""

import itertools

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from predrecon.workbook.figures.panels import grid
from predrecon.workbook.figures.style import CLASSES, POINTS, finish, name

_MANY = 3000  # with more points all are small, round and pale: this is fast and shows density


def embedding_map(points: pd.DataFrame, title: str) -> go.Figure:
    """A map per method (row) and model (column): columns `model, method, x, y, label, text`."""
    models, methods, labels = (points[c].unique() for c in ("model", "method", "label"))
    panels = list(itertools.product(methods, models))
    titles = [f"{name(model)}, {method}" for method, model in panels]
    fig, places, plot = grid(titles, len(models), 0.04, cell=300, gap=60)
    for (method, model), place in zip(panels, places, strict=True):
        rows = points[(points["method"] == method) & (points["model"] == model)]
        _add_classes(fig, rows, "label", sorted(labels), dict(size=5, opacity=0.7), **place)
    return _finish_map(fig, title, plot)


def map_view(
    points: pd.DataFrame, heading: str, *, continuous: str = "", matches: np.ndarray | None = None
) -> go.Figure:
    """One map per model, side by side; points carry their number, so that they can be chosen.

    Args:
        points: columns `model, x, y, number, color`, and `text` unless the front end has the texts
            by number; `color` is a class, or a number if `continuous` (the title of the colour bar)
            is given.
        matches: numbers of the points to ring, from a search.
    """
    models = list(points["model"].unique())
    fig, places, _ = grid([name(model) for model in models], len(models), 0.03)
    labels = [] if continuous else sorted(points["color"].unique(), key=str)
    for model, place in zip(models, places, strict=True):
        rows = points[points["model"] == model]
        many = len(rows) > _MANY
        look = dict(size=3, symbol="circle", opacity=0.5) if many else dict(size=5)
        if continuous:
            marker = dict(color=rows["color"], coloraxis="coloraxis") | look
            _add_points(fig, rows, marker=marker, **place)
        _add_classes(fig, rows, "color", labels, dict(opacity=0.75) | look, **place)
        if matches is not None and len(matches):
            rings = rows[rows["number"].isin(matches)]
            look = dict(symbol="circle-open", size=11, color="#000000", line_width=1.5)
            _add_points(fig, rings, name=f"search ({len(rings):,})", marker=look, **place)
    if continuous:
        bar = dict(title=continuous, thickness=12, outlinewidth=0)
        fig.update_layout(coloraxis=dict(colorscale="Cividis", colorbar=bar))
    return _finish_map(fig, heading, 380, dragmode="select", uirevision=heading)


def _add_classes(
    fig: go.Figure, rows: pd.DataFrame, column: str, labels: list, marker: dict, **place: int
):
    """A trace for every label that the rows have, with its colour and symbol."""
    for number, label in enumerate(labels):
        part = rows[rows[column] == label]
        if len(part):
            look = dict(color=CLASSES[number % len(CLASSES)], symbol=POINTS[number % len(CLASSES)])
            _add_points(fig, part, name=str(label), marker=look | marker, **place)


def _finish_map(fig: go.Figure, title: str, plot: int, **layout) -> go.Figure:
    for update in (fig.update_xaxes, fig.update_yaxes):  # the axes of a map have no units
        update(showticklabels=False, ticks="", showgrid=False)
    layout |= dict(margin=dict(l=20, b=20), legend_itemsizing="constant")
    return finish(fig, title, plot=plot, **layout)


def _add_points(fig: go.Figure, rows: pd.DataFrame, **options):
    if "number" in rows:
        options["customdata"] = rows["number"]
    if "text" in rows:
        options["text"] = rows["text"]
    hover = "%{text}<extra>" + options.get("name", "") + "</extra>"
    points = dict(x=rows["x"], y=rows["y"], mode="markers", hovertemplate=hover)
    fig.add_scattergl(**points, **options)
