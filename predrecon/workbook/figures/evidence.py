"""Pictures of evidence: intervals, seeds, poolers, and what runs did on their way."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.panels import forest, stacked, titled
from predrecon.workbook.figures.style import COLORS, POINTS, SEQUENCE, finish

_WATCHED = (
    "uniformity",
    "effective_rank",
    "below_unigram",
    "validation_mlm",
    "semantic_probe",
    "token_probe",
)
_CONTRASTED = (
    "uniformity",
    "equal_length",
    "effective_rank",
    "semantic_probe",
    "token_probe",
    "below_unigram",
)
_LOOKS = {  # colour, dash, symbol: what two arms share looks alike, and lambda darkens with size
    "hybrid": (COLORS["hybrid"], "solid", "circle"),
    "mlm": (COLORS["mlm"], "solid", "circle"),
    "hybrid-sqrt": (COLORS["hybrid"], "dot", "diamond"),
    "mlm-sqrt": (COLORS["mlm"], "dot", "diamond"),
    "mlm-flops": ("#9A6700", "5px,3px", "square"),
    "hybrid-lam25": ("#3F93D1", "5px,3px", "triangle-down"),
    "hybrid-lam50": ("#0A5C93", "5px,3px", "x"),
    "hybrid-lam75": ("#00304F", "5px,3px", "triangle-up"),
    "hybrid-slow": (COLORS["hybrid"], "dashdot", "star"),
}
_OTHER_DASHES = ("longdash", "longdashdot", "dashdot")


def differences(headline: pd.DataFrame, title: str = "Hybrid minus MLM-only") -> go.Figure:
    """A forest of `evidence.headline`: one panel a metric, one line a pooling, 95 % intervals."""
    panels = {metric: titled(metric) for metric in dict.fromkeys(headline["metric"])}
    size = stacked(len(panels), 3, cell=115, gap=75)
    plot = size.pop("plot")
    fig = forest(headline, panels, "pooling", horizontal_spacing=0.05, **size)
    return finish(fig, title, plot=plot)


def contrasts(gaps: pd.DataFrame) -> go.Figure:
    """`why.contrasts`: one panel a metric, one line a suspect, 95 % intervals over seeds."""
    panels = {m: titled(m) for m in _CONTRASTED if m in set(gaps["metric"])}
    size = stacked(len(panels), 3, cell=26 * gaps["contrast"].nunique() + 14, gap=75)
    plot = size.pop("plot")
    fig = forest(gaps, panels, "contrast", horizontal_spacing=0.04, **size)
    alone = "" if np.isfinite(gaps["low"]).all() else "; grey: one seed, no interval"
    heading = f"What each suspect changes (mean pooling, mean of tasks{alone})"
    return finish(fig, heading, plot=plot)


def trajectories(table: pd.DataFrame, x: str = "tokens") -> go.Figure:
    """`trajectories.trajectories`: one panel a metric; thick the mean of seeds, thin each seed.

    Args:
        x: `"tokens"`, `"step"` or `"flops"`.
    """
    shown = [m for m in _WATCHED if m in set(table["metric"])]
    rows, size = -(-len(shown) // 2), stacked(len(shown), 2, cell=190, gap=65)
    plot, titles = size.pop("plot"), [titled(m, " ") for m in shown]
    fig = make_subplots(rows, 2, subplot_titles=titles, horizontal_spacing=0.1, **size)
    looks = _looks(table)
    for i, metric in enumerate(shown):
        place = dict(row=i // 2 + 1, col=i % 2 + 1)
        for title, part in table[table["metric"] == metric].groupby("title", sort=False):
            color, dash, symbol = looks[title]
            for _, one in part.groupby("seed"):
                thin = dict(color=color, width=1, dash=dash)
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
                marker=dict(size=8, symbol=symbol), **place,
            )  # fmt: skip
    if "below_unigram" in shown:
        i = shown.index("below_unigram")
        fig.add_hline(y=0, line=dict(color="#555", width=1), row=i // 2 + 1, col=i % 2 + 1)
    words = {"tokens": "tokens seen", "step": "optimiser steps", "flops": "operations spent"}
    fig.update_xaxes(title=words[x], row=rows)
    task, pooling = table[["task", "pooling"]].iloc[0]
    heading = f"What becomes of the encoders while they train ({task}, {pooling} pooling)"
    return finish(fig, heading, plot=plot, legend_itemwidth=42)


def lambdas(table: pd.DataFrame) -> go.Figure:
    """`trajectories.lambdas`: trained solid, predicted from the learning rates alone dashed."""
    fig, colors = go.Figure(), [c for c in SEQUENCE if c != COLORS["mlm"]]
    for i, (title, part) in enumerate(table.groupby("title", sort=False)):
        color = colors[i % len(colors)]
        for seed, one in part.groupby("seed"):
            first = seed == part["seed"].min()
            fig.add_scatter(
                x=one["step"], y=one["lam"], mode="lines", name=title, legendgroup=title,
                showlegend=bool(first), line=dict(color=color, width=max(2, 5 - 1.5 * i)),
            )  # fmt: skip
            if first:
                fig.add_scatter(
                    x=one["step"], y=one["predicted"], mode="lines", name="predicted",
                    legendgroup="predicted", showlegend=i == 0, legendrank=2000,
                    line=dict(color="#333333", width=1.2, dash="dash"),
                )  # fmt: skip
    fig.update_xaxes(title="step")
    fig.update_yaxes(title="λ", range=[0, 1])
    heading = "λ as trained, and (dashed) as the learning rates alone predict it"
    return finish(fig, heading, height=440)


def plateau(runs: pd.DataFrame) -> go.Figure:
    """`plateau.per_run`: uniformity of every run against how far it has left word frequencies.

    Raises:
        ValueError: no run, or none with the nats and a uniformity.
    """
    shown = [m for m in ("uniformity", "equal_length") if m in runs]
    if "below_unigram" not in runs or not shown or runs.empty:
        raise ValueError(
            f"{len(runs)} runs with the columns {', '.join(map(str, runs)) or 'none'}: expected a "
            "run or more with below_unigram and uniformity. `python -m predrecon grid` trains them."
        )
    titles = [titled(m, " ") for m in shown]
    fig = make_subplots(1, len(shown), subplot_titles=titles, horizontal_spacing=0.1)
    looks = _looks(runs)
    for col, metric in enumerate(shown, start=1):
        for title, part in runs.groupby("title", sort=False):
            color, _, symbol = looks[title]
            fig.add_scatter(
                x=part["below_unigram"], y=part[metric], mode="markers", legendgroup=title,
                name=title, showlegend=col == 1, marker=dict(size=11, symbol=symbol, color=color),
                text=[f"seed {seed}" for seed in part["seed"]],
                hovertemplate="%{text}: %{x:.3f} nats, %{y:.3f}<extra></extra>", row=1, col=col,
            )  # fmt: skip
    fig.update_yaxes(exponentformat="none")
    fig.update_xaxes(title="nats below word frequencies (→ more learned)")
    told = runs[["below_unigram", shown[0]]].dropna()
    facts = f"mean of tasks, {len(told)} {'run' if len(told) == 1 else 'runs'}"
    if len(told) > 2 and (told.nunique() > 1).all():
        facts += f", rank correlation {told.rank().corr().iloc[0, 1]:.2f}".replace("-", "−")
    heading = f"Mean-pooled uniformity and nats below word frequencies ({facts})"
    return finish(fig, heading, height=430)


def _looks(table: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """`{title: (colour, dash, symbol)}`: the arm's hue, and symbols that tell its conditions apart.

    Conditions that `_LOOKS` does not know have their arm's colour, and what no other here has.
    """
    named = dict(table[["condition", "title"]].drop_duplicates().to_numpy())
    looks = {title: _LOOKS[name] for name, title in named.items() if name in _LOOKS}
    free = [s for s in POINTS if s not in {symbol for _, _, symbol in looks.values()}] or POINTS
    others = [name for name in named if name not in _LOOKS]
    for number, name in enumerate(others):
        dash = _OTHER_DASHES[number % len(_OTHER_DASHES)]
        looks[named[name]] = COLORS[name.split("-")[0]], dash, free[number % len(free)]
    return looks
