"""Embedding matrices: checked, as directions, and the distances of their pairs (for `metrics`)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd


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
