"""Spectra, metrics, alignment and uniformity: the paper's figures 2 to 10, and more.

Drawn in notebooks 05, 05b and 05c.

Tables are from `tables.geometry_with_published`: a row per task, pooling, metric and model, with
`value, low, high`.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.audit.geometry import SIX
from predrecon.workbook.figures.panels import CUT, add_bars, grid, metric_panels, titled, view
from predrecon.workbook.figures.style import CLASSES, error, finish, name, point, stroke, wrapped

_SPOKES = {  # name, and whether higher or lower is better
    "spectral_entropy_sigma2": ("spectral<br>entropy, σ²", 1),
    "effective_rank": ("effective rank", 1),
    "stable_rank": ("stable rank", 1),
    "alignment": ("alignment", -1),
    "uniformity": ("uniformity", -1),
    "probe_gap": ("probe gap", 1),
}


def clouds(points: dict[str, np.ndarray], labels: np.ndarray) -> go.Figure:
    """Point clouds `[N, 3]` side by side, coloured by `labels [N]`, and the unit sphere."""
    kinds = [[{"type": "scene"}] * len(points)]
    fig = make_subplots(1, len(points), subplot_titles=list(points), specs=kinds)
    turn = np.linspace(0, 2 * np.pi, 61)
    ring = [np.cos(turn), np.sin(turn), np.zeros(61)]
    for col, z in enumerate(points.values(), start=1):
        for shift in range(3):
            circle = dict(zip("xyz", np.roll(ring, shift, axis=0), strict=True))
            look = dict(mode="lines", line=dict(color="#BBBBBB", width=2), hoverinfo="skip")
            fig.add_scatter3d(**circle, **look, showlegend=False, row=1, col=col)
        for number, label in enumerate(np.unique(labels)):
            part = np.asarray(z)[np.asarray(labels) == label].astype(np.float32)
            look = dict(size=2.5, color=CLASSES[number], opacity=0.8)
            axes = dict(zip("xyz", part.T, strict=True))
            options = dict(mode="markers", marker=look, name=f"class {label}", row=1, col=col)
            fig.add_scatter3d(**axes, **options)
    axis = dict(range=[-1.2, 1.2], visible=False)
    eye = dict(eye=dict(x=0.95, y=0.95, z=0.6))
    fig.update_scenes(xaxis=axis, yaxis=axis, zaxis=axis, aspectmode="cube", camera=eye)
    fig.update_layout(legend_itemsizing="constant", margin=dict(l=0, r=0))
    return finish(fig, "Three clouds, and the unit sphere", plot=220)


def metric_bars(table: pd.DataFrame, pooling: str) -> go.Figure:
    """The six metrics of all tasks under one pooling."""
    rows = table[table["pooling"] == pooling]
    fig, plot = metric_panels(rows, SIX, "title", 2, spacing=0.08, cell=170)
    return finish(fig, f"Geometry under {pooling} pooling ({CUT})", plot=plot)


def probe_comparison(table: pd.DataFrame, pooling: str) -> go.Figure:
    """The public code's chart: semantic and token probe of all tasks under one pooling."""
    rows = table[table["pooling"] == pooling]
    fig, _ = metric_panels(rows, ("semantic_probe", "token_probe"), "title", 2, spacing=0.08)
    means, title = rows.pivot_table("value", "model", "metric"), "both probes"
    if {"hybrid", "mlm"} <= set(means.index):
        gap = means.loc["hybrid"] - means.loc["mlm"]
        title = f"hybrid minus MLM-only {gap['semantic_probe']:+.3f} and {gap['token_probe']:+.3f}"
        title = title.replace("-", "−").replace("MLM−", "MLM-")
    return finish(fig, f"What a probe reads, {pooling} pooling: {title}", height=440)


def pooling_ablation(table: pd.DataFrame, task: str, title: str) -> go.Figure:
    """Figure 2: three metrics of one task under the four poolings, with the published hybrid."""
    rows = table[(table["task"] == task) & (table["model"] != "published mlm")]
    metrics = ("spectral_entropy_sigma2", "semantic_probe", "uniformity")
    fig, _ = metric_panels(rows, metrics, "pooling", 3, "<br>", spacing=0.07)
    fig.update_xaxes(tickfont_size=10)
    first = rows[rows["model"] == rows["model"].iloc[0]].pivot_table("value", "pooling", "metric")
    least, rich = first["uniformity"].idxmax(), first["spectral_entropy_sigma2"].idxmax()
    return finish(fig, f"{title}: {least} pooling is the least uniform, {rich} pooling the richest")


def length_control(table: pd.DataFrame) -> go.Figure:
    """`length.length_control` over seeds: uniformity over all pairs and those of equal length."""
    titles = ["all pairs", "pairs with the same number of tokens"]
    fig, places, _ = grid(titles, 2, 0.04, shared_yaxes=True)
    table = table.assign(label=table["title"].map(wrapped))
    for metric, place in zip(("uniformity", "equal_length"), places, strict=True):
        add_bars(fig, table[table["metric"] == metric], "label", **place)
    fig.update_yaxes(title="uniformity (lower is more uniform)", col=1)
    fig.update_xaxes(tickfont_size=11)
    means = table.pivot_table("value", "model", "metric").drop("untrained", errors="ignore")
    left = (means["equal_length"] / means["uniformity"]).mean()
    heading = (
        f"Between texts of equal length, {left:.0%} of the trained encoders' uniformity is left"
    )
    return finish(fig, heading)


BY_LAYER = ("effective_rank", "uniformity", "alignment")
"""Metrics that the explorer draws layer by layer."""


def by_layer(table: pd.DataFrame, task: str, title: str, pooling: str) -> go.Figure:
    """`by_layer.geometry_by_layer` of one task: a panel per metric, a line per model and seed."""
    rows = table[(table["task"] == task) & (table["pooling"] == pooling)]
    fig, places, plot = grid([titled(metric) for metric in SIX], 3, 0.08, cell=190, gap=95)
    for metric, place in zip(SIX, places, strict=True):
        part = rows[rows["metric"] == metric]
        _layer_panel(fig, part, place)
    return finish(fig, f"Geometry by layer, {title}, {pooling} pooling ({CUT})", plot=plot)


def _layer_panel(fig: go.Figure, rows: pd.DataFrame, place: dict):
    """One metric by layer, with intervals: a line per model and seed."""
    for (model, _), line in rows.groupby(["model", "seed"], sort=False):
        points = dict(x=line["layer"], y=line["value"], error_y=error(line))
        look = dict(mode="lines+markers", line=stroke(model), marker=point(model, 6))
        hover = "layer %{x}: %{y:.3f}<extra>" + name(model) + "</extra>"
        fig.add_scatter(**points, **look, name=name(model), hovertemplate=hover, **place)
    step = -(-int(rows["layer"].max()) // 8) or 1  # whole layers, at most nine ticks
    fig.update_xaxes(title="layer (0: embeddings)", tick0=0, dtick=step, **place)
    fig.update_yaxes(range=view(rows), exponentformat="e", **place)


def radar(table: pd.DataFrame, task: str, title: str, pooling: str) -> go.Figure:
    """The public code's chart: six metrics of one task at a glance, outwards is better.

    Every spoke runs from the worst to the best value of any model under any pooling. It shows who
    leads, not by how much; for that see the tables.
    """
    wide = table[table["task"] == task].pivot_table(
        index="metric", columns=["pooling", "model"], values="value", sort=False
    )
    wide = wide.reindex([metric for metric in _SPOKES if metric in wide.index])
    spokes, signs = zip(*(_SPOKES[metric] for metric in wide.index), strict=True)
    signed = wide.mul(list(signs), axis=0)
    low, high = signed.min(axis=1), signed.max(axis=1)
    scaled = signed.sub(low, axis=0).div((high - low).where(high > low, 1), axis=0)
    values, fig = wide[pooling].dropna(axis=1), go.Figure()
    for model in values:
        radius, exact = scaled[pooling, model].tolist(), values[model].tolist()
        closed = dict(r=radius + radius[:1], theta=[*spokes, spokes[0]])
        hover = "%{theta}: %{customdata:.3f}<extra>" + name(model) + "</extra>"
        closed |= dict(customdata=exact + exact[:1], hovertemplate=hover)
        look = dict(mode="lines+markers", line=stroke(model), marker=point(model, 7))
        fig.add_scatterpolar(**closed, **look, name=name(model))
    axis = dict(range=[0, 1.05], tickvals=[0, 0.5, 1], ticktext=["", "", "best"])
    axis |= dict(angle=180 / len(spokes), tickangle=180 / len(spokes))  # clear of the spokes
    fig.update_polars(radialaxis=axis | dict(tickfont_size=11, gridcolor="#D9D9D9"))
    fig.update_polars(angularaxis=dict(gridcolor="#D9D9D9"))
    heading = f"Who leads in what, {title}, {pooling} pooling (outwards is better; no scale)"
    return finish(fig, heading, height=480, margin=dict(l=70, r=70, b=40))


def alignment_uniformity(table: pd.DataFrame, pooling: str) -> go.Figure:
    """Figures 3-6: alignment against uniformity, and the separation of classes, for all tasks.

    Published points are open. At a ratio of 1 the classes are not separated.
    """
    rows = table[table["pooling"] == pooling]
    titles = ["alignment against uniformity", "distance within classes / between"]
    fig, (left, right), _ = grid(titles, 2, 0.12)
    _alignment_panel(fig, rows, "alignment", left)
    ratios = rows[rows["metric"] == "intra_inter_ratio"]
    for model, ratio in ratios.groupby("model", sort=False):
        points = dict(x=ratio["title"].map(wrapped), y=ratio["value"], error_y=error(ratio))
        look = dict(mode="markers", marker=point(model), cliponaxis=False)
        fig.add_scatter(**points, **look, name=name(model), **right)
    fig.add_hline(y=1, line=dict(dash="dot", color="#555", width=1), **right)
    fig.update_yaxes(title="ratio (lower is better separated)", range=view(ratios), **right)
    fig.update_xaxes(tickfont_size=11, **right)
    heading = f"Alignment, uniformity and classes, {pooling} pooling ({CUT})"
    return finish(fig, heading, height=450, scattermode="group")


def eigenspectra(
    spectra: pd.DataFrame,
    task: str,
    pooling: str,
    title: str,
    published: pd.DataFrame | None = None,
) -> go.Figure:
    """Figures 7-10: share of variance by component (log) and its sum, a line per model and seed.

    Args:
        spectra: from `geometry.seed_spectra`; several seeds are thin lines.
        published: `geometry.published_spectra`, drawn dotted if it has the task.
    """
    both = pd.concat([spectra, published])
    rows = both[(both["task"] == task) & (both["pooling"] == pooling)]
    fig, places, _ = grid(["share of variance", "cumulative share of variance"], 2, 0.1)
    _spectrum_panels(fig, rows, *places)
    ours = spectra[(spectra["task"] == task) & (spectra["pooling"] == pooling)]
    runs = ours.groupby(["model", *(["seed"] if "seed" in ours else [])], sort=False)
    needed = runs["cumulative"].agg(lambda share: (share < 0.9).sum() + 1)
    needed = needed.groupby("model", sort=False).median()
    heading = f"Eigenspectrum, {title}, {pooling} pooling (a flatter curve is richer)"
    if len(needed) <= 2:
        parts = ", ".join(f"{count:.0f} ({name(model)})" for model, count in needed.items())
        heading = f"{title}, {pooling} pooling: 90 % of the variance in {parts} components"
    return finish(fig, heading)


def known_spectrum(truth: np.ndarray, measured: dict[str, np.ndarray]) -> go.Figure:
    """Shares of variance `[D]`, true and as `measured` from samples, by component."""
    fig, rank = go.Figure(), np.arange(1, len(truth) + 1)
    for number, (label, shares) in enumerate({"true": truth, **measured}.items()):
        look = dict(line=dict(color="#333333", dash="dash")) if label == "true" else {}
        look = look or dict(line=dict(color=CLASSES[number], width=2))
        fig.add_scatter(x=rank, y=shares, name=label, mode="lines+markers", **look)
    fig.update_xaxes(title="principal component")
    fig.update_yaxes(title="share of variance", tickformat=".0%", rangemode="tozero")
    return finish(fig, "Fewer texts make a spectrum look steeper than it is", height=380)


def geometry_view(
    spectra: pd.DataFrame,
    numbers: pd.DataFrame,
    heading: str,
    *,
    components: int = 50,
    log: bool = True,
    alignment: str = "alignment",
    layers: pd.DataFrame | None = None,
) -> go.Figure:
    """Eigenspectrum, its cumulative sum, and alignment against uniformity, of one task and pooling.

    Args:
        spectra: as for `eigenspectra`; numbers: metrics; alignment: which variant is drawn.
        components: principal components shown.
        log: whether shares are on a logarithmic axis.
        layers: rows of `by_layer.geometry_by_layer` for a second row: `BY_LAYER`, layer by layer.
    """
    titles = ["share of variance", "cumulative share", "alignment against uniformity"]
    below = () if layers is None or layers.empty else BY_LAYER
    titles += [titled(metric) for metric in below]
    fig, (share, cumulative, plane, *others), plot = grid(titles, 3, 0.09, cell=210, gap=110)
    for metric, place in zip(below, others, strict=True):
        _layer_panel(fig, layers[layers["metric"] == metric], place)
    _spectrum_panels(fig, spectra[spectra["rank"] <= components], share, cumulative, log=log)
    _alignment_panel(fig, numbers, alignment, plane, size=11)
    fig.update_xaxes(title="uniformity (← more uniform)", nticks=5, exponentformat="e", **plane)
    fig.update_yaxes(title="alignment (↓ tighter)", exponentformat="e", **plane)
    size = dict(plot=plot) if below else dict(height=430)
    return finish(fig, heading, **size)


def _alignment_panel(
    fig: go.Figure, rows: pd.DataFrame, alignment: str, place: dict, *, size: int = 10
):
    """A metric of alignment against uniformity, with intervals: a point per task and model."""
    hover = "%{text}: uniformity %{x:.3f}, alignment %{y:.3f}"
    for model, part in rows.groupby("model", sort=False):
        x, y = (part[part["metric"] == m].set_index("title") for m in ("uniformity", alignment))
        y = y.reindex(x.index)
        points = dict(x=x["value"], y=y["value"], error_x=error(x), error_y=error(y), text=x.index)
        look = dict(mode="markers", marker=point(model, size), cliponaxis=False)
        fig.add_scatter(**points, **look, name=name(model), hovertemplate=hover, **place)
    ranges = {m: view(rows[rows["metric"] == m]) for m in ("uniformity", alignment)}
    fig.update_xaxes(title=titled("uniformity", " "), range=ranges["uniformity"], **place)
    fig.update_yaxes(title=titled(alignment, " "), range=ranges[alignment], **place)


def _spectrum_panels(
    fig: go.Figure, spectra: pd.DataFrame, share: dict, cumulative: dict, *, log: bool = True
):
    """Share of variance by component, and its running sum; several seeds are thin lines."""
    for model, rows in spectra.groupby("model", sort=False):
        seeds = rows["seed"] if "seed" in rows else pd.Series(0, rows.index)
        thin = seeds.nunique() > 1
        for seed, part in rows.groupby(seeds, dropna=False):
            label = f"{name(model)}, seed {seed}" if thin else name(model)
            line = dict(x=part["rank"], mode="lines", line=stroke(model, 1.2 if thin else 2))
            line |= dict(hovertemplate="component %{x}: %{y:.2%}<extra>" + label + "</extra>")
            fig.add_scatter(**line, y=part["share"], name=name(model), **share)
            fig.add_scatter(**line, y=part["cumulative"], name=name(model), **cumulative)
    look = dict(tickformat=".0%", rangemode="tozero")
    if log:
        above = spectra["share"][spectra["share"] > 1e-6]  # less is rounding error
        floor = np.log10(above.min()) if len(above) else -6
        # plotly draws powers a quarter larger
        look = dict(type="log", range=[floor, 0], exponentformat="power", dtick=1, tickfont_size=10)
    fig.update_yaxes(**look, **share)
    fig.update_yaxes(tickformat=".0%", range=[0, 1.02], **cumulative)
    fig.add_hline(y=0.9, line=dict(dash="dot", color="#555", width=1), **cumulative)
    for place in (share, cumulative):
        fig.update_xaxes(title="principal component", **place)
