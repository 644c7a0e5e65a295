"""Who computes what: the same matrices through our functions and through public packages.

The packages are optional (`pip install "predrecon[compare]"`); a row of one that is not installed
says so. If a package follows another convention, `as_theirs` is our number under it: if that
agrees, the convention is the only difference.
"""

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from predrecon import metrics

_SAME = "the same definition"


@dataclass(frozen=True)
class _Comparison:
    """One metric of one package; functions take `z [N, D]`, its second view and another space."""

    metric: str
    package: str  # as pip names it
    convention: str
    ours: Callable
    theirs: Callable  # takes the imported module first
    module: str
    as_theirs: Callable | None = None  # ours by their convention, if it is different


def _views(z, view) -> np.ndarray:
    return np.stack([z, view], axis=1)  # (N, 2, D)


def _reptrix_lidar(module, z, view, _) -> float:
    views = torch.from_numpy(_views(z, view))
    return module.get_lidar(views, len(z), 2, del_sigma_augs=1e-6)


def _squared_rank(z) -> float:
    """exp H(p) for p = sigma^2 / sum(sigma^2) + 1e-7 of the centred rows."""
    p = metrics.singular_values(z) ** 2
    p = p / p.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def _squared_lidar(z, view, _) -> float:
    """LiDAR by reptrix's convention: `_squared_rank` of the LiDAR matrix `[D, D]`."""
    from scipy.linalg import fractional_matrix_power

    means, offsets = (z + view) / 2, (z - view) / 2
    centred = means - means.mean(axis=0)
    within = 2 * offsets.T @ offsets / len(z) + 1e-6 * np.eye(z.shape[1])  # summed over the views
    root = fractional_matrix_power(within, -0.5)
    return _squared_rank(root @ centred.T @ centred @ root)


def _procrustes(module, z, _, other) -> float:
    a, b = ((x - x.mean(axis=0)) / np.linalg.norm(x - x.mean(axis=0)) for x in (z, other))
    return 2 - 2 * module.orthogonal_procrustes(a, b)[1]


_COMPARISONS = (
    _Comparison(
        "IsoScore", "IsoScore", f"{_SAME}; square roots of D are in float32 there",
        lambda z, *_: metrics.iso_score(z),
        lambda module, z, *_: module.IsoScore(z), "IsoScore.IsoScore",
    ),
    _Comparison(
        "RankMe", "reptrix",
        "there p is the share of variance of the centred embeddings, from sigma squared; Garrido "
        "et al. take sigma of the embeddings as they are",
        lambda z, *_: metrics.rankme(z),
        lambda module, z, *_: module.get_rankme(torch.from_numpy(z)), "reptrix.rankme",
        lambda z, *_: _squared_rank(z),
    ),
    _Comparison(
        "alpha-ReQ", "reptrix", f"{_SAME}: ranks 11 to 100, weights 1 / i, in float32 there",
        lambda z, *_: metrics.alpha_req(z),
        lambda module, z, *_: module.get_alpha(torch.from_numpy(z))[0], "reptrix.alpha",
    ),
    _Comparison(
        "LiDAR", "reptrix",
        "there p is from the squared singular values of the LiDAR matrix with its columns centred, "
        "delta is 1e-6 and S_w is summed over views; Thilak et al. take its eigenvalues as they "
        "are",
        lambda z, view, _: metrics.lidar(_views(z, view)),
        _reptrix_lidar, "reptrix.lidar", _squared_lidar,
    ),
    _Comparison(
        "linear CKA", "ckatorch", _SAME,
        lambda z, _, other: metrics.linear_cka(z, other),
        lambda module, z, _, other: module.cka_base(*map(torch.from_numpy, (z, other))),
        "ckatorch.core",
    ),
    _Comparison(
        "linear CKA, unbiased", "ckatorch", _SAME,
        lambda z, _, other: metrics.linear_cka(z, other, unbiased=True),
        lambda module, z, _, other: module.cka_base(
            *map(torch.from_numpy, (z, other)), unbiased=True
        ),
        "ckatorch.core",
    ),
    _Comparison(
        "linear CKA", "repsim", f"{_SAME}, its estimator 'gretton' (the kernel is rbf by default)",
        lambda z, _, other: metrics.linear_cka(z, other),
        lambda module, z, _, other: module.cka([z, other], "linear", "gretton")[0, 1], "repsim",
    ),
    _Comparison(
        "Procrustes distance", "scipy",
        f"{_SAME}: 2 - 2 times the scale that scipy.linalg.orthogonal_procrustes returns",
        lambda z, _, other: metrics.procrustes_distance(z, other), _procrustes, "scipy.linalg",
    ),
    _Comparison(
        "Procrustes distance", "scipy",
        "scipy.spatial.procrustes also fits the scale: its disparity is 1 - (1 - d / 2)^2",
        lambda z, _, other: metrics.procrustes_distance(z, other),
        lambda module, z, _, other: module.procrustes(z, other)[2], "scipy.spatial",
        lambda z, _, other: 1 - (1 - metrics.procrustes_distance(z, other) / 2) ** 2,
    ),
)  # fmt: skip


def example_matrices(n: int = 600, dim: int = 128) -> dict[str, np.ndarray]:
    """Embeddings `[n, dim]` of known shape: a power law, isotropic, and one far from 0."""
    z = np.random.default_rng(0).normal(size=(n, dim))
    decay = np.arange(1, dim + 1) ** -0.5
    return {"power law": z * decay, "isotropic": z, "far from 0": z * decay + 3}


def compare_packages(matrices: dict[str, np.ndarray] | None = None) -> pd.DataFrame:
    """The table of the page "who computes what".

    Args:
        matrices: `{name: [N, D]}`, default `example_matrices()`. N above 100 and D at least 100,
            the ranks that alpha-ReQ fits. The second view and second space that some metrics need
            are each matrix plus noise that is always the same.

    Returns:
        Columns `matrix, n, dim, metric, package, version, ours, theirs, difference, as_theirs,
        convention`; `theirs` is NaN and `version` "not installed" where the package is missing;
        `as_theirs` is ours by their convention.

    Raises:
        ValueError: a matrix that is too small, or that a metric refuses.
    """
    rows = []
    for name, z in (example_matrices() if matrices is None else matrices).items():
        z = np.asarray(z, dtype=np.float64)
        if z.ndim != 2 or len(z) <= 100 or z.shape[1] < 100:
            raise ValueError(
                f"Matrix {name!r} has shape {z.shape}: expected [N, D] with N above 100 and D at "
                "least 100, the ranks that alpha-ReQ fits."
            )
        rng, scale = np.random.default_rng(0), z.std(axis=0)
        view = z + 0.5 * scale * rng.normal(size=z.shape)
        rotation = np.linalg.qr(rng.normal(size=(z.shape[1],) * 2))[0]
        other = view @ rotation + scale.mean() * rng.normal(size=z.shape)
        for each in _COMPARISONS:
            ours, (version, theirs) = each.ours(z, view, other), _theirs(each, z, view, other)
            same = each.as_theirs(z, view, other) if each.as_theirs else ours
            row = {"matrix": name, "n": len(z), "dim": z.shape[1], "metric": each.metric}
            row |= {"package": each.package, "version": version, "ours": ours, "theirs": theirs}
            row |= {"difference": ours - theirs, "as_theirs": same, "convention": each.convention}
            rows.append(row)
    return pd.DataFrame(rows)


def _theirs(each: _Comparison, *spaces: np.ndarray) -> tuple[str, float]:
    """Version and value, without the packages' warnings."""
    try:
        version = importlib.metadata.version(each.package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed", float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(each.module)
        return version, float(each.theirs(module, *spaces))
