"""Pictures of training: curves (notebook 02) and the balance (notebook 03)."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from predrecon.figures.panels import stacked
from predrecon.figures.style import COLORS, finish, name, stroke

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
