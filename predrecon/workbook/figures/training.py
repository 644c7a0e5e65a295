"""Figures of training: curves (notebook 02) and the balance (notebook 03)."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from predrecon.training.monitor import ALARMS
from predrecon.workbook.figures.panels import grid
from predrecon.workbook.figures.style import COLORS, finish, name, stroke

AXES = {"steps": "step", "tokens": "tokens", "FLOPs": "flops", "seconds": "seconds"}
"""What a training curve can be drawn against: title and column of a history."""

_CURVES = {
    "mlm_loss": "MLM loss, nats<br>(lower is better)",
    "jepa_loss": "JEPA loss, 1 − cos<br>(lower is better)",
    "lam": "λ",
    "lr": "learning rate",
    "ema_momentum": "EMA momentum m",
    "tokens_per_s": "tokens/s<br>(higher is better)",
}
_WATCHED = {
    "mlm_loss": "MLM loss (nats, ↓)",
    "jepa_loss": "JEPA loss (1 − cos, ↓)",
    "lam": "λ, and σ(Σ lr) dashed",
    "tokens_per_s": "tokens/s (↑)",
    "uniformity": "uniformity (↓)",
    "effective_rank": "effective rank (↑)",
}
_ALARM = "#B00020"
_SYMBOLS = dict(
    zip((*ALARMS, "plateau"), ("x", "star", "cross", "diamond", "circle-open"), strict=True)
)
_MEASURED = ("uniformity", "effective_rank")  # of snapshots: few points
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")


def training_curves(
    histories: dict[str, pd.DataFrame], *, unigram: float | None = None, smooth: int = 5
) -> go.Figure:
    """Losses, λ, learning rate, momentum and throughput against tokens, one colour per arm.

    Args:
        histories: `{arm: run.history}`.
        unigram: held-out loss of word frequencies alone, drawn in the MLM panel.
        smooth: as for `training_view`, for the two losses.
    """
    fig, places, plot = grid(list(_CURVES.values()), 3, 0.08, cell=160)
    for k, (arm, history) in enumerate(histories.items()):
        line = dict(mode="lines", line=stroke(arm, 2 if k else 3))  # both are visible where equal
        for column, rows in _logged(history, arm, _CURVES, smooth, ("mlm_loss", "jepa_loss")):
            place = places[list(_CURVES).index(column)]
            fig.add_scatter(x=rows["tokens"], y=rows[column], name=name(arm), **line, **place)
    if unigram is not None:
        tokens = pd.concat([history["tokens"] for history in histories.values()])
        line = dict(dash="dash", color="#333333", width=1.2)
        level = dict(x=[tokens.min(), tokens.max()], y=[unigram, unigram], mode="lines", line=line)
        fig.add_scatter(**level, name=f"word frequencies alone: {unigram:.2f} nats", **places[0])
    fig.update_xaxes(title="tokens seen", row=2)
    fig.update_yaxes(exponentformat="power", row=2, col=1)
    ends = [
        f"{history['mlm_loss'].tail(smooth).mean():.2f} ({name(arm)})"
        for arm, history in histories.items()
    ]
    return finish(fig, f"The training MLM loss ends at {' and '.join(ends)} nats", plot=plot)


def lambda_dynamics(table: pd.DataFrame) -> go.Figure:
    """λ as trained and predicted, and its gradient: columns `step, lam, predicted, gradient`."""
    gradient = "∂L/∂w = λ(1−λ)(L<sub>JEPA</sub> − L<sub>MLM</sub>), in nats"
    fig, (left, right), _ = grid(["λ as trained and as predicted", gradient], 2, 0.1)
    for column, label, place, color, width, dash in (
        ("lam", "λ = σ(w), trained", left, COLORS["hybrid"], 3, "solid"),
        ("predicted", "σ(Σ lr), predicted", left, "#333333", 2, "dash"),
        ("gradient", "∂L/∂w", right, "#009E73", 1.5, "solid"),
    ):
        line = dict(color=color, width=width, dash=dash)
        fig.add_scatter(x=table["step"], y=table[column], name=label, line=line, **place)
    fig.add_hline(y=0, line=dict(color="#555", width=1), **right)
    fig.update_xaxes(title="step")
    return finish(fig, "λ follows the sum of the learning rates")


def training_view(
    histories: dict[str, pd.DataFrame], arms: dict[str, str], axis: str = "tokens", smooth: int = 5
) -> go.Figure:
    """Six panels for any number of runs: colour is the arm, dashes distinguish runs of an arm.

    Args:
        histories: `{run: history}`, with the columns `predicted` (lambda from its learning rates
            alone) and, if snapshots were measured, `uniformity`, `effective_rank`. The MLM loss is
            marked where the monitor saw an alarm or the plateau.
        arms: `{run: "hybrid" or "mlm"}`; axis: a key of `AXES`.
        smooth: rows of the centred running median, for losses and throughput.
    """
    fig, places, plot = grid(list(_WATCHED.values()), 3, 0.11, cell=170, gap=60)
    smoothed, runs = ("mlm_loss", "jepa_loss", "tokens_per_s"), list(histories)
    for number, (run, history) in enumerate(histories.items()):
        arm = arms[run]
        turn = [arms[other] for other in runs[:number]].count(arm)
        line = dict(color=COLORS[arm], width=2, dash=_DASHES[turn % len(_DASHES)])
        for column, rows in _logged(history, arm, _WATCHED, smooth, smoothed):
            place, x = places[list(_WATCHED).index(column)], rows[AXES[axis]]
            mode = "lines+markers" if column in _MEASURED else "lines"
            fig.add_scatter(x=x, y=rows[column], name=run, mode=mode, line=line, **place)
            if column == "lam":
                guess = dict(y=rows["predicted"], line=dict(color="#333333", width=1, dash="dash"))
                label = dict(name=f"σ(Σ lr), {run}", showlegend=False)
                fig.add_scatter(x=x, mode="lines", **guess, **label, **place)
        for state, rows in _unhealthy(history).groupby("state"):
            marks = dict(mode="markers", marker=dict(symbol=_SYMBOLS[state], size=8, color=_ALARM))
            marks |= dict(x=rows[AXES[axis]], y=rows["mlm_loss"], hovertext=f"{run}: {state}")
            fig.add_scatter(**marks, name=state, **places[0])
    fig.update_xaxes(title=axis if axis != "seconds" else "time (s)", row=2)
    fig.update_yaxes(exponentformat="e", row=2, col=2)  # no micro-units for uniformity near 0
    for column, place in zip(_WATCHED, places, strict=True):
        if not any(column in history for history in histories.values()):
            corner = dict(x=0.5, y=0.5, xref="x domain", yref="y domain")
            note = dict(text="not measured here", showarrow=False, font_color="#777777")
            fig.add_annotation(**note, **corner, **place)
    return finish(fig, "Training", plot=plot, uirevision=axis)


def _unhealthy(history: pd.DataFrame) -> pd.DataFrame:
    """The monitor's looks that saw an alarm or a plateau."""
    if "state" not in history:  # a run from before the monitor
        return pd.DataFrame(columns=["state"])
    return history[history["state"].isin(_SYMBOLS)]


def _logged(
    history: pd.DataFrame, arm: str, columns: dict, smooth: int, smoothed: tuple[str, ...]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """The columns that a run has, each with the rows that have a value; `smoothed` ones smooth."""
    for column in columns:
        if column not in history or (arm == "mlm" and column in ("lam", "ema_momentum")):
            continue  # the MLM-only arm has neither a balance nor a target encoder
        rows = history[history[column].notna()]
        if column in smoothed:
            median = rows[column].rolling(smooth, center=True, min_periods=1).median()
            rows = rows.assign(**{column: median})
        if len(rows):
            yield column, rows


def lab_view(histories: pd.DataFrame, column: str, label: str, smooth: int = 1) -> go.Figure:
    """One column of `lab.histories` against tokens: a colour per combination, a line per seed."""
    fig = go.Figure()
    for title, rows in histories.groupby("title", sort=False):
        alone = rows["condition"].iloc[0].startswith("mlm")  # the arm, at equal operations
        line = stroke("mlm" if alone else title, 1.8)
        for seed, run in rows.dropna(subset=[column]).groupby("seed"):
            y = run[column].rolling(smooth, center=True, min_periods=1).median()
            first = bool(seed == rows["seed"].min())
            lines = dict(x=run["tokens"], y=y, mode="lines", name=title, legendgroup=title)
            fig.add_scatter(**lines, line=line, showlegend=first)
    fig.update_xaxes(title="tokens seen")
    fig.update_yaxes(title=label, exponentformat="e")
    return finish(fig, f"{label} while training", height=440)
