"""The geometry of encoders on tasks: every metric, pooling and probe (Tables 4-11).

A tidy table has one row a number; `task`, `pooling`, `model` say whose, `n` and `seeds` how sure.
What has been measured once is cached by encoder, tokenizer, texts and protocol (`cache`).
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from predrecon import metrics, probes
from predrecon.audit import published
from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model
from predrecon.audit.resampling import (
    pair_replicates,
    pairwise_replicates,
    score_replicates,
    spectral_replicates,
)
from predrecon.audit.statistics import bootstrap_counts, bootstrap_interval
from predrecon.data.progress import each_pair
from predrecon.data.tasks import Task
from predrecon.pooling import MAX_LENGTH, POOLINGS, embed, token_ids

SIX = ("spectral_entropy", "effective_rank", "stable_rank", "alignment", "uniformity", "probe_gap")
"""The paper's six metrics, by its equations; tables also hold `CONVENTIONS` and both probes."""

CONVENTIONS = {
    "spectral_entropy_sigma2": "spectral entropy as in the paper's tables, from sigma squared",
    "alignment_squared": "alignment as Wang & Isola (2020) define it, the mean squared distance",
}
GEOMETRY_SAMPLES = 2000  # of the validation split (paper, Section 4.3)
DRAWS = 200  # bootstrap samples


@dataclass(frozen=True)
class Measured:
    """What one encoder gave on one task.

    Attributes:
        rows: one a pooling and metric: `pooling, metric, value, n, dim`; n is the samples that the
            metric was taken on.
        embeddings: `{pooling: [N, D]}`.
        replicates: `{(pooling, metric): [draws]}`, the metric on bootstrap samples of the same
            draws for every encoder, so that differences of two encoders can be taken draw by draw.
    """

    rows: list[dict]
    embeddings: dict[str, np.ndarray]
    replicates: dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Geometry:
    """What `geometry.measure_all` found.

    Attributes:
        table: columns `task, title, pooling, model, seed, metric, value, low, high, n, dim, note`.
        embeddings: `{(task, pooling, model): [N, D]}` of each model's first seed.
        replicates: `{(task, pooling, model, seed, metric): [draws]}`.
        spectra: `{(task, pooling, model, seed): [min(N, D)]}` singular values, largest first.
        max_lengths: `{model: tokens of a text that it reads at most}`.
    """

    table: pd.DataFrame
    embeddings: dict[tuple, np.ndarray]
    replicates: dict[tuple, np.ndarray]
    spectra: dict[tuple, np.ndarray] = field(default_factory=dict)
    max_lengths: dict[str, int] = field(default_factory=dict)


def measure_all(
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
        `Geometry`; `low` and `high` of its table are a 95 % interval over samples, which
        `bootstrap_interval` says how far to trust.
    """
    rows, embeddings, replicates, singular = [], {}, {}, {}
    for task, model in each_pair("geometry", tasks, compared):
        found = measure(model, task, poolings=poolings, max_samples=max_samples, seed=seed)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for pooling, z in found.embeddings.items():
            embeddings.setdefault((task.name, pooling, model.name), z)
            singular[task.name, pooling, model.name, model.seed] = metrics.singular_values(z)
        for row in found.rows:
            spread = found.replicates[row["pooling"], row["metric"]]
            interval = bootstrap_interval(row["value"], spread, row["n"])
            rows.append(facts | row | interval.bounds | {"note": task.note})
            key = task.name, row["pooling"], model.name, model.seed, row["metric"]
            replicates[key] = spread
    positions = {m.name: m.encoder.config.max_position_embeddings for m in compared}
    max_lengths = {name: min(MAX_LENGTH, length) for name, length in positions.items()}
    return Geometry(pd.DataFrame(rows), embeddings, replicates, singular, max_lengths)


def measure(
    model: Model,
    task: Task,
    *,
    poolings: tuple[str, ...] = POOLINGS,
    directions: dict | None = None,
    max_samples: int = 2000,
    seed: int = 0,
    draws: int = DRAWS,
    probed: bool = True,
) -> Measured:
    """Six metrics, their other conventions and neighbours, and both probes, under every pooling.

    Tasks of pairs with a known meaning also get `pair_alignment`, for which the sentences of every
    true pair are encoded apart.

    Args:
        model: an encoder with its tokenizer.
        task: its validation split is used, pairs as "s1 [SEP] s2".
        poolings, directions: as in `pooling.embed`.
        max_samples: the first so many samples of the split.
        seed: shuffles the folds of the probes and draws the bootstrap samples.
        draws: bootstrap samples.
        probed: whether to fit the probes, which is most of the work.

    Raises:
        ValueError: of a metric or a probe, with the names of task and model.
    """
    split = task.validation.head(max_samples)
    longest = min(MAX_LENGTH, model.encoder.config.max_position_embeddings)
    extra = {name: v.tolist() for name, v in (directions or {}).items()}
    protocol = (task.kind, poolings, extra, longest, seed, draws, probed)
    if len(split) < model.encoder.config.hidden_size:  # older results had log D there
        protocol += ("sigma^2 entropy over log min(N, D)",)
    parts = (encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split))

    def compute():
        ways = {"poolings": poolings, "directions": directions}
        pooled = embed(model.encoder, model.tokenizer, split.first, split.second, **ways)
        ids = token_ids(model.tokenizer, split.first, split.second, longest)
        tokens = probes.frequent_tokens(ids)
        try:
            counts = bootstrap_counts(len(split), draws, seed)
            found = per_pooling(
                pooled, lambda z: _one(z, split.labels, task, tokens, counts, seed, probed)
            )
            for pooling, told in _true_pairs(model, split, task, ways, draws, seed).items():
                found[pooling] = found[pooling] | {"pair_alignment": told}
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        rows, arrays = [], {f"embeddings/{pooling}": z for pooling, z in pooled.items()}
        for pooling, values in found.items():
            for metric, (value, spread, n) in values.items():
                facts = {"pooling": pooling, "metric": metric, "value": value}
                rows.append(facts | {"n": n, "dim": pooled[pooling].shape[1]})
                arrays[f"replicates/{pooling}/{metric}"] = spread
        return rows, arrays

    rows, arrays = cached("geometry", (*parts, *protocol), compute)
    embeddings, replicates = {}, {}
    for name, array in arrays.items():
        kind, pooling, *metric = name.split("/")
        if kind == "embeddings":
            embeddings[pooling] = array
        else:
            replicates[pooling, metric[0]] = array
    return Measured(rows, embeddings, replicates)


def per_pooling(pooled: dict[str, np.ndarray], take) -> dict:
    """`take(z)` by pooling, once for poolings that agree (untrained weights are the mean)."""
    memo: dict[bytes, dict] = {}
    found = {}
    for pooling, z in pooled.items():
        key = z.tobytes()
        memo[key] = found[pooling] = memo[key] if key in memo else take(z)
    return found


def shape_metrics(z, groups) -> dict[str, float]:
    """Five of the six metrics of `z [N, D]`, their other conventions and neighbours: no probes.

    `spectral_entropy_sigma2` is as in the paper's tables, over log min(N, D). With one class alone
    there are no distances between classes.
    """
    found = {
        "spectral_entropy": metrics.spectral_entropy(z),
        "spectral_entropy_sigma2": metrics.spectral_entropy(z, power=2, normalize="min"),
        "effective_rank": metrics.effective_rank(z),
        "stable_rank": metrics.stable_rank(z),
        "rank_90": metrics.rank_90(z),
        "rankme": metrics.rankme(z),
        "alignment": metrics.alignment(z, groups),
        "alignment_squared": metrics.alignment(z, groups, power=2),
        "uniformity": metrics.uniformity(z),
    }
    several = len(np.unique(groups)) > 1
    return found | (metrics.class_distances(z, groups) if several else {})


def probe_metrics(z, labels, tokens, kind: str, seed: int) -> dict[str, float]:
    """Semantic probe, token probe and their gap for `z [N, D]`."""
    found = _probes(z, labels, tokens, kind, seed, np.ones((1, len(labels)), dtype=int))
    return {metric: value for metric, (value, _, _) in found.items()}


def _one(z, labels, task: Task, tokens, counts, seed: int, probed: bool) -> dict[str, tuple]:
    """`{metric: (value, replicates, n)}` of one embedding matrix."""
    groups = task.groups(labels)
    values = shape_metrics(z, groups)
    spread = pairwise_replicates(z, groups, counts) | spectral_replicates(z, counts)
    found = {metric: (value, spread[metric], len(z)) for metric, value in values.items()}
    if probed:
        found |= _probes(z, labels, tokens, task.kind, seed, counts)
    return found


def _true_pairs(model: Model, split, task: Task, ways: dict, draws: int, seed: int) -> dict:
    """`{pooling: (pair_alignment, replicates, n)}`; empty for a task without such pairs."""
    true = task.positives(split.labels)
    if true is None or true.sum() < 2:
        return {}
    sides = [
        embed(
            model.encoder,
            model.tokenizer,
            [s for s, t in zip(side, true, strict=True) if t],
            **ways,
        )
        for side in (split.first, split.second)
    ]
    n = int(true.sum())
    counts = bootstrap_counts(n, draws, seed)
    return {
        pooling: (
            metrics.pair_alignment(a, sides[1][pooling]),
            pair_replicates(a, sides[1][pooling], counts),
            n,
        )
        for pooling, a in sides[0].items()
    }


def _probes(z, labels, tokens, kind: str, seed: int, counts: np.ndarray) -> dict[str, tuple]:
    semantic = probes.semantic_probe(z, labels, kind=kind, seed=seed)
    token = probes.token_probe(z, tokens, seed=seed)
    kept = probes.common(tokens)
    spread = score_replicates(labels, semantic.predictions, semantic.metric, counts)
    lexical = score_replicates(tokens[kept], token.predictions, "accuracy", counts[:, kept])
    found = {
        "semantic_probe": (semantic.score, spread, semantic.n),
        "token_probe": (token.score, lexical, token.n),
        "probe_gap": (semantic.score - token.score, spread - lexical, semantic.n),
    }
    if kind == "classification":
        mcc = probes.score(labels, semantic.predictions, "mcc")
        again = score_replicates(labels, semantic.predictions, "mcc", counts)
        found["semantic_probe_mcc"] = (mcc, again, semantic.n)
    return found


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


def published_spectra() -> pd.DataFrame:
    """The published spectra as `seed_spectra` gives ours: 50 components, as shares of all.

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


def seed_spectra(found: Geometry) -> pd.DataFrame:
    """Eigenspectra of every seed: columns `task, pooling, model, seed, rank, share, cumulative`.

    `share` is the explained variance sigma_i^2 / sum(sigma^2) of component `rank` (from 1), and
    `cumulative` its running sum.
    """
    keys, parts = ("task", "pooling", "model", "seed"), []
    for key, singular_values in found.spectra.items():
        share = singular_values**2 / (singular_values**2).sum()
        facts = dict(zip(keys, key, strict=True)) | {"rank": np.arange(1, len(share) + 1)}
        parts.append(pd.DataFrame({**facts, "share": share, "cumulative": share.cumsum()}))
    return pd.concat(parts, ignore_index=True)
