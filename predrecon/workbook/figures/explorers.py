"""What the explorers show: pure functions from tidy tables and a choice to one figure."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.panels import spectrum_panels, view
from predrecon.workbook.figures.style import (
    CLASSES,
    POINTS,
    broken,
    error,
    fill,
    finish,
    name,
    point,
)

_PROBES = ("semantic_probe", "token_probe", "probe_gap")
CONVENTIONS = {
    "the paper's equations": (
        "spectral_entropy", "effective_rank", "stable_rank", "alignment", "uniformity", *_PROBES
    ),
    "the paper's tables": (
        "spectral_entropy_sigma2", "effective_rank", "stable_rank", "alignment", "uniformity",
        *_PROBES,
    ),
    "the literature": (
        "rankme", "rank_90", "effective_rank", "alignment_squared", "pair_alignment",
        "intra_inter_ratio", "uniformity", *_PROBES,
    ),
}  # fmt: skip
"""Which metrics are shown by whose convention."""

_NONE = pd.DataFrame({"value": [np.nan], "low": [np.nan], "high": [np.nan]})


def geometry_view(
    spectra: pd.DataFrame,
    numbers: pd.DataFrame,
    heading: str,
    *,
    components: int = 50,
    log: bool = True,
    alignment: str = "alignment",
) -> go.Figure:
    """Eigenspectrum, its cumulative sum, and alignment against uniformity, of one task and pooling.

    Args:
        spectra: columns `model, rank, share, cumulative`.
        numbers: columns `model, metric, value, low, high`.
        components: principal components shown.
        log: whether shares are on a logarithmic axis.
        alignment: which metric of alignment.
    """
    titles = ("share of variance", "cumulative share", "alignment against uniformity")
    fig = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.09)
    shown = spectra[spectra["rank"] <= components]
    spectrum_panels(fig, shown, log=log)
    for model, rows in numbers.groupby("model", sort=False):
        by = {metric: part for metric, part in rows.groupby("metric")}
        x, y = (by.get(metric, _NONE) for metric in ("uniformity", alignment))
        x, y = (x, y) if len(x) == len(y) else (_NONE, _NONE)
        known = model in set(shown["model"])
        fig.add_scatter(
            x=x["value"],
            y=y["value"],
            error_x=error(x),
            error_y=error(y),
            name=name(model),
            legendgroup=model,
            showlegend=not known,
            mode="markers",
            marker=point(model, 11),
            hovertemplate="uniformity %{x:.3f}, alignment %{y:.3f}<extra>"
            + name(model)
            + "</extra>",
            row=1,
            col=3,
        )
    ranges = {m: view(numbers[numbers["metric"] == m]) for m in ("uniformity", alignment)}
    heads = ("uniformity (← more uniform)", "alignment (↓ tighter)")
    fig.update_xaxes(title=heads[0], nticks=5, range=ranges["uniformity"], row=1, col=3)
    fig.update_yaxes(title=heads[1], title_standoff=4, range=ranges[alignment], row=1, col=3)
    return finish(fig, heading, height=430)


def map_view(
    points: pd.DataFrame, heading: str, *, continuous: str = "", found: np.ndarray | None = None
) -> go.Figure:
    """One map a model, side by side; points carry their number, so that they can be chosen.

    Args:
        points: columns `model, x, y, number, text, color`; `color` is a class, or a number if
            `continuous` names it (the title of the colour bar).
        found: numbers of the points to ring, of a search.
    """
    models = list(points["model"].unique())
    fig = make_subplots(
        1, len(models), subplot_titles=[name(m) for m in models], horizontal_spacing=0.03
    )
    common = dict(mode="markers", hovertemplate="%{text}<extra></extra>")
    classes = [] if continuous else sorted(points["color"].unique(), key=str)
    named: set = set()  # classes that the legend has
    for col, model in enumerate(models, start=1):
        rows = points[points["model"] == model]
        for part, look in _layers(rows, classes, continuous, named):
            numbers = part["number"].tolist()
            data = dict(x=part["x"], y=part["y"], customdata=numbers, text=part["text"])
            fig.add_scattergl(**data, **look, **common, row=1, col=col)
        if found is not None and len(found):
            ringed = rows[rows["number"].isin(found)]
            fig.add_scattergl(
                x=ringed["x"],
                y=ringed["y"],
                customdata=ringed["number"].tolist(),
                text=ringed["text"],
                name=f"search ({len(ringed):,})",
                legendgroup="search",
                showlegend=col == 1,
                marker=dict(symbol="circle-open", size=11, color="#000000", line_width=1.5),
                **common,
                row=1,
                col=col,
            )
    fig.update_xaxes(showticklabels=False, ticks="", showgrid=False)
    fig.update_yaxes(showticklabels=False, ticks="", showgrid=False)
    fig = finish(fig, heading, plot=380, margin=dict(l=20, b=20))
    if continuous:
        bar = dict(title=continuous, thickness=12, outlinewidth=0)
        fig.update_layout(coloraxis=dict(colorscale="Cividis", colorbar=bar))
    return fig.update_layout(dragmode="select", legend_itemsizing="constant", uirevision=heading)


def _layers(rows: pd.DataFrame, classes: list, continuous: str, named: set):
    """A model's points as `(rows, look)`: one layer, or one a class."""
    size = 3 if len(rows) > 3000 else 5
    if continuous:
        marker = dict(size=size, color=rows["color"], coloraxis="coloraxis")
        yield rows, dict(marker=marker, showlegend=False)
        return
    for number, label in enumerate(classes):
        look = number % len(CLASSES)
        marker = dict(size=size, color=CLASSES[look], symbol=POINTS[look], opacity=0.75)
        part = rows[rows["color"] == label]
        new = len(part) > 0 and label not in named
        named.update([label] if new else [])
        yield part, dict(name=str(label), legendgroup=str(label), showlegend=new, marker=marker)


def probing_view(
    scores: pd.DataFrame,
    answers: dict[str, np.ndarray],
    labels: np.ndarray,
    classes: tuple[str, ...],
    heading: str,
    metric: str,
) -> go.Figure:
    """Scores with intervals, and each encoder's confusion matrix (graded tasks: ranks of answers).

    Args:
        scores: columns `model, score, low, high`.
        answers: `{model: [N]}`; labels: `[N]`; classes: names, empty for graded similarity.
        metric: names the axis of the scores.
    """
    columns = 1 + len(answers)
    titles = [f"{metric} (higher is better)", *(f"{name(model)}, by label" for model in answers)]
    fig = make_subplots(1, columns, subplot_titles=titles, horizontal_spacing=0.36 / columns)
    for row in scores.itertuples():
        part = scores[scores["model"] == row.model]
        fig.add_bar(
            x=broken(pd.Series([name(row.model)])),
            y=part["score"],
            error_y=error(part, "score"),
            marker=fill(row.model),
            showlegend=False,
            hovertemplate="%{x}: %{y:.3f}<extra></extra>",
            row=1,
            col=1,
        )
    for col, guessed in enumerate(answers.values(), start=2):
        if classes:
            counts = np.zeros((len(classes), len(classes)), dtype=int)
            np.add.at(counts, (labels, guessed), 1)
            shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
            fig.add_heatmap(
                z=shares,
                x=classes,
                y=classes,
                zmin=0,
                zmax=1,
                colorscale=[[0, "#FFFFFF"], [1, "#6A9FC8"]],
                showscale=False,
                text=counts,
                texttemplate="%{text}",
                hovertemplate="is %{y}, answered %{x}: %{text} (%{z:.0%})<extra></extra>",
                row=1,
                col=col,
            )
            look = dict(type="category", showgrid=False)
            fig.update_yaxes(**look, autorange="reversed", showticklabels=col == 2, row=1, col=col)
            fig.update_xaxes(**look, row=1, col=col)
        else:
            marker = dict(size=4, color=CLASSES[0], opacity=0.5)
            place = pd.Series(guessed).rank(pct=True)  # rho sees ranks alone
            fig.add_scattergl(
                x=place, y=labels, mode="markers", marker=marker, showlegend=False, row=1, col=col
            )
            fig.update_xaxes(type="linear", tickformat=".0%", row=1, col=col)
            fig.update_yaxes(type="linear", row=1, col=col)
        fig.update_xaxes(title="answered" if classes else "rank of answer", row=1, col=col)
    return finish(fig, heading, height=380)
