"""Geometry metrics on bootstrap samples, all at once: replicates for `bootstrap_interval`.

Instead of drawing rows again and again, every quantity is written with multiplicities `w [N]`:
pairwise means are quadratic forms in w, spectra are those of a weighted covariance. A replicate is
NaN where its sample leaves the metric without a value: no pair of one class (few samples, or only
one class with two), or one sample drawn again and again. `bootstrap_interval` then gives no bounds.
"""

import numpy as np

from predrecon.metrics import _spectrum, group_labels, matrix, scaled, unit

Replicates = dict[str, np.ndarray]  # metric -> [draws]
_NOISE = (8 * np.finfo(np.float64).eps) ** 2  # of all squares: what rounding leaves


def pairwise_replicates(z, groups, counts: np.ndarray, *, t: float = 2.0) -> Replicates:
    """Alignment, uniformity and class distances on every bootstrap sample.

    Args:
        z: `[N, D]`; groups: `[N]`; counts: `[draws, N]` from `uncertainty.bootstrap_counts`.

    Returns:
        `alignment, alignment_squared, uniformity, intra_class_distance, inter_class_distance,
        intra_inter_ratio`. Pairs of a sample with its own copy are left out: w' K w runs over
        i != j only.
    """
    u = unit(z)
    groups = group_labels(groups, len(u))
    squared = np.maximum(2 - 2 * u @ u.T, 0)  # (N, N)
    same = (groups[:, None] == groups[None, :]).astype(np.float64)
    np.fill_diagonal(same, 0)
    every = 1.0 - np.eye(len(u))
    w = counts.astype(np.float64)
    classed, distance, pairs = _form(w, same), np.sqrt(squared), _form(w, every)
    within, total = _form(w, same * distance), _form(w, every * distance)
    with np.errstate(divide="ignore", invalid="ignore"):  # no pairs: 0 / 0, hence NaN
        intra, inter = within / classed, (total - within) / (pairs - classed)
        return {
            "alignment": _form(w, same * squared**2) / classed,
            "alignment_squared": _form(w, same * squared) / classed,
            "uniformity": np.log(_form(w, every * np.exp(-t * squared)) / pairs),
            "intra_class_distance": intra,
            "inter_class_distance": inter,
            "intra_inter_ratio": intra / inter,
        }


def uniformity_replicates(z, counts: np.ndarray, *, groups=None, t: float = 2.0) -> np.ndarray:
    """`metrics.uniformity` `[draws]` on bootstrap samples, with `groups` over pairs within them.

    Args:
        z: `[N, D]`; counts: `[draws, N]`; groups: `[N]`.
    """
    u, w = unit(z), counts.astype(np.float64)
    pairs = 1.0 - np.eye(len(u))
    if groups is not None:
        groups = group_labels(groups, len(u))
        pairs *= groups[:, None] == groups[None, :]
    near = np.exp(-t * np.maximum(2 - 2 * u @ u.T, 0))
    with np.errstate(divide="ignore", invalid="ignore"):  # no pairs: 0 / 0, hence NaN
        return np.log(_form(w, pairs * near) / _form(w, pairs))


def spectral_replicates(z, counts: np.ndarray) -> Replicates:
    """Spectral entropy (both powers) and the four ranks on every bootstrap sample.

    Args:
        z: `[N, D]`; counts: `[draws, N]`.

    Raises:
        ValueError: as `metrics.effective_rank`: all embeddings equal, NaN.
    """
    _spectrum(z, True)  # refuses what has no spectrum
    z, _ = scaled(matrix(z))
    n, dim = z.shape
    found = []
    for w in counts:
        around_mean = (z - w @ z / w.sum()) * np.sqrt(w)[:, None]
        variance = np.clip(np.linalg.eigvalsh(around_mean.T @ around_mean), 0, None)  # rising
        second = (z * w[:, None]).T @ z  # (D, D)
        if variance[-1] <= _NOISE * np.trace(second):
            found.append([np.nan] * 6)
            continue
        sigma = np.sqrt(variance)
        flat, heavy = (_entropy(sigma**power) for power in (1, 2))
        stable, held = variance.sum() / variance[-1], variance[::-1].cumsum() / variance.sum()
        raw = np.sqrt(np.clip(np.linalg.eigvalsh(second), 0, None))
        p = raw / raw.sum() + 1e-7
        ranks = np.exp(flat), stable, np.searchsorted(held, 0.9) + 1, np.exp(-(p * np.log(p)).sum())
        found.append((flat / np.log(dim), heavy / np.log(min(n, dim)), *ranks))
    names = ("spectral_entropy", "spectral_entropy_sigma2", "effective_rank", "stable_rank")
    names += ("rank_90", "rankme")
    return dict(zip(names, np.array(found).T, strict=True))


def pair_replicates(first, second, counts: np.ndarray) -> np.ndarray:
    """`metrics.pair_alignment` `[draws]` on bootstrap samples of the pairs."""
    squared = ((unit(first) - unit(second)) ** 2).sum(axis=1)  # (P,)
    return counts @ squared / counts.sum(axis=1)


def score_replicates(labels, predictions, metric: str, counts: np.ndarray) -> np.ndarray:
    """A probe's score `[draws]` on every bootstrap sample of its out-of-fold predictions.

    The probe is not fitted again: the interval is that of the test samples, and too narrow for a
    cross-validated probe at chance (`bootstrap_interval`).
    """
    from predrecon.probes import score

    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if metric == "accuracy":
        return counts @ (labels == predictions) / counts.sum(axis=1)
    if metric in ("f1", "mcc"):
        return _from_confusion(labels, predictions, metric, counts)
    rows = (np.repeat(np.arange(len(labels)), w) for w in counts)
    return np.array([score(labels[r], predictions[r], metric) for r in rows])


def _from_confusion(labels, predictions, metric: str, counts: np.ndarray) -> np.ndarray:
    """F1 of class 1 or Matthews' correlation `[draws]`, from one confusion matrix a sample."""
    classes, found = np.unique(np.stack([labels, predictions]), return_inverse=True)
    k = len(classes)
    cells = np.ravel_multi_index(tuple(found.reshape(2, -1)), (k, k))
    confusion = (counts @ np.eye(k * k)[cells]).reshape(-1, k, k)
    real, guessed = confusion.sum(axis=2), confusion.sum(axis=1)  # (draws, K)
    right = confusion.diagonal(axis1=1, axis2=2)
    if metric == "f1":
        of_one = classes == 1
        return 2 * (right @ of_one) / np.maximum((real + guessed) @ of_one, 1)
    n = counts.sum(axis=1)
    above_chance = right.sum(axis=1) * n - (real * guessed).sum(axis=1)
    spread = (n**2 - (real**2).sum(axis=1)) * (n**2 - (guessed**2).sum(axis=1))
    return above_chance / np.sqrt(np.where(spread > 0, spread, np.inf))


def _form(w: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """w' K w for every row of `w [draws, N]`."""
    return np.einsum("bn,bn->b", w @ kernel, w)


def _entropy(weights: np.ndarray) -> float:
    p = weights / weights.sum()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
