"""Geometry metrics on bootstrap samples, all at once: replicates for `uncertainty.around`.

Instead of drawing rows again and again, every quantity is written with multiplicities `w [N]`:
pairwise means are quadratic forms in w, spectra are those of a weighted covariance.
"""

import numpy as np

from predrecon.metrics import _labels, _matrix, _unit

Replicates = dict[str, np.ndarray]  # metric -> [draws]


def pairwise_replicates(z, groups, counts: np.ndarray, *, t: float = 2.0) -> Replicates:
    """Alignment (powers 4 and 2) and uniformity on every bootstrap sample.

    Args:
        z: `[N, D]`; groups: `[N]`; counts: `[draws, N]` from `uncertainty.bootstrap_counts`.

    Returns:
        `alignment, alignment_squared, uniformity`. Pairs of a sample with its own copy are left
        out: w' K w runs over i != j only.
    """
    u = _unit(z)
    groups = _labels(groups, len(u))
    squared = np.maximum(2 - 2 * u @ u.T, 0)  # (N, N)
    same = (groups[:, None] == groups[None, :]).astype(np.float64)
    np.fill_diagonal(same, 0)
    every = 1.0 - np.eye(len(u))
    w = counts.astype(np.float64)
    classed = _form(w, same)
    return {
        "alignment": _form(w, same * squared**2) / classed,
        "alignment_squared": _form(w, same * squared) / classed,
        "uniformity": np.log(_form(w, every * np.exp(-t * squared)) / _form(w, every)),
    }


def spectral_replicates(z, counts: np.ndarray) -> Replicates:
    """Spectral entropy (both powers), effective and stable rank on every bootstrap sample.

    Args:
        z: `[N, D]`; counts: `[draws, N]`.
    """
    z = _matrix(z)
    dim, found = z.shape[1], []
    for w in counts:
        mean = w @ z / w.sum()
        centred = z - mean
        variance = np.linalg.eigvalsh((centred * w[:, None]).T @ centred)
        sigma = np.sqrt(np.clip(variance, 0, None))
        flat, heavy = (_entropy(sigma**power) for power in (1, 2))
        stable = variance.sum() / variance[-1]
        found.append((flat / np.log(dim), heavy / np.log(dim), np.exp(flat), stable))
    names = ("spectral_entropy", "spectral_entropy_sigma2", "effective_rank", "stable_rank")
    return dict(zip(names, np.array(found).T, strict=True))


def score_replicates(labels, predictions, metric: str, counts: np.ndarray) -> np.ndarray:
    """A probe's score `[draws]` on every bootstrap sample of its out-of-fold predictions.

    The probe is not fitted again: the interval is that of the test samples.
    """
    from predrecon.probes import score

    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if metric == "accuracy":
        return counts @ (labels == predictions) / counts.sum(axis=1)
    rows = (np.repeat(np.arange(len(labels)), w) for w in counts)
    return np.array([score(labels[r], predictions[r], metric) for r in rows])


def _form(w: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """w' K w for every row of `w [draws, N]`."""
    return np.einsum("bn,bn->b", w @ kernel, w)


def _entropy(weights: np.ndarray) -> float:
    p = weights / weights.sum()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
