"""The geometry of encoders on tasks: every metric, pooling and probe (Tables 4-11).

A tidy table has one row per number: `task`, `pooling` and `model` identify it, `n` and `seeds` tell
its precision. Measurements are cached: see `cache`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import pandas as pd

from predrecon import metrics, probes
from predrecon.audit import published
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.statistics import (
    Bounds,
    Interval,
    bootstrap_counts,
    bootstrap_interval,
    score_replicates,
)
from predrecon.data.tasks import Split, Task
from predrecon.recipes import read

SIX = ("spectral_entropy", "effective_rank", "stable_rank", "alignment", "uniformity", "probe_gap")
"""The paper's six metrics, by its equations; tables also hold `CONVENTIONS` and both probes."""

CONVENTIONS = {
    "spectral_entropy_sigma2": "spectral entropy as in the paper's tables, from sigma squared",
    "alignment_squared": "alignment as Wang & Isola (2020) define it, the mean squared distance",
    "alignment_by_class": "alignment as in the paper's tables, averaged over classes",
}
RANKS = ("effective_rank", "stable_rank", "rank_90", "rankme")
"""At most min(N, D): compared only between embeddings of the same width D."""
BOUNDS: dict[str, Bounds] = {
    **dict.fromkeys(("spectral_entropy", "spectral_entropy_sigma2", "explained"), (0, 1)),
    **dict.fromkeys(("effective_rank", "effective_rank_released"), (1, math.inf)),
    **dict.fromkeys(("stable_rank", "rank_90", "rankme"), (1, math.inf)),
    **dict.fromkeys(("alignment", "alignment_by_class"), (0, 16)),  # of distances up to 2
    **dict.fromkeys(("alignment_squared", "pair_alignment"), (0, 4)),
    **dict.fromkeys(("intra_class_distance", "inter_class_distance"), (0, 2)),
    "intra_inter_ratio": (0, math.inf),
    **dict.fromkeys(("uniformity", "uniformity_released", "equal_length"), (-math.inf, 0)),
    **dict.fromkeys(("token_probe", "accuracy", "f1"), (0, 1)),
    **dict.fromkeys(("semantic_probe_mcc", "mcc", "spearman"), (-1, 1)),
    **dict.fromkeys(("semantic_probe", "linear_probe"), (-1, 1)),  # of some tasks MCC or rho
    "probe_gap": (-2, 1),
    **dict.fromkeys(("semantic_probe_knn", "semantic_probe_mlp"), (-1, 1)),
    **dict.fromkeys(("semantic_probe_knn_mcc", "semantic_probe_mlp_mcc"), (-1, 1)),
    **dict.fromkeys(("recall@1", "recall@10", "mrr", "iso_score", "linear_cka"), (0, 1)),
    "lidar": (1, math.inf),
    "procrustes_distance": (0, 2),
}
"""The range of a metric for any N and D, for `statistics.student_interval`; others are unbounded.
"""
GEOMETRY_SAMPLES = 2000  # of the validation split (paper, Section 4.3)
DRAWS = 200  # bootstrap samples


@dataclass(frozen=True)
class Measured:
    """One encoder on one task.

    Attributes:
        rows: one per pooling and metric: `pooling, metric, value, n, dim`; n is its sample count.
        embeddings: `{pooling: [N, D]}`.
        replicates: `{(pooling, metric): [draws]}`: bootstrap samples are the same for every
            encoder, so that two can be subtracted draw by draw.
        spectra: `{pooling: [min(N, D)]}` singular values, largest first.
    """

    rows: list[dict]
    embeddings: dict[str, np.ndarray]
    replicates: dict[tuple[str, str], np.ndarray]
    spectra: dict[str, np.ndarray] = field(default_factory=dict)

    def interval(self, row: dict) -> Interval:
        """The interval of one of `rows`, over samples."""
        spread = self.replicates[row["pooling"], row["metric"]]
        return bootstrap_interval(row["value"], spread, row["n"])


@dataclass(frozen=True)
class Geometry:
    """Several encoders on several tasks.

    Attributes:
        table: columns `task, title, pooling, model, seed, metric, value, low, high, n, dim, note`;
            `low` and `high` are a 95 % interval over samples (`statistics.bootstrap_interval`).
        embeddings: `{(task, pooling, model): [N, D]}` of each model's first seed.
        replicates: `{(task, pooling, model, seed, metric): [draws]}`.
        spectra: `{(task, pooling, model, seed): [min(N, D)]}` singular values, largest first.
    """

    table: pd.DataFrame
    embeddings: dict[tuple, np.ndarray]
    replicates: dict[tuple, np.ndarray]
    spectra: dict[tuple, np.ndarray] = field(default_factory=dict)


def measure_all(
    models: list[Model],
    tasks: list[Task],
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
    padding: str = "ignored",
) -> Geometry:
    """`measure` of every model, of one or several seeds, on every task.

    Raises:
        ValueError: no model or no task; as in `measure`.
    """
    rows, embeddings, replicates, spectra = [], {}, {}, {}
    options = {"poolings": poolings, "max_samples": max_samples, "seed": seed, "padding": padding}
    for task, model in each_pair("geometry", tasks, models):
        measured = measure(model, task, **options)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for pooling, z in measured.embeddings.items():
            embeddings.setdefault((task.name, pooling, model.name), z)
            spectra[task.name, pooling, model.name, model.seed] = measured.spectra[pooling]
        for row in measured.rows:
            rows.append(facts | row | measured.interval(row).bounds | {"note": task.note})
        for (pooling, metric), spread in measured.replicates.items():
            replicates[task.name, pooling, model.name, model.seed, metric] = spread
    return Geometry(pd.DataFrame(rows), embeddings, replicates, spectra)


def measure(
    model: Model,
    task: Task,
    *,
    poolings: tuple[str, ...] | None = None,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
    draws: int = DRAWS,
    probed: bool = True,
    padding: str = "ignored",
) -> Measured:
    """Six metrics, their variants and related ones, and both probes, under every pooling.

    One pass of the encoder gives all of them. Tasks with pairs of equal meaning also get
    `pair_alignment`, for which both sentences of every true pair are encoded separately.

    Args:
        task: the first `max_samples` of its validation split are used, pairs as "s1 [SEP] s2".
        poolings: default: all that the model has (`Model.poolings`).
        seed: shuffles the folds of the probes and draws the `draws` bootstrap samples.
        probed: whether to fit the probes, which is most of the work.
        padding: one of `pooling.PADDINGS`. `"attended"` measures as the public code does;
            `alignment_by_class` and `spectral_entropy_sigma2` then follow the paper's tables.

    Raises:
        ValueError: errors of a metric or a probe, with the names of task and model.
    """
    split, seed = task.validation.head(max_samples), read("seed", seed)
    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split)
    poolings = model.poolings if poolings is None else poolings
    passes = {"poolings": poolings, "padding": padding}

    def compute():
        try:
            pooled = model.embed(split.first, split.second, **passes)
            options = {"draws": draws, "seed": seed, "probed": probed}
            results = per_pooling(pooled, metrics_of(model, task, split, **options))
            for pooling, pairs in _true_pairs(model, split, task, passes, draws, seed).items():
                results[pooling] = results[pooling] | {"pair_alignment": pairs}
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        rows, arrays = [], {f"embeddings/{pooling}": z for pooling, z in pooled.items()}
        spectra = per_pooling(pooled, metrics.singular_values)
        arrays |= {f"spectra/{pooling}": sigma for pooling, sigma in spectra.items()}
        for pooling, by_metric in results.items():
            for metric, (value, spread, n) in by_metric.items():
                row = {"pooling": pooling, "metric": metric, "value": value, "n": n}
                rows.append(row | {"dim": pooled[pooling].shape[1]})
                arrays[f"replicates/{pooling}/{metric}"] = spread
        return rows, arrays

    protocol = task.kind, task.classes, poolings, padding, model.max_length, seed, draws, probed
    protocol += (model.own,) if "own" in poolings else ()
    rows, arrays = cached("geometry", (*digests, *protocol), compute)
    named = {tuple(name.split("/")): array for name, array in arrays.items()}
    embeddings = {key[1]: z for key, z in named.items() if key[0] == "embeddings"}
    replicates = {key[1:]: spread for key, spread in named.items() if key[0] == "replicates"}
    spectra = {key[1]: sigma for key, sigma in named.items() if key[0] == "spectra"}
    return Measured(rows, embeddings, replicates, spectra)


def metrics_of(
    model: Model, task: Task, split: Split, *, draws: int, seed: int, probed: bool
) -> Callable[[np.ndarray], dict[str, tuple]]:
    """A function of `split`'s vectors `[N, D]` that gives `{metric: (value, replicates, n)}`.

    Arguments as in `measure`. The bootstrap samples are the same for every matrix.
    """
    ids = model.token_ids(split.first, split.second)
    tokens = probes.frequent_tokens(ids, model.special_ids)
    groups, counts = task.groups(split.labels), bootstrap_counts(len(split), draws, seed)

    def measured(z: np.ndarray) -> dict[str, tuple]:
        values, spread = shape_metrics(z, groups), shape_metrics(z, groups, weights=counts)
        shape = {metric: (value, spread[metric], len(z)) for metric, value in values.items()}
        if probed:
            shape |= probe_metrics(z, split.labels, tokens, task.kind, seed, counts)
        return shape

    return measured


def per_pooling(pooled: dict[str, np.ndarray], measurement) -> dict:
    """`measurement(z)` by pooling, once for equal vectors (unfitted `weighted` equals the mean)."""
    by_content: dict[bytes, dict] = {}
    for z in pooled.values():
        if z.tobytes() not in by_content:
            by_content[z.tobytes()] = measurement(z)
    return {pooling: by_content[z.tobytes()] for pooling, z in pooled.items()}


def shape_metrics(z, groups, *, weights=None) -> dict[str, float | np.ndarray]:
    """Five of the six metrics of `z [N, D]`, their variants and related ones, without probes.

    `groups [N]` are classes (with only one there are no class distances), `weights [draws, N]` as
    in `metrics`.
    """
    w = {"weights": weights}
    values = {
        "spectral_entropy": metrics.spectral_entropy(z, **w),
        "spectral_entropy_sigma2": metrics.spectral_entropy(z, power=2, normalize="min", **w),
        "effective_rank": metrics.effective_rank(z, **w),
        "stable_rank": metrics.stable_rank(z, **w),
        "rank_90": metrics.rank_90(z, **w),
        "rankme": metrics.rankme(z, **w),
        "alignment": metrics.alignment(z, groups, **w),
        "alignment_squared": metrics.alignment(z, groups, power=2, **w),
        "alignment_by_class": metrics.alignment(z, groups, average="classes", **w),
        "uniformity": metrics.uniformity(z, **w),
    }
    if len(np.unique(groups)) > 1:
        values |= metrics.class_distances(z, groups, **w)
    return values


def probe_metrics(z, labels, tokens, kind: str, seed: int, counts: np.ndarray) -> dict[str, tuple]:
    """Semantic probe, token probe and their gap: `{metric: (value, replicates [draws], n)}`.

    Arguments as in `metrics.probe_gap`; the fitted probes are scored on bootstrap samples `counts
    [draws, N]`.
    """
    semantic = probes.semantic_probe(z, labels, kind=kind, seed=seed)
    token, common = probes.token_probe(z, tokens, seed=seed), probes.common(tokens)
    spread = score_replicates(labels, semantic.predictions, semantic.metric, counts)
    lexical = score_replicates(tokens[common], token.predictions, "accuracy", counts[:, common])
    results = {
        "semantic_probe": (semantic.score, spread, semantic.n),
        "token_probe": (token.score, lexical, token.n),
        "probe_gap": (semantic.score - token.score, spread - lexical, semantic.n),
    }
    if kind == "classification":
        mcc = probes.score(labels, semantic.predictions, "mcc")
        spread = score_replicates(labels, semantic.predictions, "mcc", counts)
        results["semantic_probe_mcc"] = (mcc, spread, semantic.n)
    return results


def _true_pairs(
    model: Model, split: Split, task: Task, passes: dict, draws: int, seed: int
) -> dict[str, tuple]:
    """`{pooling: (pair_alignment, replicates, n)}`; empty for a task without such pairs.

    `passes` are options of `pooling.embed`.
    """
    positive = task.positives(split.labels)
    if positive is None or positive.sum() < 2:
        return {}
    n = int(positive.sum())
    counts = bootstrap_counts(n, draws, seed)
    sides = [
        model.embed(list(compress(side, positive)), **passes)
        for side in (split.first, split.second)
    ]
    pairs = {pooling: [side[pooling] for side in sides] for pooling in passes["poolings"]}
    return {
        pooling: (metrics.pair_alignment(*pair), metrics.pair_alignment(*pair, weights=counts), n)
        for pooling, pair in pairs.items()
    }


def published_geometry() -> pd.DataFrame:
    """The published geometry under the names of `Geometry.table`, probe gap included.

    The published alignment appears under both averages: Eq. 14 averages over pairs, the public code
    over classes, and the numbers alone do not decide (tests/test_conventions.py).
    """
    names = {
        "alignment_fourth_power": "alignment",
        "semantic_probe_score": "semantic_probe",
        "token_probe_accuracy": "token_probe",
    }
    table = published.geometry().replace({"metric": names})
    wide = table.pivot(index=["task", "pooling", "model"], columns="metric", values="value")
    gap = (wide["semantic_probe"] - wide["token_probe"]).rename("value").reset_index()
    by_class = table[table["metric"] == "alignment"].assign(metric="alignment_by_class")
    return pd.concat([table, gap.assign(metric="probe_gap"), by_class], ignore_index=True)


def published_spectra() -> pd.DataFrame:
    """The published spectra as `seed_spectra` gives ours: 50 components, as shares of all.

    The stable rank gives the sum over all components: sum(sigma^2) = srank sigma_1^2. So shares are
    exact, and shapes can be compared whatever the scale of the embeddings.
    """
    keys = ["task", "pooling", "model"]
    rank = published.geometry().query("metric == 'stable_rank'").set_index(keys)["value"]
    table = published.singular_values().join(rank, on=keys).sort_values([*keys, "rank"])
    largest = table.groupby(keys)["singular_value"].transform("max")
    share = (table["singular_value"] / largest) ** 2 / table["value"]
    table = table.assign(share=share, model="published " + table["model"])
    table["cumulative"] = table.groupby(keys)["share"].cumsum()
    return table[[*keys, "rank", "share", "cumulative"]]


def seed_spectra(measured: Geometry) -> pd.DataFrame:
    """Eigenspectra of every seed: columns `task, pooling, model, seed, rank, share, cumulative`.

    `share` is the explained variance sigma_i^2 / sum(sigma^2) of component `rank` (from 1), and
    `cumulative` its running sum.

    Raises:
        ValueError: no spectrum was measured.
    """
    if not measured.spectra:
        raise ValueError("No spectrum: this geometry holds none.")
    keys, parts = ("task", "pooling", "model", "seed"), []
    for key, sigma in measured.spectra.items():
        share = sigma**2 / (sigma**2).sum()
        facts = dict(zip(keys, key, strict=True)) | {"rank": np.arange(1, len(share) + 1)}
        parts.append(pd.DataFrame({**facts, "share": share, "cumulative": share.cumsum()}))
    return pd.concat(parts, ignore_index=True)
