"""Small multiples that several figures share: one panel per metric, with intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.style import COLORS, error, fill, finish, name, wrapped

METRICS = {  # the title of a panel, and what its direction means
    "spectral_entropy": ("spectral entropy, Eq. 11", "higher is richer"),
    "spectral_entropy_sigma2": ("spectral entropy, σ²", "higher is richer"),
    "effective_rank": ("effective rank", "higher is richer"),
    "stable_rank": ("stable rank", "higher is richer"),
    "alignment": ("alignment, Eq. 14", "lower is tighter"),
    "uniformity": ("uniformity", "lower is more uniform"),
    "equal_length": ("uniformity, equal length", "lower is more uniform"),
    "uniformity_released": ("uniformity, padding attended to", "lower is more uniform"),
    "effective_rank_released": ("effective rank, padding attended to", "higher is richer"),
    "rank_90": ("components for 90 %", "higher is richer"),
    "rankme": ("RankMe", "higher is richer"),
    "alpha_req": ("α-ReQ", "lower is a flatter spectrum"),
    "lidar": ("LiDAR", "higher is richer"),
    "iso_score": ("IsoScore", "higher is more isotropic"),
    "alignment_squared": ("alignment, mean squared distance", "lower is tighter"),
    "alignment_by_class": ("alignment, mean over classes", "lower is tighter"),
    "pair_alignment": ("alignment of true pairs", "lower is tighter"),
    "intra_inter_ratio": ("distance within classes / between", "lower is better separated"),
    "probe_gap": ("probe gap", "higher is less lexical"),
    "semantic_probe": ("semantic probe", "higher is better"),
    "semantic_probe_knn": ("semantic probe, nearest neighbours", "higher is better"),
    "semantic_probe_mlp": ("semantic probe, MLP", "higher is better"),
    "token_probe": ("token probe", "lower is less lexical"),
    "recall@1": ("recall at 1", "higher is better"),
    "recall@10": ("recall at 10", "higher is better"),
    "mrr": ("mean reciprocal rank", "higher is better"),
    "spearman": ("Spearman's ρ of cosines", "higher is better"),
    "accuracy": ("accuracy", "higher is better"),
    "linear_cka": ("linear CKA", "higher is more alike"),
    "procrustes_distance": ("Procrustes distance", "lower is more alike"),
    "below_unigram": ("nats below word frequencies", "higher is better"),
    "validation_mlm": ("held-out MLM loss, nats", "lower is better"),
}
CUT = "intervals wider than the axis are cut"


def titled(metric: str, between: str = "<br>") -> str:
    """A metric's name and its direction, over two lines."""
    title, direction = METRICS.get(metric, (metric.replace("_", " "), ""))
    return f"{title}{between}({direction})" if direction else title


def grid(
    titles: list[str], columns: int, spacing: float, *, cell: int = 0, gap: int = 75, **options
) -> tuple[go.Figure, list[dict], int]:
    """Panels, row by row: the figure, every panel's `row` and `col`, the height of all rows.

    `spacing` between columns is a share of the width. `cell`, the height of a row, and `gap`, the
    space between rows, are in pixels and needed for several rows.
    """
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    plot = rows * cell + (rows - 1) * gap
    options |= dict(vertical_spacing=gap / plot) if rows > 1 else {}
    # no axes without a panel in the last row: a menu that sets axes that are not drawn fails
    cells = [{}] * len(titles) + [None] * (rows * columns - len(titles))
    options["specs"] = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    fig = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=spacing, **options)
    places = [dict(row=i // columns + 1, col=i % columns + 1) for i in range(len(titles))]
    return fig, places, plot


def view(rows: pd.DataFrame, *, zero: bool = False) -> list[float] | None:
    """An axis' range that holds all values, and intervals up to the values' span beyond them.

    The interval of two seeds is thirteen standard errors on either side: drawn in full, it would
    compress all values into a line. With `zero`, 0 is on the axis.
    """
    values = [*rows["value"][np.isfinite(rows["value"])], *([0.0] if zero else [])]
    bounds = pd.concat([rows["low"], rows["high"]])
    bounds = [*bounds[np.isfinite(bounds)], *values]
    if not values or min(bounds) == max(bounds):
        return None
    span = max(values) - min(values) or max(bounds) - min(bounds)
    low = max(min(bounds), min(values) - span)
    high = min(max(bounds), max(values) + span)
    room = 0.06 * (high - low)
    return [low if zero and low == 0 else low - room, high if zero and high == 0 else high + room]


def add_bars(fig: go.Figure, rows: pd.DataFrame, x: str, value: str = "value", **options):
    """Bars with intervals in the models' colours, a group for every value of the column `x`."""
    for model, part in rows.groupby("model", sort=False):
        bars = dict(x=part[x], y=part[value], error_y=error(part, value), marker=fill(model))
        fig.add_bar(**bars, name=name(model), **options)
    place = dict(row=options.get("row"), col=options.get("col"))
    fig.update_yaxes(zeroline=True, zerolinecolor="#999", **place)
    fig.update_layout(barmode="group")


def metric_panels(
    table: pd.DataFrame, metrics: Sequence[str], x: str, columns: int, between: str = " ", **sizes
) -> tuple[go.Figure, int]:
    """Grouped bars, a panel per metric; also the height of the panels."""
    fig, places, plot = grid([titled(metric, between) for metric in metrics], columns, **sizes)
    table = table.assign(label=table[x].map(wrapped))
    for metric, place in zip(metrics, places, strict=True):
        rows = table[table["metric"] == metric]
        add_bars(fig, rows, "label", **place)
        fig.update_yaxes(range=view(rows, zero=True), **place)
    fig.update_xaxes(tickfont_size=11)
    return fig, plot


def forest(
    table: pd.DataFrame, metrics: Sequence[str], y: str, title: str, *, cell: int
) -> go.Figure:
    """Differences with 95 % intervals, a line for every value of the column `y`, 0 marked.

    Values with infinite bounds (one seed) are a grey point, NaN is not drawn. If `table` has no
    column `p_corrected`, hovering shows the interval.
    """
    titles = [titled(metric) for metric in metrics]
    fig, places, plot = grid(titles, 3, 0.05, cell=cell, shared_yaxes=True)
    details, hover = ["low", "high"], "%{y}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
    if "p_corrected" in table:
        details = ["seeds", "p_corrected"]
        hover = "%{y}: %{x:.3f}, %{customdata[0]} seeds, p = %{customdata[1]:.3f} (Holm)"
    for metric, place in zip(metrics, places, strict=True):
        rows = table[table["metric"] == metric]
        color = np.where(np.isfinite(rows["low"]), COLORS["hybrid"], COLORS["untrained"])
        intervals = error(rows.replace([np.inf, -np.inf], np.nan)) | dict(color="#000")
        points = dict(x=rows["value"], y=rows[y], error_x=intervals, mode="markers")
        points |= dict(customdata=rows[details], hovertemplate=f"{hover}<extra></extra>")
        fig.add_scatter(**points, marker=dict(color=color, size=8), showlegend=False, **place)
        fig.add_vline(x=0, line=dict(color="#555", width=1), **place)
        fig.update_yaxes(ticks="outside" if place["col"] == 1 else "", **place)
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(exponentformat="none", nticks=5)
    return finish(fig, title, plot=plot)
