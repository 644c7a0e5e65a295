"""The six geometry metrics (paper, Appendix D), each with its conventions spelled out.

Every function takes `[N, D]` NumPy arrays or torch tensors, computes in float64, and returns a
Python float. Defaults are the paper's equations; where the paper's tables or the literature use
another convention it is an argument, and the docstring says so.
"""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from predrecon.probes import semantic_probe, token_probe

_last_spectrum: dict[tuple, np.ndarray] = {}


def singular_values(z, *, center: bool = True) -> np.ndarray:
    """Singular values `[min(N, D)]` of the (centred) embedding matrix, largest first.

    Args:
        z: `[N, D]` embeddings.
        center: subtract the column means first (paper, Appendix D). Roy & Vetterli (2007) do not.

    Raises:
        ValueError: not a matrix, fewer than two rows, NaN or infinity.
    """
    z, exponent = scaled(matrix(z))
    sigma = np.linalg.svd(z - z.mean(axis=0) if center else z, compute_uv=False)
    return np.ldexp(sigma, exponent)


def spectral_entropy(z, *, center: bool = True, power: int = 1, normalize: str = "dim") -> float:
    """H(p) / log D with p = sigma^power / sum(sigma^power) (Eq. 11), in [0, 1]; higher is richer.

    The paper's *tables* are `power=2, normalize="min"`: the published spectra and stable ranks
    leave each of the 40 values a narrow bracket. All are inside it by that convention, 33 with
    log D instead (MRPC has 408 samples, fewer than 512 dimensions), one or two with power 1.

    Args:
        z: `[N, D]` embeddings.
        center: subtract the column means first.
        power: 1 as in Eq. 11; 2 weighs by explained variance, as the paper's tables.
        normalize: `"dim"` divides by log D (Eq. 11), `"min"` by log min(N, D), the number of
            singular values, as the paper's tables, `"rank"` by the log of the largest rank that
            N samples can have (min(N - 1, D) when centred), `"none"` leaves nats.

    Raises:
        ValueError: as `singular_values`; all embeddings equal; an unknown `normalize`.
    """
    n, dim = matrix(z).shape
    largest = {"dim": dim, "min": min(n, dim), "rank": min(n - center, dim), "none": math.e}
    if normalize not in largest:
        raise ValueError(f"normalize={normalize!r}: expected one of {', '.join(largest)}.")
    if largest[normalize] < 2:
        raise ValueError(f"Embeddings of shape {(n, dim)}: one direction at most, no entropy.")
    return _entropy(z, center, power) / math.log(largest[normalize])


def effective_rank(z, *, center: bool = True, power: int = 1) -> float:
    """exp H(sigma / sum(sigma)) (Eq. 12; Roy & Vetterli 2007), from 1 to min(N, D).

    Args:
        z: `[N, D]` embeddings.
        center: subtract the column means first; the literature's definition does not.
        power: 1 in Eq. 12, in the paper's tables and in the literature; 2 weighs by variance.
    """
    return math.exp(_entropy(z, center, power))


def stable_rank(z, *, center: bool = True) -> float:
    """sum(sigma^2) / sigma_1^2 (Eq. 13; Vershynin 2018), from 1 to min(N, D)."""
    sigma = _spectrum(z, center)
    return float((sigma**2).sum() / sigma[0] ** 2)


def rank_90(z, *, share: float = 0.9) -> int:
    """Principal components that together hold `share` of the variance, from 1 to min(N - 1, D).

    Reported by the paper's public code.
    """
    variance = _spectrum(z, True) ** 2
    return int(np.searchsorted(variance.cumsum() / variance.sum(), share) + 1)


def rankme(z) -> float:
    """exp H(sigma / sum(sigma)) of the *uncentred* embeddings (RankMe, Garrido et al. 2023).

    Effective rank as Roy & Vetterli define it, with the authors' 1e-7 added to every share, which
    leaves a little more than the rank: equal embeddings are one direction and give 1 plus about
    1.6e-6 min(N, D).
    """
    sigma = _spectrum(z, False)
    p = sigma / sigma.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def class_distances(z, labels) -> dict[str, float]:
    """Mean distance ||u - v|| within classes and between them, and their ratio; lower separates.

    Args:
        z: `[N, D]` embeddings, l2-normalised here. labels: `[N]`.

    Returns:
        `intra_class_distance`, `inter_class_distance`, `intra_inter_ratio`, as in the paper's
        public code; a ratio of 1 is no separation at all.

    Raises:
        ValueError: as `alignment`, one class only, or all directions equal.
    """
    u = unit(z)
    spread_of_directions(u)
    labels = group_labels(labels, len(u))
    within = np.sqrt(within_groups(u, labels))
    if len(np.unique(labels)) < 2:
        raise ValueError("One class only: there is no distance between classes.")
    total = sum(np.sqrt(squared).sum() for squared in squared_distances(u))
    between = len(u) * (len(u) - 1) / 2 - len(within)
    intra, inter = float(within.mean()), float((total - within.sum()) / between)
    ratio = intra / inter
    names = ("intra_class_distance", "inter_class_distance", "intra_inter_ratio")
    return dict(zip(names, (intra, inter, ratio), strict=True))


def alignment(z, labels, *, power: float = 4) -> float:
    """E ||u - v||^power over all pairs of one class, u and v l2-normalised; lower is tighter.

    Args:
        z: `[N, D]` embeddings.
        labels: `[N]` class of each row.
        power: 4 is Eq. 14 as printed and as the paper's tables were computed, E[(||u-v||^2)^2];
            2 is Wang & Isola (2020); 1 is the mean distance.

    Raises:
        ValueError: as `uniformity`; labels of another length, or missing ones; no class with two
            samples.
    """
    squared = within_groups(unit(z), labels)
    return float((squared ** (power / 2)).mean())


def pair_alignment(first, second, *, power: float = 2) -> float:
    """E ||u - v||^power over true positive pairs (Wang & Isola 2020), u and v l2-normalised.

    What alignment means where pairs are known: paraphrases (MRPC), similar sentences (STS-B from 4
    on). The paper's pairs are any two samples of one class instead.

    Args:
        first, second: `[P, D]` embeddings of the two sides, row by row.

    Raises:
        ValueError: as `singular_values`, or different shapes.
    """
    u, v = unit(first), unit(second)
    if u.shape != v.shape:
        raise ValueError(f"{u.shape} against {v.shape}: the pairs need two sides of one shape.")
    return float((((u - v) ** 2).sum(axis=1) ** (power / 2)).mean())


def uniformity(z, *, t: float = 2.0, groups=None) -> float:
    """log E exp(-t ||u - v||^2) over all pairs (Eq. 15; Wang & Isola 2020); lower is more uniform.

    All N (N - 1) / 2 pairs are used: no random subsample. 0 means that all directions coincide;
    for t = 2 the value of a uniform sphere in many dimensions is near -4.

    Args:
        z: `[N, D]` embeddings.
        t: temperature.
        groups: `[N]`; if given, only pairs within a group count. With token counts as groups this
            leaves out what different text lengths add (notebook 05).

    Raises:
        ValueError: as `singular_values`, or an embedding that is zero and has no direction.
    """
    u = unit(z)
    if groups is not None:
        return float(np.log(np.exp(-t * within_groups(u, groups)).mean()))
    total = sum(np.exp(-t * squared).sum() for squared in squared_distances(u))
    return float(math.log(total / (len(u) * (len(u) - 1) / 2)))


def explained_share(z, groups) -> float:
    """Share of the variance of directions that lies between groups (eta squared), in [0, 1].

    With G groups and no relation at all it is (G - 1) / (N - 1) on average.

    Args:
        z: `[N, D]` embeddings, l2-normalised here. groups: `[N]`.

    Raises:
        ValueError: as `alignment`, or all directions equal: there is no variance to share.
    """
    u, groups = unit(z), group_labels(groups, len(z))
    spread = spread_of_directions(u)
    return 1 - float(sum(((g - g.mean(0)) ** 2).sum() for g in split(u, groups)) / spread)


def probe_gap(z, labels, tokens, *, kind: str = "classification", seed: int = 0) -> float:
    """Semantic probe score minus token probe accuracy (Eq. 16); higher is less lexical.

    Args:
        z: `[N, D]` embeddings.
        labels: `[N]` task labels.
        tokens: `[N]` most frequent token of each text (`probes.frequent_tokens`).
        kind: `"classification"` (accuracy, CoLA too, as published) or `"regression"`, where an
            accuracy is subtracted from Spearman's rho, as the paper does for STS-B.
        seed: shuffles the folds.
    """
    z = matrix(z)
    semantic = semantic_probe(z, labels, kind=kind, seed=seed).score
    return semantic - token_probe(z, tokens, seed=seed).score


def _entropy(z, center: bool, power: float) -> float:
    sigma = _spectrum(z, center)
    p = (sigma / sigma[0]) ** power
    p = p / p.sum()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _spectrum(z, center: bool) -> np.ndarray:
    """Singular values, refused where they are rounding noise around equal embeddings.

    Those of the last matrix are kept: four metrics of one matrix take one decomposition.
    """
    z, _ = scaled(matrix(z))
    key = (hashlib.blake2b(np.ascontiguousarray(z)).digest(), z.shape, center)
    if key not in _last_spectrum:
        _last_spectrum.clear()
        _last_spectrum[key] = singular_values(z, center=center)
    sigma = _last_spectrum[key]
    if sigma[0] <= 8 * np.finfo(np.float64).eps * np.linalg.norm(z):
        raise ValueError("All embeddings are equal: their spectrum is zero, or rounding noise.")
    return sigma


def matrix(z) -> np.ndarray:
    """`z [N, D]`, NumPy or torch, as float64; refused with fewer than two rows, NaN, infinity."""
    if hasattr(z, "detach"):
        z = z.detach().cpu().double().numpy()
    z = np.asarray(z, dtype=np.float64)
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"Embeddings of shape {z.shape}: expected [N, D] with N at least 2.")
    if not np.isfinite(z).all():
        bad = int((~np.isfinite(z).all(axis=1)).argmax())
        raise ValueError(f"Embedding {bad} holds NaN or infinity.")
    return z


def scaled(z: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`z` over 2^exponent, with entries up to 1: exact, and squares neither over- nor underflow."""
    _, exponent = np.frexp(np.abs(z).max(axis=axis, keepdims=axis is not None))
    return np.ldexp(z, -exponent), exponent


def unit(z) -> np.ndarray:
    """Directions `[N, D]`: rows of length 1; refused where one is zero, and as `matrix`."""
    z, _ = scaled(matrix(z), axis=1)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    if (norms == 0).any():
        raise ValueError(f"Embedding {int((norms == 0).argmax())} is zero: it has no direction.")
    return z / norms


def group_labels(labels, n: int) -> np.ndarray:
    """Labels `[n]` as an array; refused with another length, or where one is missing."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {labels.shape}, expected ({n},).")
    missing = pd.isna(labels)
    if missing.any():
        raise ValueError(f"Label {int(missing.argmax())} is missing (NaN): leave that sample out.")
    return labels


def split(u: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """The rows of every group."""
    return [u[groups == group] for group in np.unique(groups)]


def spread_of_directions(u: np.ndarray) -> float:
    """Sum of squares of unit vectors around their mean; refused where all agree to 1e-6.

    The directions of float32 embeddings are rounded to about 1e-7, and below 1e-6 so are distances
    (`squared_distances`): what is left says nothing.
    """
    spread = float(((u - u.mean(axis=0)) ** 2).sum())
    if spread <= 1e-12 * len(u):
        raise ValueError("All embeddings point the same way, to 1e-6: no distances to compare.")
    return spread


def squared_distances(u: np.ndarray, rows: int = 512) -> Iterator[np.ndarray]:
    """||u_i - u_j||^2 for all i < j of unit vectors, a flat chunk at a time; exact to 1e-15."""
    for start in range(0, len(u), rows):
        block = u[start : start + rows]
        squared = np.maximum(2 - 2 * block @ u[start:].T, 0)  # (rows, N - start)
        yield squared[np.triu_indices(len(block), k=1, m=squared.shape[1])]


def within_groups(u: np.ndarray, groups) -> np.ndarray:
    """Squared distances of all pairs of one group, flat."""
    parts = [d for g in split(u, group_labels(groups, len(u))) for d in squared_distances(g)]
    pairs = np.concatenate(parts)
    if pairs.size == 0:
        raise ValueError("No class has two samples: pairs of one class are needed.")
    return pairs
