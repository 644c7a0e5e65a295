"""Figures of evidence: intervals over seeds, and how runs developed (notebooks 05, 06)."""

import itertools

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from predrecon.audit.geometry import SIX
from predrecon.audit.statistics import student_interval
from predrecon.training.heldout import PLATEAU
from predrecon.workbook.figures.panels import forest, grid, titled
from predrecon.workbook.figures.style import COLORS, POINTS, SEQUENCE, finish, wrapped
from predrecon.workbook.labels import contrast_title, decimal

_SHAPE, _PROBES = ("uniformity", "effective_rank"), ("semantic_probe", "token_probe")
_WATCHED = (*_SHAPE, "below_unigram", "validation_mlm", *_PROBES)
_CONTRASTED = ("uniformity", "uniformity_released", "equal_length", "effective_rank")
_CONTRASTED += (*_PROBES, "below_unigram")
_COMPARED = (*SIX, *_PROBES)
_CLAIMS = {  # which sign is the paper's claim, and what it says
    "uniformity": (-1, "more uniform"),
    "effective_rank": (1, "richer"),
    "probe_gap": (1, "less lexical"),
}
_LEAST = 1e-3  # smallest range of an axis of differences, to either side of 0
_LOOKS = {  # colour, dash, symbol: related arms look alike; a larger lambda is darker
    "hybrid": (COLORS["hybrid"], "solid", "circle"),
    "mlm": (COLORS["mlm"], "solid", "circle"),
    "mlm-flops": ("#9A6700", "5px,3px", "square"),
    "hybrid-lam25": ("#3F93D1", "5px,3px", "triangle-down"),
    "hybrid-lam50": ("#0A5C93", "5px,3px", "x"),
    "hybrid-lam75": ("#00304F", "5px,3px", "triangle-up"),
    "hybrid-slow": (COLORS["hybrid"], "dashdot", "star"),
    "leak": (COLORS["hybrid"], "2px,2px", "cross"),
    "published": (COLORS["hybrid"], "dot", "diamond"),
    "published-mlm": (COLORS["mlm"], "dot", "diamond"),
}
_ANSWER = ("below_unigram", "uniformity")
_OTHER_DASHES = ("longdash", "longdashdot", "dashdot")


def differences(headline: pd.DataFrame, title: str = "Hybrid minus MLM-only") -> go.Figure:
    """A forest plot of `seeds.headline`: a panel per metric, a line per pooling, 95 % intervals.

    An axis covers at least a thousandth on either side of 0: finer ticks are hard to read.
    """
    metrics = list(headline["metric"].unique())
    fig = forest(headline, metrics, "pooling", title, cell=115)
    for number, metric in enumerate(metrics, start=1):
        rows = headline.loc[headline["metric"] == metric, ["value", "low", "high"]].to_numpy()
        if np.abs(rows[np.isfinite(rows)]).max(initial=0) < _LEAST:
            fig.update_layout({f"xaxis{number if number > 1 else ''}_range": [-_LEAST, _LEAST]})
    return fig


def headline_differences(headline: pd.DataFrame) -> go.Figure:
    """`differences` of the paper's three claims; the title counts the supporting poolings."""
    rows, counts = headline[headline["metric"].isin(_CLAIMS)], []
    rows = rows.sort_values("metric", key=lambda m: m.map(list(_CLAIMS).index), kind="stable")
    same = {"mean", "weighted"} <= set(rows["pooling"])  # weights that were never trained
    distinct = rows[rows["pooling"] != "weighted"] if same else rows
    for metric, (sign, word) in _CLAIMS.items():
        part = distinct[distinct["metric"] == metric]
        clear = (part["low"] * part["high"] > 0) & (np.sign(part["value"]) == sign)
        counts.append(f"{word} under {int(clear.sum())}")
    poolings = distinct["pooling"].nunique()
    return differences(rows, f"The hybrid is {', '.join(counts)} of {poolings} poolings")


def pair_differences(gaps: pd.DataFrame, one: str, other: str, pooling: str) -> go.Figure:
    """A forest plot of one pair of `seeds.pairwise`: a panel per metric, a line per task.

    Ranks of two widths are not compared: their panels say so and are empty.
    """
    rows = gaps[(gaps["one"] == one) & (gaps["other"] == other) & (gaps["pooling"] == pooling)]
    rows = rows.assign(label=rows["title"].map(wrapped))
    metrics, tasks = [m for m in _COMPARED if m in set(rows["metric"])], rows["title"].nunique()
    heading = f"First encoder minus second, {pooling} pooling (right of 0: the first is higher)"
    fig = forest(rows, metrics, "label", heading, cell=34 * tasks + 20)
    for number, metric in enumerate(metrics, start=1):
        part = rows[rows["metric"] == metric]
        if part["value"].isna().all():
            widths = part[["dim", "other_dim"]].drop_duplicates().to_numpy().tolist()
            text = "not compared:<br>" + "<br>".join(f"D = {a} and {b}" for a, b in widths)
            axis = "" if number == 1 else number
            place = dict(x=0.5, y=0.5, xref=f"x{axis} domain", yref=f"y{axis} domain")
            fig.add_annotation(text=text, showarrow=False, bgcolor="white", **place)
            fig.update_layout({f"xaxis{axis}": dict(visible=False, range=[1, 2])})  # without 0
    return fig


def contrasts(gaps: pd.DataFrame) -> go.Figure:
    """`contrasts.paired_contrasts`: a panel per metric, a line per suspect, with intervals.

    Contrasts of the architecture are left out: their scale would hide all others.
    """
    of_architecture = gaps["contrast"].str.startswith("architecture")
    gaps = gaps if of_architecture.all() else gaps[~of_architecture]
    gaps = gaps.assign(contrast=gaps["contrast"].map(contrast_title))
    metrics = [m for m in _CONTRASTED if m in set(gaps["metric"])]
    note = "" if np.isfinite(gaps["low"]).all() else "; grey: one seed, no interval"
    heading = f"What each suspect changes (mean pooling, mean of tasks{note})"
    return forest(gaps, metrics, "contrast", heading, cell=26 * gaps["contrast"].nunique() + 14)


def laboratory(gaps: pd.DataFrame, against: str, title: str) -> go.Figure:
    """`lab.contrasts` against one control: a panel per metric, a line per combination."""
    rows = gaps[gaps["against"] == against]
    metrics = [m for m in ("below_unigram", *_CONTRASTED) if m in set(rows["metric"])]
    metrics = list(dict.fromkeys(metrics))
    order = rows[rows["metric"] == metrics[0]].sort_values("value", ascending=False)["combination"]
    rows = rows.set_index("combination").loc[order].reset_index()
    return forest(rows, metrics, "combination", title, cell=22 * len(order) + 14)


def pulls(table: pd.DataFrame) -> go.Figure:
    """`lab.pulls`: JEPA's gradient over MLM's, and their cosine, a bar per combination."""
    heads = ["|g<sub>JEPA</sub>| / |g<sub>MLM</sub>|", "cos(g<sub>JEPA</sub>, g<sub>MLM</sub>)"]
    fig, places, plot = grid(heads, 2, 0.05, cell=22 * len(table) + 14, shared_yaxes=True)
    for column, place in zip(("share", "gradient_cosine"), places, strict=True):
        bars = dict(x=table[column], y=table.index, orientation="h", showlegend=False)
        fig.add_bar(**bars, marker_color=COLORS["hybrid"], **place)
    fig.update_xaxes(type="log", **places[0])
    fig.add_vline(x=0, line=dict(color="#555", width=1), **places[1])
    fig.update_yaxes(autorange="reversed")
    return finish(fig, "How the two losses pull at the last shared layer", plot=plot)


def trajectories(table: pd.DataFrame, x: str = "tokens") -> go.Figure:
    """`snapshots.trajectories`: a panel per metric; thick lines are means, thin ones are seeds.

    `x` is `"tokens"`, `"step"` or `"flops"`.
    """
    metrics, looks = [m for m in _WATCHED if m in set(table["metric"])], _looks(table)
    fig, places, plot = grid([titled(m, " ") for m in metrics], 2, 0.1, cell=190, gap=65)
    for metric, place in zip(metrics, places, strict=True):
        for title, rows in table[table["metric"] == metric].groupby("title", sort=False):
            color, dash, symbol = looks[title]
            line, common = dict(color=color, dash=dash), dict(legendgroup=title, **place)
            thin = dict(mode="lines", line=line | dict(width=1), opacity=0.5, hoverinfo="skip")
            for _, run in rows.groupby("seed"):
                fig.add_scatter(x=run[x], y=run["value"], showlegend=False, **thin, **common)
            mean, seeds = rows.groupby("step")[[x, "value"]].mean(), rows["seed"].nunique()
            thick = dict(line=line | dict(width=2.5), marker=dict(size=8, symbol=symbol))
            label = f"{title} ({seeds} {'seed' if seeds == 1 else 'seeds'})"
            points = dict(x=mean[x], y=mean["value"], mode="lines+markers", name=label)
            fig.add_scatter(**points, **thick, **common)
        if metric == "below_unigram":
            fig.add_hline(y=0, line=dict(color="#555", width=1), **place)
    axis = {"tokens": "tokens seen", "step": "optimiser steps", "flops": "operations spent"}
    fig.update_xaxes(title=axis[x], row=places[-1]["row"])
    task, pooling = table[["task", "pooling"]].iloc[0]
    heading = f"What becomes of the encoders while they train ({task}, {pooling} pooling)"
    return finish(fig, heading, plot=plot, legend_itemwidth=42)


def lambdas(table: pd.DataFrame) -> go.Figure:
    """`snapshots.lambdas`: solid as trained, dashed as predicted from the learning rates alone."""
    fig, colors = go.Figure(), [c for c in SEQUENCE if c != COLORS["mlm"]]
    groups = table.groupby("title", sort=False)
    for color, (title, rows) in zip(itertools.cycle(colors), groups, strict=False):
        for _, run in rows.groupby("seed"):
            line = dict(name=title, line=dict(color=color, width=2.5), opacity=0.7)
            fig.add_scatter(x=run["step"], y=run["lam"], mode="lines", **line)
    predicted = dict(name="predicted", line=dict(color="#333333", width=1.2, dash="dash"))
    for _, rows in groups:  # all seeds have the same learning rates
        run = rows[rows["seed"] == rows["seed"].min()]
        fig.add_scatter(x=run["step"], y=run["predicted"], mode="lines", **predicted)
    fig.update_xaxes(title="step")
    fig.update_yaxes(title="λ")
    heading = "λ as trained, and (dashed) as the learning rates alone predict it"
    return finish(fig, heading, height=440)


def plateau(runs: pd.DataFrame) -> go.Figure:
    """`plateau.per_run`: uniformity of every run against its nats below word frequencies.

    Runs on the plateau are left out and counted, unless all are on it.

    Raises:
        ValueError: no run, or none with the nats and a uniformity.
    """
    metrics = [m for m in ("uniformity", "equal_length") if m in runs]
    if "below_unigram" not in runs or not metrics or runs.empty:
        raise ValueError(
            f"{len(runs)} runs with the columns {', '.join(map(str, runs)) or 'none'}: expected a "
            "run or more with below_unigram and uniformity. `python -m predrecon grid` trains them."
        )
    stuck, note = runs["below_unigram"] < PLATEAU, ""
    if stuck.any() and not stuck.all():
        runs, note = runs[~stuck], f"; {stuck.sum()} on the plateau left out"
    fig, places, _ = grid([titled(m, " ") for m in metrics], 2, 0.1)
    looks, hover = _looks(runs), "%{text}: %{x:.3f} nats, %{y:.3f}<extra></extra>"
    for metric, place in zip(metrics, places, strict=True):
        for title, rows in runs.groupby("title", sort=False):
            color, _, symbol = looks[title]
            points = dict(x=rows["below_unigram"], y=rows[metric], mode="markers", name=title)
            points |= dict(text=rows["seed"].map("seed {}".format), hovertemplate=hover)
            fig.add_scatter(**points, marker=dict(size=11, symbol=symbol, color=color), **place)
    fig.update_yaxes(exponentformat="none")
    fig.update_xaxes(title="nats below word frequencies (→ more learned)")
    located = runs[["below_unigram", metrics[0]]].dropna()
    facts = f"{len(located)} {'run' if len(located) == 1 else 'runs'}"
    if len(located) > 2 and (located.nunique() > 1).all():
        facts += f", rank correlation {decimal(located.rank().corr().iloc[0, 1])}"
    heading = f"Uniformity by nats ({facts}{note})"
    return finish(fig, heading, height=430)


def answer(runs: pd.DataFrame) -> go.Figure:
    """`plateau.per_run` of both arms and MLM-only at equal operations: pale seeds, bold means.

    Error bars are Student's 95 % intervals over seeds. The title follows the means.
    """
    fig, looks, means = go.Figure(), _looks(runs), {}
    for condition in ("hybrid", "mlm", "mlm-flops"):
        rows = runs[runs["condition"] == condition]
        axes = {x: student_interval(rows[column]) for x, column in zip("xy", _ANSWER, strict=True)}
        means[condition], title = axes, rows["title"].iloc[0]
        shade, _, symbol = looks[title]
        points = dict(mode="markers", x=rows[_ANSWER[0]], y=rows[_ANSWER[1]], showlegend=False)
        seeds = dict(size=8, color=shade, opacity=0.35, symbol=symbol)
        fig.add_scatter(**points, marker=seeds, hovertext=rows["seed"].map("seed {}".format))
        bars = {
            f"error_{x}": dict(array=[i.high - i.value], thickness=2, width=5)
            for x, i in axes.items()
        }
        mean = {x: [i.value] for x, i in axes.items()}
        bold = dict(size=13, color=shade, symbol=symbol)
        label = f"{title} ({rows['seed'].nunique()} seeds)"
        fig.add_scatter(mode="markers", **mean, **bars, marker=bold, name=label)
    hybrid, mlm, equal = means.values()
    fig.update_xaxes(title="nats below word frequencies, held-out text (→ more learned)")
    fig.update_yaxes(title="uniformity, mean pooling (↓ more uniform)")
    spread = "more" if hybrid["y"].value < mlm["y"].value else "less"
    taught = "MLM-only" if equal["x"].value > hybrid["x"].value else "the hybrid"
    heading = f"With JEPA {spread} uniform embeddings; at equal operations {taught} learns more"
    return finish(fig, heading, height=420)


def _looks(table: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """`{title: (colour, dash, symbol)}`; conditions not in `_LOOKS` have their arm's colour."""
    titles = dict(table[["condition", "title"]].drop_duplicates().to_numpy())
    looks = {title: _LOOKS[name] for name, title in titles.items() if name in _LOOKS}
    free = [s for s in POINTS if s not in {symbol for _, _, symbol in looks.values()}] or POINTS
    others = [name for name in titles if name not in _LOOKS]
    for number, name in enumerate(others):
        dash = _OTHER_DASHES[number % len(_OTHER_DASHES)]
        looks[titles[name]] = COLORS[name.split("-")[0]], dash, free[number % len(free)]
    return looks
