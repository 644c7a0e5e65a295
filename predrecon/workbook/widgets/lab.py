"""The laboratory's explorer (notebook 07): combinations, one of their curves, cost and nats."""

import pandas as pd

from predrecon.workbook import typeset
from predrecon.workbook.figures.training import lab_view
from predrecon.workbook.widgets import controls
from predrecon.workbook.widgets.explorer import Explorer, Picture

CURVES = {
    "MLM loss": "mlm_loss",
    "JEPA loss": "jepa_loss",
    "λ": "lam",
    "JEPA gradient": "jepa_gradient",
    "MLM gradient": "mlm_gradient",
    "cosine of gradients": "gradient_cosine",
    "cosine between texts": "text_cosine",
    "rank of context vectors": "context_rank",
    "spread of context vectors": "context_spread",
    "spread of targets": "target_spread",
    "best constant, 1 − cos": "constant_floor",
    "best function of the position, 1 − cos": "position_floor",
}


_FIRST = (
    "set <i>Curve</i> to cosine of gradients: below 0 the two losses pull against each other; to "
    "JEPA loss and then to best function of the position: a loss that is no lower has learned "
    "nothing about the text; choose one more of the <i>Combinations</i> (Ctrl or Shift and click)."
)


def lab_explorer(facts: pd.DataFrame, histories: pd.DataFrame) -> Explorer:
    """Choose combinations and a curve; also shows cost and nats of the chosen ones.

    Args:
        facts: from `contrasts.training_facts`. histories: from `lab.histories`.
    """
    titles = list(dict.fromkeys(histories["title"]))
    if not titles:
        raise ValueError("No run of the laboratory is here: python -m predrecon lab trains some.")

    curves = {label: column for label, column in CURVES.items() if column in histories}

    def draw(chosen, curve, smooth) -> Picture:
        if not chosen:
            raise ValueError("Nothing is chosen: choose one or several (Ctrl or Shift and click).")
        rows = histories[histories["title"].isin(chosen)]
        figure = lab_view(rows, curves[curve], curve, smooth)
        part = facts[facts["title"].isin(chosen)].assign(TFLOP=facts["flops"] / 1e12)
        cost = part.groupby("title", sort=False).agg(
            seeds=("seed", "nunique"), TFLOP=("TFLOP", "mean"), seconds=("seconds", "median"),
            nats=("below_unigram", "mean"), least=("below_unigram", "min"),
            most=("below_unigram", "max"),
        )  # fmt: skip
        table = typeset.styled(cost.rename_axis("combination"), precision=2)
        return Picture(
            figure,
            numbers=f'<div class="predrecon-scroll">{table.to_html()}</div>',
            label=f"{curve} of {', '.join(chosen)}",
        )

    chosen = {
        "chosen": controls.multiple("Combinations", titles, "what was trained", titles[:4]),
        "curve": controls.choice("Curve", list(curves), "a column of history.csv"),
        "smooth": controls.number("Smoothing", 1, 51, "rows of the running median", 1),
    }
    return Explorer(draw, chosen, _FIRST)
