"""Two-dimensional maps of embeddings: PCA, and UMAP (McInnes et al. 2018)."""

import hashlib
import importlib.util
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from predrecon.audit.cache import cached
from predrecon.data import paths
from predrecon.data.files import make_writable
from predrecon.data.progress import one_line
from predrecon.recipes import read

METHODS = ("PCA", "UMAP")


def place(z: np.ndarray, method: str, *, seed: int = 0) -> np.ndarray:
    """Two coordinates `[N, 2]` of `z [N, D]`: principal components, or UMAP by cosine distance.

    UMAP takes seconds and is cached; seeded and on one thread, it is repeatable on one machine.
    Distances between its clusters mean little, so PCA is shown as well.
    """
    if method == "PCA":
        from sklearn.decomposition import PCA

        # both are exact; for 100,000 x 768 the first takes 0.5 s instead of 4.5 s
        solver = "covariance_eigh" if len(z) > 10 * z.shape[1] else "full"
        return PCA(n_components=2, svd_solver=solver).fit_transform(z)
    seed = read("seed", seed)

    def compute():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="umap")
            _give_numba_a_folder()
            from umap import UMAP  # takes seconds to import

            mapper = UMAP(metric="cosine", random_state=seed, n_jobs=1)
            return [], {"xy": mapper.fit_transform(z)}

    digest = hashlib.sha256(np.ascontiguousarray(z).tobytes()).hexdigest()
    return cached("umap", (digest, z.shape, seed), compute)[1]["xy"]


def _give_numba_a_folder():
    """A folder in the cache, if numba cannot write its compiled code: importing umap would fail."""
    import numba

    default = Path(importlib.util.find_spec("umap").origin).with_name("__pycache__")
    try:
        make_writable(Path(os.environ.get("NUMBA_CACHE_DIR") or default), "")
    except PermissionError:
        os.environ["NUMBA_CACHE_DIR"] = str(paths.cache_dir(write=True) / "numba")
        numba.config.reload_config()


def points(
    embeddings: dict[str, np.ndarray], labels: list[str], texts: list[str], *, seed: int = 0
) -> pd.DataFrame:
    """Both maps of every model's `[N, D]`: columns `model, method, label, text, x, y`.

    If UMAP fails, a line says so and it is left out: its libraries are the most fragile ones here.
    """
    parts, hover = [], {"label": labels, "text": shortened(texts)}
    for method in METHODS:
        try:
            places = {model: place(z, method, seed=seed) for model, z in embeddings.items()}
        except Exception as error:
            if method != "UMAP":
                raise
            print(f"No UMAP: {one_line(error)}")
            continue
        for model, xy in places.items():
            x, y = np.round(xy.T, 3)
            parts.append(pd.DataFrame({"model": model, "method": method, **hover, "x": x, "y": y}))
    return pd.concat(parts, ignore_index=True)


def shortened(texts: list[str], longest: int = 70) -> list[str]:
    """Hover texts: whole texts would be most of a map's size in a saved notebook."""
    return [text if len(text) <= longest else f"{text[: longest - 1]}…" for text in texts]


def nearest(z: np.ndarray, index: int, count: int = 5) -> list[tuple[int, float]]:
    """The `count` rows of `z [N, D]` nearest to row `index` by cosine, and their cosines."""
    norms = np.linalg.norm(z, axis=1)
    cosines = z @ z[index] / np.maximum(norms * norms[index], 1e-12)
    cosines[index] = -np.inf
    neighbours = np.argsort(-cosines)[: min(count, len(z) - 1)]
    return [(int(i), float(cosines[i])) for i in neighbours]


def frequent_words(tokens: np.ndarray, tokenizer, *, shown: int = 6) -> list[str]:
    """Names of `probes.frequent_tokens [N]`: the `shown` most common, the rest "other"."""
    common = [token for token, _ in Counter(tokens.tolist()).most_common(shown)]
    names = {t: tokenizer.convert_ids_to_tokens(t) for t in common if t >= 0}
    return [names.get(token, "other") for token in tokens.tolist()]
