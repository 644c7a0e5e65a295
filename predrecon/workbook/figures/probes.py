"""Linear probes: their scores and their answers (notebook 04)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from predrecon.workbook.figures.panels import add_bars, grid
from predrecon.workbook.figures.style import CLASSES, finish, name, wrapped

_SCORES = {"mcc": "MCC", "f1": "F1", "spearman": "Spearman ρ"}


def probe_bars(table: pd.DataFrame) -> go.Figure:
    """Linear-probe scores: columns `title, metric, model, score, low, high`, published included.

    The title says how far the arms are apart, and where training helps.
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
        parts.append(f"the arms within {gap:.2f} of each other")
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
    """Scores with intervals, and each encoder's confusion matrix (graded tasks: ranks of answers).

    Args:
        scores: columns `model, score, low, high`; metric: its name.
        answers: `{model: [N]}`; labels: `[N]`; classes: names, empty for graded similarity.
    """
    columns = 1 + len(answers)
    titles = [f"{metric} (higher is better)", *(f"{name(model)}, by label" for model in answers)]
    fig, (left, *right), _ = grid(titles, columns, 0.36 / columns)
    scores = scores.assign(label=scores["model"].map(name).map(wrapped))
    hover = dict(hovertemplate="%{x}: %{y:.3f}<extra></extra>", showlegend=False)
    add_bars(fig, scores, "label", "score", **hover, **left)
    for number, (answer, place) in enumerate(zip(answers.values(), right, strict=True)):
        if classes:
            _add_confusion(fig, answer, labels, classes, **place)
            look = dict(type="category", showgrid=False)
            fig.update_xaxes(**look, title="answered", **place)
            fig.update_yaxes(**look, autorange="reversed", showticklabels=number == 0, **place)
        else:
            look = dict(mode="markers", marker=dict(size=4, color=CLASSES[0], opacity=0.5))
            rank = pd.Series(answer).rank(pct=True)  # all that rho sees
            fig.add_scattergl(x=rank, y=labels, showlegend=False, **look, **place)
            fig.update_xaxes(type="linear", tickformat=".0%", title="rank of answer", **place)
            fig.update_yaxes(type="linear", **place)
    return finish(fig, heading, height=380)


def _add_confusion(fig: go.Figure, answer: np.ndarray, labels: np.ndarray, classes: tuple, **place):
    """A confusion matrix: counts, coloured by the share of their label."""
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels, answer), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    cells = dict(x=classes, y=classes, z=shares, text=counts, texttemplate="%{text}")
    look = dict(zmin=0, zmax=1, colorscale=[[0, "#FFFFFF"], [1, "#6A9FC8"]], showscale=False)
    hover = "is %{y}, answered %{x}: %{text} (%{z:.0%})<extra></extra>"
    fig.add_heatmap(**cells, **look, hovertemplate=hover, **place)
