"""Pictures of training: curves (notebook 02) and the balance (notebook 03)."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.workbook.figures.panels import stacked
from predrecon.workbook.figures.style import COLORS, finish, name, stroke

_PANELS = {
    "mlm_loss": "MLM loss, nats<br>(lower is better)",
    "jepa_loss": "JEPA loss, 1 − cos<br>(lower is better)",
    "lam": "λ",
    "lr": "learning rate",
    "ema_momentum": "EMA momentum m",
    "tokens_per_s": "tokens/s<br>(higher is better)",
}


def training_curves(
    histories: dict[str, pd.DataFrame], *, unigram: float | None = None, smooth: int = 5
) -> go.Figure:
    """Losses, λ, learning rate, momentum and throughput against tokens, one colour an arm.

    Args:
        histories: `{arm: run.history}`.
        unigram: held-out loss of word frequencies alone, drawn into the MLM panel.
        smooth: centred running median over so many logged rows, for the two losses.
    """
    size = stacked(len(_PANELS), 3, cell=160, gap=75)
    plot, titles = size.pop("plot"), list(_PANELS.values())
    fig = make_subplots(2, 3, subplot_titles=titles, horizontal_spacing=0.08, **size)
    for k, (arm, history) in enumerate(histories.items()):
        for i, column in enumerate(_PANELS):
            values = history[column]
            if values.isna().all() or (arm == "mlm" and column in ("lam", "ema_momentum")):
                continue  # the MLM-only arm has neither a balance nor a target encoder
            if column.endswith("loss"):
                values = values.rolling(smooth, center=True, min_periods=1).median()
            fig.add_scatter(
                x=history["tokens"],
                y=values,
                name=name(arm),
                legendgroup=arm,
                showlegend=i == 0,
                mode="lines",
                line=stroke(arm, 2 if k else 3),  # where two coincide, both are seen
                row=i // 3 + 1,
                col=i % 3 + 1,
            )
    if unigram is not None:
        tokens = pd.concat([history["tokens"] for history in histories.values()])
        fig.add_scatter(
            x=[tokens.min(), tokens.max()],
            y=[unigram, unigram],
            name=f"word frequencies alone: {unigram:.2f} nats",
            mode="lines",
            line=dict(dash="dash", color="#333333", width=1.2),
            row=1,
            col=1,
        )
    fig.update_xaxes(title="tokens seen", row=2)
    fig.update_yaxes(exponentformat="power", row=2, col=1)
    return finish(fig, "Pre-training, both arms", plot=plot)


def lambda_dynamics(table: pd.DataFrame) -> go.Figure:
    """λ as trained, the prediction σ(Σ lr), and the gradient that drives it.

    Args:
        table: columns `step, lam, predicted, gradient`.
    """
    titles = (
        "λ as trained and as predicted",
        "∂L/∂w = λ(1−λ)(L<sub>JEPA</sub> − L<sub>MLM</sub>), in nats",
    )
    fig = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)
    step = table["step"]
    trained = dict(color=COLORS["hybrid"], width=3)
    fig.add_scatter(x=step, y=table["lam"], name="λ = σ(w), trained", line=trained, row=1, col=1)
    guess = dict(color="#333333", dash="dash", width=2)
    fig.add_scatter(
        x=step, y=table["predicted"], name="σ(Σ lr), predicted", line=guess, row=1, col=1
    )
    drive = dict(color="#009E73", width=1.5)
    fig.add_scatter(x=step, y=table["gradient"], name="∂L/∂w", line=drive, row=1, col=2)
    fig.add_hline(y=0, line=dict(color="#555", width=1), row=1, col=2)
    fig.update_xaxes(title="step")
    return finish(fig, "The balance follows the learning rate")


AXES = {"steps": "step", "tokens": "tokens", "FLOPs": "flops", "seconds": "seconds"}
"""What a training curve can be drawn against: title and column of a history."""

_WATCHED = (
    ("mlm_loss", "MLM loss (nats, ↓)"),
    ("jepa_loss", "JEPA loss (1 − cos, ↓)"),
    ("lam", "λ, and σ(Σ lr) dashed"),
    ("tokens_per_s", "tokens/s (↑)"),
    ("uniformity", "uniformity (↓)"),
    ("effective_rank", "effective rank (↑)"),
)
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")


def training_view(
    histories: dict[str, pd.DataFrame],
    arms: dict[str, str],
    *,
    axis: str = "tokens",
    smooth: int = 5,
) -> go.Figure:
    """Six panels of any number of runs: colour is the arm, dashes tell runs of an arm apart.

    Args:
        histories: `{run: history}`, with the columns `predicted` (lambda from its learning rates
            alone) and, where encoders on the way were measured, `uniformity`, `effective_rank`.
        arms: `{run: "hybrid" or "mlm"}`.
        axis: a key of `AXES`.
        smooth: centred running median over so many logged rows, for losses and throughput.
    """
    titles, size = [title for _, title in _WATCHED], stacked(6, 3, cell=170, gap=60)
    plot = size.pop("plot")
    fig = make_subplots(2, 3, subplot_titles=titles, horizontal_spacing=0.11, **size)
    seen: dict[str, int] = {}
    for run, history in histories.items():
        arm = arms[run]
        dash = _DASHES[seen.get(arm, 0) % len(_DASHES)]
        seen[arm] = seen.get(arm, 0) + 1
        line = dict(color=COLORS[arm], width=2, dash=dash)
        for i, (column, _) in enumerate(_WATCHED):
            values = history.get(column)
            if values is None or values.isna().all() or (arm == "mlm" and column == "lam"):
                continue
            few = column in ("uniformity", "effective_rank")
            rows = history[values.notna()]
            values = rows[column]
            if column.endswith("loss") or column == "tokens_per_s":
                values = values.rolling(smooth, center=True, min_periods=1).median()
            place = dict(row=i // 3 + 1, col=i % 3 + 1)
            fig.add_scatter(
                x=rows[AXES[axis]],
                y=values,
                name=run,
                legendgroup=run,
                showlegend=i == 0,
                mode="lines+markers" if few else "lines",
                line=line,
                **place,
            )
            if column == "lam":
                guess = dict(color="#333333", width=1, dash="dash")
                fig.add_scatter(
                    x=rows[AXES[axis]], y=rows["predicted"], line=guess, mode="lines",
                    name=f"σ(Σ lr), {run}", showlegend=False, **place,
                )  # fmt: skip
    fig.update_xaxes(title=axis if axis != "seconds" else "time (s)", row=2)
    fig.update_yaxes(exponentformat="none", row=2, col=2)  # uniformity near 0 in no micro-units
    for i, (column, _) in enumerate(_WATCHED):
        if not any(column in history for history in histories.values()):
            where = f"x{i + 1} domain" if i else "x domain"
            fig.add_annotation(
                text="not measured here", xref=where, yref=where.replace("x", "y"), x=0.5, y=0.5,
                showarrow=False, font_color="#777777",
            )  # fmt: skip
    return finish(fig, "Training", plot=plot, uirevision=axis)
