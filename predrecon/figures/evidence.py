"""Pictures of evidence: intervals, seeds, poolers, and what runs did on their way."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.figures.panels import forest
from predrecon.figures.style import COLORS, SEQUENCE, finish, name

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
    panels = {metric: metric.replace("_", " ") for metric in dict.fromkeys(headline["metric"])}
    rows = -(-len(panels) // 3)
    spacing = dict(horizontal_spacing=0.05, vertical_spacing=0.28 / rows)
    fig = forest(headline, panels, "pooling", **spacing)
    return finish(fig, title, height=120 + 190 * rows, margin=dict(t=100, l=90, r=20, b=50))


def contrasts(gaps: pd.DataFrame) -> go.Figure:
    """`why.contrasts`: one panel a metric, one line a suspect, 95 % intervals over seeds."""
    panels = {m: title for m, title in _CONTRASTED.items() if m in set(gaps["metric"])}
    rows = -(-len(panels) // 3)
    spacing = dict(horizontal_spacing=0.03, vertical_spacing=0.4 / rows)
    fig = forest(gaps, panels, "contrast", **spacing)
    height = 130 + rows * (60 + 26 * gaps["contrast"].nunique())
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
