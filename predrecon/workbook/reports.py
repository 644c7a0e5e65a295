"""Tables of the notebooks: what a run did, and analysis tables laid out for a reader."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from predrecon.audit import analysis, published
from predrecon.audit.statistics import Interval, cell_text, of_seeds, seeds_text
from predrecon.data.corpus import Corpus
from predrecon.data.tasks import EMBEDDED, GLUE, Task
from predrecon.model import PredictReconstruct
from predrecon.objectives import balance_gradient, lambda_before
from predrecon.pooling import MAX_LENGTH, token_ids
from predrecon.recipes import Recipe
from predrecon.training.batches import mask_batch
from predrecon.training.run_folder import Run
from predrecon.workbook import typeset

_ARMS = ("hybrid", "mlm")


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


def map_table(stands: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """`paper_map.paper_map` as it is read: the claim, what stands of it, then the numbers."""
    ours = [cell_text(*row, digits) for row in stands[["value", "low", "high"]].to_numpy(float)]
    told = stands.assign(ours=ours).set_index("claim")
    return told[["status", "ours", "published", "seeds", "why", "where", "cell"]]


def probing_over_seeds(probed: pd.DataFrame) -> pd.DataFrame:
    """`probing.linear_probing` with one row a task and model: the mean over its seeds.

    Returns:
        Columns `task, title, metric, n_train, n, model, score, low, high, seeds, basis`. The
        interval is over validation samples with one seed, where all seeds agree exactly, and for
        the majority class; else over seeds.
    """
    keys, rows = ["task", "title", "metric", "n_train", "n", "model"], []
    for key, runs in probed.groupby(keys, sort=False):
        bounds = zip(runs["score"], runs["low"], runs["high"], runs["n"], strict=True)
        interval, basis = of_seeds([Interval(*each) for each in bounds])
        facts = dict(zip(keys, key, strict=True))
        rows.append(facts | interval.bounds | {"seeds": len(runs), "basis": basis})
    return pd.DataFrame(rows).rename(columns={"value": "score"})


def probing_table(probed: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Table 3: `probing.linear_probing` as one line a task, the published numbers beside ours."""
    told, rows = _published_scores(), {}
    for (task, title), part in probing_over_seeds(probed).groupby(["task", "title"], sort=False):
        facts = part.iloc[0][["metric", "n_train", "n"]].to_dict()
        for row in part.itertuples():
            facts[row.model] = _cell(row.score, row, digits)
        for arm in _ARMS:
            known = told[arm].get(task, np.nan)
            facts[f"published {arm}"] = "–" if np.isnan(known) else f"{known:.{digits}f}"
        rows[title] = facts
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


_SELECTED = {
    "last": "after the last epoch",
    "inner": "of the epoch that is best on a tenth of the training split",
    "reported": "of the epoch that is best on the very split that is reported",
}


def probing_caption(select: str = "last") -> str:
    """What must be known to read `probing_table`."""
    return (
        f"Table 3. Linear probes. Scores {_SELECTED[select]}, with 95 % intervals. Over several "
        "seeds an interval tells what another training run would give and holds no sampling error "
        "of the n texts; with one seed, with equal seeds and for the majority it is that of the "
        "texts alone. MCC and ρ of a constant answer are 0 on any texts. Published: one seed, "
        "D = 512, the best epoch, no interval."
    )


def export_probing(probed: pd.DataFrame, folder: Path, select: str = "last") -> list[Path]:
    """Table 3 as CSV (every number, published ones included), Markdown and LaTeX; the files."""
    told = probing_caption(select)
    return typeset.export(with_published(probed), probing_table(probed), folder, "table_03", told)


def price_table(prices: pd.DataFrame, *, digits: int = 2) -> pd.DataFrame:
    """`probing.price_of_picking` in points (a hundredth of the score): tasks x models."""
    rows: dict[str, dict] = {}
    for row in prices.assign(**100 * prices[["value", "low", "high"]]).itertuples():
        rows.setdefault(row.title, {"n": row.n})[row.model] = _cell(row.value, row, digits)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def _cell(value: float, row, digits: int) -> str:
    """A value, its interval, and the seeds: `equal` where the interval is over texts in spite."""
    text = Interval(value, row.low, row.high, row.n).text(digits)
    if row.model == "majority":
        return text
    equal = row.basis == "samples" and row.seeds > 1
    return f"{text} {f'{row.seeds} equal seeds' if equal else seeds_text(row.seeds)}"


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
    """hybrid | MLM-only | published, as text for a terminal, ours with 95 % intervals.

    The interval of a mean of tasks is the mean of the tasks' own intervals: seeds are shared by
    all tasks, and a standard deviation of means is at most the mean of standard deviations.

    Args:
        probes: `with_published`'s table. geometry: `tables.with_published`'s.
    """
    told = _published_scores()
    told_geometry = analysis.published_geometry().set_index(["task", "pooling", "model", "metric"])
    rows = []
    for (task, title, metric), part in probes.groupby(["task", "title", "metric"], sort=False):
        known = told.loc[twin(task)] if twin(task) in told.index else {}
        rows.append([f"{title}, linear probe, {metric}", *_ours(part, "score"), *_pair(known)])
    dims = geometry.loc[geometry["model"].isin(_ARMS), "dim"].unique()
    for metric in ("uniformity", "effective_rank"):
        at = f", D = {', '.join(f'{d:.0f}' for d in dims)}" if metric == "effective_rank" else ""
        for pooling in ("mean", "attention"):
            part = geometry[(geometry["metric"] == metric) & (geometry["pooling"] == pooling)]
            theirs = told_geometry.xs((pooling, metric), level=["pooling", "metric"])["value"]
            label = f"{metric.replace('_', ' ')}, {pooling} pooling{at}"
            means = _pair(theirs.groupby("model").mean())
            rows.append([label, *_ours(part, "value"), *means])
    columns = ["", "hybrid", "MLM-only", "published hybrid", "published MLM-only"]
    lines = [pd.DataFrame(rows, columns=columns).to_string(index=False), ""]
    if set(probes["task"]) & set(EMBEDDED):
        lines.append(
            "The tasks are the embedded ones: the published column is the GLUE task of the same "
            "shape, a different task."
        )
    seeds = int(geometry["seeds"].max())
    lines.append(
        f"Small-budget result, {seeds_text(seeds)}; 95 % intervals over "
        f"{'seeds' if seeds > 1 else 'texts'}, geometry as means of tasks with intervals at least "
        "as wide as theirs. Published: one seed, D = 512, 3 epochs, H100."
    )
    return "\n".join(lines)


def _ours(part: pd.DataFrame, value: str) -> list[str]:
    means = part.groupby("model")[[value, "low", "high"]].mean()
    return [Interval(*means.loc[a], 0).text() if a in means.index else "-" for a in _ARMS]


def _pair(values) -> list[str]:
    return [f"{values[arm]:.3f}" if arm in values else "-" for arm in _ARMS]
