"""Pictures of evidence: intervals, seeds, poolers, and what runs did on their way."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.figures.style import COLORS, SEQUENCE, error, finish, name

WATCHED = {
    "uniformity": "uniformity (lower is more uniform)",
    "effective_rank": "effective rank (higher is richer)",
    "below_unigram": "nats below word frequencies (higher is better)",
    "validation_mlm": "held-out MLM loss (nats, lower is better)",
    "semantic_probe": "semantic probe (higher is better)",
    "token_probe": "token probe (higher is more lexical)",
}
_CONTRASTED = {
    "uniformity": "uniformity",
    "equal_length": "uniformity, equal length",
    "effective_rank": "effective rank",
    "semantic_probe": "semantic probe",
    "token_probe": "token probe",
    "below_unigram": "nats below word frequencies",
}
_DASHES = ("solid", "dot", "dash", "dashdot")


def differences(headline: pd.DataFrame, title: str = "Hybrid minus MLM-only") -> go.Figure:
    """A forest of `evidence.headline`: one panel a metric, one line a pooling, 95 % intervals."""
    shown = list(dict.fromkeys(headline["metric"]))
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    fig = make_subplots(
        rows, columns, subplot_titles=[m.replace("_", " ") for m in shown], shared_yaxes=True,
        horizontal_spacing=0.05, vertical_spacing=0.28 / rows,
    )  # fmt: skip
    for i, metric in enumerate(shown):
        part = headline[headline["metric"] == metric]
        place = dict(row=i // columns + 1, col=i % columns + 1)
        error = dict(array=part["high"] - part["value"], arrayminus=part["value"] - part["low"])
        fig.add_scatter(
            x=part["value"],
            y=part["pooling"],
            error_x=error | dict(type="data", symmetric=False, thickness=1.5),
            mode="markers",
            marker=dict(color=COLORS["hybrid"], size=8),
            customdata=part[["seeds", "p_corrected"]],
            hovertemplate="%{y}: %{x:.3f}, %{customdata[0]} seeds, p = %{customdata[1]:.3f}"
            "<extra></extra>",
            showlegend=False,
            **place,
        )
        fig.add_vline(x=0, line=dict(color="#555", width=1), **place)
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(exponentformat="none", nticks=5)
    fig.update_annotations(font_size=12)
    return finish(fig, title, height=120 + 190 * rows, margin=dict(t=100, l=90, r=20, b=50))


def contrasts(gaps: pd.DataFrame) -> go.Figure:
    """`why.contrasts`: one panel a metric, one line a suspect, 95 % intervals over seeds."""
    shown = [m for m in _CONTRASTED if m in set(gaps["metric"])]
    rows = -(-len(shown) // 3)
    titles = [_CONTRASTED[m] for m in shown]
    fig = make_subplots(
        rows, 3, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03,
        vertical_spacing=0.4 / rows,
    )  # fmt: skip
    for i, metric in enumerate(shown):
        part = gaps[gaps["metric"] == metric]
        place = dict(row=i // 3 + 1, col=i % 3 + 1)
        sure = part["low"].abs() != math.inf
        color = [COLORS["hybrid"] if s else COLORS["untrained"] for s in sure]
        bounds = part.where(sure, other=np.nan)
        fig.add_scatter(
            x=part["value"],
            y=part["contrast"],
            error_x=error(part.assign(low=bounds["low"], high=bounds["high"])),
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
    fig.update_annotations(font_size=12)
    lines = gaps["contrast"].nunique()
    height = 130 + rows * (60 + 26 * lines)
    heading = "What each suspect changes (grey: one seed, no interval)"
    return finish(fig, heading, height=height, margin=dict(t=100, l=90, r=20, b=50))


def pooler_spread(table: pd.DataFrame, metric: str = "uniformity") -> go.Figure:
    """`poolers.spread`: one panel a task; every random draw is a point, other poolers a mark."""
    told = table[table["metric"] == metric]
    titles = list(dict.fromkeys(told["title"]))
    fig = make_subplots(
        1, len(titles), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.02
    )
    for col, title in enumerate(titles, start=1):
        for model, rows in told[told["title"] == title].groupby("model", sort=False):
            fig.add_box(
                x=rows["pooler"].str.replace(" ", "<br>"),
                y=rows["value"],
                name=name(model),
                legendgroup=model,
                showlegend=col == 1,
                offsetgroup=model,
                boxpoints="all",
                jitter=0.5,
                pointpos=0,
                fillcolor="rgba(0,0,0,0)",
                line=dict(width=1, color=COLORS[model]),
                marker=dict(size=5, color=COLORS[model]),
                row=1,
                col=col,
            )
    fig.update_yaxes(title=WATCHED.get(metric, metric), col=1)
    fig.update_xaxes(tickfont_size=10)
    fig.update_annotations(font_size=13)
    draws = int(told["draw"].max()) + 1
    heading = f"{metric.capitalize()} by pooler: mean, {draws} random queries, fitted ones"
    fig = finish(fig, heading, height=460, margin=dict(t=110, l=60, r=20, b=80), boxmode="group")
    return fig.update_layout(legend=dict(y=1.12))


def trajectories(table: pd.DataFrame, x: str = "tokens") -> go.Figure:
    """`trajectories.trajectories`: one panel a metric; thick the mean of seeds, thin each seed.

    Args:
        x: `"tokens"`, `"step"` or `"flops"`.
    """
    shown = [m for m in WATCHED if m in set(table["metric"])]
    rows = -(-len(shown) // 2)
    fig = make_subplots(
        rows, 2, subplot_titles=[WATCHED[m] for m in shown], horizontal_spacing=0.1,
        vertical_spacing=0.3 / rows,
    )  # fmt: skip
    looks = _looks(table)
    for i, metric in enumerate(shown):
        place = dict(row=i // 2 + 1, col=i % 2 + 1)
        for title, part in table[table["metric"] == metric].groupby("title", sort=False):
            color, dash = looks[title]
            for _, one in part.groupby("seed"):
                thin = dict(color=color, width=0.7, dash=dash)
                fig.add_scatter(
                    x=one[x], y=one["value"], mode="lines", line=thin, opacity=0.5,
                    legendgroup=title, showlegend=False, hoverinfo="skip", **place,
                )  # fmt: skip
            mean = part.groupby("step")[[x, "value"]].mean()
            seeds = part["seed"].nunique()
            label = f"{title} ({seeds} {'seed' if seeds == 1 else 'seeds'})"
            fig.add_scatter(
                x=mean[x], y=mean["value"], mode="lines+markers", name=label, legendgroup=title,
                showlegend=i == 0, line=dict(color=color, width=2.5, dash=dash),
                marker=dict(size=4), **place,
            )  # fmt: skip
    if "below_unigram" in shown:
        i = shown.index("below_unigram")
        fig.add_hline(y=0, line=dict(color="#555", width=1), row=i // 2 + 1, col=i % 2 + 1)
    words = {"tokens": "tokens seen", "step": "optimiser steps", "flops": "operations spent"}
    fig.update_xaxes(title=words[x], row=rows)
    fig.update_annotations(font_size=12)
    heading = "What becomes of the encoders while they train"
    fig = finish(fig, heading, height=180 + 260 * rows, margin=dict(t=90, l=60, r=20, b=130))
    return fig.update_layout(legend=dict(x=0, xanchor="left", y=-0.1 - 0.05 / rows, yanchor="top"))


def lambdas(table: pd.DataFrame) -> go.Figure:
    """`trajectories.lambdas`: trained solid, predicted from the learning rates alone dashed."""
    fig, colors = go.Figure(), [c for c in SEQUENCE if c != COLORS["mlm"]]
    for i, (title, part) in enumerate(table.groupby("title", sort=False)):
        color = colors[i % len(colors)]
        for seed, one in part.groupby("seed"):
            first = seed == part["seed"].min()
            fig.add_scatter(
                x=one["step"], y=one["lam"], mode="lines", name=title, legendgroup=title,
                showlegend=bool(first), line=dict(color=color, width=2),
            )  # fmt: skip
            if first:
                fig.add_scatter(
                    x=one["step"], y=one["predicted"], mode="lines", legendgroup=title,
                    showlegend=False, line=dict(color="#333333", width=1.2, dash="dash"),
                )  # fmt: skip
    fig.update_xaxes(title="step")
    fig.update_yaxes(title="λ", range=[0, 1])
    heading = "λ as trained, and (dashed) as the learning rates alone predict it"
    fig = finish(fig, heading, height=440, margin=dict(t=80, l=60, r=20, b=110))
    return fig.update_layout(legend=dict(x=0, xanchor="left", y=-0.2, yanchor="top"))


def _looks(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colour by arm, dash by what else differs, so that arms stay told apart."""
    looks, counts = {}, {"hybrid": 0, "mlm": 0}
    for condition, title in table[["condition", "title"]].drop_duplicates().to_numpy():
        arm = condition.split("-")[0]
        looks[title] = COLORS[arm], _DASHES[counts[arm] % len(_DASHES)]
        counts[arm] += 1
    return looks
