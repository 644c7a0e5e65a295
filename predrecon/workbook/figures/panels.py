"""Small multiples that several figures share: one panel a metric, with intervals."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.style import COLORS, broken, error, fill, name, stroke

METRICS = {  # what a panel is called, and which direction means what
    "spectral_entropy": ("spectral entropy, Eq. 11", "higher is richer"),
    "spectral_entropy_sigma2": ("spectral entropy, σ²", "higher is richer"),
    "effective_rank": ("effective rank", "higher is richer"),
    "stable_rank": ("stable rank", "higher is richer"),
    "alignment": ("alignment, Eq. 14", "lower is tighter"),
    "uniformity": ("uniformity", "lower is more uniform"),
    "equal_length": ("uniformity, equal length", "lower is more uniform"),
    "rank_90": ("components for 90 %", "higher is richer"),
    "rankme": ("RankMe", "higher is richer"),
    "alignment_squared": ("alignment, mean squared distance", "lower is tighter"),
    "pair_alignment": ("alignment of true pairs", "lower is tighter"),
    "intra_inter_ratio": ("distance within classes / between", "lower is better separated"),
    "probe_gap": ("probe gap", "higher is less lexical"),
    "semantic_probe": ("semantic probe", "higher is better"),
    "token_probe": ("token probe", "lower is less lexical"),
    "below_unigram": ("nats below word frequencies", "higher is better"),
    "validation_mlm": ("held-out MLM loss, nats", "lower is better"),
}
CUT = "intervals wider than the axis are cut"


def titled(metric: str, between: str = "<br>") -> str:
    """A metric's name and its direction, over two lines."""
    shown, direction = METRICS.get(metric, (metric.replace("_", " "), ""))
    return f"{shown}{between}({direction})" if direction else shown


def stacked(panels: int, columns: int, *, cell: int, gap: int) -> dict:
    """Sizes in pixels: `plot`, the height of all rows, and `vertical_spacing`, its share a gap."""
    rows = -(-panels // columns)
    plot = rows * cell + (rows - 1) * gap
    return dict(plot=plot, vertical_spacing=gap / plot)


def view(rows: pd.DataFrame, *, zero: bool = False) -> list[float] | None:
    """An axis' range that holds all values, and intervals up to once more what the values span.

    The interval of two seeds is thirteen standard errors to either side: drawn whole, it would
    press all values into a line.

    Args:
        rows: columns `value, low, high`; zero: 0 is on the axis.
    """
    values = [*rows["value"][np.isfinite(rows["value"])], *([0.0] if zero else [])]
    ends = pd.concat([rows["low"], rows["high"]])
    ends = [*ends[np.isfinite(ends)], *values]
    if not values or min(ends) == max(ends):
        return None
    span = max(values) - min(values) or max(ends) - min(ends)
    low = max(min(ends), min(values) - span)
    high = min(max(ends), max(values) + span)
    room = 0.06 * (high - low)
    return [low if zero and low == 0 else low - room, high if zero and high == 0 else high + room]


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
    named = set()
    for i, metric in enumerate(panels):
        place = dict(row=i // columns + 1, col=i % columns + 1)
        shown = table[table["metric"] == metric]
        for model, part in shown.groupby("model", sort=False):
            fig.add_bar(
                x=broken(part[x]),
                y=part["value"],
                error_y=error(part),
                name=name(model),
                legendgroup=model,
                showlegend=model not in named,
                marker=fill(model),
                **place,
            )
            named.add(model)
        fig.update_yaxes(range=view(shown, zero=True), **place)
    fig.update_xaxes(tickfont_size=11)
    fig.update_yaxes(zeroline=True, zerolinecolor="#999")
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
    for col in range(2, columns + 1):
        fig.update_yaxes(ticks="", col=col)
    fig.update_yaxes(autorange="reversed")
    return fig.update_xaxes(exponentformat="none", nticks=5)


def spectrum_panels(fig: go.Figure, spectra: pd.DataFrame, *, log: bool = True):
    """Share of variance by component into column 1, its running sum into column 2, with axes.

    Args:
        spectra: columns `model, rank, share, cumulative`, and `seed` where there are several: a
            thin line each. log: a logarithmic axis of shares.
    """
    for model, rows in spectra.groupby("model", sort=False):
        seeds = rows["seed"] if "seed" in rows else pd.Series(0, rows.index)
        several = seeds.nunique() > 1
        for number, (seed, one) in enumerate(rows.groupby(seeds, dropna=False)):
            common = dict(x=one["rank"], name=name(model), legendgroup=model, mode="lines")
            common["line"] = stroke(model, 1.2 if several else 2)
            common["hovertemplate"] = "component %{x}: %{y:.2%}<extra>" + (
                f"{name(model)}, seed {seed}</extra>" if several else f"{name(model)}</extra>"
            )
            first = dict(showlegend=number == 0)
            fig.add_scatter(y=one["share"], **common, **first, row=1, col=1)
            fig.add_scatter(y=one["cumulative"], showlegend=False, **common, row=1, col=2)
    positive = spectra["share"][spectra["share"] > 0]
    look = dict(tickformat=".0%", rangemode="tozero")
    if log:
        floor = np.log10(max(1e-7, positive.min())) if len(positive) else -7
        # powers are drawn a quarter larger
        look = dict(type="log", range=[floor, 0], exponentformat="power", dtick=1, tickfont_size=10)
    fig.update_yaxes(**look, row=1, col=1)
    fig.update_yaxes(tickformat=".0%", range=[0, 1.02], row=1, col=2)
    fig.add_hline(y=0.9, line=dict(dash="dot", color="#555", width=1), row=1, col=2)
    for col in (1, 2):
        fig.update_xaxes(title="principal component", row=1, col=col)
