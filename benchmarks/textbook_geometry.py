"""Geometry of one task in its most direct form: the baseline of `make bench`.

A pass of the encoder for each pooling, every text padded to 128 tokens, a singular value
decomposition for each metric, and pairwise differences written out in full.
"""

import numpy as np
import torch

from predrecon import probes
from predrecon.pooling import pool


@torch.no_grad()
def embed(encoder, tokenizer, texts: list[str], how: str, batch: int = 32) -> np.ndarray:
    parts = []
    for start in range(0, len(texts), batch):
        ids = tokenizer(
            texts[start : start + batch], truncation=True, padding="max_length", max_length=128,
            return_tensors="pt",
        )  # fmt: skip
        hidden = encoder(ids["input_ids"], ids["attention_mask"]).last_hidden_state
        parts.append(pool(hidden, ids["attention_mask"], how))
    return torch.cat(parts).numpy()


def metrics(z: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The six metrics except the probe gap."""
    z = z.astype(np.float64)

    def sigma():
        return np.linalg.svd(z - z.mean(0), compute_uv=False)

    def entropy(p):
        p = p / p.sum()
        return -(p[p > 0] * np.log(p[p > 0])).sum()

    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    near, all_pairs = [], []
    for i in range(len(u)):
        difference = u[i] - u  # (N, D)
        squared = (difference**2).sum(1)
        near.append(squared[(labels == labels[i]) & (np.arange(len(u)) != i)] ** 2)
        all_pairs.append(np.exp(-2 * np.delete(squared, i)))
    return {
        "spectral_entropy": entropy(sigma()) / np.log(min(z.shape)),
        "spectral_entropy_sigma2": entropy(sigma() ** 2) / np.log(min(z.shape)),
        "effective_rank": np.exp(entropy(sigma())),
        "stable_rank": (sigma() ** 2).sum() / sigma()[0] ** 2,
        "alignment": np.concatenate(near).mean(),
        "uniformity": np.log(np.concatenate(all_pairs).mean()),
    }


def probe(z: np.ndarray, labels: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Both probes, as in the package: they come from scikit-learn in both."""
    semantic = probes.semantic_probe(z, labels, kind="classification", seed=0)
    return {"semantic_probe": semantic.score, "token_probe": probes.token_probe(z, tokens).score}
