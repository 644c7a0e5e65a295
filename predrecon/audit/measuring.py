"""One encoder on one task: all metrics, poolings and probes from one pass, each with its spread.

What has been measured once is remembered by (weights, tokenizer, texts, protocol): `results`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from predrecon import metrics, probes
from predrecon.audit.cache import remembered, split_digest, tokenizer_digest, weights_digest
from predrecon.audit.resampling import (
    pair_replicates,
    pairwise_replicates,
    score_replicates,
    spectral_replicates,
)
from predrecon.audit.statistics import bootstrap_counts
from predrecon.data.tasks import Task
from predrecon.pooling import MAX_LENGTH, POOLINGS, embed, token_ids

DRAWS = 200  # bootstrap samples


@dataclass(frozen=True)
class Model:
    """An encoder to measure, its name in tables, and the seed it was trained with.

    The encoder moves to the GPU if there is one: every measurement starts here.
    """

    name: str
    encoder: torch.nn.Module
    tokenizer: object
    seed: int = 0

    def __post_init__(self):
        self.encoder.to("cuda" if torch.cuda.is_available() else "cpu")


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
    parts = (weights_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split))

    def compute():
        ways = {"poolings": poolings, "directions": directions}
        pooled = embed(model.encoder, model.tokenizer, split.first, split.second, **ways)
        ids = token_ids(model.tokenizer, split.first, split.second, longest)
        tokens = probes.frequent_tokens(ids)
        try:
            counts = bootstrap_counts(len(split), draws, seed)
            found = of_each(
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

    rows, arrays = remembered("geometry", (*parts, *protocol), compute)
    embeddings, replicates = {}, {}
    for name, array in arrays.items():
        kind, pooling, *metric = name.split("/")
        if kind == "embeddings":
            embeddings[pooling] = array
        else:
            replicates[pooling, metric[0]] = array
    return Measured(rows, embeddings, replicates)


def of_each(pooled: dict[str, np.ndarray], take) -> dict:
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
