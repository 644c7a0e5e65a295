"""Linear probes: their scores and their answers (notebook 04)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.panels import add_bars
from predrecon.workbook.figures.style import CLASSES, error, fill, finish, name

_SCORES = {"mcc": "MCC", "f1": "F1", "spearman": "Spearman ρ"}


def probe_bars(table: pd.DataFrame) -> go.Figure:
    """Linear-probe scores: columns `title, metric, model, score, low, high`, published included.

    The title says how much the arms differ, and where training helps.
    """
    labels = table["title"] + "<br>(" + table["metric"].replace(_SCORES) + ")"
    fig, hover = go.Figure(), "%{x}: %{y:.3f}<extra>%{fullData.name}</extra>"
    add_bars(fig, table.assign(label=labels), "label", "score", hovertemplate=hover)
    fig.update_yaxes(title="validation score (higher is better)")
    return finish(fig, _heading(table), height=420, bargap=0.25)


def _heading(table: pd.DataFrame) -> str:
    wide = table.pivot_table(["score", "low", "high"], "title", "model").swaplevel(axis=1)
    parts = []
    if {"hybrid", "mlm"} <= set(table["model"]):
        gap = (wide["hybrid"]["score"] - wide["mlm"]["score"]).abs().max()
        parts.append(f"the arms within {gap:.3f} of each other")
    for arm in ("hybrid", "mlm"):
        if {arm, "untrained"} <= set(table["model"]):
            helped = (wide[arm]["low"] > wide["untrained"]["high"]).sum()
            parts.append(f"training helps on {helped} of {len(wide)} tasks")
            break
    return f"Linear probes: {'; '.join(parts)}" if parts else "Linear probes on frozen encoders"


def probing_view(
    scores: pd.DataFrame,
    answers: dict[str, np.ndarray],
    labels: np.ndarray,
    classes: tuple[str, ...],
    heading: str,
    metric: str,
) -> go.Figure:
    """Scores with intervals; below, each encoder's confusion matrix (graded tasks: its ranks).

    Rows of a matrix are true classes, columns predicted ones; cells hold counts and row shares.

    Args:
        scores: columns `model, score, low, high`; metric: its name.
        answers: `{model: [N]}`; labels: `[N]`; classes: names, empty for graded similarity.
    """
    size, longest = max(2, len(classes)), max(map(len, classes or ["0.00"]))
    columns = max(1, min(3, len(answers), 12 // size))  # of matrices, in a width of 700 pixels
    matrix, between = max(190, 38 * size), 95 if size < 4 else 125  # pixels
    heights = [28 * len(scores) + 12, *[matrix] * -(-len(answers) // columns)]
    plot = sum(heights) + between * (len(heights) - 1)
    scores_alone = [dict(colspan=columns), *[None] * (columns - 1)]
    spacing = dict(vertical_spacing=between / plot)
    if columns > 1:
        spacing["horizontal_spacing"] = 0.03 + 0.011 * longest
    fig = make_subplots(
        len(heights),
        columns,
        specs=[scores_alone, *[[{}] * columns] * (len(heights) - 1)],
        row_heights=heights,
        subplot_titles=["", *map(name, answers)],
        **spacing,
    )
    for model, rows in scores[::-1].groupby("model", sort=False):
        bar = dict(x=rows["score"], y=[name(model)], error_x=error(rows, "score"), orientation="h")
        hover = dict(hovertemplate="%{y}: %{x:.3f}<extra></extra>", showlegend=False)
        fig.add_bar(**bar, **hover, marker=fill(model), row=1, col=1)
    fig.update_xaxes(title=f"{metric} (higher is better)", row=1, col=1)
    for number, answer in enumerate(answers.values()):
        place = dict(row=2 + number // columns, col=1 + number % columns)
        if classes:
            _add_confusion(fig, answer, labels, classes, **place)
            look = dict(type="category", showgrid=False, ticks="")
            fig.update_xaxes(**look, title="predicted class", **place)
            fig.update_yaxes(**look, autorange="reversed", title="true class", **place)
        else:
            look = dict(mode="markers", marker=dict(size=4, color=CLASSES[0], opacity=0.5))
            rank = pd.Series(answer).rank(pct=True)  # all that rho depends on
            fig.add_scattergl(x=rank, y=labels, showlegend=False, **look, **place)
            fig.update_xaxes(type="linear", tickformat=".0%", title="rank of answer", **place)
            fig.update_yaxes(type="linear", title="true similarity", **place)
    return finish(fig, heading, plot=plot)


def _add_confusion(fig: go.Figure, answer: np.ndarray, labels: np.ndarray, classes: tuple, **place):
    """A confusion matrix: counts and shares of the true class, the shares also as colour."""
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels, answer), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    pairs = np.dstack([counts, shares]).tolist()
    texts = [[f"{count:,.0f}<br>{share:.0%}" for count, share in row] for row in pairs]
    cells = dict(x=classes, y=classes, z=shares, customdata=counts, text=texts)
    cells |= dict(texttemplate="%{text}", textfont=dict(color="#222222", size=11))
    look = dict(zmin=0, zmax=1, colorscale=[[0, "#FFFFFF"], [1, "#8CBBE0"]], showscale=False)
    look |= dict(xgap=1, ygap=1)
    hover = "true %{y}, predicted %{x}: %{customdata:,} (%{z:.0%} of the row)<extra></extra>"
    fig.add_heatmap(**cells, **look, hovertemplate=hover, **place)
