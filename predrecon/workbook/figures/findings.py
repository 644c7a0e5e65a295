"""Figures of findings: the status of claims, one suspect at a time, what seeds can show."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from predrecon.audit.claims import STATUSES
from predrecon.audit.contrasts import published_effects
from predrecon.audit.statistics import detectable_effect, half_width
from predrecon.workbook.figures.panels import forest
from predrecon.workbook.figures.style import COLORS, finish
from predrecon.workbook.labels import contrast_title

# Each status also has its own mark.
_STATUS = dict(zip(STATUSES, ("✓", "~", "✗", "?"), strict=True))
_SHADES = dict(zip(STATUSES, ("#0072B2", "#7FB8D8", "#D55E00", "#E3E3E3"), strict=True))
_INK = dict(zip(STATUSES, ("white", "#333333", "white", "#777777"), strict=True))
_LEFT, _RIGHT = 400, 30  # margins in pixels; the claims' text is on the left
_SEEDS = np.arange(2, 31)


def claim_statuses(claims: pd.DataFrame) -> go.Figure:
    """`claims.paper_map` by `architecture`: a row per claim, a tile per architecture."""
    lines, columns = (
        list(dict.fromkeys(claims["claim"])),
        list(dict.fromkeys(claims["architecture"])),
    )
    fig = go.Figure()
    for status in STATUSES:
        rows = claims[claims["status"] == status]
        text = dict(text=[_STATUS[status]] * len(rows), textfont_color=_INK[status])
        marks = dict(symbol="square", size=15, color=_SHADES[status])
        ours = np.round(rows[["value", "low", "high"]].to_numpy(float), 3)
        hover = "%{y}<br>%{x}: %{customdata[0]} [%{customdata[1]}, %{customdata[2]}]<extra></extra>"
        fig.add_scatter(
            x=rows["architecture"], y=rows["claim"], mode="markers+text", marker=marks, **text,
            name=f"{_STATUS[status]} {status}", customdata=ours, hovertemplate=hover,
        )  # fmt: skip
    fig.update_xaxes(
        side="top", categoryorder="array", categoryarray=columns, showgrid=False, ticks="",
        range=[-0.5, len(columns) - 0.5],
    )  # fmt: skip
    fig.update_yaxes(
        categoryorder="array", categoryarray=lines[::-1], tickfont_size=11,
        ticks="", range=[-0.7, len(lines) - 0.3], automargin=False, tickmode="linear",
    )  # fmt: skip
    best = claims[claims["architecture"] == columns[-1]]["status"].value_counts()
    counts = [f"{best.get(status, 0)} {status}" for status in STATUSES[:3]]
    heading = f"Of {len(lines)} claims, {columns[-1]}: {', '.join(counts)}"
    fig = finish(fig, heading, plot=17 * len(lines) + 10)
    top = fig.layout.margin.t + 18  # for the names of the architectures
    fig.update_layout(legend=dict(xref="container", x=0.98))
    return fig.update_layout(margin=dict(l=_LEFT, r=_RIGHT, t=top), height=fig.layout.height + 18)


def suspect(
    gaps: pd.DataFrame,
    names: list[str],
    title: str,
    metrics: tuple[str, ...] = ("uniformity", "effective_rank", "below_unigram"),
) -> go.Figure:
    """The rows `names` of `contrasts.paired_contrasts`, a panel per metric, 95 % intervals."""
    rows = gaps[gaps["contrast"].isin(names)]
    metrics = [metric for metric in metrics if metric in set(rows["metric"])]
    rows = rows.set_index("contrast").loc[[n for n in names if n in set(rows["contrast"])]]
    rows = rows.reset_index()
    rows = rows.assign(contrast=rows["contrast"].map(contrast_title))
    return forest(rows, metrics, "contrast", title, cell=30 * rows["contrast"].nunique() + 30)


def power_curve(gaps: pd.DataFrame, metric: str = "uniformity") -> go.Figure:
    """What n seeds can find and exclude, from the spread of the seeds' differences.

    Args:
        gaps: from `contrasts.paired_contrasts`, with the contrast `objective` of two seeds or more.
    """
    row = gaps[(gaps["contrast"] == "objective") & (gaps["metric"] == metric)].iloc[0]
    here, effect = int(row["seeds"]), abs(published_effects()[metric])
    sd = row["detectable"] / detectable_effect(1.0, here)
    find = np.array([detectable_effect(sd, n) for n in _SEEDS])
    width = np.array([half_width(sd, n) for n in _SEEDS])
    fig = go.Figure()
    fig.add_scatter(x=_SEEDS, y=find, name="found with 80 % power", line_color=COLORS["hybrid"])
    dashed = dict(color="#9A6700", dash="5px,3px")
    fig.add_scatter(x=_SEEDS, y=width, name="half an interval's width", line=dashed)
    at = dict(x=[here], y=[row["detectable"]], mode="markers", name=f"{here} seeds")
    fig.add_scatter(**at, marker=dict(size=12, color=COLORS["hybrid"]))
    for level, words in ((effect, "published difference"), (effect / 2, "half of it")):
        fig.add_hline(y=level, line=dict(color="#555", width=1, dash="dot"), annotation_text=words,
                      annotation_position="top right")  # fmt: skip
    fig.update_xaxes(title="seeds of each arm")
    fig.update_yaxes(title=f"difference in {metric}", range=[0, min(find[0], 6 * effect)])
    enough = [int(n) for n, size in zip(_SEEDS, find, strict=True) if size <= effect]
    words = f"{enough[0]} seeds" if enough else f"more than {_SEEDS[-1]} seeds"
    return finish(fig, f"A difference of the published size takes {words} to find", height=380)


def best_of(rows: list[dict[str, float]]) -> go.Figure:
    """What the best of E noisy epochs gains: rows of `epochs, simulated, expected`, in σ."""
    fig, table = go.Figure(), pd.DataFrame(rows)
    line = dict(color=COLORS["hybrid"], width=2)
    fig.add_scatter(x=table["epochs"], y=table["expected"], name="expected", line=line)
    points = dict(size=11, color=COLORS["mlm"], line=dict(width=1, color="#333"))
    fig.add_scatter(
        x=table["epochs"], y=table["simulated"], mode="markers", name="simulated", marker=points
    )
    fig.update_xaxes(title="epochs to choose from", type="log", tickvals=table["epochs"])
    fig.update_yaxes(title="gain, in standard deviations σ", rangemode="tozero")
    heading = f"The best of {table['epochs'].iloc[-1]} equal epochs looks better by "
    return finish(fig, f"{heading}{table['expected'].iloc[-1]:.1f} σ", height=340)
