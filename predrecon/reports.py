"""Tables of the notebooks: what a run did, and analysis tables laid out for a reader."""

import numpy as np
import pandas as pd
import torch

from predrecon import analysis, published
from predrecon.batches import mask_batch
from predrecon.corpus import Corpus
from predrecon.model import PredictReconstruct
from predrecon.objectives import balance_gradient
from predrecon.pooling import MAX_LENGTH, token_ids
from predrecon.recipes import Recipe
from predrecon.run_folder import Run
from predrecon.schedules import lambda_before
from predrecon.tasks import EMBEDDED, GLUE, Task
from predrecon.uncertainty import Interval, over_units, seeds_text


def budget(runs: dict[str, Run]) -> str:
    """What the numbers below it cost: one line for captions."""
    parts = []
    for arm, run in runs.items():
        metrics, recipe = run.metrics, run.recipe
        parts.append(
            f"{arm}: {recipe.preset} preset, {recipe.corpus}, seed {run.facts['seed']}, "
            f"{metrics['tokens'] / 1e6:.2f} M tokens in {metrics['steps']:,} steps, "
            f"{metrics['seconds']:.0f} s on {metrics['device']}"
        )
    return "\n".join(parts)


def balance_table(run: Run) -> pd.DataFrame:
    """lambda(t), its gradient, and the prediction: `step, lam, predicted, sum_lr, gradient`.

    Raises:
        ValueError: an MLM-only run, which has no balance.
    """
    if run.recipe.arm != "hybrid":
        raise ValueError(
            f"{run.folder.name} is an MLM-only run: it has no balance. Use the hybrid."
        )
    history = run.history
    predicted = lambda_before(run.recipe, run.metrics["steps"], history["step"])
    gradient = balance_gradient(history["lam"], history["jepa_loss"], history["mlm_loss"])
    columns = {"step": history["step"], "lam": history["lam"], "predicted": predicted}
    sum_lr = np.log(predicted / (1 - predicted))
    return pd.DataFrame(columns | {"sum_lr": sum_lr, "gradient": gradient})


@torch.no_grad()
def fill_masks(
    model: PredictReconstruct, corpus: Corpus, recipe: Recipe, *, n: int = 6, top: int = 3
) -> pd.DataFrame:
    """The MLM head's guesses at `n` [MASK] positions of held-out text.

    Returns:
        columns `text` (five tokens either side), `was`, `guesses` (with probabilities).
    """
    blocks = corpus.blocks("validation", recipe.length)
    n = min(n, len(blocks))
    ids = blocks.batch(np.linspace(0, len(blocks) - 1, n).astype(int))
    batch = mask_batch(recipe, corpus, ids, 0, 0)
    tokenizer, rows = corpus.tokenizer, []
    hidden = model.encoder.encode(batch["masked_ids"])  # (n, L, D)
    for i in range(n):
        masked = batch["masked_ids"][i] == tokenizer.mask_token_id
        if not masked.any():
            continue
        place = int(masked.int().argmax())
        likely = model.regressor(hidden[i, place]).softmax(-1).topk(top)
        words = tokenizer.convert_ids_to_tokens(likely.indices.tolist())
        guesses = ", ".join(f"{w} {p:.0%}" for w, p in zip(words, likely.values, strict=True))
        near = batch["masked_ids"][i][max(0, place - 5) : place + 6].tolist()
        was = tokenizer.convert_ids_to_tokens(int(batch["labels"][i, place]))
        rows.append({"text": tokenizer.decode(near), "was": was, "guesses": guesses})
    return pd.DataFrame(rows)


def task_table(tasks: list[Task], model: analysis.Model) -> pd.DataFrame:
    """One line a task: sizes, classes, metric, and what a reader must know.

    `cut` is the share of validation texts (pairs as one sequence) that are longer than the model
    reads, and lose their end.
    """
    longest = min(MAX_LENGTH, model.encoder.config.max_position_embeddings)

    def cut(split) -> float:
        ids = token_ids(model.tokenizer, split.first, split.second, 10**6)
        return sum(len(text) > longest for text in ids) / len(ids)

    rows = {
        task.title: {
            "train": len(task.train),
            "validation": len(task.validation),
            "classes": ", ".join(task.classes) or "graded 0-5",
            "metric": task.metric,
            f"cut at {longest} tokens": f"{cut(task.validation):.1%}",
            "note": task.note,
        }
        for task in tasks
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def probing_over_seeds(probed: pd.DataFrame) -> pd.DataFrame:
    """`probing.linear_probing` with one row a task and model: the mean over its seeds.

    Returns:
        Columns `task, title, metric, n_train, n, model, score, low, high, seeds`. With one seed the
        interval is over validation samples, with several over seeds; a constant answer has none.
    """
    keys, rows = ["task", "title", "metric", "n_train", "n", "model"], []
    for key, runs in probed.groupby(keys, sort=False):
        one = runs.iloc[0]
        interval = Interval(one["score"], one["low"], one["high"], 1)
        if len(runs) > 1:
            interval = over_units(runs["score"])
        facts = dict(zip(keys, key, strict=True))
        rows.append(facts | interval.bounds | {"seeds": len(runs)})
    return pd.DataFrame(rows).rename(columns={"value": "score"})


def probing_table(probed: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Table 3: `probing.linear_probing` as one line a task, the published numbers beside ours."""
    told, rows = _published_scores(), {}
    for (task, title), part in probing_over_seeds(probed).groupby(["task", "title"], sort=False):
        facts = part.iloc[0][["metric", "n_train", "n"]].to_dict()
        for row in part.itertuples():
            text = Interval(row.score, row.low, row.high, row.n).text(digits)
            constant = np.isnan(row.low)
            facts[row.model] = text if constant else f"{text} {seeds_text(row.seeds)}"
        for arm in ("hybrid", "mlm"):
            known = told[arm].get(task, np.nan)
            facts[f"published {arm}"] = "–" if np.isnan(known) else f"{known:.{digits}f}"
        rows[title] = facts
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def with_published(probed: pd.DataFrame) -> pd.DataFrame:
    """`probing_over_seeds` with the published scores as two more models (GLUE tasks only)."""
    probed = probing_over_seeds(probed)
    told = _published_scores().reset_index().melt("task", ["hybrid", "mlm"], "model", "score")
    told["model"] = "published " + told["model"]
    facts = probed[["task", "title", "metric"]].drop_duplicates()
    return pd.concat([probed, facts.merge(told, on="task")], ignore_index=True)


def twin(task: str) -> str:
    """The GLUE task whose shape an embedded task has (itself for a GLUE task)."""
    return dict(zip(EMBEDDED, GLUE, strict=True)).get(task, task)


def _published_scores() -> pd.DataFrame:
    """Table 3 with scores from 0 to 1, indexed by task."""
    told = published.linear_probe().set_index("task")
    percent = np.where(told["metric"] == "spearman", 1.0, 0.01)
    return told[["hybrid", "mlm"]].mul(percent, axis=0)


def summary(probes: pd.DataFrame, geometry: pd.DataFrame) -> str:
    """hybrid | MLM-only | published, as text for a terminal.

    Args:
        probes: `with_published`'s table. geometry: `tables.with_published`'s.
    """
    told = _published_scores()
    told_geometry = analysis.published_geometry().set_index(["task", "pooling", "model", "metric"])
    rows = []
    for (task, title, metric), part in probes.groupby(["task", "title", "metric"], sort=False):
        score = part.groupby("model")["score"].mean()
        known = told.loc[twin(task)] if twin(task) in told.index else {}
        rows.append([f"{title}, linear probe, {metric}", *_pair(score), *_pair(known)])
    for metric in ("uniformity", "effective_rank"):
        for pooling in ("mean", "attention"):
            part = geometry[(geometry["metric"] == metric) & (geometry["pooling"] == pooling)]
            ours = part.groupby("model")["value"].mean()
            theirs = told_geometry.xs((pooling, metric), level=["pooling", "metric"])["value"]
            label = f"{metric.replace('_', ' ')}, {pooling} pooling, mean of tasks"
            rows.append([label, *_pair(ours), *_pair(theirs.groupby("model").mean())])
    columns = ["", "hybrid", "MLM-only", "published hybrid", "published MLM-only"]
    table = pd.DataFrame(rows, columns=columns)
    lines = [table.to_string(index=False, float_format="{:.3f}".format, na_rep="-"), ""]
    if set(probes["task"]) & set(EMBEDDED):
        lines.append(
            "The tasks are the embedded ones: the published column is the GLUE task of the same "
            "shape, a different task."
        )
    seeds = int(geometry["seeds"].max())
    lines.append(
        f"Small-budget result, {seeds} seed{'s' if seeds > 1 else ''}; intervals are in notebooks "
        "04 and 05. Published: one seed, D = 512, 3 epochs, H100."
    )
    return "\n".join(lines)


def _pair(values) -> list[float]:
    return [float(values.get(arm, np.nan)) for arm in ("hybrid", "mlm")]
