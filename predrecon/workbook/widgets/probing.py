"""Probing explorer (notebook 04)."""

import functools
import html

import numpy as np
import pandas as pd

from predrecon.audit import linear_probes
from predrecon.audit.encoders import Model
from predrecon.data.tasks import Task
from predrecon.pooling import POOLINGS
from predrecon.workbook.figures.probes import probing_view
from predrecon.workbook.figures.style import name
from predrecon.workbook.widgets.controls import buttons, choice, multiple
from predrecon.workbook.widgets.explorer import Explorer, Picture

_FIRST = (
    "choose an arm and the untrained encoder in <i>Arms</i>: the rows of the two matrices show "
    "which classes training helps; choose another <i>Pooling</i>: do the intervals of the arms "
    "still overlap? Read the first texts under <i>Where they disagree</i>: there both encoders are "
    "sure, and at least one is wrong."
)
_LISTED = 15


def probing_explorer(
    compared: list[Model], tasks: list[Task], *, max_train: int | None = 2000, seed: int = 0
) -> Explorer:
    """Choose task, pooling and arms: scores, confusion matrices, and where two arms disagree.

    A task's heads for all poolings are fitted when one is first needed, and cached; those of the
    first two arms at the start, for the static figure.

    Args:
        compared: encoders of one or several seeds.
        max_train: maximum training samples per head; None: all, as in notebook 04's table.
        seed: of the heads.
    """
    by_name = {task.name: task for task in tasks}
    models = {(model.name, model.seed): model for model in compared}
    arms = list(dict.fromkeys(model.name for model in compared))
    seeds = sorted({model.seed for model in compared})
    protocol = dict(max_train=max_train, seed=seed)

    @functools.cache
    def probed(arm: str, run: int, task: str) -> dict:
        return linear_probes.probe_poolings(models[arm, run], by_name[task], **protocol)

    def draw(task, pooling, arms, run) -> Picture:
        heads = {arm: probed(arm, run, task)[pooling] for arm in arms if (arm, run) in models}
        if not heads:
            raise ValueError(f"No encoder is chosen that was trained with seed {run}.")
        task = by_name[task]
        results = {arm: result for arm, (result, _, _) in heads.items()}
        intervals = {arm: interval for arm, (_, interval, _) in heads.items()}
        intervals["majority"] = linear_probes.majority(task, **protocol)
        scores = pd.DataFrame([dict(model=m, **i.bounds) for m, i in intervals.items()])
        scores = scores.rename(columns={"value": "score"})
        answers = {arm: result.predictions for arm, result in results.items()}
        heading, labels = f"{task.title}, linear probe, {pooling} pooling", task.validation.labels
        figure = probing_view(scores, answers, labels, task.classes, heading, task.metric)
        notes = "; ".join(f"{name(m)} {i.text()}" for m, i in intervals.items())
        size = f"Trained on {next(iter(heads.values()))[2]:,}, n = {len(labels):,}"
        notes = f"<p>{notes}. {size}, 95 % intervals over texts.</p>{disagreements(task, results)}"
        label = ", ".join(f"{name(m)} {i.value:.3f}" for m, i in intervals.items())
        return Picture(figure, numbers=notes, label=f"{heading}: {label}")

    encoders = [(name(arm), arm) for arm in arms]
    chosen = {
        "task": choice("Task", [(t.title, t.name) for t in tasks], "data set"),
        "pooling": buttons("Pooling", POOLINGS, "token vectors to one vector a text"),
        "arms": multiple("Arms", encoders, "encoders; the first two are compared", arms[:2]),
        "run": choice("Seed", seeds, "of pre-training"),
    }
    return Explorer(draw, chosen, _FIRST, menus=("task", "pooling"))


def disagreements(task: Task, results: dict) -> str:
    """Texts on which the first two encoders answer differently, the most confident first, as HTML.

    Confidence is the mean probability of their answers; for graded similarity, their difference.
    """
    if len(results) < 2:
        return "<p>Choose two arms to see where they disagree.</p>"
    (one, a), (other, b) = list(results.items())[:2]
    split, differing = task.validation, np.arange(len(task.validation))
    if task.classes:
        differing = np.flatnonzero(a.predictions != b.predictions)
        measure, sure = "confidence", (a.confidence + b.confidence)[differing] / 2
        count = f"{len(differing):,} of {len(split):,} texts"
    else:
        measure, sure = "apart by", np.abs(a.predictions - b.predictions)
        count = "texts furthest apart"
    order = np.argsort(-sure, kind="stable")[:_LISTED]
    rows = []
    for i, value in zip(differing[order], sure[order], strict=True):
        text = split.first[i] if split.second is None else f"{split.first[i]} ‖ {split.second[i]}"
        answers = (each[i] for each in (split.labels, a.predictions, b.predictions))
        answers = [task.classes[int(x)] if task.classes else f"{float(x):.2f}" for x in answers]
        rows.append([html.escape(text[:300]), *answers, value])
    table = pd.DataFrame(rows, columns=["text", "label", name(one), name(other), measure])
    look = dict(index=False, border=0, escape=False, classes="predrecon-table")
    table = table.to_html(float_format="{:.2f}".format, **look)
    return f"<details open><summary>Where they disagree: {count}</summary>{table}</details>"
