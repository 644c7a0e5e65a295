"""Probing explorer (notebook 04)."""

import functools
import html

import numpy as np
import pandas as pd

from predrecon.audit import linear_probes
from predrecon.audit.encoders import Model
from predrecon.audit.statistics import Interval
from predrecon.data.tasks import Task
from predrecon.pooling import POOLINGS
from predrecon.workbook.figures.explorers import probing_view
from predrecon.workbook.figures.style import name
from predrecon.workbook.widgets import controls
from predrecon.workbook.widgets.explorer import Explorer, Picture

_LISTED = 15


def probing_explorer(
    compared: list[Model], tasks: list[Task], *, max_train: int | None = 2000, seed: int = 0
) -> Explorer:
    """Task, pooling and arms at choice: scores, confusion matrices, and where two arms disagree.

    A task's heads for all poolings are fitted when one is first asked for, and remembered; those of
    the first two arms at once, for the static figure.

    Args:
        compared: encoders of one or several seeds.
        tasks: labelled tasks.
        max_train: training samples of a head at most; None: all, as notebook 04's table.
        seed: of the heads.
    """
    by_name = {task.name: task for task in tasks}
    models = {(model.name, model.seed): model for model in compared}
    arms = list(dict.fromkeys(model.name for model in compared))
    seeds = sorted({model.seed for model in compared})

    @functools.cache
    def probed(arm: str, run: int, task: str) -> dict:
        ways = {"max_train": max_train, "seed": seed}
        return linear_probes.probe_poolings(models[arm, run], by_name[task], **ways)

    def draw(task, pooling, arms, run) -> Picture:
        asked = by_name[task]
        chosen = [models[arm, run] for arm in arms if (arm, run) in models]
        if not chosen:
            raise ValueError(f"No encoder is chosen that was trained with seed {run}.")
        results, rows = {}, []
        for model in chosen:
            results[model.name], interval, n_train = probed(model.name, run, task)[pooling]
            told = {"model": model.name, "score": interval.value}
            rows.append(told | {"low": interval.low, "high": interval.high})
        constant = linear_probes.majority(asked, max_train, seed=seed)
        told = {"score": constant.value, "low": constant.low, "high": constant.high}
        rows.append({"model": "majority", **told})
        answers = {m: result.predictions for m, result in results.items()}
        heading = f"{asked.title}, linear probe, {pooling} pooling"
        labels, scores = asked.validation.labels, pd.DataFrame(rows)
        figure = probing_view(scores, answers, labels, asked.classes, heading, asked.metric)
        below = _scores(scores, n_train, len(labels)) + disagreements(asked, results)
        told = ", ".join(f"{name(r['model'])} {r['score']:.3f}" for r in rows)
        return Picture(figure, below=below, label=f"{heading}: {told}")

    chosen = {
        "task": controls.choice("Task", [(t.title, t.name) for t in tasks], "data set"),
        "pooling": controls.buttons("Pooling", POOLINGS, "token vectors to one vector a text"),
        "arms": controls.several(
            "Arms",
            [(name(a), a) for a in arms],
            "encoders; the first two are compared",
            value=arms[:2],
        ),
        "run": controls.choice("Seed", seeds, "of pre-training"),
    }  # fmt: skip
    return Explorer(draw, chosen, menus=("task", "pooling"), title="Linear probes")


def disagreements(task: Task, results: dict) -> str:
    """Texts on which the first two encoders answer differently, the surest first, as HTML.

    Sure is the mean probability of their answers; of graded similarity, how far they lie apart.
    """
    if len(results) < 2:
        return "<p>Choose two arms to see where they disagree.</p>"
    (one, a), (other, b) = list(results.items())[:2]
    split = task.validation
    if task.classes:
        apart = np.flatnonzero(a.predictions != b.predictions)
        sure = (a.confidence + b.confidence)[apart] / 2
    else:
        apart = np.arange(len(split))
        sure = np.abs(a.predictions - b.predictions)
    order = np.argsort(-sure, kind="stable")[:_LISTED]
    rows = []
    for i, value in zip(apart[order], sure[order], strict=True):
        text = split.first[i] if split.second is None else f"{split.first[i]} ‖ {split.second[i]}"
        answers = [_answer(task, result.predictions[i]) for result in (a, b)]
        rows.append([html.escape(text[:300]), _answer(task, split.labels[i]), *answers, value])
    measure = "confidence" if task.classes else "apart by"
    columns = ["text", "label", name(one), name(other), measure]
    table = pd.DataFrame(rows, columns=columns).to_html(
        index=False,
        border=0,
        escape=False,
        float_format="{:.2f}".format,
        classes="predrecon-table",
    )
    count = f"{len(apart):,} of {len(split):,} texts" if task.classes else "texts furthest apart"
    return f"<details open><summary>Where they disagree: {count}</summary>{table}</details>"


def _scores(scores: pd.DataFrame, n_train: int, n: int) -> str:
    told = [
        f"{name(row.model)} {Interval(row.score, row.low, row.high, n).text()}"
        for row in scores.itertuples()
    ]
    return (
        f"<p>{'; '.join(told)}. Trained on {n_train:,}, n = {n:,}, 95 % intervals over texts.</p>"
    )


def _answer(task: Task, value) -> str:
    return task.classes[int(value)] if task.classes else f"{float(value):.2f}"
