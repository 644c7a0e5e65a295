"""Small multiples that several figures share: one panel a metric, with intervals."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.figures.style import COLORS, error, name


def bars(
    table: pd.DataFrame, panels: dict[str, str], x: str, *, columns: int = 3, **spacing: float
) -> go.Figure:
    """Grouped bars, a group of models at every value of the column `x`.

    Args:
        table: columns `metric, model, value, low, high` and `x`.
        panels: `{metric: title}`, in order.
    """
    rows = -(-len(panels) // columns)
    fig = make_subplots(rows, columns, subplot_titles=list(panels.values()), **spacing)
    for i, metric in enumerate(panels):
        place = dict(row=i // columns + 1, col=i % columns + 1)
        for model, part in table[table["metric"] == metric].groupby("model", sort=False):
            fig.add_bar(
                x=part[x],
                y=part["value"],
                error_y=error(part),
                name=name(model),
                legendgroup=model,
                showlegend=i == 0,
                marker_color=COLORS[model],
                **place,
            )
    fig.update_annotations(font_size=12)
    return fig.update_layout(barmode="group")


def forest(
    table: pd.DataFrame, panels: dict[str, str], y: str, *, columns: int = 3, **spacing: float
) -> go.Figure:
    """Differences with 95 % intervals, a line for every value of the column `y`, 0 marked.

    Args:
        table: columns `metric, value, low, high, seeds, p_corrected` and `y`. Infinite bounds (one
            seed, no interval) are drawn as a grey point.
        panels: `{metric: title}`, in order.
    """
    columns = min(columns, len(panels))
    rows, titles = -(-len(panels) // columns), list(panels.values())
    fig = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes=True, **spacing)
    for i, metric in enumerate(panels):
        part = table[table["metric"] == metric]
        place = dict(row=i // columns + 1, col=i % columns + 1)
        color = np.where(np.isfinite(part["low"]), COLORS["hybrid"], COLORS["untrained"])
        fig.add_scatter(
            x=part["value"],
            y=part[y],
            error_x=error(part.replace([np.inf, -np.inf], np.nan)) | dict(color="#000"),
            mode="markers",
            marker=dict(color=color, size=8),
            customdata=part[["seeds", "p_corrected"]],
            hovertemplate="%{y}: %{x:.3f}, %{customdata[0]} seeds, p = %{customdata[1]:.3f}"
            "<extra></extra>",
            showlegend=False,
            **place,
        )
        fig.add_vline(x=0, line=dict(color="#555", width=1), **place)
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(exponentformat="none", nticks=5)
    return fig.update_annotations(font_size=12)
