"""From encoders and tasks to tidy tables: linear probes (Table 3) and geometry (Tables 4-11).

A tidy table has one row a number; `task`, `pooling`, `model` say whose, `n` and `seeds` how sure.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd
import torch

from predrecon import metrics, probes, published
from predrecon.evidence import Geometry, over_seeds
from predrecon.measuring import DRAWS, Model, measure
from predrecon.pooling import MAX_LENGTH, POOLINGS, embed, token_ids
from predrecon.progress import Progress
from predrecon.resampling import score_replicates
from predrecon.results import remembered, split_digest, tokenizer_digest, weights_digest
from predrecon.run_folder import BOOKKEEPING, Run
from predrecon.tasks import Task
from predrecon.uncertainty import around, bootstrap_counts

SIX = ("spectral_entropy", "effective_rank", "stable_rank", "alignment", "uniformity", "probe_gap")
"""The paper's six metrics, by its equations; tables also hold `CONVENTIONS` and both probes."""

CONVENTIONS = {
    "spectral_entropy_sigma2": "spectral entropy as in the paper's tables, from sigma squared",
    "alignment_squared": "alignment as Wang & Isola (2020) define it, the mean squared distance",
}
GEOMETRY_SAMPLES = 2000  # of the validation split (paper, Section 4.3)

Embeddings = dict[tuple[str, str, str], np.ndarray]  # (task, pooling, model) -> [N, D]


def models(runs: dict[str, Run | list[Run]], tokenizer, *, untrained: bool = False) -> list[Model]:
    """The runs' encoders, of one or several seeds an arm.

    With `untrained`, also the encoder of every seed before its first step, which the arms share.

    Raises:
        ValueError: runs of different recipes or corpora (but for the arm): what is compared must
            differ in what it is compared for alone. Conditions of the grid are compared by `why`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found, first = [], {}
    listed = {name: s if isinstance(s, list) else [s] for name, s in runs.items()}
    _alike([run for several in listed.values() for run in several])
    for name, several in listed.items():
        for run in several:
            seed = run.facts["seed"]
            found.append(Model(name, run.encoder().to(device), tokenizer, seed))
            first.setdefault(seed, run)
    if untrained:
        for seed, run in first.items():
            encoder = run.untrained_encoder().to(device)
            found.append(Model("untrained", encoder, tokenizer, seed))
    return found


def _alike(runs: list[Run]):
    """Refuse runs that differ in more than arm, seed and bookkeeping."""
    if not runs:
        return
    left_out = {"arm", "corpus", "tokenizer", *BOOKKEEPING}
    first, *others = [
        {k: v for k, v in asdict(run.recipe).items() if k not in left_out}
        | {"text": run.facts["corpus"]}
        for run in runs
    ]
    for run, other in zip(runs[1:], others, strict=True):
        if apart := [f"{k} ({first[k]} and {v})" for k, v in other.items() if v != first[k]]:
            raise ValueError(
                f"{runs[0].folder.name} and {run.folder.name} are not of one recipe: they differ "
                f"in {', '.join(apart)}."
            )


def linear_probing(
    compared: list[Model], tasks: list[Task], *, max_train: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Linear probes under mean pooling (paper, Section 4.2), the majority class beside them.

    Args:
        compared: encoders.
        tasks: labelled tasks.
        max_train: use at most so many training samples (the first ones).
        seed: of the probe.

    Returns:
        Columns `task, title, metric, model, seed, score, low, high, best_epoch_score, n_train, n,
        note`; one row a task and model, one with model `"majority"`. Scores from 0 to 1 (MCC and
        rho from -1); `low` and `high` are a 95 % interval over validation samples.
    """
    rows = []
    for task, model in _with_progress("linear probes", tasks, compared):
        train = task.train.head(max_train) if max_train else task.train
        facts = {"task": task.name, "title": task.title, "metric": task.metric}
        facts |= {"n_train": len(train), "n": len(task.validation), "note": task.note}
        result = _linear_probe(model, task, train, seed)
        counts = bootstrap_counts(len(task.validation), DRAWS, seed)
        labels, guessed = task.validation.labels, result.predictions
        spread = score_replicates(labels, guessed, task.metric, counts)
        interval = around(result.score, spread, len(labels))
        told = {"score": interval.value, "low": interval.low, "high": interval.high}
        told["best_epoch_score"] = result.best_epoch_score
        rows.append({**facts, "model": model.name, "seed": model.seed, **told})
        if model is compared[-1]:
            constant = probes.majority(train.labels, task.validation.labels, task.metric)
            rows.append({**facts, "model": "majority", "score": constant})
    return pd.DataFrame(rows)


def geometry(
    compared: list[Model],
    tasks: list[Task],
    *,
    poolings: tuple[str, ...] = POOLINGS,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
) -> Geometry:
    """All metrics of all tasks, poolings and models, from one pass of each encoder over each task.

    Args:
        compared: encoders, of one or several seeds.
        tasks: labelled tasks; their validation splits are used, pairs as "s1 [SEP] s2".
        max_samples: the first so many samples of a split.
        seed: shuffles the folds of the probes, draws the bootstrap samples.

    Returns:
        `Geometry`; `low` and `high` of its table are a 95 % interval over samples.
    """
    rows, embeddings, replicates = [], {}, {}
    for task, model in _with_progress("geometry", tasks, compared):
        found = measure(model, task, poolings=poolings, max_samples=max_samples, seed=seed)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for pooling, z in found.embeddings.items():
            embeddings.setdefault((task.name, pooling, model.name), z)
        for row in found.rows:
            spread = found.replicates[row["pooling"], row["metric"]]
            interval = around(row["value"], spread, row["n"])
            rows.append(facts | row | interval.bounds | {"note": task.note})
            key = task.name, row["pooling"], model.name, model.seed, row["metric"]
            replicates[key] = spread
    return Geometry(pd.DataFrame(rows), embeddings, replicates)


def geometry_table(
    table: pd.DataFrame, metrics_shown: tuple[str, ...] = SIX, *, digits: int = 3
) -> pd.DataFrame:
    """`geometry`'s table with one line a task and pooling, columns metric x model, value ± margin.

    The margin is half of the 95 % interval: over seeds, or over samples where there is one seed.
    """
    means = over_seeds(table[table["metric"].isin(metrics_shown)])
    margin = (means["high"] - means["low"]) / 2
    pairs = zip(means["value"], margin, strict=True)
    cells = [f"{v:.{digits}f} ± {m:.{digits}f}" for v, m in pairs]
    wide = means.assign(cell=cells).pivot(
        index=["title", "pooling"], columns=["metric", "model"], values="cell"
    )
    titles, poolings = (list(dict.fromkeys(means[c])) for c in ("title", "pooling"))
    rows = pd.MultiIndex.from_product([titles, poolings], names=wide.index.names)
    return wide.reindex(rows).reindex(columns=list(metrics_shown), level=0)


def published_geometry() -> pd.DataFrame:
    """The published geometry under the names of `geometry`'s table (probe gap included)."""
    told = published.geometry().replace(
        {
            "metric": {
                "alignment_fourth_power": "alignment",
                "semantic_probe_score": "semantic_probe",
                "token_probe_accuracy": "token_probe",
            }
        }
    )
    wide = told.pivot(index=["task", "pooling", "model"], columns="metric", values="value")
    gap = (wide["semantic_probe"] - wide["token_probe"]).rename("value").reset_index()
    return pd.concat([told, gap.assign(metric="probe_gap")], ignore_index=True)


def length_control(
    compared: list[Model], tasks: list[Task], *, max_samples: int = GEOMETRY_SAMPLES
) -> pd.DataFrame:
    """How much of mean-pooled uniformity is text length?

    Positions of amplitude 1 make the mean of a short text differ from the mean of a long one,
    whatever their words. So uniformity is also taken over pairs with the same number of tokens.

    Returns:
        Columns `title, model, uniformity, equal_length, explained, by_chance, n`: uniformity over
        all pairs, over pairs of equal length, and the share of the variance of directions that
        length explains, beside what as many random groups would.
    """
    rows = []
    for task, model in _with_progress("length control", tasks, compared):
        split = task.validation.head(max_samples)
        cut = min(MAX_LENGTH, model.encoder.config.max_position_embeddings)
        ids = token_ids(model.tokenizer, split.first, split.second, cut)
        lengths = np.array([len(text) for text in ids])
        pooled = embed(
            model.encoder, model.tokenizer, split.first, split.second, poolings=("mean",)
        )
        z = pooled["mean"]
        values = {
            "uniformity": metrics.uniformity(z),
            "equal_length": metrics.uniformity(z, groups=lengths),
            "explained": metrics.explained_share(z, lengths),
            "by_chance": (len(np.unique(lengths)) - 1) / (len(z) - 1),
        }
        rows.append({"title": task.title, "model": model.name, **values, "n": len(z)})
    return pd.DataFrame(rows)


def published_spectra() -> pd.DataFrame:
    """The published spectra as `spectra` gives ours: the first 50 components, as shares of all.

    Of the rest only the sum is known, through the stable rank: sum(sigma^2) = srank sigma_1^2. So
    shares are exact, and shapes compare whatever the scale of the embeddings.
    """
    told = published.singular_values()
    rank = published.geometry().query("metric == 'stable_rank'").rename(columns={"value": "srank"})
    keys = ["task", "pooling", "model"]
    told = told.merge(rank[[*keys, "srank"]], on=keys).sort_values([*keys, "rank"])
    largest = told.groupby(keys)["singular_value"].transform("max")
    share = (told["singular_value"] / largest) ** 2 / told["srank"]
    told = told.assign(share=share, model="published " + told["model"])
    told["cumulative"] = told.groupby(keys)["share"].cumsum()
    return told[["task", "pooling", "model", "rank", "share", "cumulative"]]


def spectra(embeddings: Embeddings) -> pd.DataFrame:
    """Eigenspectra: columns `task, pooling, model, rank, share, cumulative`.

    `share` is the explained variance sigma_i^2 / sum(sigma^2) of component `rank` (from 1).
    """
    parts = []
    for (task, pooling, model), z in embeddings.items():
        variance = metrics.singular_values(z) ** 2
        share = variance / variance.sum()
        rank = np.arange(1, len(share) + 1)
        part = {"rank": rank, "share": share, "cumulative": share.cumsum()}
        parts.append(pd.DataFrame({"task": task, "pooling": pooling, "model": model, **part}))
    return pd.concat(parts, ignore_index=True)


def _with_progress(label: str, tasks: list[Task], compared: list[Model]):
    """All pairs of task and model, under one progress line."""
    pairs = [(task, model) for task in tasks for model in compared]
    with Progress(label, len(pairs), "encoders × tasks") as progress:
        for number, (task, model) in enumerate(pairs):
            progress.update(number, f"{task.title}, {model.name}")
            yield task, model
        progress.update(len(pairs))


def _linear_probe(model: Model, task: Task, train, seed: int) -> probes.ProbeResult:
    """Fitted once: remembered by weights, texts and protocol."""
    splits = train, task.validation
    protocol = (task.metric, len(task.classes), task.epochs, seed)
    digests = [split_digest(split) for split in splits]
    parts = (weights_digest(model.encoder), tokenizer_digest(model.tokenizer), *digests, *protocol)

    def compute():
        result = probes.linear_probe(
            *(_vectors(model, split) for split in splits),
            metric=task.metric,
            num_classes=len(task.classes),
            epochs=task.epochs,
            seed=seed,
        )
        told = {"score": result.score, "best_epoch_score": result.best_epoch_score}
        return [told], {"predictions": result.predictions}

    (told,), arrays = remembered("linear-probe", parts, compute)
    return probes.ProbeResult(
        metric=task.metric, n=len(task.validation), predictions=arrays["predictions"], **told
    )


def _vectors(model: Model, split) -> tuple:
    """`(s, labels)` or `(s1, s2, labels)`: the sentences of a pair are encoded apart."""
    sides = [split.first] if split.second is None else [split.first, split.second]
    pooled = (embed(model.encoder, model.tokenizer, s, poolings=("mean",)) for s in sides)
    return (*(vectors["mean"] for vectors in pooled), split.labels)
